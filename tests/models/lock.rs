//! Models of the lock for loom: `make loom`. A thread that nobody wakes is a deadlock. And what stands for the
//! lock in other models.

use std::cell::UnsafeCell as Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use loom::cell::UnsafeCell;
use loom::sync::{Mutex, MutexGuard};
use loom::thread;

use super::{Lock as Checked, OPEN, Relaxed, WANTED, this_process};

/// What stands for it: loom's mutex, once it is looked at.
pub struct Lock<T> {
    mutex: OnceLock<Mutex<()>>,
    value: Cell<T>,
}

// SAFETY: one thread at a time gets at the value.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub const fn in_static(value: T) -> Lock<T> {
        Lock { mutex: OnceLock::new(), value: Cell::new(value) }
    }

    pub fn new(value: T) -> Lock<T> {
        Lock::in_static(value)
    }

    pub fn lock(&self) -> LockGuard<'_, T> {
        let held = self.mutex.get_or_init(|| Mutex::new(())).lock().unwrap();
        LockGuard { value: &self.value, _held: held }
    }
}

pub struct LockGuard<'l, T> {
    value: &'l Cell<T>,
    _held: MutexGuard<'l, ()>,
}

impl<T> Deref for LockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this thread holds the mutex.
        unsafe { &*self.value.get() }
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and this borrows the guard.
        unsafe { &mut *self.value.get() }
    }
}

/// What is guarded: loom finds two threads in it, and one that does not see what the last one did.
type Counter = UnsafeCell<u32>;

fn counter() -> Arc<Checked<Counter>> {
    Arc::new(Checked::new(UnsafeCell::new(0)))
}

fn count(lock: &Checked<Counter>) {
    // SAFETY: as loom checks.
    lock.lock().with_mut(|count| unsafe { *count += 1 });
}

fn counted(lock: &Checked<Counter>) -> u32 {
    // SAFETY: as above.
    lock.lock().with(|count| unsafe { *count })
}

fn model(threads: usize, lock: impl Fn() -> Arc<Checked<Counter>> + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(move || {
        let lock = lock();
        let others: Vec<_> = (1..threads)
            .map(|_| {
                let lock = lock.clone();
                thread::spawn(move || count(&lock))
            })
            .collect();
        count(&lock);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(counted(&lock) as usize, threads);
        assert_eq!(lock.word.load(Relaxed), OPEN);
    });
}

#[test]
fn one_at_a_time_holds_it_and_all_get_it() {
    model(2, counter);
    model(3, counter);
}

/// A child of fork() in which nobody is left who could open it.
#[test]
fn what_a_thread_of_the_parent_held_is_taken_by_one() {
    for flag in [0, WANTED] {
        model(3, move || {
            let lock = counter();
            lock.word.store((this_process() << 1) + 2 + flag, Relaxed);
            lock
        });
    }
}
