//! A choice by its name, with or without its options.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapDeserializer;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess};
use serde::de::{VariantAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::Switch;

/// What is wrong with a table without a choice.
pub const EMPTY_CHOICE: &str = "the table is empty: name one choice in it";

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

/// The same, or `"off"`.
pub fn choice_or_off<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Switch<T>, D::Error> {
    struct Reader<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
        type Value = Switch<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"off\", or a table with one choice as its only key")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Switch<T>, E> {
            match text {
                "off" => Ok(Switch::Off),
                _ => T::deserialize(ChoiceDeserializer(ByName { name: text, error: PhantomData }))
                    .map(Switch::On),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Switch<T>, A::Error> {
            T::deserialize(ChoiceDeserializer(ByTable(map))).map(Switch::On)
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
            None => Err(A::Error::custom(EMPTY_CHOICE)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Ring {
        size: u32,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Balance {
        Random,
        Ring(Ring),
        Hash { key: Option<String> },
    }

    #[derive(Debug, Deserialize)]
    struct Table {
        #[serde(deserialize_with = "choice")]
        balance: Balance,
    }

    fn read(text: &str) -> Result<Balance, toml::de::Error> {
        toml::from_str::<Table>(&format!("balance = {text}")).map(|table| table.balance)
    }

    /// What an error points at.
    fn pointed_at(text: &str) -> String {
        let whole = format!("balance = {text}");
        let error = read(text).expect_err("it is wrong");
        whole[error.span().expect("it has a place")].to_owned()
    }

    #[test]
    fn a_choice_is_written_short_or_with_its_options() {
        assert_eq!(read("\"random\"").ok(), Some(Balance::Random));
        assert_eq!(read("{ random = {} }").ok(), Some(Balance::Random));
        assert_eq!(read("\"ring\"").ok(), Some(Balance::Ring(Ring { size: 0 })));
        assert_eq!(read("{ ring = { size = 3 } }").ok(), Some(Balance::Ring(Ring { size: 3 })));
        assert_eq!(read("\"hash\"").ok(), Some(Balance::Hash { key: None }));
        assert_eq!(
            read("{ hash = { key = \"a\" } }").ok(),
            Some(Balance::Hash { key: Some("a".to_owned()) })
        );
    }

    #[test]
    fn an_error_inside_a_choice_points_at_what_is_wrong() {
        assert_eq!(pointed_at("\"rondom\""), "\"rondom\"");
        assert_eq!(pointed_at("{ rong = {} }"), "rong");
        assert_eq!(pointed_at("{ ring = { sise = 3 } }"), "sise");
        assert_eq!(pointed_at("{ ring = { size = -3 } }"), "-3");
        assert_eq!(pointed_at("{ random = { size = 3 } }"), "size");
        assert_eq!(pointed_at("{ random = {}, ring = {} }"), "{ random = {}, ring = {} }");
        assert_eq!(pointed_at("{}"), "{}");
        assert_eq!(pointed_at("5"), "5");
    }
}
