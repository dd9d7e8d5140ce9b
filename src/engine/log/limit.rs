//! The limit of the library's own lines: a program that fails or misuses a call in a loop must not
//! fill the disk. Lines of one kind, of one place in the code, are written as they come until there
//! have been [`BURST`]; further ones are counted, but for one every [`INTERVAL_S`], which says how
//! many were left out. So does the end of a run. A new receiver gets each kind anew.
//!
//! The places are in a fixed table of atomics, as a line may neither allocate nor wait. A place is a
//! line of a file: generic code has a `Location` for each of its instances. Threads that come to the
//! same place at the same moment may write a line more or less.

use std::panic::Location;
use std::ptr::{from_ref, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::engine::sys;

/// How many lines of a kind are written as they come. One is made up for every [`INTERVAL_S`].
const BURST: u32 = 20;
const INTERVAL_S: u64 = 10;

/// More than there are places in the code that log warnings or errors.
const PLACES: usize = 128;

struct Kind {
    place: AtomicPtr<Location<'static>>,
    /// Lines that may still be written as they come, as of `since_s`.
    left: AtomicU32,
    since_s: AtomicU64,
    /// Lines that were left out, and have not been told of.
    left_out: AtomicU64,
}

static KINDS: [Kind; PLACES] = [const { Kind::new() }; PLACES];

/// Whether a line may be written: then how many before it were left out, else nothing.
pub fn admit(place: &'static Location<'static>) -> Option<u64> {
    match Kind::of(place) {
        Some(kind) => kind.admit(now_s()),
        None => Some(0), // No room left in the table.
    }
}

/// How many lines of all kinds were left out that nothing has told of yet, if a line may do so now.
pub fn take_left_out(place: &'static Location<'static>) -> u64 {
    if !ANY_LEFT_OUT.load(Relaxed) || Kind::of(place).is_some_and(|kind| !kind.take_token(now_s()))
    {
        return 0;
    }
    ANY_LEFT_OUT.store(false, Relaxed);
    KINDS.iter().map(Kind::take_left_out).sum()
}

/// For a new receiver, which has seen no line yet.
pub fn reset() {
    ANY_LEFT_OUT.store(false, Relaxed);
    for kind in &KINDS {
        kind.left.store(BURST, Relaxed);
        kind.left_out.store(0, Relaxed);
    }
}

fn now_s() -> u64 {
    sys::monotonic_ns() / 1_000_000_000
}

/// Set when a line is left out: a run that ends looks no further while it is not.
static ANY_LEFT_OUT: AtomicBool = AtomicBool::new(false);

impl Kind {
    const fn new() -> Kind {
        Kind {
            place: AtomicPtr::new(null_mut()),
            left: AtomicU32::new(BURST),
            since_s: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    fn of(place: &'static Location<'static>) -> Option<&'static Kind> {
        let address = from_ref(place).cast_mut();
        let start = place.line() as usize % PLACES;
        let mut order = (start..PLACES).chain(0..start).map(|index| &KINDS[index]);
        order.find(|kind| {
            match kind.place.compare_exchange(null_mut(), address, Relaxed, Relaxed) {
                Ok(_) => true,
                // SAFETY: all that is stored here are constants of the program.
                Err(other) => is_same(unsafe { &*other }, place),
            }
        })
    }

    fn admit(&self, now_s: u64) -> Option<u64> {
        if self.take_token(now_s) {
            return Some(self.take_left_out());
        }
        self.left_out.fetch_add(1, Relaxed);
        ANY_LEFT_OUT.store(true, Relaxed);
        None
    }

    fn take_token(&self, now_s: u64) -> bool {
        let passed = now_s.saturating_sub(self.since_s.load(Relaxed)) / INTERVAL_S;
        let made_up = u32::try_from(passed).unwrap_or(BURST).min(BURST);
        let left = (self.left.load(Relaxed) + made_up).min(BURST);
        if made_up > 0 || left == BURST {
            self.since_s.store(now_s, Relaxed);
        }
        self.left.store(left.saturating_sub(1), Relaxed);
        left > 0
    }

    fn take_left_out(&self) -> u64 {
        // Most of the time there are none: no write to what threads share.
        if self.left_out.load(Relaxed) == 0 { 0 } else { self.left_out.swap(0, Relaxed) }
    }
}

fn is_same(one: &Location<'_>, other: &Location<'_>) -> bool {
    one.line() == other.line() && one.file() == other.file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_in_an_interval() {
        let kind = Kind::new();
        for _ in 0..BURST {
            assert_eq!(kind.admit(100), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(kind.admit(100), None);
        }
        assert_eq!(kind.admit(100 + INTERVAL_S), Some(1000));
        assert_eq!(kind.admit(100 + INTERVAL_S), None);
        assert_eq!(kind.admit(100 + 2 * INTERVAL_S), Some(1));
        // After a long silence a burst again, and no more.
        for _ in 0..BURST {
            assert!(kind.admit(10_000).is_some());
        }
        assert_eq!(kind.admit(10_000), None);
        // The clock's going back is no reason for more.
        assert_eq!(kind.admit(0), None);
    }

    #[test]
    fn each_place_has_its_own() {
        let first = Location::caller();
        let second = Location::caller();
        assert!(std::ptr::eq(Kind::of(first).unwrap(), Kind::of(first).unwrap()));
        assert!(!std::ptr::eq(Kind::of(first).unwrap(), Kind::of(second).unwrap()));
        // As that of another instance of generic code.
        let instance = Box::leak(Box::new(*first));
        assert!(std::ptr::eq(Kind::of(first).unwrap(), Kind::of(instance).unwrap()));
    }
}
