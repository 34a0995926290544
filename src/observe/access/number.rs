//! Numbers as text. Formatting with `std::fmt` was half of the time that a line takes.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

/// Appends a number.
pub(super) fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[digits.len() - used..]);
}

/// Appends milliseconds with three decimals.
pub(super) fn milliseconds(out: &mut Vec<u8>, span: Duration) {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    number(out, micros / 1000);
    out.push(b'.');
    thousandths(out, (micros % 1000) as u32);
}

/// Appends three digits.
pub(super) fn thousandths(out: &mut Vec<u8>, value: u32) {
    out.extend([value / 100, value / 10, value].map(|digit| b'0' + (digit % 10) as u8));
}

/// Appends an address.
pub(super) fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (place, part) in address.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                number(out, u64::from(part));
            }
        }
        // Writing to a Vec does not fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_what_the_standard_library_writes() {
        for value in [0, 7, 10, 99, 100, 1_234_567, u64::MAX] {
            assert_eq!(text(|out| number(out, value)), value.to_string());
        }
        for written in ["192.0.2.7", "0.0.0.0", "255.255.255.255", "::1", "2001:db8::7"] {
            assert_eq!(text(|out| address(out, written.parse().unwrap())), written);
        }
    }

    #[test]
    fn milliseconds_have_three_decimals() {
        for (micros, expected) in [(0, "0.000"), (7, "0.007"), (12_345, "12.345"), (1_000_000, "1000.000")] {
            assert_eq!(text(|out| milliseconds(out, Duration::from_micros(micros))), expected);
        }
        assert!(text(|out| milliseconds(out, Duration::MAX)).ends_with(".615"));
    }
}
