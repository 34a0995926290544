//! Where heads are written to, piece after piece.

/// Takes bytes in order.
pub trait Put {
    /// Appends the pieces, all of them at one cost.
    fn put<const N: usize>(&mut self, pieces: [&[u8]; N]);
}

impl Put for Vec<u8> {
    fn put<const N: usize>(&mut self, pieces: [&[u8]; N]) {
        pieces.iter().for_each(|piece| self.extend_from_slice(piece));
    }
}
