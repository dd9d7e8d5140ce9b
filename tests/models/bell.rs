//! The watchdog's bell, in all orders: no scheduler that is awake goes unwatched. A watchdog that waits and is
//! not woken is a deadlock.

use loom::model;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering::*};
use loom::thread;

use super::{Bell, Futex, WATCHING};

/// The bell, and a scheduler's word.
struct World {
    bell: Bell,
    asleep: AtomicBool,
}

impl World {
    fn new() -> Arc<World> {
        let bell = Bell(Futex::new(WATCHING));
        Arc::new(World { bell, asleep: AtomicBool::new(true) })
    }
}

/// The watchdog looks at the scheduler, and parks if that is asleep.
fn watches(world: &World) {
    world.bell.watch();
    if !world.asleep.load(Relaxed) {
        return;
    }
    world.bell.park();
    if world.asleep.load(Relaxed) {
        world.bell.wait(None);
    }
}

#[test]
fn who_wakes_is_seen_or_rings() {
    model(|| {
        let world = World::new();
        let other = world.clone();
        let scheduler = thread::spawn(move || {
            other.asleep.store(false, Relaxed);
            other.bell.ring_if_parked();
        });
        watches(&world);
        scheduler.join().unwrap();
    });
}

#[test]
fn who_enters_ends_a_wait_with_an_interval() {
    model(|| {
        let world = World::new();
        let other = world.clone();
        // The registry, under its lock.
        let entered = Arc::new(loom::sync::Mutex::new(false));
        let registry = entered.clone();
        let scheduler = thread::spawn(move || {
            *registry.lock().unwrap() = true;
            other.bell.ring();
        });
        world.bell.watch();
        let has_seen = *entered.lock().unwrap();
        if !has_seen {
            // An interval that is longer than all of this.
            world.bell.wait(Some(u64::MAX));
        }
        scheduler.join().unwrap();
    });
}
