//! The watchdog's bell, in all orders: no scheduler that is awake goes unwatched.

use loom::model;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering::*, fence};
use loom::thread;

use super::{Bell, WATCHING, Word};

impl Word for AtomicU32 {
    fn load(&self) -> u32 {
        AtomicU32::load(self, Relaxed)
    }

    fn store(&self, value: u32) {
        AtomicU32::store(self, value, Relaxed);
    }

    fn fence() {
        fence(SeqCst);
    }
}

/// The bell, a futex, and a scheduler's word.
struct World {
    bell: Bell<AtomicU32>,
    asleep: AtomicBool,
    /// Whether the watchdog has been woken.
    woken: AtomicBool,
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            bell: Bell(AtomicU32::new(WATCHING)),
            asleep: AtomicBool::new(true),
            woken: AtomicBool::new(false),
        })
    }

    fn wake(&self) {
        self.woken.store(true, Release);
    }

    /// The kernel compares the word again, and then waits to be woken. Whether it would wait for ever.
    fn would_wait(&self, word: &AtomicU32, value: u32) -> bool {
        // As the futex: who wakes has changed the word before.
        AtomicU32::load(word, Relaxed) == value && !self.woken.load(Acquire)
    }
}

/// The watchdog, which finds the scheduler asleep or awake and parks once. Whether it waits then.
fn parks(world: &World) -> bool {
    world.bell.watch();
    if !world.asleep.load(Relaxed) {
        return false;
    }
    world.bell.park();
    if !world.asleep.load(Relaxed) {
        return false;
    }
    let mut waits = false;
    world.bell.wait(|word, value| waits = world.would_wait(word, value));
    waits
}

#[test]
fn who_wakes_is_seen_or_rings() {
    model(|| {
        let world = World::new();
        let other = world.clone();
        let scheduler = thread::spawn(move || {
            other.asleep.store(false, Relaxed);
            other.bell.ring_if_parked(|_| other.wake());
        });
        let waits = parks(&world);
        scheduler.join().unwrap();
        // If it waits, it has been woken since.
        assert!(!waits || world.woken.load(Acquire));
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
            other.bell.ring(|_| other.wake());
        });
        world.bell.watch();
        let has_seen = *entered.lock().unwrap();
        let mut waits = false;
        if !has_seen {
            world.bell.wait(|word, value| waits = world.would_wait(word, value));
        }
        scheduler.join().unwrap();
        assert!(!waits || world.woken.load(Acquire));
    });
}
