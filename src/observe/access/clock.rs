//! Points in time as text; the text of a second is made once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::number::thousandths;

/// A point in time, as text. All times are UTC.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: Option<u64>,
    millisecond: u32,
    rfc3339: String,
    common: String,
}

impl Clock {
    /// Goes to that time; a time before 1970 is shown as 1970.
    pub(super) fn set(&mut self, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.millisecond = since.subsec_millis();
        if self.second == Some(since.as_secs()) {
            return;
        }
        self.second = Some(since.as_secs());
        let second = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let at = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        self.rfc3339 = at.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        self.common = at.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
    }

    /// RFC 3339 with milliseconds: `2026-02-03T04:05:06.789Z`.
    pub(super) fn rfc3339(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.rfc3339.as_bytes());
        out.push(b'.');
        thousandths(out, self.millisecond);
        out.push(b'Z');
    }

    /// The Common Log Format: `03/Feb/2026:04:05:06 +0000`.
    pub(super) fn common(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.common.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(clock: &mut Clock, millis: u64) -> (String, String) {
        clock.set(UNIX_EPOCH + Duration::from_millis(millis));
        let (mut rfc3339, mut common) = (Vec::new(), Vec::new());
        clock.rfc3339(&mut rfc3339);
        clock.common(&mut common);
        (String::from_utf8(rfc3339).unwrap(), String::from_utf8(common).unwrap())
    }

    #[test]
    fn times_are_utc_in_both_forms_and_milliseconds_move_within_a_second() {
        let mut clock = Clock::default();
        let second = 1_709_210_096_000;
        let (rfc3339, common) = both(&mut clock, second);
        assert_eq!(rfc3339, "2024-02-29T12:34:56.000Z");
        assert_eq!(common, "29/Feb/2024:12:34:56 +0000");
        assert_eq!(both(&mut clock, second + 7).0, "2024-02-29T12:34:56.007Z");
        assert_eq!(both(&mut clock, second + 1000).1, "29/Feb/2024:12:34:57 +0000");
    }

    #[test]
    fn a_clock_that_is_set_back_is_followed() {
        let mut clock = Clock::default();
        both(&mut clock, 5000);
        assert_eq!(both(&mut clock, 4000).0, "1970-01-01T00:00:04.000Z");
    }

    #[test]
    fn a_time_out_of_range_is_shown_as_the_nearest_one() {
        let mut clock = Clock::default();
        clock.set(UNIX_EPOCH - Duration::from_secs(9));
        let mut text = Vec::new();
        clock.rfc3339(&mut text);
        assert_eq!(text, b"1970-01-01T00:00:00.000Z");
    }
}
