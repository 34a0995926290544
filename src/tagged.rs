//! How a setting is written: a choice by its name, a list by its only element, a table or `"off"`.
//!
//! These helpers stand in for serde's `tag`, `flatten` and `untagged`, which lose the place of an
//! error. Everything here keeps the exact span of what is wrong.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess};
use serde::de::{VariantAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use toml::Spanned;

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

/// Reads a choice that is written short, `balance = "random"`, or with its options,
/// `balance = { ring_hash = { … } }`, into an externally tagged enum.
///
/// The short form of a choice that has options means all of their defaults.
pub fn choice<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Reader<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a name such as \"random\", or a table with that name as its only key")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            T::deserialize(ChoiceDeserializer(ByName { name: text, error: PhantomData }))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(ChoiceDeserializer(ByTable(map)))
        }
    }
    deserializer.deserialize_any(Reader(PhantomData))
}

/// Hands an [`EnumAccess`] to the derived code of an externally tagged enum.
struct ChoiceDeserializer<A>(A);

impl<'de, A: EnumAccess<'de>> Deserializer<'de> for ChoiceDeserializer<A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_enum(self.0)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct ByName<'a, E> {
    name: &'a str,
    error: PhantomData<E>,
}

impl<'de, E: Error> EnumAccess<'de> for ByName<'_, E> {
    type Error = E;
    type Variant = Defaults<E>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Defaults<E>), E> {
        let choice = seed.deserialize(self.name.into_deserializer())?;
        Ok((choice, Defaults(PhantomData)))
    }
}

/// The options of a choice that was written by its name only: an empty table.
struct Defaults<E>(PhantomData<E>);

impl<E: Error> Defaults<E> {
    fn table<'de>() -> MapDeserializer<'de, std::iter::Empty<(&'de str, &'de str)>, E> {
        MapDeserializer::new(std::iter::empty())
    }
}

impl<'de, E: Error> VariantAccess<'de> for Defaults<E> {
    type Error = E;

    fn unit_variant(self) -> Result<(), E> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, E> {
        seed.deserialize(Self::table())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, E> {
        Err(E::custom("this choice needs its options"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, E> {
        visitor.visit_map(Self::table())
    }
}

struct ByTable<A>(A);

impl<'de, A: MapAccess<'de>> EnumAccess<'de> for ByTable<A> {
    type Error = A::Error;
    type Variant = ByTable<A>;

    fn variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<(S::Value, Self), A::Error> {
        match self.0.next_key_seed(seed)? {
            Some(choice) => Ok((choice, self)),
            None => Err(A::Error::custom("the table is empty: name one choice in it")),
        }
    }
}

impl<'de, A: MapAccess<'de>> ByTable<A> {
    fn options<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<S::Value, A::Error> {
        let options = self.0.next_value_seed(seed)?;
        match self.0.next_key::<String>()? {
            None => Ok(options),
            Some(other) => {
                Err(A::Error::custom(format_args!("one choice at a time: `{other}` is a second one")))
            }
        }
    }
}

impl<'de, A: MapAccess<'de>> VariantAccess<'de> for ByTable<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct NoOptions {}
        self.options(PhantomData::<NoOptions>).map(|NoOptions {}| ())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.options(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, A::Error> {
        Err(A::Error::custom("a table of options is expected"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        struct Options<V>(V);
        impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Options<V> {
            type Value = V::Value;
            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
                deserializer.deserialize_map(self.0)
            }
        }
        self.options(Options(visitor))
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
            Some((first, _)) => Err(D::Error::custom(format_args!("`{key}` is the same as `{first}`, which stands here too"))),
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
