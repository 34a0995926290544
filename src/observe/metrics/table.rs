//! A table that grows while it is read and written, without a lock.

use std::sync::OnceLock;

/// `CHUNKS` chunks of `LENGTH` entries, made when first written to and never moved or freed.
#[derive(Debug)]
pub(super) struct Table<T, const LENGTH: usize, const CHUNKS: usize> {
    chunks: [OnceLock<Box<[T; LENGTH]>>; CHUNKS],
}

impl<T: Default, const LENGTH: usize, const CHUNKS: usize> Table<T, LENGTH, CHUNKS> {
    /// How many entries there can be.
    pub(super) const CAPACITY: usize = LENGTH * CHUNKS;

    /// An empty table.
    pub(super) fn new() -> Table<T, LENGTH, CHUNKS> {
        Table { chunks: [const { OnceLock::new() }; CHUNKS] }
    }

    /// The entry to write to; `None` past the capacity. Allocates for the first entry of a chunk.
    pub(super) fn entry(&self, index: u32) -> Option<&T> {
        let index = index as usize;
        let chunk = self.chunks.get(index / LENGTH)?;
        chunk.get_or_init(|| Box::new(std::array::from_fn(|_| T::default()))).get(index % LENGTH)
    }

    /// The entry to read from; `None` where nothing near it was ever written.
    pub(super) fn find(&self, index: u32) -> Option<&T> {
        let index = index as usize;
        self.chunks.get(index / LENGTH)?.get()?.get(index % LENGTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::counter::Counter;

    #[test]
    fn an_entry_stays_where_it_is_when_the_table_grows() {
        let table: Table<Counter, 4, 3> = Table::new();
        let first = table.entry(3).unwrap();
        assert!(table.find(4).is_none());
        table.entry(4).unwrap().add(7);
        first.add(1);
        assert_eq!(table.find(3).unwrap().total(), 1);
        assert_eq!(table.find(4).unwrap().total(), 7);
    }

    #[test]
    fn there_is_nothing_past_the_capacity() {
        let table: Table<Counter, 4, 3> = Table::new();
        assert_eq!(Table::<Counter, 4, 3>::CAPACITY, 12);
        assert!(table.entry(11).is_some());
        assert!(table.entry(12).is_none());
        assert!(table.entry(u32::MAX).is_none());
    }
}
