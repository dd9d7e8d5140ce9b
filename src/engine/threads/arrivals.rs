//! Signals on their way from their handlers to the loop of a scheduler. Checked with loom: `make loom`.
//!
//! There is a place for each signal: what comes while it is taken coalesces with what is there, as the
//! kernel's standard signals do that are blocked. So there is always room, and a handler neither waits nor
//! takes memory. A place is one word, which has also the ordinal of the latest signal that has come to it.
//!
//! | a place is | goes to | by whom |
//! |---|---|---|
//! | empty | being filled, with an ordinal | a handler, on any thread |
//! | being filled | full | the same handler, which has written what is known of the signal |
//! | | being filled, with a greater ordinal | another handler, whose signal coalesces |
//! | full | full, with a greater ordinal | a handler, whose signal coalesces |
//! | | empty | the scheduler's thread, which has read what is known of the signal |
//!
//! | `told` is | goes to | by whom |
//! |---|---|---|
//! | false | true | a handler that has filled a place or found it taken; it then posts the message |
//! | true | false | the loop, which has the message out of the mailbox, before it looks at the places |
//!
//! *No signal is left lying.* A handler first fills a place and then sets `told`; the loop first clears `told` and
//! then looks. Both are read-modify-writes of one word, so either the message is posted after the look began, or
//! the look sees the place. A task may look in between, and leaves `told` alone.
//!
//! *fork().* A handler of another thread of the parent may be anywhere in this, and is not there in the child. No
//! handler of the child comes here before the child goes on with the run, and that begins with `begin_in_child`: all
//! places are empty then. If `told` is true, the message may be in the copy of the mailbox, or nowhere: nobody knows
//! whether it will be run. Then these arrivals are of no use any more, and others take their place.

use super::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    step,
};
use super::identity::this_process;
use super::inbox::Message;
use crate::engine::context::sanitizer;
use crate::engine::sys::{LAST_SIGNAL, Signal};

/// A signal that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub signal: Signal,
    /// Greater than of those that have come before. Of some that coalesce it is that of the latest.
    pub ordinal: u64,
}

/// The places, and the message that tells the loop to look at them.
#[repr(C)]
pub struct Arrivals {
    /// In the mailbox from the moment that `told` is set until the loop runs it.
    pub message: Message,
    told: AtomicBool,
    places: [Place; LAST_SIGNAL as usize],
}

struct Place {
    /// One of the states, and behind it the ordinal; 0 while it is empty.
    word: AtomicU64,
    /// The signal, while it is full: code and process, user and the number of this process, value.
    words: [AtomicU64; 3],
}

const EMPTY: u64 = 0;
const FILLING: u64 = 1;
const FULL: u64 = 2;
const STATE_BITS: u32 = 2;

fn state(word: u64) -> u64 {
    word & ((1 << STATE_BITS) - 1)
}

fn ordinal(word: u64) -> u64 {
    word >> STATE_BITS
}

fn pack(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn unpack(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

impl Place {
    fn new() -> Place {
        Place { word: AtomicU64::new(EMPTY), words: [0; 3].map(AtomicU64::new) }
    }

    /// Fills it, if it is empty. Else the signal coalesces with what is there.
    fn fill(&self, Arrival { signal, ordinal: ours }: &Arrival) {
        let mut word = self.word.load(Relaxed);
        loop {
            let next = if state(word) == EMPTY { FILLING } else { state(word) };
            let next = ordinal(word).max(*ours) << STATE_BITS | next;
            match self.word.compare_exchange(word, next, AcqRel, Relaxed) {
                Ok(_) if state(word) == EMPTY => break,
                Ok(_) => return,
                Err(other) => word = other,
            }
        }
        step();
        let words = [
            pack(signal.code.cast_unsigned(), signal.pid.cast_unsigned()),
            pack(signal.uid, this_process()),
            signal.value,
        ];
        self.words.iter().zip(words).for_each(|(place, word)| place.store(word, Relaxed));
        step();
        self.word.fetch_add(FULL - FILLING, Release); // The ordinal is that of another one perhaps.
    }

    /// Empties it, if it is full. Nothing if the signal is of the parent of this child of fork().
    fn empty(&self, number: i32) -> Option<Arrival> {
        if state(self.word.load(Acquire)) != FULL {
            return None;
        }
        let [from, to, value] = [0, 1, 2].map(|word: usize| self.words[word].load(Relaxed));
        let ordinal = ordinal(self.word.swap(EMPTY, AcqRel));
        let ((code, pid), (uid, process)) = (unpack(from), unpack(to));
        let (code, pid) = (code.cast_signed(), pid.cast_signed());
        let signal = Signal { number, code, pid, uid, value };
        (process == this_process()).then_some(Arrival { signal, ordinal })
    }
}

impl Arrivals {
    pub fn new(message: Message) -> Arrivals {
        let places = std::array::from_fn(|_| Place::new());
        Arrivals { message, told: AtomicBool::new(false), places }
    }

    /// A signal has come. `post` posts the message. Safe in a signal handler.
    pub fn add(&self, arrival: &Arrival, post: impl FnOnce()) {
        let Some(place) = self.place(arrival.signal.number) else { return };
        // Even if it coalesces: who fills the place is on another thread, and has not told yet perhaps.
        place.fill(arrival);
        sanitizer::release(self);
        if !self.told.swap(true, AcqRel) {
            post();
        }
    }

    /// The loop has the message out of the mailbox, and is about to [take](Self::take).
    pub fn begin_take(&self) {
        self.told.swap(false, AcqRel);
    }

    /// Takes what has come, in the order of the numbers. Only for the scheduler's thread.
    pub fn take(&self, mut each: impl FnMut(Arrival)) {
        sanitizer::acquire(self);
        for (place, number) in self.places.iter().zip(1..) {
            if let Some(arrival) = place.empty(number) {
                each(arrival);
            }
        }
    }

    /// In a child of fork(), before any handler finds the arrivals: nothing has come to it. Returns whether they can be
    /// used on; not if nobody knows whether the message is in the mailbox.
    pub fn begin_in_child(&self) -> bool {
        self.places.iter().for_each(|place| place.word.store(EMPTY, Relaxed));
        !self.told.load(Relaxed)
    }

    fn place(&self, number: i32) -> Option<&Place> {
        self.places.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/arrivals.rs"]
mod models;
