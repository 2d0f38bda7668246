//! A ring of records from one thread to another: bounded, without locks, without allocation. The reader looks when it likes. The
//! ring does not wake it, but tells the writer when it should be woken.
//!
//! The ring is of words, and a record takes one for its length and as many as it needs for its bytes. Words are atomics, so that
//! no `unsafe` is needed: on the machines that count, a relaxed store is a store.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter on a cache line of its own: each side writes one, and reads the other's seldom.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Place(AtomicU64);

#[derive(Debug)]
struct Ring {
    /// As many as a power of two.
    words: Box<[AtomicU64]>,
    /// Words written since the beginning, up to whole records.
    tail: Place,
    /// Words read since the beginning.
    head: Place,
    /// Records written since the beginning at which the reader wants to be woken.
    wanted: Place,
}

/// The end that writes; stays on one thread.
#[derive(Debug)]
pub struct Writer {
    ring: Arc<Ring>,
    tail: Cell<u64>,
    /// As it was when it was last looked at.
    head: Cell<u64>,
    /// Records written since the beginning.
    count: Cell<u64>,
    /// What the reader wanted when it was last woken.
    told: Cell<u64>,
}

/// The end that reads.
#[derive(Debug)]
pub struct Reader {
    ring: Arc<Ring>,
    head: u64,
    /// As it was when it was last looked at.
    tail: u64,
    /// Records read since the beginning.
    count: u64,
}

/// A ring with room for `bytes`, rounded up.
pub fn record_ring(bytes: usize) -> (Writer, Reader) {
    let count = bytes.div_ceil(8).next_power_of_two();
    let words = std::iter::repeat_with(AtomicU64::default).take(count).collect();
    // The first record is worth a look: nothing is known of a reader that has not looked yet.
    let wanted = Place(AtomicU64::new(1));
    let ring = Arc::new(Ring { words, tail: Place::default(), head: Place::default(), wanted });
    let [tail, head, count, told] = Default::default();
    let writer = Writer { ring: ring.clone(), tail, head, count, told };
    (writer, Reader { ring, head: 0, tail: 0, count: 0 })
}

impl Ring {
    fn word(&self, at: u64) -> &AtomicU64 {
        &self.words[at as usize & (self.words.len() - 1)]
    }
}

impl Writer {
    /// Add a record. `false`: there is no room for it, and nothing has happened.
    pub fn push(&self, record: &[u8]) -> bool {
        let tail = self.tail.get();
        let needed = 1 + record.len().div_ceil(8) as u64;
        let room = |head: u64| self.ring.words.len() as u64 - (tail - head) >= needed;
        if !room(self.head.get()) {
            self.head.set(self.ring.head.0.load(Ordering::Acquire));
            if !room(self.head.get()) {
                return false;
            }
        }
        self.ring.word(tail).store(record.len() as u64, Ordering::Relaxed);
        let (whole, rest) = record.as_chunks::<8>();
        let mut at = tail + 1;
        for bytes in whole {
            self.ring.word(at).store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
            at += 1;
        }
        if !rest.is_empty() {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            self.ring.word(at).store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        let tail = tail + needed;
        self.tail.set(tail);
        self.count.set(self.count.get() + 1);
        // A reader that sees the new tail sees the words.
        self.ring.tail.0.store(tail, Ordering::Release);
        true
    }

    /// Whether the reader should be woken for what it gets; said once for each time that it wants to be.
    ///
    /// A record that is written while the reader begins to want it may be missed. The next one is not.
    #[inline]
    pub fn is_due(&self) -> bool {
        let wanted = self.ring.wanted.0.load(Ordering::Relaxed);
        if wanted == self.told.get() || !(self.count.get() >= wanted || self.is_filling()) {
            return false;
        }
        self.told.set(wanted);
        true
    }

    /// Whether a quarter is in use.
    fn is_filling(&self) -> bool {
        let quarter = self.ring.words.len() as u64 / 4;
        let used = || self.tail.get() - self.head.get();
        if used() < quarter {
            return false;
        }
        self.head.set(self.ring.head.0.load(Ordering::Acquire));
        used() >= quarter
    }
}

impl Reader {
    /// From now on, this number of records that have not been read is worth a look, and so is a quarter of the ring. `None`: only
    /// the latter is.
    pub fn want(&self, records: Option<u64>) {
        // No number of records comes near, and the sum is another one for each reader that has read.
        const NEVER: u64 = 1 << 62;
        self.ring.wanted.0.store(self.count + records.unwrap_or(NEVER), Ordering::Relaxed);
    }

