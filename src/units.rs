//! Newtypes for what can be confused: durations, sizes, ratios, weights, generations, networks.
//!
//! Each is written in the configuration as its `FromStr` says and prints itself the same way.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::str::FromStr;
use std::time;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, Unexpected, Visitor};

use crate::tagged;

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

/// A span of time that may be zero: "250ms", "5s", "2m", "1h30m", or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(time::Duration);

/// Milliseconds in each unit, largest first; also the order in which a duration prints.
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// No timer needs more, and sums of durations stay far from overflow.
const LONGEST: time::Duration = time::Duration::from_secs(3650 * 86_400);

impl Duration {
    /// Zero.
    pub const ZERO: Duration = Duration(time::Duration::ZERO);

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Duration {
        Duration(time::Duration::from_millis(millis))
    }

    /// So many seconds.
    pub const fn from_secs(secs: u64) -> Duration {
        Duration(time::Duration::from_secs(secs))
    }

    /// The time as the standard library has it.
    pub const fn get(self) -> time::Duration {
        self.0
    }
}

impl FromStr for Duration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Duration, UnitError> {
        if text == "0" {
            return Ok(Duration::ZERO);
        }
        let wrong = || {
            UnitError::new(format!(
                "`{text}` is not a duration; write a whole number with ms, s, m, h or d, such as \"250ms\", \"5s\" or \"1h30m\""
            ))
        };
        let mut total: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let (_, factor) = TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            total =
                number.checked_mul(*factor).and_then(|millis| millis.checked_add(total)).ok_or_else(wrong)?;
            rest = tail;
        }
        let duration = time::Duration::from_millis(total);
        match () {
            () if text.is_empty() => Err(wrong()),
            () if duration > LONGEST => {
                Err(UnitError::new(format!("`{text}` is too long; the limit is ten years")))
            }
            () => Ok(Duration(duration)),
        }
    }
}

impl Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        for (name, factor) in TIME_UNITS {
            if rest >= factor {
                write!(f, "{}{name}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        number_or_text(deserializer, "a duration such as \"5s\" or \"250ms\"", |number| match number {
            0 => Ok(Duration::ZERO),
            _ => Err(UnitError::new(format!("a duration needs a unit: \"{number}s\" or \"{number}ms\""))),
        })
    }
}

/// A span of time over zero; what waits for a peer can not wait for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeout(Duration);

impl Timeout {
    /// So many milliseconds, at least one.
    pub const fn from_millis(millis: u64) -> Timeout {
        Timeout(Duration::from_millis(if millis == 0 { 1 } else { millis }))
    }

    /// So many seconds, at least a millisecond.
    pub const fn from_secs(secs: u64) -> Timeout {
        Timeout::from_millis(secs.saturating_mul(1000))
    }

    /// The time as the standard library has it; never zero.
    pub const fn get(self) -> time::Duration {
        self.0.get()
    }
}

impl Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timeout, D::Error> {
        match Duration::deserialize(deserializer)? {
            Duration::ZERO => {
                Err(D::Error::custom("this time can not be 0; write a long one such as \"24h\" instead"))
            }
            duration => Ok(Timeout(duration)),
        }
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

/// A network of peers: "10.0.0.0/8", "fd00::/8", or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

impl Network {
    /// Whether the address belongs to it; an IPv4 address written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// The network as its crate has it.
    pub fn get(self) -> IpNet {
        self.0
    }
}

impl FromStr for Network {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Network, UnitError> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        match network {
            Ok(network) if network.addr() != network.network() => Err(UnitError::new(format!(
                "`{text}` has bits beyond its prefix; the network is `{}`",
                network.trunc()
            ))),
            Ok(network) => Ok(Network(network)),
            Err(_) => Err(UnitError::new(format!(
                "`{text}` is not a network; write \"10.0.0.0/8\", \"fd00::/8\" or one address"
            ))),
        }
    }
}

impl Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        tagged::text(deserializer, "a network such as \"10.0.0.0/8\"")
    }
}

/// The name of a header field, a token of RFC 9110 §5.6.2, in the letter case that was written.
#[derive(Clone, Debug)]
pub struct FieldName(String);

impl FieldName {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FieldName {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<FieldName, UnitError> {
        match http::HeaderName::from_bytes(text.as_bytes()) {
            Ok(_) => Ok(FieldName(text.to_owned())),
            Err(_) => Err(UnitError::new(format!(
                "`{text}` is not a header name; it has letters, digits and signs such as `-` only"
            ))),
        }
    }
}

impl PartialEq for FieldName {
    fn eq(&self, other: &FieldName) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for FieldName {}

impl Ord for FieldName {
    fn cmp(&self, other: &FieldName) -> std::cmp::Ordering {
        let lower = |name: &FieldName| name.0.to_ascii_lowercase();
        lower(self).cmp(&lower(other))
    }
}

impl PartialOrd for FieldName {
    fn partial_cmp(&self, other: &FieldName) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FieldName, D::Error> {
        tagged::text(deserializer, "a header name")
    }
}

/// The value of a header field: visible characters, spaces and tabs inside (RFC 9110 §5.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldValue(String);

impl FieldValue {
    /// The value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FieldValue {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<FieldValue, UnitError> {
        if text.trim_matches([' ', '\t']) != text {
            return Err(UnitError::new("a header value has no space at its ends"));
        }
        match http::HeaderValue::from_str(text) {
            Ok(_) => Ok(FieldValue(text.to_owned())),
            Err(_) => Err(UnitError::new(
                "a header value has visible ASCII characters and spaces only, no line break",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for FieldValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FieldValue, D::Error> {
        tagged::text(deserializer, "a string, the value of a header")
    }
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
