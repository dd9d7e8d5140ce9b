//! Models of the owner and the wakers for loom, which tries all executions that the memory model allows: `make
//! loom`.

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::super::atomic::{AtomicBool, Ordering::Relaxed};
use super::Owner;

const RUNS: usize = 1;
const OTHER: usize = 2;

struct World {
    owner: Owner,
    /// A message in the inbox. By its own it orders nothing.
    message: AtomicBool,
    /// The eventfd.
    bell: (Mutex<bool>, Condvar),
}

impl World {
    fn new(wakers: usize) -> Arc<World> {
        let bell = (Mutex::new(false), Condvar::new());
        let world = World { owner: Owner::new(), message: AtomicBool::new(false), bell };
        (0..wakers).for_each(|_| world.owner.add_waker());
        Arc::new(world)
    }

    fn notify(&self) {
        *self.bell.0.lock().unwrap() = true;
        self.bell.1.notify_one();
    }

    fn remove(&self) {
        if self.owner.remove_waker(OTHER) {
            self.notify();
        }
    }

    /// A run of which all tasks are parked, until no waker is left. Returns whether it has seen a message.
    fn run(&self) -> bool {
        assert!(self.owner.enter(RUNS));
        while self.owner.has_wakers() {
            let mut rung = self.bell.0.lock().unwrap();
            while !*rung {
                rung = self.bell.1.wait(rung).unwrap(); // A lost wake-up is a deadlock for loom.
            }
            *rung = false;
        }
        let message = self.message.load(Relaxed);
        self.owner.leave();
        message
    }
}

#[test]
fn a_run_does_not_outlast_the_last_waker() {
    for wakers in [1, 2] {
        loom::model(move || {
            let world = World::new(wakers);
            let others: Vec<_> = (0..wakers)
                .map(|_| {
                    let world = world.clone();
                    thread::spawn(move || world.remove())
                })
                .collect();
            world.run();
            others.into_iter().for_each(|other| other.join().unwrap());
            assert!(!world.owner.has_wakers() && !world.owner.is_there());
        });
    }
}

#[test]
fn what_a_waker_has_left_is_seen_at_the_end() {
    loom::model(|| {
        let world = World::new(2);
        let others = [true, false].map(|leaves| {
            let world = world.clone();
            thread::spawn(move || {
                if leaves {
                    world.message.store(true, Relaxed);
                }
                world.remove();
            })
        });
        assert!(world.run());
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn one_thread_runs_it_at_a_time() {
    loom::model(|| {
        let world = World::new(0);
        let other = {
            let world = world.clone();
            thread::spawn(move || world.owner.enter(OTHER))
        };
        let entered = world.owner.enter(RUNS);
        assert!(entered != other.join().unwrap());
        assert_eq!(world.owner.is_elsewhere(RUNS), !entered);
        world.owner.leave();
        assert!(!world.owner.is_there());
    });
}
