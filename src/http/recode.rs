//! Bodies that a middleware changes on their way, piece by piece, without holding them back.

use std::fmt::Debug;

use super::fields::Fields;
use super::reason::Reason;

/// A change of one body. It is made for one exchange and sees every byte once.
pub trait Recode: Debug + Send {
    /// Takes a piece of the body and appends what it becomes, which may be nothing yet.
    ///
    /// # Errors
    /// The body is not what it should be.
    fn piece(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Reason>;

    /// The body has ended with these trailers; appends what is left. Trailers do not go on by
    /// themselves.
    ///
    /// # Errors
    /// The body is not complete.
    fn end(&mut self, trailers: &Fields, out: &mut Vec<u8>) -> Result<(), Reason>;

    /// Whether the body may be ended here although more should have come.
    fn may_end(&self) -> bool;
}

/// A change of one body with what it has made and nobody has taken yet.
#[derive(Debug)]
pub struct Recoder {
    change: Box<dyn Recode>,
    out: Vec<u8>,
    taken: usize,
    ended: bool,
    none: Fields,
}

impl Recoder {
    /// The beginning of a body.
    pub fn new(change: Box<dyn Recode>) -> Recoder {
        Recoder { change, out: Vec::new(), taken: 0, ended: false, none: Fields::default() }
    }

    /// Takes a piece of the body. To be called when [`Recoder::ready`] is empty.
    ///
    /// # Errors
    /// The body is not what it should be.
    pub fn piece(&mut self, piece: &[u8]) -> Result<(), Reason> {
        self.change.piece(piece, &mut self.out)
    }

    /// The body has ended.
    ///
    /// # Errors
    /// The body is not complete.
    pub fn end(&mut self, trailers: &Fields) -> Result<(), Reason> {
        self.ended = true;
        self.change.end(trailers, &mut self.out)
    }

    /// Whether the end has been seen.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the body may be ended here although more should have come.
    pub fn may_end(&self) -> bool {
        self.ready().is_empty() && !self.ended && self.change.may_end()
    }

    /// What goes on.
    pub fn ready(&self) -> &[u8] {
        self.out.get(self.taken..).unwrap_or_default()
    }

    /// Drops bytes from the front of what is ready.
    pub fn consume(&mut self, count: usize) {
        self.taken += count;
        if self.taken >= self.out.len() {
            self.out.clear();
            self.taken = 0;
        }
    }

    /// The trailers that go on: none.
    pub fn trailers(&self) -> &Fields {
        &self.none
    }
}
