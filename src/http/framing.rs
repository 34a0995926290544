//! How a body is delimited (RFC 9112 §6.3).

/// How the end of a message body is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// Exactly this many bytes.
    Length(u64),
    /// The chunked coding, trailers included.
    Chunked,
    /// Everything until the connection closes; answers only.
    UntilClose,
    /// No HTTP any more: bytes both ways until each side ends its own (RFC 9110 §7.8, §9.3.6).
    Tunnel,
}

impl Framing {
    /// Whether no byte of a body can come.
    pub fn is_empty(self) -> bool {
        matches!(self, Framing::None | Framing::Length(0))
    }

    /// Whether the body is known to be no longer than `limit` bytes.
    pub fn is_within(self, limit: u64) -> bool {
        match self {
            Framing::None => true,
            Framing::Length(length) => length <= limit,
            Framing::Chunked | Framing::UntilClose | Framing::Tunnel => false,
        }
    }

    /// Whether the body is known to be longer than `limit` bytes.
    pub fn exceeds(self, limit: u64) -> bool {
        matches!(self, Framing::Length(length) if length > limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_unknown_length_is_neither_within_a_limit_nor_over_it() {
        for (framing, is_within, exceeds) in [
            (Framing::None, true, false),
            (Framing::Length(10), true, false),
            (Framing::Length(11), false, true),
            (Framing::Chunked, false, false),
            (Framing::UntilClose, false, false),
        ] {
            assert_eq!((framing.is_within(10), framing.exceeds(10)), (is_within, exceeds), "{framing:?}");
        }
    }
}
