//! How a setting is written: a choice by its name, a list by its only element, a table or `"off"`.
//!
//! These helpers stand in for serde's `tag`, `flatten` and `untagged`, which lose the place of an
//! error. Everything here keeps the exact span of what is wrong.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

mod choice;

pub use choice::{EMPTY_CHOICE, choice, choice_or_off};

/// A table that a string switches off: `outlier = "off"` or `outlier = { … }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch<T> {
    /// Switched off.
    Off,
    /// On, with these settings.
    On(T),
}

impl<T> Switch<T> {
    /// The settings, unless switched off.
    pub fn on(&self) -> Option<&T> {
        match self {
            Switch::Off => None,
            Switch::On(settings) => Some(settings),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Switch<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of settings, or \"off\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Switch<T>, E> {
                match text {
                    "off" => Ok(Switch::Off),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Switch<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Switch::On)
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

/// Reads one string or a list of strings: `bind = "127.0.0.1:80"` or `bind = ["…", "…"]`.
pub fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<Spanned<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    // The span of a lone string is that of the whole value, which only `Spanned` can tell.
    let items = Spanned::<Items<T>>::deserialize(deserializer)?;
    let span = items.span();
    Ok(match items.into_inner() {
        Items::One(item) => vec![Spanned::new(span, item)],
        Items::Many(items) => items,
    })
}

/// The same, where one empty string means that there is none.
pub fn none_one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<Spanned<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let items = Spanned::<Items<Filled<T>>>::deserialize(deserializer)?;
    let span = items.span();
    match items.into_inner() {
        Items::One(Filled(item)) => Ok(item.map(|item| Spanned::new(span, item)).into_iter().collect()),
        Items::Many(items) => {
            let filled = |item: Spanned<Filled<T>>| {
                let span = item.span();
                // Within a list it is an item like others, and says itself whether it is one.
                let value = item.into_inner().0.map_or_else(|| T::deserialize("".into_deserializer()), Ok);
                value.map(|value| Spanned::new(span, value))
            };
            items.into_iter().map(filled).collect()
        }
    }
}

enum Items<T> {
    One(T),
    Many(Vec<Spanned<T>>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Items<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Items<T>, E> {
                T::deserialize(text.into_deserializer()).map(Items::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Items::Many(items))
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

/// Reads a table whose keys must differ as values too: `X-Env` and `x-env` are one header.
pub fn distinct<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord + Display,
    V: Deserialize<'de>,
{
    struct Reader<K, V>(PhantomData<(K, V)>);
    impl<'de, K, V> Visitor<'de> for Reader<K, V>
    where
        K: Deserialize<'de> + Ord + Display,
        V: Deserialize<'de>,
    {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = BTreeMap::new();
            while let Some(key) = map.next_key_seed(Unseen(&entries))? {
                entries.insert(key, map.next_value()?);
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_map(Reader(PhantomData))
}

/// Reads a key that is not there yet; here the error gets the span of the key.
struct Unseen<'m, K, V>(&'m BTreeMap<K, V>);

impl<'de, K: Deserialize<'de> + Ord + Display, V> DeserializeSeed<'de> for Unseen<'_, K, V> {
    type Value = K;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<K, D::Error> {
        let key = K::deserialize(deserializer)?;
        match self.0.get_key_value(&key) {
            Some((first, _)) => {
                Err(D::Error::custom(format_args!("`{key}` is the same as `{first}`, which stands here too")))
            }
            None => Ok(key),
        }
    }
}

/// Reads a value of which the empty string means that it is absent.
pub fn unless_empty<'de, D, T>(deserializer: D) -> Result<Option<Spanned<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let value = Spanned::<Filled<T>>::deserialize(deserializer)?;
    let span = value.span();
    Ok(value.into_inner().0.map(|value| Spanned::new(span, value)))
}

struct Filled<T>(Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Filled<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Filled<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Filled<T>, E> {
                match text {
                    "" => Ok(Filled(None)),
                    _ => T::deserialize(text.into_deserializer()).map(|value| Filled(Some(value))),
                }
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Ring {
        size: u32,
    }

    #[derive(Debug, Deserialize)]
    struct Lists {
        #[serde(deserialize_with = "one_or_many")]
        names: Vec<Spanned<String>>,
    }

    #[test]
    fn one_string_and_a_list_of_one_are_the_same() {
        let one: Lists = toml::from_str("names = \"a\"").expect("one");
        let many: Lists = toml::from_str("names = [\"a\"]").expect("a list");
        assert_eq!(one.names, many.names);
        assert_eq!((one.names[0].span(), many.names[0].span()), (8..11, 9..12));
    }

    #[derive(Debug, Deserialize)]
    struct Optional {
        #[serde(deserialize_with = "none_one_or_many")]
        hosts: Vec<Spanned<std::net::IpAddr>>,
    }

    #[test]
    fn an_empty_string_may_mean_that_a_list_is_empty_and_is_no_item_of_one() {
        let read = |hosts: &str| toml::from_str::<Optional>(&format!("hosts = {hosts}"));
        assert_eq!(read("\"\"").expect("none").hosts.len(), 0);
        assert_eq!(read("[]").expect("none").hosts.len(), 0);
        assert_eq!(read("\"::1\"").expect("one").hosts[0].span(), 8..13);
        assert_eq!(read("[\"::1\", \"::2\"]").expect("two").hosts[1].span(), 16..21);
        assert!(read("[\"::1\", \"\"]").is_err());
    }

    #[derive(Debug, Deserialize)]
    struct Switched {
        ring: Switch<Ring>,
    }

    #[test]
    fn a_table_is_switched_off_by_a_word_and_by_no_other() {
        let read = |text: &str| toml::from_str::<Switched>(&format!("ring = {text}"));
        assert_eq!(read("\"off\"").expect("off").ring, Switch::Off);
        assert_eq!(read("{ size = 1 }").expect("on").ring, Switch::On(Ring { size: 1 }));
        assert!(read("\"no\"").is_err());
        assert!(read("false").is_err());
        let error = read("{ sise = 1 }").expect_err("the key is unknown");
        assert_eq!(error.span(), Some(9..13));
    }
}
