//! Kinds of frames that bring a peer of HTTP/2 nothing but cost us something.

/// What a peer sent too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Useless {
    /// Resets of streams that had just been opened (CVE-2023-44487).
    Reset,
    /// Frames that made us reset streams (CVE-2025-8671).
    MadeReset,
    /// PING that no DATA of ours explains, or answers to none.
    Ping,
    /// SETTINGS, or answers to none.
    Settings,
    /// PRIORITY and PRIORITY_UPDATE.
    Priority,
    /// WINDOW_UPDATE that no DATA of ours explains.
    WindowUpdate,
    /// DATA without payload that does not end its stream.
    EmptyData,
    /// CONTINUATION (CVE-2024-27316), or a head without bound.
    Headers,
    /// Requests that were refused for their form, or streams over the limit.
    Refused,
    /// Frames of other types.
    Other,
}

impl Useless {
    /// All of them, in the order of their metric.
    pub const ALL: [Useless; 10] = [
        Useless::Reset,
        Useless::MadeReset,
        Useless::Ping,
        Useless::Settings,
        Useless::Priority,
        Useless::WindowUpdate,
        Useless::EmptyData,
        Useless::Headers,
        Useless::Refused,
        Useless::Other,
    ];

    /// The label of the metric.
    pub fn name(self) -> &'static str {
        match self {
            Useless::Reset => "reset",
            Useless::MadeReset => "made_reset",
            Useless::Ping => "ping",
            Useless::Settings => "settings",
            Useless::Priority => "priority",
            Useless::WindowUpdate => "window_update",
            Useless::EmptyData => "empty_data",
            Useless::Headers => "headers",
            Useless::Refused => "refused",
            Useless::Other => "other",
        }
    }

    /// Its place in [`Useless::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_counter_of_its_own() {
        for (index, kind) in Useless::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index);
        }
    }
}
