//! Locks of C in tasks of Rust, which are unwound when their scheduler is dropped.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use majjen_hook::counts;

unsafe extern "C" {
    fn pthread_mutex_lock(mutex: *mut c_void) -> c_int;
    fn pthread_mutex_unlock(mutex: *mut c_void) -> c_int;
}

/// A `pthread_mutex_t`, as PTHREAD_MUTEX_INITIALIZER has it.
struct Mutex(Cell<[u64; 8]>);

/// Unlocks it.
struct Guard(Rc<Mutex>);

impl Mutex {
    fn new() -> Rc<Mutex> {
        Rc::new(Mutex(Cell::new([0; 8])))
    }

    fn lock(self: &Rc<Mutex>) -> Guard {
        // SAFETY: a mutex, which is on the heap.
        assert_eq!(unsafe { pthread_mutex_lock(self.0.as_ptr().cast()) }, 0);
        Guard(Rc::clone(self))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: as in `lock`.
        assert_eq!(unsafe { pthread_mutex_unlock(self.0.0.as_ptr().cast()) }, 0);
    }
}

const A_WHILE: Duration = Duration::from_millis(5);

/// Spawns a task that has the lock until `ends` says so, and one that waits for it, in this order or the other.
/// Returns how often the latter has got it.
fn spawn_two(
    scheduler: &majjen::Scheduler,
    ends: &Rc<Cell<bool>>,
    holder_is_first: bool,
) -> Rc<Cell<u32>> {
    let mutex = Mutex::new();
    let got = Rc::new(Cell::new(0));
    let (of_holder, ends) = (Rc::clone(&mutex), Rc::clone(ends));
    let holder = move || {
        let _guard = of_holder.lock();
        while !ends.get() {
            majjen::task::sleep(A_WHILE).expect("it is not canceled, but unwound");
        }
    };
    let count = Rc::clone(&got);
    let waiter = move || {
        thread::sleep(A_WHILE);
        let _guard = mutex.lock();
        count.set(count.get() + 1);
    };
    if holder_is_first {
        scheduler.spawn(holder);
        scheduler.spawn(waiter);
    } else {
        scheduler.spawn(waiter);
        scheduler.spawn(holder);
    }
    got
}

#[test]
fn a_task_waits_for_what_another_holds() {
    let before = counts();
    let scheduler = majjen::Scheduler::new().unwrap();
    let ends = Rc::new(Cell::new(false));
    let got = [true, false].map(|first| spawn_two(&scheduler, &ends, first));
    scheduler.spawn(move || {
        thread::sleep(10 * A_WHILE);
        ends.set(true);
    });
    scheduler.run().unwrap();
    assert_eq!(got.map(|got| got.get()), [1, 1]);
    assert!(counts().lock_waits >= before.lock_waits + 2);
}

#[test]
fn a_dropped_scheduler_does_not_wait_for_locks() {
    for holder_is_first in [true, false] {
        let scheduler = majjen::Scheduler::new().unwrap();
        let ends = Rc::new(Cell::new(false));
        let got = spawn_two(&scheduler, &ends, holder_is_first);
        let stop = scheduler.stop_handle();
        scheduler.spawn(move || {
            thread::sleep(4 * A_WHILE);
            stop.stop().unwrap();
        });
        assert_eq!(scheduler.run().unwrap(), majjen::Ended::Stopped);
        drop(scheduler);
        // The holder was unwound, which has unlocked it.
        assert_eq!(got.get(), 1, "the holder first: {holder_is_first}");
    }
}
