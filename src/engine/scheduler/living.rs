//! The schedulers of the process, for a program that looks into it from outside: `majjen`, a debugger.
//!
//! # The list
//!
//! A scheduler is in it from its creation to the beginning of its destruction, on whichever threads these
//! happen. They change the list under a lock. Who looks from outside takes none, and reads at any moment: each
//! change is one store, before which, and after which, the list is whole. An entry that is read may have been
//! left, and freed, in the meantime: so each has a word that says that it is one, which is cleared as it leaves.
//!
//! # fork()
//!
//! A child has the list as it was: with the schedulers whose memory it has, too. A thread of the parent that
//! was changing the list left it whole, and holds the lock of the parent's (see [`Lock`]).

use std::ptr::{eq, from_ref, null_mut};
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU64,
    Ordering::{Relaxed, Release},
};

use crate::engine::sys;
use crate::engine::threads::Lock;

/// The list. Debuggers find it by their table.
#[repr(C)]
pub struct List {
    pub first: AtomicPtr<Living>,
    /// What `majjen trace` asks of all schedulers: see [`Request`]. It is here, and not in each of them, since
    /// who writes it from outside must not meet one that is destroyed meanwhile.
    ///
    /// [`Request`]: crate::engine::measure::Request
    pub request: AtomicU64,
}

pub static LIVING: List = List { first: AtomicPtr::new(null_mut()), request: AtomicU64::new(0) };

/// Who holds it changes the list.
static CHANGES: Lock<()> = Lock::in_static(());

/// What an entry's word is, but for the entry's own address, which is mixed in.
pub const IS_LIVING: u64 = 0x6d6a_2d6c_6976_696e;

/// What the list has of a scheduler, which is a part of it; for who looks from outside.
#[repr(C)]
pub struct Living {
    pub next: AtomicPtr<Living>,
    /// [`IS_LIVING`] mixed (by exclusive or) with the entry's address, while it is in the list.
    pub word: AtomicU64,
    /// The thread that runs it, by the kernel's number; 0 for none.
    pub thread: AtomicI32,
    /// Whether its times are of a clock of the program's.
    pub has_own_clock: AtomicBool,
}

impl Living {
    pub const fn new() -> Living {
        Living {
            next: AtomicPtr::new(null_mut()),
            word: AtomicU64::new(0),
            thread: AtomicI32::new(0),
            has_own_clock: AtomicBool::new(false),
        }
    }

    /// Adds it, which must not move any more.
    pub fn enter(&self) {
        let _changes = CHANGES.lock();
        self.next.store(LIVING.first.load(Relaxed), Relaxed);
        self.word.store(IS_LIVING ^ from_ref(self) as u64, Relaxed);
        LIVING.first.store(from_ref(self).cast_mut(), Release);
    }

    /// Takes it out.
    pub fn leave(&self) {
        let _changes = CHANGES.lock();
        let mut link = &LIVING.first;
        // SAFETY: entries stay where they are until they have left, for which the lock is needed.
        while let Some(entry) = unsafe { link.load(Relaxed).as_ref() } {
            if eq(entry, self) {
                link.store(self.next.load(Relaxed), Release);
                break;
            }
            link = &entry.next;
        }
        self.word.store(0, Relaxed);
    }

    /// The calling thread runs the scheduler from now on.
    pub fn is_run_here(&self) {
        self.thread.store(sys::thread_id(), Relaxed);
    }

    /// A child of fork() goes on with a run, on a thread with another number.
    pub fn is_run_in_child(&self) {
        if self.thread.load(Relaxed) != 0 {
            self.is_run_here();
        }
    }

    /// No thread runs it.
    pub fn is_run_by_none(&self) {
        self.thread.store(0, Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::thread;

    use super::{IS_LIVING, LIVING, Living};

    /// Whether an entry is in the list. Other tests have theirs there, and may take them out meanwhile.
    fn is_there(wanted: &Living) -> bool {
        let _changes = super::CHANGES.lock();
        let mut next = LIVING.first.load(Relaxed).cast_const();
        // SAFETY: the lock is held.
        while let Some(entry) = unsafe { next.as_ref() } {
            assert_eq!(entry.word.load(Relaxed), IS_LIVING ^ next as u64);
            if std::ptr::eq(entry, wanted) {
                return true;
            }
            next = entry.next.load(Relaxed);
        }
        false
    }

    #[test]
    fn entries_come_and_go_on_any_thread_and_in_any_order() {
        let entries: [Living; 6] = [const { Living::new() }; 6];
        thread::scope(|scope| {
            for entry in &entries {
                scope.spawn(|| {
                    for _ in 0..200 {
                        assert!(!is_there(entry));
                        entry.enter();
                        assert!(is_there(entry));
                        entry.leave();
                        assert!(!is_there(entry) && entry.word.load(Relaxed) == 0);
                    }
                    entry.enter();
                });
            }
        });
        for index in [2, 0, 5, 3, 4, 1] {
            assert!(is_there(&entries[index]));
            entries[index].leave();
            assert!(!is_there(&entries[index]));
        }
    }
}
