//! Newtypes for what can be confused: durations, sizes, ratios, weights, generations.
//!
//! Each is written in the configuration as its `FromStr` says and prints itself the same way.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

mod field;
mod limit;
mod network;
mod time;

pub use field::{FieldName, FieldValue};
pub use limit::{Auto, Limit};
pub use network::Network;
pub use time::{Duration, Timeout};

/// Why a value could not be read; the sentence says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

impl UnitError {
    /// An error with this sentence.
    pub fn new(message: impl Into<String>) -> UnitError {
        UnitError(message.into())
    }
}

/// A number of bytes: "64KiB", "10MiB", "1GiB", "10MB", or a plain number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

/// Bytes in each unit; the powers of 1024 come first because sizes print in them.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl Bytes {
    /// So many bytes.
    pub const fn new(bytes: u64) -> Bytes {
        Bytes(bytes)
    }

    /// So many KiB.
    pub const fn kib(kib: u64) -> Bytes {
        Bytes(kib << 10)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as an index of memory; what does not fit is the largest one.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Bytes, UnitError> {
        let wrong = || {
            UnitError::new(format!(
                "`{text}` is not a size; write a whole number with B, KiB, MiB, GiB, kB, MB or GB, such as \"64KiB\""
            ))
        };
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = if unit.is_empty() { "B" } else { unit };
        let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(*factor).map(Bytes).ok_or_else(wrong)
    }
}

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = &SIZE_UNITS[..3];
        match binary.iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor)) {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        number_or_text(deserializer, "a size such as \"64KiB\" or a number of bytes", |bytes| {
            Ok(Bytes(bytes))
        })
    }
}

/// A share from "0%" to "100%", exact to a hundredth of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(u16);

impl Ratio {
    /// So many percent, at most 100.
    pub const fn percent(percent: u16) -> Ratio {
        Ratio(if percent > 100 { 10_000 } else { percent * 100 })
    }

    /// The share as a number from 0 to 1.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// The share of a whole, rounded down.
    pub fn of(self, whole: usize) -> usize {
        let share = whole as u128 * u128::from(self.0) / 10_000;
        usize::try_from(share).unwrap_or(whole)
    }
}

impl FromStr for Ratio {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Ratio, UnitError> {
        let wrong =
            || UnitError::new(format!("`{text}` is not a ratio from \"0%\" to \"100%\", such as \"20%\""));
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, hundredths) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(hundredths) || hundredths.len() > 2 {
            return Err(wrong());
        }
        let scale = if hundredths.len() == 1 { 10 } else { 1 };
        let whole: u16 = whole.parse().map_err(|_| wrong())?;
        let hundredths: u16 = hundredths.parse().map_err(|_| wrong())?;
        match whole.checked_mul(100).and_then(|value| value.checked_add(hundredths * scale)) {
            Some(value) if value <= 10_000 => Ok(Ratio(value)),
            _ => Err(wrong()),
        }
    }
}

impl Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ratio, D::Error> {
        number_or_text(deserializer, "a ratio such as \"20%\"", |number| match number {
            0 => Ok(Ratio(0)),
            _ => Err(UnitError::new(format!("a ratio is written with its sign: \"{number}%\""))),
        })
    }
}

/// How much of the traffic one member of a group takes, relative to the others; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
pub struct Weight(pub u32);

impl Default for Weight {
    fn default() -> Weight {
        Weight(1)
    }
}

impl Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a snapshot; it grows by one with every reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after this.
    pub fn next(self) -> Generation {
        Generation(self.0.wrapping_add(1))
    }
}

impl Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads a string through [`FromStr`]; `expected` completes "expected …" when it is no string.
pub fn text<'de, D, T>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    struct Reader<T>(&'static str, PhantomData<T>);
    impl<T: FromStr<Err: Display>> Visitor<'_> for Reader<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Reader(expected, PhantomData))
}

/// Reads a whole number through `from_number` and a string through `FromStr`.
fn number_or_text<'de, D, T>(
    deserializer: D,
    expected: &'static str,
    from_number: fn(u64) -> Result<T, UnitError>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = UnitError>,
{
    struct Reader<T>(&'static str, fn(u64) -> Result<T, UnitError>);
    impl<T: FromStr<Err = UnitError>> Visitor<'_> for Reader<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
            match u64::try_from(number) {
                Ok(number) => (self.1)(number).map_err(E::custom),
                Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
            }
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
            (self.1)(number).map_err(E::custom)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Reader(expected, from_number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_in_powers_of_1024_or_1000() {
        let size = |text: &str| text.parse::<Bytes>().ok().map(Bytes::get);
        assert_eq!(size("64KiB"), Some(65_536));
        assert_eq!(size("10MB"), Some(10_000_000));
        assert_eq!(size("7"), Some(7));
        for wrong in ["", "KiB", "64K", "64kib", "1.5MiB", "-1", "99999999999GiB"] {
            assert_eq!(size(wrong), None, "{wrong:?} is refused");
        }
    }

    #[test]
    fn a_ratio_is_between_nothing_and_everything() {
        let ratio = |text: &str| text.parse::<Ratio>().ok().map(Ratio::as_f64);
        assert_eq!(ratio("20%"), Some(0.2));
        assert_eq!(ratio("0.5%"), Some(0.005));
        assert_eq!(ratio("12.34%"), Some(0.1234));
        for wrong in ["20", "%", "101%", "-1%", ".5%", "5.%", "0.123%", "70000%"] {
            assert_eq!(ratio(wrong), None, "{wrong:?} is refused");
        }
        assert_eq!(Ratio::percent(50).of(3), 1, "a share is rounded down");
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same() {
        for bytes in [0, 1, 1_023, 1_024, 65_536, 3 << 20, 5 << 30, (1 << 30) + 1] {
            let value = Bytes::new(bytes);
            assert_eq!(value.to_string().parse(), Ok(value));
        }
        for hundredths in [0, 1, 10, 50, 1_234, 10_000] {
            let value = Ratio(hundredths);
            assert_eq!(value.to_string().parse(), Ok(value));
        }
    }
}
