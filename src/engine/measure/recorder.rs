//! The flight recorder of a scheduler: a ring of what has happened last.
//!
//! What its entries say is in `entry.rs`. The scheduler's own thread writes and reads the ring. The
//! program `majjen` reads it from outside at any moment: it copies the ring, and then drops what may have been
//! written meanwhile, by the count of all entries.
//!
//! # Who turns it on
//!
//! The scheduler's own thread, for the program; or `majjen trace`, which writes one word of the process from
//! outside, a [`Request`] to all schedulers. The loop looks at that once a round: so an idle scheduler begins at its
//! next wake-up, and one that wakes up too late does not. One that records already goes on as it is.

use std::cell::Cell;
use std::mem::offset_of;
use std::ops::Range;
use std::ptr::null;

use super::entry::{Code, Entry, OTHER, Request, TEXT_BYTES};
use crate::engine::sys::{self, Error, Result, VisibleU64, until_nul};

/// How many kinds of waits have room, a power of two.
const KINDS: usize = 64;

/// The recorder.
#[repr(C)]
pub struct Recorder {
    /// Whether it records: 0 or 1.
    is_on: VisibleU64,
    /// The address of the ring, 0 for none, and the number of its entries, a power of two.
    ring: VisibleU64,
    capacity: VisibleU64,
    /// How many bytes of entries have been written since it began; the next one's place is this modulo the size.
    written: Cell<u64>,
    /// How often it has begun.
    beginnings: VisibleU64,
    /// The kinds of waits, by the addresses of their descriptions, in no order; 0 for none.
    kinds: [VisibleU64; KINDS],
    /// What the number of written bytes is to be added to for the address of the next entry, until the end of the
    /// ring: see [`room`](Self::room).
    origin: Cell<u64>,
    /// The last task in the run queue when entries of ready tasks were written last, by its address; null for none.
    pub last_ready: Cell<*const ()>,
    /// How long the loop had slept by its last entry.
    pub slept_ns: Cell<u64>,
    /// The latest request that has been answered.
    answered: Cell<u64>,
    /// The moment by the clock when it is to end; `u64::MAX` for none.
    until_ns: Cell<u64>,
    /// How many calls read the ring at the moment, each of which may suspend.
    readers: Cell<u32>,
}

impl Recorder {
    /// For debuggers.
    pub const HEAD_OFFSET: usize = offset_of!(Recorder, is_on);
    pub const KINDS: usize = KINDS;

    pub const fn new() -> Recorder {
        Recorder {
            is_on: VisibleU64::new(0),
            ring: VisibleU64::new(0),
            capacity: VisibleU64::new(0),
            written: Cell::new(0),
            beginnings: VisibleU64::new(0),
            kinds: [const { VisibleU64::new(0) }; KINDS],
            origin: Cell::new(0),
            last_ready: Cell::new(null()),
            slept_ns: Cell::new(0),
            answered: Cell::new(0),
            until_ns: Cell::new(u64::MAX),
            readers: Cell::new(0),
        }
    }

    #[inline(always)]
    pub fn is_on(&self) -> bool {
        self.is_on.get() != 0
    }

    /// Whether it records, or is asked to.
    #[inline(always)]
    pub fn concerns_round(&self, request: u64) -> bool {
        self.is_on.get() | (request ^ self.answered.get()) != 0
    }

    /// The request, if it has not been answered: it has been from now on.
    pub fn take_request(&self, word: u64) -> Option<Request> {
        let is_new = self.answered.replace(word) != word;
        is_new.then(|| Request::of_word(word)).flatten()
    }

    /// Begins anew, with an empty ring. [`Error::Busy`] if another size is asked for while the ring is read.
    pub fn begin(&self, exponent: u32, until_ns: u64) -> Result<()> {
        let capacity = 1u64 << exponent;
        if self.capacity.get() != capacity {
            if self.readers.get() > 0 {
                return Err(Error::Busy);
            }
            let memory = sys::map_table(bytes(capacity)).ok_or(Error::OutOfMemory)?;
            self.release();
            self.ring.set(memory as u64);
            self.capacity.set(capacity);
        }
        self.written.set(0);
        self.beginnings.set(self.beginnings.get() + 1);
        self.last_ready.set(null());
        self.until_ns.set(until_ns);
        self.is_on.set(1);
        Ok(())
    }

