//! Models of the holds of a cluster for loom, which tries all executions that the memory model allows: `make loom`.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::Holds;

/// Gives up its hold when it has given one more to another thread, if there is one.
fn works(holds: &Holds, done: &AtomicUsize, ends: &AtomicUsize) {
    done.fetch_add(1, Relaxed);
    if holds.give_up() {
        // All that was done is seen by who ends it.
        assert_eq!(done.load(Relaxed), 3);
        ends.fetch_add(1, Relaxed);
    }
}

#[test]
fn one_ends_it_and_sees_what_all_have_done() {
    loom::model(|| {
        let world = Arc::new((Holds::new(), AtomicUsize::new(0), AtomicUsize::new(0)));
        assert!(world.0.take());
        let other = world.clone();
        let worker = thread::spawn(move || {
            let (holds, done, ends) = &*other;
            assert!(holds.take()); // It has one.
            works(holds, done, ends);
            works(holds, done, ends);
        });
        works(&world.0, &world.1, &world.2);
        worker.join().unwrap();
        assert_eq!(world.2.load(Relaxed), 1);
        assert!(world.0.are_over());
    });
}

#[test]
fn who_comes_too_late_gets_none() {
    loom::model(|| {
        let holds = Arc::new(Holds::new());
        let late = holds.clone();
        let other = thread::spawn(move || late.take() && late.give_up());
        let ended = holds.give_up();
        let also = other.join().unwrap();
        assert!(ended != also && holds.are_over() && !holds.take());
    });
}
