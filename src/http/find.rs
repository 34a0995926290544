//! Finds bytes in heads, sixteen at a time: the pieces are too short for a general search, with its choice
//! of registers at run time, to pay for its call.

use std::ops::Range;

use wide::u8x16;

/// Bytes of a block that are looked for; `0xff` each.
type Hits = u8x16;

/// Bytes of a block.
const BLOCK: usize = 16;

/// Where the first such byte at or behind `from` is.
#[inline(always)]
pub fn byte(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    first(bytes, from, |block| block.cmp_eq(u8x16::splat(wanted)))
}

/// The same in a part of the bytes.
#[inline(always)]
pub fn byte_within(bytes: &[u8], within: Range<usize>, wanted: u8) -> Option<usize> {
    first_within(bytes, within, |block| block.cmp_eq(u8x16::splat(wanted)))
}

/// Where the first control byte is that is no tab: the end of a line, or what no line may hold
/// (RFC 9110 §5.5).
#[inline(always)]
pub fn line_stop(bytes: &[u8], from: usize) -> Option<usize> {
    first(bytes, from, |block| {
        let is_tab = block.cmp_eq(u8x16::splat(b'\t'));
        (at_most(block, 0x1f) & !is_tab) | block.cmp_eq(u8x16::splat(0x7f))
    })
}

/// Where the first byte is that can not stand in a request target: a control byte or a space.
#[inline(always)]
pub fn target_end(bytes: &[u8], from: usize) -> Option<usize> {
    first(bytes, from, |block| at_most(block, b' ') | block.cmp_eq(u8x16::splat(0x7f)))
}

/// Where the first byte is that is no visible ASCII, or one that is no part of a target: `#`.
#[inline(always)]
pub fn target_fault(bytes: &[u8], within: Range<usize>) -> Option<usize> {
    first_within(bytes, within, |block| {
        let is_visible = block.max(u8x16::splat(0x21)).cmp_eq(block) & at_most(block, 0x7e);
        !is_visible | block.cmp_eq(u8x16::splat(b'#'))
    })
}

/// Where the first capital letter is.
#[inline(always)]
pub fn capital(bytes: &[u8], within: Range<usize>) -> Option<usize> {
    first_within(bytes, within, |block| block.max(u8x16::splat(b'A')).cmp_eq(block) & at_most(block, b'Z'))
}

/// Where the first byte is that usual names of hosts do not have: no small letter, digit, dot or hyphen.
#[inline(always)]
pub fn host_end(bytes: &[u8], within: Range<usize>) -> Option<usize> {
    first_within(bytes, within, |block| {
        let is_small = block.max(u8x16::splat(b'a')).cmp_eq(block) & at_most(block, b'z');
        // A hyphen, a dot, a slash and the digits are neighbours.
        let is_digit = block.max(u8x16::splat(b'-')).cmp_eq(block) & at_most(block, b'9');
        !(is_small | is_digit) | block.cmp_eq(u8x16::splat(b'/'))
    })
}

#[inline(always)]
fn at_most(block: u8x16, most: u8) -> Hits {
    block.min(u8x16::splat(most)).cmp_eq(block)
}

/// Whole blocks are looked at, also where the part ends within one.
#[inline(always)]
fn first_within(bytes: &[u8], within: Range<usize>, hits: impl Fn(u8x16) -> Hits) -> Option<usize> {
    let near = &bytes[..bytes.len().min(within.end + BLOCK)];
    first(near, within.start, hits).filter(|at| *at < within.end)
}

#[inline(always)]
fn first(bytes: &[u8], from: usize, hits: impl Fn(u8x16) -> Hits) -> Option<usize> {
    let (mut at, mut rest) = (from, bytes.get(from..)?);
    while let Some((block, behind)) = rest.split_first_chunk::<BLOCK>() {
        let found = hits(u8x16::new(*block)).move_mask();
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize);
        }
        (at, rest) = (at + BLOCK, behind);
    }
    Some(at + last(bytes, rest, hits)?)
}

/// The same for less than a block at the end of `bytes`.
#[inline(always)]
fn last(bytes: &[u8], rest: &[u8], hits: impl Fn(u8x16) -> Hits) -> Option<usize> {
    let before = BLOCK - rest.len();
    let is_found = |found: i32| (found != 0).then(|| found.trailing_zeros() as usize);
    // Where a whole block ends there, its other bytes lie before.
    if let Some(block) = bytes.last_chunk::<BLOCK>() {
        return is_found(hits(u8x16::new(*block)).move_mask() >> before);
    }
    // Two halves that overlap.
    if let (Some(first), Some(last)) = (rest.first_chunk(), rest.last_chunk()) {
        let halves = u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << 64;
        let at = is_found(hits(u8x16::new(halves.to_le_bytes())).move_mask())?;
        return Some(if at < 8 { at } else { at - before });
    }
    let mut block = [0; BLOCK];
    block[before..].copy_from_slice(rest);
    is_found(hits(u8x16::new(block)).move_mask() >> before)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All positions in texts around one and two blocks.
    #[test]
    fn what_is_found_is_what_a_search_byte_by_byte_finds() {
        for hit in 0..=255u8 {
            for other in [b'a', b'\t', b' ', b'!', 0x1f, 0x7e, 0x80, 0xff, b':', b'\n'] {
                for (length, at) in
                    [(1, 0), (9, 8), (16, 15), (19, 0), (19, 15), (19, 16), (35, 18), (35, 34)]
                {
                    let mut bytes = vec![other; length];
                    bytes[at] = hit;
                    for from in [0, 1, 3, 15, 16, 17, 18, length] {
                        let naive = |is: fn(&u8) -> bool| {
                            bytes.get(from..)?.iter().position(is).map(|behind| behind + from)
                        };
                        assert_eq!(byte(&bytes, from, b'\n'), naive(|byte| *byte == b'\n'));
                        let stops = |byte: &u8| matches!(byte, 0..=8 | 10..=31 | 127);
                        assert_eq!(line_stop(&bytes, from), naive(stops));
                        assert_eq!(target_end(&bytes, from), naive(|byte| matches!(byte, 0..=32 | 127)));
                    }
                    let is_fault = |byte: &u8| matches!(byte, 0..=32 | 127..) || *byte == b'#';
                    let all = || 0..length;
                    assert_eq!(target_fault(&bytes, all()), bytes.iter().position(is_fault));
                    let is_usual = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
                    assert_eq!(host_end(&bytes, all()), bytes.iter().position(|byte| !is_usual(byte)));
                    assert_eq!(capital(&bytes, all()), bytes.iter().position(u8::is_ascii_uppercase));
                }
            }
        }
        assert_eq!(byte(b"abc", 4, b'a'), None);
    }

    #[test]
    fn what_stands_behind_a_part_is_not_found() {
        for length in [3, 20, 40] {
            for end in 0..length {
                let mut bytes = vec![b'a'; length];
                bytes[end] = b'?';
                assert_eq!(byte_within(&bytes, 0..end, b'?'), None);
                assert_eq!(byte_within(&bytes, 1.min(end)..end + 1, b'?'), Some(end));
            }
        }
    }
}