    /// Stops. What is recorded stays.
    pub fn stop(&self) {
        self.is_on.set(0);
    }

    pub fn until_ns(&self) -> u64 {
        self.until_ns.get()
    }

    /// Adds an entry. There is a ring.
    #[inline]
    pub fn add(&self, ticks: u64, word: u64) {
        let written = self.written.get();
        // SAFETY: the ring has as many entries as said, of which only this thread writes any.
        unsafe { self.place(written / ENTRY_BYTES).write(Entry { time: ticks, word }) };
        self.written.set(written + ENTRY_BYTES);
    }

    /// How many entries may follow by [`add_of`](Self::add_of): until the end of the ring, at least one.
    pub fn room(&self) -> u64 {
        let written = self.written.get();
        let place = self.place(written / ENTRY_BYTES) as u64;
        self.origin.set(place.wrapping_sub(written));
        let end = self.ring.get() + self.capacity.get() * ENTRY_BYTES;
        (end - place) / ENTRY_BYTES
    }

    /// Adds an entry of a task's id, in fewer instructions.
    ///
    /// # Safety
    /// [`room`](Self::room) has told of place for it, and there are no more entries since than of which it told.
    #[inline(always)]
    pub unsafe fn add_of(&self, code: Code, id: u64, ticks: u64) {
        let written = self.written.get();
        let entry = self.origin.get().wrapping_add(written) as *mut Entry;
        // SAFETY: as this function's contract says; only this thread writes to the ring.
        unsafe { Entry::write_of(entry, code, id, ticks) };
        // Not `written`: so it is one instruction.
        self.written.set(self.written.get() + ENTRY_BYTES);
    }

    #[inline(always)]
    fn place(&self, number: u64) -> *mut Entry {
        let index = number & self.capacity.get().wrapping_sub(1);
        (self.ring.get() as *mut Entry).wrapping_add(index as usize)
    }

    /// Adds entries of a name, which ends at the first NUL.
    pub fn add_text(&self, text: &[u8]) {
        for part in until_nul(text).chunks(TEXT_BYTES) {
            let Entry { time, word } = Entry::of_text(part);
            self.add(time, word);
        }
    }

    /// The index of a kind of wait, by the address of its description.
    #[inline]
    pub fn kind(&self, address: u64) -> u8 {
        let first = (address >> 4) as usize;
        for step in 0..KINDS {
            let index = first.wrapping_add(step) % KINDS;
            match self.kinds[index].get() {
                known if known == address => return index as u8,
                0 => {
                    self.kinds[index].set(address);
                    return index as u8;
                }
                _ => {}
            }
        }
        OTHER
    }

    /// The description of a kind of wait by its index; 0 for none.
    pub fn kind_address(&self, index: u8) -> u64 {
        self.kinds.get(usize::from(index)).map_or(0, VisibleU64::get)
    }

    /// Keeps the ring where it is, for a call that reads it.
    pub fn read(&self) -> Reading<'_> {
        self.readers.set(self.readers.get() + 1);
        Reading { recorder: self }
    }

    fn release(&self) {
        if self.ring.get() != 0 {
            // SAFETY: mapped by `begin` with this size, and nobody reads it.
            unsafe { sys::unmap(self.ring.get() as *mut u8, bytes(self.capacity.get())) };
        }
        self.ring.set(0);
        self.capacity.set(0);
    }
}

const ENTRY_BYTES: u64 = size_of::<Entry>() as u64;

const fn bytes(capacity: u64) -> usize {
    (capacity * ENTRY_BYTES) as usize
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.release();
    }
}

/// A call that reads the ring, which stays where it is meanwhile. It may go on being written.
pub struct Reading<'r> {
    recorder: &'r Recorder,
}

