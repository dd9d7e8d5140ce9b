//! A lock that a child of `fork()` can take, though another thread of its parent held it: there is
//! nobody in the child who would let it go.
//!
//! What it guards may then be half changed, so it is for what can be in use like that.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use super::identity::this_process;
use crate::engine::context::sanitizer;
use crate::engine::sys;

pub struct ForkLock<T> {
    /// The process with a thread that holds it, 0 when there is none.
    holder: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: one thread at a time gets at the value.
unsafe impl<T: Send> Sync for ForkLock<T> {}

impl<T> ForkLock<T> {
    pub const fn new(value: T) -> ForkLock<T> {
        ForkLock { holder: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// Waits until no other thread of this process holds it. Not in a signal handler.
    pub fn lock(&self) -> Held<'_, T> {
        acquire(&self.holder);
        Held { lock: self }
    }
}

// Not generic, so that there is one copy.

#[inline(never)]
fn acquire(holder: &AtomicU32) {
    // The first lock may be taken before there is a scheduler.
    sanitizer::look_up_order();
    let this_process = this_process();
    while let Err(other) = holder.compare_exchange(0, this_process, Acquire, Relaxed) {
        if other != this_process
            && holder.compare_exchange(other, this_process, Acquire, Relaxed).is_ok()
        {
            break;
        }
        sys::pause_ns(50_000);
    }
    sanitizer::acquire(holder);
}

#[inline(never)]
fn release(holder: &AtomicU32) {
    sanitizer::release(holder);
    holder.store(0, Release);
}

/// The lock is held while this lives.
pub struct Held<'l, T> {
    lock: &'l ForkLock<T>,
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this thread holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this thread holds the lock, and borrows the guard.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        release(&self.lock.holder);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::thread;

    use super::ForkLock;

    #[test]
    fn threads_take_turns() {
        let lock = ForkLock::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| *lock.lock() += 1));
            }
        });
        assert_eq!(*lock.lock(), 40_000);
    }

    #[test]
    fn what_another_process_holds_is_taken() {
        let lock = ForkLock::new(());
        std::mem::forget(lock.lock());
        // As in a child of fork(): the number of this process is another one.
        lock.holder.store(lock.holder.load(Relaxed) + 1, Relaxed);
        drop(lock.lock());
        assert_eq!(lock.holder.load(Relaxed), 0);
    }
}