    /// Put the oldest record into `record`, in place of what is there. `false`: there is none.
    pub fn pop(&mut self, record: &mut Vec<u8>) -> bool {
        if self.head == self.tail {
            self.tail = self.ring.tail.0.load(Ordering::Acquire);
            if self.head == self.tail {
                record.clear();
                return false;
            }
        }
        let length = self.ring.word(self.head).load(Ordering::Relaxed) as usize;
        let count = length.div_ceil(8);
        record.resize(8 * count, 0);
        let (room, _) = record.as_chunks_mut::<8>();
        // It may go on at the ring's beginning.
        let words = &self.ring.words;
        let (before, from) = words.split_at((self.head + 1) as usize & (words.len() - 1));
        for (bytes, word) in room.iter_mut().zip(from.iter().chain(before)) {
            *bytes = word.load(Ordering::Relaxed).to_le_bytes();
        }
        record.truncate(length);
        self.head += 1 + count as u64;
        self.count += 1;
        // The writer may write there again.
        self.ring.head.0.store(self.head, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let (writer, mut reader) = record_ring(64);
        let mut record = vec![9];
        assert!(!reader.pop(&mut record) && record.is_empty());
        for round in 0..100u8 {
            let (first, second) = (vec![round; usize::from(round) % 17], vec![!round; 8]);
            assert!(writer.push(&first) && writer.push(&second), "{round}");
            assert!(reader.pop(&mut record) && record == first, "{round}");
            assert!(reader.pop(&mut record) && record == second, "{round}");
            assert!(!reader.pop(&mut record));
        }
    }

    #[test]
    fn a_full_ring_takes_nothing_and_loses_nothing() {
        let (writer, mut reader) = record_ring(64);
        assert!(!writer.push(&[0; 64]), "the length needs a word, too");
        assert!(writer.push(&[1; 56]));
        assert!(!writer.push(&[]), "the last word is taken");
        let mut record = Vec::new();
        assert!(reader.pop(&mut record) && record == [1; 56]);
        assert!(writer.push(&[2; 7]) && writer.push(&[]) && writer.push(&[3; 9]));
        assert!(!writer.push(&[4; 9]), "three words are left, one of them for the length");
        for expected in [&[2; 7][..], &[], &[3; 9]] {
            assert!(reader.pop(&mut record) && record == expected);
        }
    }

    #[test]
    fn the_writer_is_told_once_when_the_reader_wants_to_be_woken() {
        let (writer, mut reader) = record_ring(1024);
        let mut record = Vec::new();
        let push = |len: usize| {
            assert!(writer.push(&vec![0; len]));
            (writer.is_due(), writer.is_due())
        };
        assert_eq!(push(0), (true, false), "the first");
        reader.want(Some(2));
        assert_eq!(push(0), (true, false), "the first one has not been read either");
        while reader.pop(&mut record) {}
        reader.want(Some(2));
        assert_eq!([push(0), push(0), push(0)], [(false, false), (true, false), (false, false)]);
        while reader.pop(&mut record) {}
        for few in [Some(100), None, None] {
            reader.want(few);
            assert_eq!([push(100), push(100), push(0)], [(false, false), (false, false), (false, false)]);
            assert_eq!(push(100), (true, false), "a quarter of the ring");
            while reader.pop(&mut record) {}
        }
        reader.want(None);
        assert_eq!([push(100), push(100)], [(false, false); 2], "there is room again");
    }

    #[test]
    fn two_threads_lose_and_tear_nothing() {
        let (writer, mut reader) = record_ring(1024);
        let count = 100_000u32;
        let thread = std::thread::spawn(move || {
            let mut full = 0u32;
            for number in 0..count {
                let record = number.to_le_bytes().repeat(number as usize % 9);
                while !writer.push(&record) {
                    full += 1;
                    std::thread::yield_now();
                }
            }
            full
        });
        let mut record = Vec::new();
        for number in 0..count {
            while !reader.pop(&mut record) {
                std::thread::yield_now();
            }
            assert_eq!(record, number.to_le_bytes().repeat(number as usize % 9));
        }
        thread.join().expect("the writer is well");
    }
}
