//! Values that a word or zero replaces: a limit that is off, a number that the proxy finds itself.

use std::fmt::{self, Display};
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, Visitor};

/// A limit that 0 or "off" switches off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Limit<T> {
    /// No limit.
    #[default]
    Off,
    /// The limit; never zero.
    At(T),
}

impl<T: Copy> Limit<T> {
    /// The limit, if there is one.
    pub fn get(self) -> Option<T> {
        match self {
            Limit::Off => None,
            Limit::At(limit) => Some(limit),
        }
    }
}

impl<T: Display> Display for Limit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Off => f.write_str("off"),
            Limit::At(limit) => limit.fmt(f),
        }
    }
}

impl<'de, T: Deserialize<'de> + Default + PartialEq> Deserialize<'de> for Limit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Limit<T>, D::Error> {
        let value: Option<T> = word_or_value(deserializer, "off")?;
        Ok(value.map_or(Limit::Off, Limit::At))
    }
}

/// A value that 0 or "auto" leaves to the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Auto<T> {
    /// Derived from the surroundings; the option says how.
    #[default]
    Auto,
    /// As written; never zero.
    Fixed(T),
}

impl<T: Copy> Auto<T> {
    /// The written value, if there is one.
    pub fn fixed(self) -> Option<T> {
        match self {
            Auto::Auto => None,
            Auto::Fixed(value) => Some(value),
        }
    }
}

impl<'de, T: Deserialize<'de> + Default + PartialEq> Deserialize<'de> for Auto<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Auto<T>, D::Error> {
        let value: Option<T> = word_or_value(deserializer, "auto")?;
        Ok(value.map_or(Auto::Auto, Auto::Fixed))
    }
}

/// Reads a value that `word` or zero stands in for; `None` for those two.
fn word_or_value<'de, D, T>(deserializer: D, word: &'static str) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default + PartialEq,
{
    struct Reader<T>(&'static str, PhantomData<T>);
    impl<'de, T: Deserialize<'de> + Default + PartialEq> Visitor<'de> for Reader<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a value, 0 or \"{}\"", self.0)
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<Option<T>, E> {
            T::deserialize(number.into_deserializer()).map(written)
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<Option<T>, E> {
            T::deserialize(number.into_deserializer()).map(written)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
            if text == self.0 {
                return Ok(None);
            }
            T::deserialize(text.into_deserializer()).map(written)
        }
    }
    fn written<T: Default + PartialEq>(value: T) -> Option<T> {
        (value != T::default()).then_some(value)
    }
    deserializer.deserialize_any(Reader(word, PhantomData))
}

#[cfg(test)]
mod tests {
    use super::super::Duration;
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Table {
        limit: Limit<Duration>,
        auto: Auto<u16>,
    }

    fn read(limit: &str, auto: &str) -> Option<(Option<Duration>, Option<u16>)> {
        let table: Table = toml::from_str(&format!("limit = {limit}\nauto = {auto}")).ok()?;
        Some((table.limit.get(), table.auto.fixed()))
    }

    #[test]
    fn zero_and_the_word_stand_for_no_value() {
        assert_eq!(read("0", "0"), Some((None, None)));
        assert_eq!(read("\"0s\"", "\"auto\""), Some((None, None)));
        assert_eq!(read("\"off\"", "4"), Some((None, Some(4))));
        assert_eq!(read("\"5s\"", "4"), Some((Some(Duration::from_secs(5)), Some(4))));
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(read("\"auto\"", "1"), None);
        assert_eq!(read("5", "1"), None);
        assert_eq!(read("0", "\"off\""), None);
        assert_eq!(read("0", "70000"), None);
    }
}
