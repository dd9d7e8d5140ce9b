//! Models of the waits for a ring for loom: `make loom`. A lost wake-up is a deadlock.

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::super::ring::models::{receive, send};
use super::super::ring::{End, Ring};
use super::{Parties, Party, PartyKind, Rank};
use crate::engine::sys::{Error, Result};

/// A channel, as it is made of these parts.
struct Channel {
    ring: Ring,
    senders: Parties,
    receivers: Parties,
}

/// A moment that has come.
const NOW: Option<u64> = Some(0);

impl Channel {
    fn new(capacity: usize) -> Arc<Channel> {
        let ring = Ring::new(8, capacity).unwrap();
        Arc::new(Channel { ring, senders: Parties::new(), receivers: Parties::new() })
    }

    fn try_send(&self, number: u64) -> Option<Result<()>> {
        send(&self.ring, number).inspect(|_| self.receivers.notify())
    }

    fn try_receive(&self) -> Option<Result<u64>> {
        receive(&self.ring).inspect(|_| self.senders.notify())
    }

    fn send(&self, number: u64, until_ns: Option<u64>) -> Option<Result<()>> {
        let may_send = || self.ring.is_ready(End::Send);
        self.try_send(number)
            .or_else(|| self.senders.wait(until_ns, || self.try_send(number), may_send))
    }

    fn receive(&self, until_ns: Option<u64>) -> Option<Result<u64>> {
        let may_receive = || self.ring.is_ready(End::Receive);
        self.try_receive()
            .or_else(|| self.receivers.wait(until_ns, || self.try_receive(), may_receive))
    }

    fn close(&self) {
        self.ring.close().unwrap();
        self.receivers.notify_all();
        self.senders.notify_all();
    }
}

/// A scheduler with tasks that wait to receive: a party whose notes come into an inbox.
#[repr(C)]
struct Port {
    party: Party,
    inbox: Arc<Inbox>,
    /// How many tasks wait, and what they were given.
    waiters: Cell<usize>,
    given: RefCell<Vec<Result<u64>>>,
}

#[derive(Default)]
struct Inbox {
    notes: Mutex<usize>,
    come: Condvar,
}

static PORT: PartyKind = PartyKind { rank: |_| Rank::Busy, claim: |_| (), deliver };

unsafe fn deliver(party: NonNull<Party>) -> bool {
    // SAFETY: a port is there until its note has come.
    let port = unsafe { party.cast::<Port>().as_ref() };
    // As the reference of a message: the port may be gone once the note is there.
    let inbox = port.inbox.clone();
    *inbox.notes.lock().unwrap() += 1;
    inbox.come.notify_one();
    true
}

impl Port {
    fn new(waiters: usize) -> Port {
        let party = Party::new(&PORT);
        let given = RefCell::default();
        Port { party, inbox: Arc::default(), waiters: Cell::new(waiters), given }
    }

    /// Begins to wait, and runs the loop until all tasks have something.
    fn run(&self, channel: &Channel) -> Vec<Result<u64>> {
        // SAFETY: it stays here, and this ends when it is outside.
        unsafe { channel.receivers.begin(&self.party, || channel.ring.is_ready(End::Receive)) };
        while self.waiters.get() > 0 {
            self.read_note(channel);
        }
        channel.receivers.leave(&self.party);
        if !self.party.is_outside() {
            self.read_note(channel);
        }
        self.given.borrow().clone()
    }

    fn read_note(&self, channel: &Channel) {
        let mut notes = self.inbox.notes.lock().unwrap();
        while *notes == 0 {
            notes = self.inbox.come.wait(notes).unwrap();
        }
        assert_eq!(*notes, 1, "a message is in the inbox once");
        *notes = 0;
        drop(notes);
        let serve = || {
            while self.waiters.get() > 0
                && let Some(received) = channel.try_receive()
            {
                self.given.borrow_mut().push(received);
                self.waiters.set(self.waiters.get() - 1);
            }
            self.waiters.get() > 0
        };
        let is_ready = || channel.ring.is_ready(End::Receive);
        // SAFETY: as above.
        unsafe { channel.receivers.serve(&self.party, serve, is_ready) };
    }
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(check);
}

/// Spawns a thread that uses the channel.
fn with<R: 'static>(
    channel: &Arc<Channel>,
    act: impl FnOnce(&Channel) -> R + 'static,
) -> thread::JoinHandle<R> {
    let channel = channel.clone();
    thread::spawn(move || act(&channel))
}

