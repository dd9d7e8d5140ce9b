//! The lock of what several threads change: the one of this library. A thread that finds it held sleeps until
//! it is open. Checked with loom: `make loom`.
//!
//! # The word
//!
//! | state | is | goes to | by whom |
//! |---|---|---|---|
//! | open | 0 | held, wanted | a thread that locks it; wanted, if it has slept |
//! | held | twice the number of the process whose thread holds it | open | who holds it |
//! | | | wanted | one of its process that is about to sleep |
//! | | | held, wanted | in a child of fork(), a thread that locks it: see below |
//! | wanted | as held, plus 1: another one may sleep | open | who holds it, who then wakes one |
//! | | | held, wanted | in a child, as above |
//!
//! Others may sleep beside the one that is woken, and nobody counts them. So a thread that has slept says
//! *wanted* when it gets the lock, for once too often: that costs one system call, and not to say it would
//! leave the others asleep.
//!
//! # fork()
//!
//! A thread of the parent may have held the lock at the time. In the child it does not exist, and nobody would
//! ever open the lock. So the word says whose thread holds it: a thread that finds the number of another
//! process there takes the lock as if it were open. Nobody of its own process sleeps on such a word.
//!
//! What the lock guards may be half-updated then. Guard only what is still usable, or what is known to be of
//! another process, and is set anew. And call nothing of the program while holding it, which might fork.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::ptr::from_ref;

use super::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use super::futex::Futex;
use super::identity::this_process;
use crate::engine::context::sanitizer;
use crate::engine::sys;

pub struct Lock<T> {
    word: Futex,
    value: UnsafeCell<T>,
}

// SAFETY: one thread at a time gets at the value.
unsafe impl<T: Send> Sync for Lock<T> {}

const OPEN: u32 = 0;
const WANTED: u32 = 1;

impl<T> Lock<T> {
    /// In a static: see [`Futex::in_static`].
    #[cfg_attr(loom, expect(dead_code, reason = "models check no static"))]
    pub const fn in_static(value: T) -> Lock<T> {
        Lock { word: Futex::in_static(OPEN), value: UnsafeCell::new(value) }
    }

    pub fn new(value: T) -> Lock<T> {
        Lock { word: Futex::new(OPEN), value: UnsafeCell::new(value) }
    }

    /// Locks it, once no other thread of this process holds it. Not async-signal-safe.
    pub fn lock(&self) -> LockGuard<'_, T> {
        acquire(&self.word);
        LockGuard { lock: self }
    }
}

// Not generic, so that there is one copy.

fn acquire(word: &Futex) {
    // The first lock may be taken before there is a scheduler.
    sanitizer::look_up_tsan_hooks();
    // Whose top bit is lost: a process has not so many ancestors.
    let held = this_process() << 1;
    if word.compare_exchange(OPEN, held, Acquire, Relaxed).is_err() {
        contend(word, held);
    }
    sanitizer::acquire::<AtomicU32>(word);
}

#[cold]
#[inline(never)]
fn contend(word: &Futex, held: u32) {
    /// Looks before the thread sleeps: most holders hold it for a few instructions. Models need none.
    const LOOKS: u32 = if cfg!(loom) { 0 } else { 200 };
    let is_held = |now: u32| now & !WANTED == held;
    for look in 1..=LOOKS {
        // The holder may have lost this processor in the middle of them: at intervals it is let run.
        if look % 50 == 0 {
            sys::yield_thread();
        } else {
            std::hint::spin_loop();
        }
        let now = word.load(Relaxed);
        if !is_held(now) && word.compare_exchange(now, held, Acquire, Relaxed).is_ok() {
            return;
        }
    }
    let wanted = held | WANTED;
    let mut now = word.load(Relaxed);
    loop {
        if now != wanted
            && let Err(other) = word.compare_exchange(now, wanted, Acquire, Relaxed)
        {
            now = other;
            continue;
        }
        if !is_held(now) {
            return;
        }
        word.wait_while(wanted, None);
        now = word.load(Relaxed);
    }
}

fn release(word: &Futex) {
    sanitizer::release::<AtomicU32>(word);
    // The next one that holds it may free it.
    let address = from_ref(word);
    if word.swap(OPEN, Release) & WANTED != 0 {
        Futex::wake(address);
    }
}

/// The lock is held while this lives.
pub struct LockGuard<'l, T> {
    lock: &'l Lock<T>,
}

impl<T> Deref for LockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this thread holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this thread holds the lock, and borrows the guard.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for LockGuard<'_, T> {
    fn drop(&mut self) {
        release(&self.lock.word);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::{Lock, OPEN, WANTED};

    #[test]
    fn threads_take_turns() {
        let lock = Lock::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| *lock.lock() += 1));
            }
        });
        assert_eq!(*lock.lock(), 40_000);
        assert_eq!(lock.word.load(Relaxed), OPEN);
    }

    #[test]
    fn what_another_process_holds_is_taken() {
        for flag in [0, WANTED] {
            let lock = Lock::new(());
            std::mem::forget(lock.lock());
            // As in a child of fork(): the number of this process is another one.
            lock.word.store(lock.word.load(Relaxed) + 2 + flag, Relaxed);
            drop(lock.lock());
            assert_eq!(lock.word.load(Relaxed), OPEN);
        }
    }

    #[test]
    fn who_waits_for_long_sleeps_and_is_woken() {
        let lock = Lock::new(0);
        let (sender, locked) = mpsc::channel();
        thread::scope(|scope| {
            let mut guard = lock.lock();
            for _ in 0..3 {
                let (lock, sender) = (&lock, sender.clone());
                scope.spawn(move || {
                    *lock.lock() += 1;
                    sender.send(()).unwrap();
                });
            }
            while lock.word.load(Relaxed) & WANTED == 0 {
                thread::sleep(Duration::from_millis(1));
            }
            *guard += 1;
            assert!(locked.try_recv().is_err());
            drop(guard);
            (0..3).for_each(|_| locked.recv().unwrap());
        });
        assert_eq!(*lock.lock(), 4);
        assert_eq!(lock.word.load(Relaxed), OPEN);
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/lock.rs"]
pub mod models;
