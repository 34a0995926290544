//! Version 2: a block of bytes with a length, addresses, and appended values (TLV).

use super::{Addresses, Header, MAX_HEADER, Read, Told, four, six};

/// How a header begins.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
pub(super) const FIXED: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// The appended value that holds a CRC32c of the whole header.
const CHECKSUM: u8 = 0x03;

pub(super) fn read(bytes: &[u8]) -> Read {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        // What is wrong already is not waited for.
        let is_fit = bytes.get(12).is_none_or(|command| matches!(*command, LOCAL | PROXY));
        return if is_fit { Read::Incomplete } else { Read::Malformed };
    };
    let (command, family) = (fixed[12], fixed[13]);
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if !matches!(command, LOCAL | PROXY) || length > MAX_HEADER {
        return Read::Malformed;
    }
    // The family of LOCAL is to be ignored with all that follows it.
    let Some(room) = (if command == LOCAL { Some(0) } else { room(family) }) else { return Read::Malformed };
    if length < FIXED + room {
        return Read::Malformed;
    }
    let Some(header) = bytes.get(..length) else { return Read::Incomplete };
    let told = if command == LOCAL { Some(Told::Nothing) } else { told(family, header, room) };
    told.map_or(Read::Malformed, |told| Read::Header(Header { length, told }))
}

/// How many bytes the addresses of a family take; `None` for a family that there is not.
fn room(family: u8) -> Option<usize> {
    match family {
        // Unspecified over anything: the rest is ignored.
        0x00 => Some(0),
        0x11 | 0x12 => Some(12),
        0x21 | 0x22 => Some(36),
        0x31 | 0x32 => Some(216),
        _ => None,
    }
}

fn told(family: u8, header: &[u8], room: usize) -> Option<Told> {
    if room == 0 {
        return Some(Told::Nothing);
    }
    if !are_values_sound(header, FIXED + room) {
        return None;
    }
    let block = header.get(FIXED..FIXED + room)?;
    match family >> 4 {
        1 => {
            let (source, destination) = (block.first_chunk()?, block[4..].first_chunk()?);
            Some(addresses(block, |port| four(*source, port), |port| four(*destination, port)))
        }
        2 => {
            let (source, destination) = (block.first_chunk()?, block[16..].first_chunk()?);
            Some(addresses(block, |port| six(*source, port), |port| six(*destination, port)))
        }
        _ => Some(Told::Nameless),
    }
}

/// The two ports are the last of the block.
fn addresses(
    block: &[u8],
    source: impl Fn(u16) -> std::net::SocketAddr,
    destination: impl Fn(u16) -> std::net::SocketAddr,
) -> Told {
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let (from, to) = (port(block.len() - 4), port(block.len() - 2));
    Told::Addresses(Addresses { source: source(from), destination: destination(to) })
}

/// Whether the appended values fill the rest exactly, and a checksum among them is right.
fn are_values_sound(header: &[u8], begin: usize) -> bool {
    let mut at = begin;
    while at < header.len() {
        let Some([kind, high, low]) = header[at..].first_chunk() else { return false };
        let value = at + 3;
        let end = value + usize::from(u16::from_be_bytes([*high, *low]));
        let Some(bytes) = header.get(value..end) else { return false };
        if *kind == CHECKSUM && !is_checksum(header, value, bytes) {
            return false;
        }
        at = end;
    }
    true
}

/// Whether these bytes at `at` are the checksum of the header, itself taken as zeros.
fn is_checksum(header: &[u8], at: usize, bytes: &[u8]) -> bool {
    let Ok(told) = <[u8; 4]>::try_from(bytes) else { return false };
    let sum = [&header[..at], &[0; 4], &header[at + 4..]].into_iter().fold(!0, crc32c);
    !sum == u32::from_be_bytes(told)
}

/// CRC32c (RFC 3720 appendix B.4), bit by bit: a header is short and comes once.
fn crc32c(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82F6_3B78 & 0u32.wrapping_sub(sum & 1)))
    })
}

#[cfg(test)]
pub(super) fn checksum(header: &[u8]) -> [u8; 4] {
    (!crc32c(!0, header)).to_be_bytes()
}
