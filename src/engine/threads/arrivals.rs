//! Signals on their way from their handlers to the loop of a scheduler. Checked with loom: `make loom`.
//!
//! There is a place for each signal: what comes while it is taken coalesces with what is there, as the
//! kernel's standard signals do that are blocked. So there is always room, and a handler neither waits nor
//! takes memory.
//!
//! | a place is | goes to | by whom |
//! |---|---|---|
//! | empty | being filled | a handler, on any thread |
//! | being filled | full | the same handler, which has written what is known of the signal |
//! | full | empty | the scheduler's thread, which has read that |
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
//! In a child of fork() a place that a handler of another thread was filling stays so, and its signal is not
//! told there: handlers take some instructions, and few children go on with a run.

use super::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    step,
};
use super::identity::this_process;
use super::inbox::Message;
use crate::engine::context::sanitizer;
use crate::engine::sys::{LAST_SIGNAL, Signal};

/// The places, and the message that tells the loop to look at them.
#[repr(C)]
pub struct Arrivals {
    /// In the mailbox from the moment that `told` is set until the loop runs it.
    pub message: Message,
    told: AtomicBool,
    places: [Place; LAST_SIGNAL as usize],
}

struct Place {
    state: AtomicU32,
    /// The signal, while it is full: code and process, user and the number of this process, value.
    words: [AtomicU64; 3],
}

const EMPTY: u32 = 0;
const FILLING: u32 = 1;
const FULL: u32 = 2;

fn pack(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn unpack(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

impl Place {
    fn new() -> Place {
        Place { state: AtomicU32::new(EMPTY), words: [0; 3].map(AtomicU64::new) }
    }

    /// Fills it. Returns whether it was empty.
    fn fill(&self, signal: &Signal) -> bool {
        if self.state.compare_exchange(EMPTY, FILLING, Acquire, Relaxed).is_err() {
            return false;
        }
        step();
        let words = [
            pack(signal.code.cast_unsigned(), signal.pid.cast_unsigned()),
            pack(signal.uid, this_process()),
            signal.value,
        ];
        self.words.iter().zip(words).for_each(|(place, word)| place.store(word, Relaxed));
        step();
        self.state.store(FULL, Release);
        true
    }

    /// Empties it, if it is full. Nothing if the signal is of the parent of this child of fork().
    fn empty(&self, number: i32) -> Option<Signal> {
        if self.state.load(Acquire) != FULL {
            return None;
        }
        let [from, to, value] = [0, 1, 2].map(|word: usize| self.words[word].load(Relaxed));
        self.state.store(EMPTY, Release);
        let ((code, pid), (uid, process)) = (unpack(from), unpack(to));
        let (code, pid) = (code.cast_signed(), pid.cast_signed());
        (process == this_process()).then_some(Signal { number, code, pid, uid, value })
    }
}

impl Arrivals {
    pub fn new(message: Message) -> Arrivals {
        let places = std::array::from_fn(|_| Place::new());
        Arrivals { message, told: AtomicBool::new(false), places }
    }

    /// A signal has come. `post` posts the message. Safe in a signal handler.
    pub fn add(&self, signal: &Signal, post: impl FnOnce()) {
        let Some(place) = self.place(signal.number) else { return };
        // Even if it coalesces: who fills the place is on another thread, and has not told yet perhaps.
        place.fill(signal);
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
    pub fn take(&self, mut each: impl FnMut(Signal)) {
        sanitizer::acquire(self);
        for (place, number) in self.places.iter().zip(1..) {
            if let Some(signal) = place.empty(number) {
                each(signal);
            }
        }
    }

    fn place(&self, number: i32) -> Option<&Place> {
        self.places.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/arrivals.rs"]
mod models;
