//! A mutex of a futex: for data of a process, which a child of fork() sets anew instead of unlocking it.
//! For models it is loom's.

#[cfg(loom)]
pub use in_models::Lock;

#[cfg(loom)]
mod in_models {
    pub struct Lock<T>(loom::sync::Mutex<T>);

    impl<T> Lock<T> {
        pub fn new(value: T) -> Lock<T> {
            Lock(loom::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }

        pub unsafe fn renew(&self, change: impl FnOnce(&mut T)) {
            change(&mut self.lock());
        }
    }
}

#[cfg(not(loom))]
pub use in_threads::Lock;

#[cfg(not(loom))]
mod in_threads {
    use std::cell::UnsafeCell;
    use std::ops::{Deref, DerefMut};
    use std::sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    };

    use crate::engine::context::sanitizer;
    use crate::engine::sys;

    const OPEN: u32 = 0;
    const HELD: u32 = 1;
    /// Held, and a thread may wait for it.
    const WANTED: u32 = 2;

    pub struct Lock<T> {
        word: AtomicU32,
        value: UnsafeCell<T>,
    }

    // SAFETY: one thread at a time gets at the value.
    unsafe impl<T: Send> Sync for Lock<T> {}

    impl<T> Lock<T> {
        pub const fn new(value: T) -> Lock<T> {
            Lock { word: AtomicU32::new(OPEN), value: UnsafeCell::new(value) }
        }

        pub fn lock(&self) -> Guard<'_, T> {
            if self.word.compare_exchange(OPEN, HELD, Acquire, Relaxed).is_err() {
                wait(&self.word);
            }
            sanitizer::acquire(&self.word);
            Guard { lock: self }
        }

        /// Opens it, whoever has held it, with a new value.
        ///
        /// # Safety
        /// No thread of this process uses it.
        pub unsafe fn renew(&self, change: impl FnOnce(&mut T)) {
            // SAFETY: as this function's contract says.
            change(unsafe { &mut *self.value.get() });
            self.word.store(OPEN, Release);
        }
    }

    #[cold]
    fn wait(word: &AtomicU32) {
        // Who holds it holds it for a few instructions.
        for round in 0..200 {
            // The holder may have lost this processor in the middle of them: at intervals it is let run.
            if round % 50 == 49 {
                sys::yield_thread()
            } else {
                std::hint::spin_loop()
            }
            if word.load(Relaxed) == OPEN
                && word.compare_exchange(OPEN, HELD, Acquire, Relaxed).is_ok()
            {
                return;
            }
        }
        while word.swap(WANTED, Acquire) != OPEN {
            sys::futex_wait(word, WANTED, None);
        }
    }

    /// The lock is held while this lives.
    pub struct Guard<'l, T> {
        lock: &'l Lock<T>,
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            // SAFETY: this thread holds the lock.
            unsafe { &*self.lock.value.get() }
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: this thread holds the lock, and borrows the guard.
            unsafe { &mut *self.lock.value.get() }
        }
    }

    impl<T> Drop for Guard<'_, T> {
        fn drop(&mut self) {
            sanitizer::release(&self.lock.word);
            if self.lock.word.swap(OPEN, Release) == WANTED {
                sys::futex_wake(&self.lock.word);
            }
        }
    }
}
