//! Models of the limit of posts for loom, which tries all executions that the memory model allows: `make
//! loom`.

use std::sync::Arc;

use loom::thread;

use super::super::atomic::{AtomicUsize, Ordering::AcqRel, interrupt_at};
use super::Quota;

struct World {
    quota: Quota,
    /// The inbox: how many are in there.
    inbox: AtomicUsize,
}

impl World {
    fn new(most: usize) -> Arc<World> {
        Arc::new(World { quota: Quota::new(most), inbox: AtomicUsize::new(0) })
    }

    fn post(&self) -> bool {
        let may_wait = self.quota.take();
        if may_wait {
            self.inbox.fetch_add(1, AcqRel);
        }
        may_wait
    }

    /// The owner begins what waits. Returns how many.
    fn begin(&self) -> usize {
        let count = self.inbox.swap(0, AcqRel);
        (0..count).for_each(|_| self.quota.count_begun());
        count
    }
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(check);
}

#[test]
fn nobody_is_refused_below_the_limit() {
    model(|| {
        let world = World::new(3);
        let posters = [1, 2].map(|posts| {
            let world = world.clone();
            thread::spawn(move || (0..posts).for_each(|_| assert!(world.post())))
        });
        let begun = world.begin();
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        assert_eq!(begun + world.begin(), 3);
        assert!(world.post());
    });
}

#[test]
fn no_more_wait_than_may() {
    model(|| {
        let world = World::new(1);
        let posters = [1, 2].map(|_| {
            let world = world.clone();
            thread::spawn(move || world.post())
        });
        let begun = world.begin();
        let posted = posters.map(|poster| usize::from(poster.join().unwrap()));
        let left = world.begin();
        assert_eq!(posted[0] + posted[1], begun + left);
        assert!(left <= 1 && begun + left >= 1, "{begun} {left}");
        // Of those that were refused nothing is left.
        assert!(world.post() && !world.post() && !world.post());
        assert_eq!(world.begin(), 1);
        assert!(world.post());
    });
}

#[test]
fn a_signal_handler_may_post_within_a_post() {
    model(|| {
        let world = World::new(2);
        let poster = {
            let world = world.clone();
            thread::spawn(move || {
                let handler = world.clone();
                interrupt_at(0, move || assert!(handler.post()));
                assert!(world.post());
            })
        };
        let begun = world.begin();
        poster.join().unwrap();
        assert_eq!(begun + world.begin(), 2);
    });
}

/// loom switches threads only where it sees that they touch the same thing next, and does not see that here.
#[test]
fn others_may_post_and_be_begun_within_a_post() {
    model(|| {
        let world = World::new(2);
        let others = world.clone();
        interrupt_at(0, move || {
            for _ in 0..3 {
                assert!(others.post());
                assert_eq!(others.begin(), 1);
            }
        });
        assert!(world.post());
        assert!(world.post() && !world.post());
        assert_eq!(world.begin(), 2);
        world.quota.set_most(usize::MAX);
        assert!(world.post());
    });
}
