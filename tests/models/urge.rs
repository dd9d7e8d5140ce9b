//! Models of how cores notice that their cluster is to end, for loom, which tries all executions that the memory model
//! allows: `make loom`.

use loom::model;
use loom::sync::Arc;
use loom::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use loom::thread;

use super::{AT_ONCE, IN_ORDER, Notice, Urge};

/// What a core has seen.
#[derive(Clone, Copy, Default)]
struct Seen {
    urge: u8,
    is_over: bool,
}

struct World {
    urge: Urge,
    notice: Notice,
    /// Whether another core is over. By its own it orders nothing.
    is_over: AtomicBool,
    /// How many messages are in the mailbox.
    mailbox: AtomicUsize,
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            urge: Urge::new(),
            notice: Notice::new(),
            is_over: AtomicBool::new(false),
            mailbox: AtomicUsize::new(0),
        })
    }

    fn notify(&self) {
        if self.notice.put_up() {
            let before = self.mailbox.fetch_add(1, Release);
            assert_eq!(before, 0, "the message is under way twice");
        }
    }

    fn raise_to(&self, urge: u8) {
        if self.urge.raise(|now| now.max(urge)).is_some() {
            self.notify();
        }
    }

    fn end_early(&self) {
        self.is_over.store(true, Relaxed);
        self.notify();
    }

    /// A turn of the core's loop.
    fn look(&self, seen: &mut Seen) {
        if self.mailbox.swap(0, Acquire) > 0 {
            self.notice.take_down();
            let is_over = self.is_over.load(Relaxed);
            *seen = Seen { urge: self.urge.get(), is_over };
        }
    }
}

/// Has two threads change something while a core looks. Returns what that has seen in the end.
fn seen_by_a_core(world: &Arc<World>, first: fn(&World), second: fn(&World)) -> Seen {
    let others = [first, second].map(|change| {
        let world = world.clone();
        thread::spawn(move || change(&world))
    });
    let mut seen = Seen::default();
    world.look(&mut seen);
    others.into_iter().for_each(|other| other.join().unwrap());
    // Nobody wakes the loop any more, but for a message that is there.
    world.look(&mut seen);
    seen
}

#[test]
fn no_urge_is_overlooked() {
    model(|| {
        let world = World::new();
        let seen = seen_by_a_core(&world, |it| it.raise_to(IN_ORDER), |it| it.raise_to(AT_ONCE));
        assert_eq!(seen.urge, AT_ONCE);
    });
}

#[test]
fn no_core_that_is_over_is_overlooked() {
    model(|| {
        let world = World::new();
        let seen = seen_by_a_core(&world, |it| it.raise_to(IN_ORDER), World::end_early);
        assert!(seen.is_over && seen.urge == IN_ORDER);
    });
}
