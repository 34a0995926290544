//! Read and write buffers, lent by a pool of the worker, so that an idle connection holds none.

use std::cell::RefCell;
use std::ops::Range;

/// What a buffer starts with: enough for a head and a usual body.
pub const SMALL: usize = 16 * 1024;
/// What a buffer grows to when a body keeps filling it.
pub const LARGE: usize = 256 * 1024;
/// Where the bytes of a buffer begin. On AMD's Zen, `rep movsb`, with which the C library and the kernel
/// copy large pieces, is ten times slower when the destination lies 1 to 63 bytes behind the source
/// within its page (3.4 instead of 40 GB/s, measured). A TLS record has its payload behind a head of
/// five bytes, so payload that began with a page would be copied into records in just that way. Of 64
/// to 4,000 bytes, this was best for large bodies over TLS (docs/performance.md).
const LEAD: usize = 512;
/// What an input holds at most: nothing that has to be there as a whole may be longer.
pub const MOST: usize = LARGE - LEAD;
/// How many free buffers of each size a worker keeps: 4 MiB small, 4 MiB large.
const KEEP: [usize; 2] = [256, 16];

thread_local! {
    static POOL: RefCell<[Vec<Box<[u8]>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

fn class(size: usize) -> Option<usize> {
    match size {
        SMALL => Some(0),
        LARGE => Some(1),
        _ => None,
    }
}

fn lend(size: usize) -> Box<[u8]> {
    let pooled = class(size).and_then(|class| POOL.with_borrow_mut(|pool| pool[class].pop()));
    pooled.unwrap_or_else(|| vec![0; size].into_boxed_slice())
}

fn give_back(memory: Box<[u8]>) {
    let Some(class) = class(memory.len()) else { return };
    // `try_with`: a buffer may be dropped while its thread ends.
    let _ = POOL.try_with(|pool| {
        let shelf = &mut pool.borrow_mut()[class];
        if shelf.len() < KEEP[class] {
            shelf.push(memory);
        }
    });
}

/// Bytes between a socket and its reader or writer. Empty buffers hold no memory after
/// [`Buffer::release`].
#[derive(Debug, Default)]
pub struct Buffer {
    memory: Box<[u8]>,
    // Nothing that is buffered comes near 4 GiB, and idle connections have two of these each.
    start: u32,
    end: u32,
}

impl Buffer {
    /// The bytes that are in it.
    pub fn filled(&self) -> &[u8] {
        &self.memory[self.range()]
    }

    /// The bytes that are in it, to be changed in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        let range = self.range();
        &mut self.memory[range]
    }

    fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    fn place(&mut self, start: usize, end: usize) {
        (self.start, self.end) = (start as u32, end as u32);
    }

    /// How many bytes are in it.
    pub fn len(&self) -> usize {
        self.range().len()
    }

    /// Whether no byte is in it.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How much it can hold now.
    pub fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Drops bytes from the front.
    pub fn consume(&mut self, count: usize) {
        if count < self.len() {
            self.start += count as u32;
        } else if !self.memory.is_empty() {
            self.place(LEAD, LEAD);
        }
    }

    /// Shortens it to the first `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        if length < self.len() {
            self.end = self.start + length as u32;
        }
    }

    /// Room to read into: at least one byte unless the buffer is full at its size.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.memory.is_empty() {
            self.memory = lend(SMALL);
            self.place(LEAD, LEAD);
        }
        let Range { start, end } = self.range();
        if end == self.memory.len() && start > LEAD {
            self.memory.copy_within(start..end, LEAD);
            self.place(LEAD, LEAD + end - start);
        }
        &mut self.memory[self.end as usize..]
    }

    /// Says that `count` bytes of [`Buffer::spare`] were written.
    pub fn fill(&mut self, count: usize) {
        self.end = (self.end as usize + count).min(self.memory.len()) as u32;
    }

    /// Appends bytes, growing as needed; the caller bounds what it appends.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        // Heads are written in some forty pieces: room is the usual case.
        let end = self.end as usize;
        if let Some(room) = self.memory.get_mut(end..end + bytes.len()) {
            room.copy_from_slice(bytes);
            self.end += bytes.len() as u32;
        } else {
            self.push_growing(bytes);
        }
    }

    #[cold]
    fn push_growing(&mut self, bytes: &[u8]) {
        if self.spare().len() < bytes.len() {
            self.grow(LEAD + self.len() + bytes.len());
        }
        let end = self.end as usize;
        self.memory[end..end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len() as u32;
    }

    /// Gives it a memory of at least `capacity` bytes, of which some lie before the first one.
    pub fn grow(&mut self, capacity: usize) {
        if capacity <= self.memory.len() {
            return;
        }
        let size = match capacity {
            _ if capacity <= SMALL => SMALL,
            _ if capacity <= LARGE => LARGE,
            _ => capacity.next_power_of_two(),
        };
        let mut memory = lend(size);
        let length = self.len();
        memory[LEAD..LEAD + length].copy_from_slice(self.filled());
        give_back(std::mem::replace(&mut self.memory, memory));
        self.place(LEAD, LEAD + length);
    }

    /// Gives the memory back when it is empty.
    pub fn release(&mut self) {
        if self.is_empty() && !self.memory.is_empty() {
            (self.start, self.end) = (0, 0);
            give_back(std::mem::take(&mut self.memory));
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_comes_out_in_order_and_an_empty_buffer_holds_nothing() {
        let mut buffer = Buffer::default();
        buffer.push(b"hello ");
        buffer.push(b"world");
        buffer.consume(6);
        assert_eq!(buffer.filled(), b"world");
        buffer.release();
        assert_eq!(buffer.capacity(), SMALL, "a buffer in use keeps its memory");
        buffer.consume(5);
        buffer.release();
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn a_full_buffer_grows_and_keeps_its_bytes() {
        let mut buffer = Buffer::default();
        buffer.push(&vec![b'x'; SMALL - LEAD]);
        assert!(buffer.spare().is_empty());
        buffer.push(b"y");
        assert_eq!(buffer.capacity(), LARGE);
        assert_eq!(buffer.len(), SMALL - LEAD + 1);
        assert_eq!(buffer.filled().last(), Some(&b'y'));
    }

    #[test]
    fn consumed_room_at_the_front_is_used_again() {
        let mut buffer = Buffer::default();
        buffer.push(&vec![b'x'; SMALL - LEAD]);
        buffer.consume(SMALL - LEAD - 1);
        assert_eq!(buffer.spare().len(), SMALL - LEAD - 1);
        assert_eq!(buffer.filled(), b"x");
    }
}
