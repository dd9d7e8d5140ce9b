//! Models of the mailbox for loom, which tries all executions that the memory model allows: `make
//! loom`.

use std::ptr::NonNull;
use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::super::atomic::interrupt_at;
use super::super::inbox::{Closed, Message};
use super::Mailbox;

/// The eventfd: readable from a write until it is read.
#[derive(Default)]
struct Bell {
    rings: Mutex<usize>,
    rung: Condvar,
}

impl Bell {
    fn notify(&self) -> bool {
        *self.rings.lock().unwrap() += 1;
        self.rung.notify_one();
        true
    }

    fn wait(&self) {
        let mut rings = self.rings.lock().unwrap();
        while *rings == 0 {
            rings = self.rung.wait(rings).unwrap(); // A lost wake-up is a deadlock for loom.
        }
        *rings = 0;
    }

    fn clear_wake_up_fd(&self) {
        *self.rings.lock().unwrap() = 0;
    }
}

/// What happened to a message: how often it was run, and abandoned.
type Fate = Arc<Mutex<Vec<Note>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Run(usize),
    Abandoned(usize),
}

/// A message that records what happens to it.
#[repr(C)]
struct Letter {
    message: Message,
    number: usize,
    fate: Fate,
}

fn letter(number: usize, fate: &Fate) -> NonNull<Message> {
    let letter = Letter { message: Message::new(run, abandon), number, fate: fate.clone() };
    NonNull::from(Box::leak(Box::new(letter))).cast()
}

unsafe fn open(message: NonNull<Message>) -> Box<Letter> {
    // SAFETY: made by `letter`, and opened once: a second time would be a failure of the model.
    unsafe { Box::from_raw(message.cast::<Letter>().as_ptr()) }
}

unsafe fn run(message: NonNull<Message>) {
    // SAFETY: as above.
    let letter = unsafe { open(message) };
    letter.fate.lock().unwrap().push(Note::Run(letter.number));
}

unsafe fn abandon(message: NonNull<Message>) {
    // SAFETY: as above.
    let letter = unsafe { open(message) };
    letter.fate.lock().unwrap().push(Note::Abandoned(letter.number));
}

#[derive(Default)]
struct Model {
    bell: Bell,
    fate: Fate,
}

struct World {
    mailbox: Mailbox,
    model: Model,
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World { mailbox: Mailbox::new(), model: Model::default() })
    }

    fn post(&self, number: usize) -> Result<(), Closed> {
        let message = letter(number, &self.model.fate);
        self.mailbox.post(message, || self.model.bell.notify()).inspect_err(|_| {
            // SAFETY: the poster owns it again.
            drop(unsafe { open(message) });
        })
    }

    /// The loop, until it is told to stop, or has run this many messages.
    fn run_until(&self, messages: usize) {
        self.mailbox.set_awake();
        while !self.mailbox.is_stopped() && self.notes().len() < messages {
            if self.mailbox.prepare_to_sleep() {
                self.model.bell.wait();
                self.mailbox.set_awake();
            }
            for message in self.mailbox.take() {
                // SAFETY: it was taken out of the mailbox.
                unsafe { (message.as_ref().run)(message) };
            }
        }
        self.mailbox
            .end_run(|| self.model.bell.clear_wake_up_fd(), || _ = self.model.bell.notify());
    }

    fn close(&self) {
        for message in self.mailbox.close() {
            // SAFETY: it was taken out of the mailbox.
            unsafe { (message.as_ref().abandon)(message) };
        }
    }

    fn notes(&self) -> Vec<Note> {
        self.model.fate.lock().unwrap().clone()
    }
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(check);
}

#[test]
fn no_wake_up_is_lost() {
    model(|| {
        let world = World::new();
        let poster = {
            let world = world.clone();
            thread::spawn(move || world.post(1))
        };
        world.run_until(1);
        assert_eq!(poster.join().unwrap(), Ok(()));
        assert_eq!(world.notes(), [Note::Run(1)]);
    });
}

#[test]
fn a_stop_is_not_lost() {
    model(|| {
        let world = World::new();
        let stopper = {
            let world = world.clone();
            thread::spawn(move || world.mailbox.stop(|| _ = world.model.bell.notify()))
        };
        world.run_until(usize::MAX);
        assert_eq!(stopper.join().unwrap(), Ok(()));
    });
}

