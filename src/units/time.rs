//! Spans of time.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time;

use serde::de::{Deserialize, Deserializer, Error};

use super::{UnitError, number_or_text};

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

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(text: &str) -> Option<u128> {
        text.parse::<Duration>().ok().map(|duration| duration.get().as_millis())
    }

    #[test]
    fn a_duration_has_a_unit_except_zero() {
        assert_eq!(duration("250ms"), Some(250));
        assert_eq!(duration("1h30m"), Some(5_400_000));
        assert_eq!(duration("2d"), Some(172_800_000));
        assert_eq!(duration("0"), Some(0));
        for wrong in
            ["", "5", "s", "5 s", "-5s", "1.5s", "5sec", "5s5", "99999999999999999999s", "4000d", "５s"]
        {
            assert_eq!(duration(wrong), None, "{wrong:?} is refused");
        }
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same() {
        for millis in [0, 1, 999, 1_000, 61_001, 86_400_000, 90_061_001] {
            let value = Duration::from_millis(millis);
            assert_eq!(value.to_string().parse(), Ok(value));
        }
    }
}