impl Reading<'_> {
    /// The numbers of the entries that are there.
    pub fn numbers(&self) -> Range<u64> {
        let end = self.recorder.written.get() / ENTRY_BYTES;
        end.saturating_sub(self.recorder.capacity.get())..end
    }

    /// The entry with a number, unless others have taken its place.
    pub fn get(&self, number: u64) -> Option<Entry> {
        let is_there = self.numbers().contains(&number);
        // SAFETY: the ring stays while this lives, and the entry has been written.
        is_there.then(|| unsafe { self.recorder.place(number).read() })
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.recorder.readers.set(self.recorder.readers.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::{OTHER, Recorder, Request};
    use crate::engine::measure::{Code, EXPONENTS};

    #[test]
    fn the_last_entries_are_kept_in_order() {
        let recorder = Recorder::new();
        assert!(!recorder.is_on() && recorder.read().numbers().is_empty());
        recorder.begin(10, u64::MAX).unwrap();
        let words = |count: u64| {
            let reading = recorder.read();
            assert_eq!(reading.numbers().end, count);
            let entries: Vec<_> = reading.numbers().map(|number| reading.get(number)).collect();
            entries.into_iter().map(|entry| entry.unwrap().time).collect::<Vec<u64>>()
        };
        (0..1000).for_each(|time| recorder.add(time, Code::Yielded.word(1)));
        assert!(words(1000).into_iter().eq(0..1000));
        (1000..3000).for_each(|time| recorder.add(time, Code::Yielded.word(1)));
        assert!(words(3000).into_iter().eq(1976..3000));
        assert!(recorder.read().get(1975).is_none() && recorder.read().get(3000).is_none());
    }

    #[test]
    fn entries_of_a_task_are_those_of_words() {
        let recorder = Recorder::new();
        recorder.begin(10, u64::MAX).unwrap();
        let mut room = recorder.room();
        assert_eq!(room, 1024);
        for id in [5, u64::MAX, 1 << 56 | 7].into_iter().cycle().take(3000) {
            let number = recorder.read().numbers().end;
            if number.is_multiple_of(3) {
                recorder.add(number, Code::Ready.word(id));
                room = recorder.room();
                continue;
            }
            if room == 0 {
                room = recorder.room();
            }
            room -= 1;
            // SAFETY: there is room.
            unsafe { recorder.add_of(Code::Yielded, id, number) };
            let entry = recorder.read().get(number).unwrap();
            assert_eq!((entry.time, entry.word), (number, Code::Yielded.word(id)));
            assert_eq!(recorder.read().get(number - 1).unwrap().time, number - 1);
        }
    }

    #[test]
    fn a_ring_that_is_read_stays() {
        let recorder = Recorder::new();
        recorder.begin(10, u64::MAX).unwrap();
        recorder.add(1, 2);
        let reading = recorder.read();
        assert!(recorder.begin(11, u64::MAX).is_err());
        assert_eq!(reading.get(0).unwrap().time, 1);
        recorder.begin(10, u64::MAX).unwrap();
        assert!(reading.get(0).is_none());
        drop(reading);
        recorder.begin(11, u64::MAX).unwrap();
    }

    #[test]
    fn kinds_have_indices_until_there_is_no_room() {
        let recorder = Recorder::new();
        for round in 0..2 {
            for kind in 1..=64u64 {
                let index = recorder.kind(kind * 256); // All begin at the same place.
                assert_eq!(recorder.kind_address(index), kind * 256, "{round}");
            }
            assert_eq!(recorder.kind(7), OTHER);
        }
        assert_eq!(recorder.kind_address(OTHER), 0);
    }

    #[test]
    fn a_request_has_a_moment() {
        const TIME_NS: u64 = 1 << 62;
        let word = |until_ns: u64| 0x6d_6a72 << 40 | 12 << 32 | (until_ns >> 20) & 0xffff_ffff;
        let until = |word: u64, now_ns| Request::of_word(word).unwrap().until_ns(now_ns);
        for now_ns in [TIME_NS, (1 << 52) - 1, 5] {
            assert_eq!(Request::of_word(word(now_ns)).unwrap().exponent, 12);
            let later = now_ns + (5 << 20);
            assert_eq!(until(word(later), now_ns), Some(later >> 20 << 20));
            assert_eq!(until(word(now_ns), now_ns), None);
            assert_eq!(until(word(now_ns), later), None);
            let made = Request::new(12, later);
            assert_eq!(made.word(), word(later + (1 << 20)));
            assert_eq!(Request::of_word(made.word()), Some(made));
        }
        for broken in [0, 1, u64::MAX, 0x6d_6a72 << 40, word(0) ^ 1 << 63] {
            assert_eq!(Request::of_word(broken), None, "{broken:#x}");
        }
        assert!(EXPONENTS.contains(&12));
    }
}
