//! A mutex that works in a child of `fork()`: the child can lock it although another thread of its
//! parent, which does not exist in the child, held it.
//!
//! So guard only data that stays usable half-updated.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use super::identity::this_process;
use crate::engine::context::sanitizer;
use crate::engine::sys;

pub struct ForkSafeMutex<T> {
    /// The process whose thread holds it, 0 while it is unlocked.
    holder: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: one thread at a time gets at the value.
unsafe impl<T: Send> Sync for ForkSafeMutex<T> {}

impl<T> ForkSafeMutex<T> {
    pub const fn new(value: T) -> ForkSafeMutex<T> {
        ForkSafeMutex { holder: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// Locks it, once no other thread of this process holds it. Not async-signal-safe.
    pub fn lock(&self) -> ForkSafeMutexGuard<'_, T> {
        acquire(&self.holder);
        ForkSafeMutexGuard { lock: self }
    }
}

// Not generic, so that there is one copy.

#[inline(never)]
fn acquire(holder: &AtomicU32) {
    // The first lock may be taken before there is a scheduler.
    sanitizer::look_up_tsan_hooks();
    let this_process = this_process();
    /// Looks before the thread sleeps: more than the holders that do little need.
    const LOOKS: u32 = 200;
    let mut looks = 0;
    while let Err(other) = holder.compare_exchange(0, this_process, Acquire, Relaxed) {
        if other != this_process
            && holder.compare_exchange(other, this_process, Acquire, Relaxed).is_ok()
        {
            break;
        }
        looks += 1;
        if looks < LOOKS {
            std::hint::spin_loop();
        } else {
            sys::sleep_ns(50_000);
        }
    }
    sanitizer::acquire(holder);
}

#[inline(never)]
fn release(holder: &AtomicU32) {
    sanitizer::release(holder);
    holder.store(0, Release);
}

/// The mutex is locked while this lives.
pub struct ForkSafeMutexGuard<'l, T> {
    lock: &'l ForkSafeMutex<T>,
}

impl<T> Deref for ForkSafeMutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this thread holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for ForkSafeMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this thread holds the lock, and borrows the guard.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for ForkSafeMutexGuard<'_, T> {
    fn drop(&mut self) {
        release(&self.lock.holder);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::thread;

    use super::ForkSafeMutex;

    #[test]
    fn threads_take_turns() {
        let lock = ForkSafeMutex::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| *lock.lock() += 1));
            }
        });
        assert_eq!(*lock.lock(), 40_000);
    }

    #[test]
    fn what_another_process_holds_is_taken() {
        let lock = ForkSafeMutex::new(());
        std::mem::forget(lock.lock());
        // As in a child of fork(): the number of this process is another one.
        lock.holder.store(lock.holder.load(Relaxed) + 1, Relaxed);
        drop(lock.lock());
        assert_eq!(lock.holder.load(Relaxed), 0);
    }
}
