//! Models of signals on their way to a loop for loom, which tries all executions that the memory model
//! allows: `make loom`.

use std::ptr::NonNull;
use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;

use super::super::atomic::interrupt_at;
use super::super::inbox::Message;
use super::{Arrival, Arrivals};
use crate::engine::sys::Signal;

/// The mailbox: how often the message is in there, which must not be more than once.
struct World {
    arrivals: Arrivals,
    posted: Mutex<usize>,
}

unsafe fn nothing(_: NonNull<Message>) {}

impl World {
    fn new() -> Arc<World> {
        let arrivals = Arrivals::new(Message::new(nothing, nothing));
        Arc::new(World { arrivals, posted: Mutex::new(0) })
    }

    /// What a handler does. The value is the ordinal, too.
    fn add(&self, number: i32, value: u64) {
        let signal = Signal { number, value, code: -1, pid: 7, uid: 8 };
        self.arrivals.add(&Arrival { signal, ordinal: value }, || {
            let mut posted = self.posted.lock().unwrap();
            *posted += 1;
            assert_eq!(*posted, 1, "in the mailbox twice");
        });
    }

    /// What an iteration of the loop does.
    fn run_message(&self) -> Vec<(i32, u64)> {
        self.run_message_for(|arrival| (arrival.signal.number, arrival.signal.value))
    }

    fn run_message_for<T>(&self, each: impl Fn(Arrival) -> T) -> Vec<T> {
        let is_posted = std::mem::take(&mut *self.posted.lock().unwrap()) == 1;
        if is_posted {
            self.arrivals.begin_take();
        }
        if is_posted { self.look_for(each) } else { Vec::new() }
    }

    fn look(&self) -> Vec<(i32, u64)> {
        self.look_for(|arrival| (arrival.signal.number, arrival.signal.value))
    }

    fn look_for<T>(&self, each: impl Fn(Arrival) -> T) -> Vec<T> {
        let mut taken = Vec::new();
        self.arrivals.take(|arrival| {
            let Signal { code, pid, uid, .. } = arrival.signal;
            assert_eq!((code, pid, uid), (-1, 7, 8));
            taken.push(each(arrival));
        });
        taken
    }
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(check);
}

#[test]
fn signals_of_two_numbers_are_both_taken() {
    model(|| {
        let world = World::new();
        let handlers = [10, 12].map(|number| {
            let world = world.clone();
            thread::spawn(move || world.add(number, 1))
        });
        let mut taken = world.run_message();
        handlers.into_iter().for_each(|handler| handler.join().unwrap());
        taken.extend(world.run_message());
        taken.sort();
        assert_eq!(taken, [(10, 1), (12, 1)]);
    });
}

#[test]
fn what_coalesces_is_taken_after_it_came() {
    model(|| {
        let world = World::new();
        let other = world.clone();
        let handler = thread::spawn(move || other.add(10, 1));
        world.add(10, 2);
        // A task looks in between.
        let mut taken = world.look();
        taken.extend(world.run_message());
        handler.join().unwrap();
        taken.extend(world.run_message());
        // One or two; and the value is of a signal that came.
        assert!((1..=2).contains(&taken.len()), "{taken:?}");
        assert!(taken.iter().all(|(number, value)| *number == 10 && (1..=2).contains(value)));
        assert!(taken.len() < 2 || taken[0] != taken[1]);
        // Nothing is left that would keep others away.
        world.add(10, 3);
        assert_eq!(world.run_message(), [(10, 3)]);
    });
}

/// What is taken tells of the latest that came, also if it coalesces while the place is being filled or emptied: else one
/// that nobody was told of would be taken for one that somebody was.
#[test]
fn what_coalesces_has_the_ordinal_of_the_latest() {
    model(|| {
        let world = World::new();
        let other = world.clone();
        let handler = thread::spawn(move || other.add(10, 2));
        world.add(10, 1);
        let mut taken = world.look_for(|arrival| arrival.ordinal);
        taken.extend(world.run_message_for(|arrival| arrival.ordinal));
        handler.join().unwrap();
        taken.extend(world.run_message_for(|arrival| arrival.ordinal));
        assert!((1..=2).contains(&taken.len()), "{taken:?}");
        assert_eq!(taken.iter().max(), Some(&2));
    });
}

#[test]
fn a_handler_may_interrupt_the_look() {
    model(|| {
        for step in 0..2 {
            let world = World::new();
            let inner = world.clone();
            // Handlers block all signals; but one of another signal may come before it has.
            interrupt_at(step, move || inner.add(12, 2));
            world.add(10, 1);
            let mut taken = world.run_message();
            taken.extend(world.run_message());
            taken.sort();
            assert_eq!(taken, [(10, 1), (12, 2)]);
        }
    });
}
