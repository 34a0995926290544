//! Finds bytes in heads, eight at a time: the pieces are too short for the wide registers of a
//! general search to pay for its call.

/// Bytes of a word, each tested at once; a hit sets the high bit of its byte. Only the lowest hit is
/// sure to be one, and only that one is asked for.
type Hits = u64;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

const fn zero(word: u64) -> Hits {
    word.wrapping_sub(ONES) & !word & HIGH
}

const fn equal(word: u64, byte: u8) -> Hits {
    zero(word ^ (ONES * byte as u64))
}

const fn below(word: u64, byte: u8) -> Hits {
    word.wrapping_sub(ONES * byte as u64) & !word & HIGH
}

/// Where the first such byte at or behind `from` is.
#[inline(always)]
pub(super) fn byte(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    first(bytes, from, |word| equal(word, wanted), |byte| byte == wanted)
}

/// Where the first control byte is that is no tab: the end of a line, or what no line may hold
/// (RFC 9110 §5.5).
#[inline(always)]
pub(super) fn line_stop(bytes: &[u8], from: usize) -> Option<usize> {
    let mut from = from;
    loop {
        let hits = |word| below(word, b' ') | equal(word, 0x7f);
        let at = first(bytes, from, hits, |byte| byte.is_ascii_control())?;
        if bytes[at] != b'\t' {
            return Some(at);
        }
        from = at + 1;
    }
}

/// Where the first byte is that can not stand in a request target: a control byte or a space.
#[inline(always)]
pub(super) fn target_end(bytes: &[u8], from: usize) -> Option<usize> {
    first(bytes, from, |word| below(word, b'!') | equal(word, 0x7f), |byte| matches!(byte, 0..=b' ' | 0x7f))
}

#[inline(always)]
fn first(
    bytes: &[u8],
    from: usize,
    hits: impl Fn(u64) -> Hits,
    is_hit: impl Fn(u8) -> bool,
) -> Option<usize> {
    let mut at = from;
    let mut rest = bytes.get(from..)?;
    while let Some((word, behind)) = rest.split_first_chunk() {
        let found = hits(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        (at, rest) = (at + 8, behind);
    }
    rest.iter().position(|byte| is_hit(*byte)).map(|behind| at + behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All positions and all neighbours, so that no carry from one byte to the next goes unseen.
    #[test]
    fn what_is_found_is_what_a_search_byte_by_byte_finds() {
        for hit in 0..=255u8 {
            for other in [b'a', b'\t', b' ', b'!', 0x1f, 0x7e, 0x80, 0xff, b':', b'\n'] {
                for at in 0..19 {
                    let mut bytes = [other; 19];
                    bytes[at] = hit;
                    for from in [0, 3, 18] {
                        let naive = |is: fn(&u8) -> bool| bytes[from..].iter().position(is).map(|n| n + from);
                        assert_eq!(byte(&bytes, from, b'\n'), naive(|byte| *byte == b'\n'));
                        let stops = |byte: &u8| matches!(byte, 0..=8 | 10..=31 | 127);
                        assert_eq!(line_stop(&bytes, from), naive(stops));
                        assert_eq!(target_end(&bytes, from), naive(|byte| matches!(byte, 0..=32 | 127)));
                    }
                }
            }
        }
        assert_eq!(byte(b"abc", 4, b'a'), None);
    }
}