#[test]
fn a_thread_that_waits_is_told_of_an_element_and_of_room() {
    model(|| {
        let channel = Channel::new(1);
        let sender = with(&channel, |channel| {
            [channel.send(1, None).unwrap(), channel.send(2, None).unwrap()]
        });
        let received = [channel.receive(None).unwrap(), channel.receive(None).unwrap()];
        assert_eq!(received, [Ok(1), Ok(2)]);
        assert_eq!(sender.join().unwrap(), [Ok(()), Ok(())]);
    });
}

#[test]
fn two_threads_that_wait_get_an_element_each() {
    model(|| {
        let channel = Channel::new(2);
        let others = [0, 1].map(|_| with(&channel, |channel| channel.receive(None).unwrap()));
        assert_eq!(channel.send(1, None), Some(Ok(())));
        assert_eq!(channel.send(2, None), Some(Ok(())));
        let mut received = others.map(|other| other.join().unwrap().unwrap());
        received.sort_unstable();
        assert_eq!(received, [1, 2]);
    });
}

/// An element may be published before one that was claimed earlier: then the one who is told of it finds nothing, and
/// who is told of the other one hands on.
#[test]
fn elements_that_come_out_of_order_reach_two_that_wait() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(|| {
        let channel = Channel::new(2);
        let senders =
            [1, 2].map(|number| with(&channel, move |channel| channel.send(number, None).unwrap()));
        let other = with(&channel, |channel| channel.receive(None).unwrap().unwrap());
        assert_eq!(channel.receive(None).unwrap().unwrap() + other.join().unwrap(), 3);
        for sender in senders {
            assert_eq!(sender.join().unwrap(), Ok(()));
        }
    });
}

#[test]
fn one_that_gives_up_does_not_keep_the_note() {
    model(|| {
        let channel = Channel::new(1);
        let impatient = with(&channel, |channel| channel.receive(NOW));
        let sender = with(&channel, |channel| {
            channel.send(1, None).unwrap().unwrap();
            channel.send(2, None).unwrap().unwrap();
        });
        let patient = channel.receive(None).unwrap().unwrap();
        match impatient.join().unwrap() {
            Some(other) => assert_eq!(other.unwrap() + patient, 3),
            None => assert_eq!((patient, channel.receive(None)), (1, Some(Ok(2)))),
        }
        sender.join().unwrap();
    });
}

#[test]
fn a_scheduler_is_told_and_its_tasks_get_what_there_is() {
    model(|| {
        let channel = Channel::new(2);
        let senders =
            [1, 2].map(|number| with(&channel, move |channel| channel.send(number, None).unwrap()));
        let mut given = Port::new(2).run(&channel);
        given.sort_unstable_by_key(|received| received.unwrap());
        assert_eq!(given, [Ok(1), Ok(2)]);
        for sender in senders {
            assert_eq!(sender.join().unwrap(), Ok(()));
        }
    });
}

#[test]
fn a_scheduler_and_a_thread_get_an_element_each() {
    model(|| {
        let channel = Channel::new(2);
        let thread = with(&channel, |channel| channel.receive(None).unwrap().unwrap());
        let sender = with(&channel, |channel| {
            channel.send(1, None).unwrap().unwrap();
            channel.send(2, None).unwrap().unwrap();
        });
        let given = Port::new(1).run(&channel);
        assert_eq!(given[0].unwrap() + thread.join().unwrap(), 3);
        sender.join().unwrap();
    });
}

#[test]
fn a_close_ends_all_waits_and_loses_no_element() {
    model(|| {
        let channel = Channel::new(1);
        let sender = with(&channel, |channel| channel.send(1, None).unwrap());
        let receiver = with(&channel, |channel| {
            [channel.receive(None).unwrap(), channel.receive(None).unwrap()]
        });
        channel.close();
        let received = receiver.join().unwrap();
        let closed = Err(Error::Disconnected);
        match sender.join().unwrap() {
            Ok(()) => assert_eq!(received, [Ok(1), closed]),
            Err(error) => assert_eq!((error, received), (Error::Disconnected, [closed, closed])),
        }
    });
}

#[test]
fn a_close_reaches_a_scheduler_and_a_sender_that_waits() {
    model(|| {
        let channel = Channel::new(1);
        assert_eq!(channel.send(1, None), Some(Ok(())));
        let sender = with(&channel, |channel| channel.send(2, None).unwrap());
        let closer = with(&channel, |channel| channel.close());
        let given = Port::new(2).run(&channel);
        closer.join().unwrap();
        let second = match sender.join().unwrap() {
            Ok(()) => Ok(2),
            Err(error) => Err(error),
        };
        assert_eq!(given, [Ok(1), second]);
    });
}