#[test]
fn the_messages_of_each_of_two_posters_keep_their_order() {
    model(|| {
        let world = World::new();
        let posters = [1, 3].map(|first| {
            let world = world.clone();
            thread::spawn(move || {
                world.post(first).unwrap();
                world.post(first + 1).unwrap();
            })
        });
        world.run_until(4);
        for poster in posters {
            poster.join().unwrap();
        }
        let notes = world.notes();
        let place = |number| notes.iter().position(|note| *note == Note::Run(number)).unwrap();
        assert_eq!(notes.len(), 4);
        assert!(place(1) < place(2) && place(3) < place(4), "{notes:?}");
    });
}

#[test]
fn a_message_beside_a_stop_is_run_or_left_for_the_next_run() {
    model(|| {
        let world = World::new();
        let others = [true, false].map(|stops| {
            let world = world.clone();
            thread::spawn(move || match stops {
                true => world.mailbox.stop(|| _ = world.model.bell.notify()),
                false => world.post(1),
            })
        });
        world.run_until(usize::MAX);
        for other in others {
            assert_eq!(other.join().unwrap(), Ok(()));
        }
        if world.notes().is_empty() {
            world.model.bell.wait(); // The eventfd reports to the next run that there is a message.
            world.run_until(1);
        }
        assert_eq!(world.notes(), [Note::Run(1)]);
    });
}

#[test]
fn a_message_beside_the_end_is_abandoned_or_refused() {
    model(|| {
        let world = World::new();
        let posters = [1, 2].map(|number| {
            let world = world.clone();
            thread::spawn(move || world.post(number))
        });
        world.close();
        let posted = posters.map(|poster| poster.join().unwrap());
        let notes = world.notes();
        for (number, posted) in [1, 2].into_iter().zip(posted) {
            let times = notes.iter().filter(|note| **note == Note::Abandoned(number)).count();
            assert_eq!(times, usize::from(posted.is_ok()), "{notes:?}");
        }
        assert_eq!(world.post(3), Err(Closed));
        assert_eq!(world.mailbox.stop(|| ()), Err(Closed));
    });
}

/// The steps of a post: before its compare-and-swap, before it checks whether the owner is asleep,
/// before it writes to the eventfd, and before it says that it has.
const STEPS: usize = 4;

#[test]
fn a_signal_handler_may_post_at_each_step_of_a_post() {
    for step in 0..STEPS {
        model(move || {
            let world = World::new();
            let poster = {
                let world = world.clone();
                thread::spawn(move || {
                    let handler = world.clone();
                    interrupt_at(step, move || handler.post(2).unwrap());
                    world.post(1).unwrap();
                    interrupt_at(usize::MAX, || ()); // The steps that the post has not reached.
                })
            };
            // The post writes to the eventfd only when the owner sleeps.
            let sure = if step >= 2 { 1 } else { 2 };
            world.run_until(sure);
            poster.join().unwrap();
            world.close();
            let runs = world.notes().len();
            assert!(runs == 2 || step >= 2 && runs == 1, "{:?}", world.notes());
        });
    }
}

#[test]
fn a_stalled_poster_blocks_no_other() {
    // A poster that stops before its message is in has done nothing yet. Later it may stop before
    // it checks whether the owner is asleep, or before it writes to the eventfd.
    for looks in [false, true] {
        model(move || never_goes_on(looks));
    }
}

fn never_goes_on(looks: bool) {
    let world = World::new();
    let posters = [true, false].map(|goes_on| {
        let world = world.clone();
        thread::spawn(move || match goes_on {
            true => world.post(1),
            false if looks => world.mailbox.post(letter(2, &world.model.fate), || false),
            false => world.mailbox.inbox.push(letter(2, &world.model.fate)),
        })
    });
    // The first one's message arrives, in whatever state the other poster has stopped.
    while !world.notes().contains(&Note::Run(1)) {
        world.run_until(world.notes().len() + 1);
    }
    for poster in posters {
        poster.join().unwrap().unwrap();
    }
    world.close();
    let notes = world.notes();
    assert!(notes.contains(&Note::Run(2)) || notes.contains(&Note::Abandoned(2)), "{notes:?}");
    assert_eq!(notes.len(), 2);
}
