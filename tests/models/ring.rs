//! Models of the ring for loom: `make loom`.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;

use super::super::atomic::AtomicU64;
use super::{End, Ring};
use crate::engine::sys::{Error, Result};

/// Slots whose elements are numbers in loom's cells, which find two threads in one slot.
pub struct Slots(Vec<(AtomicU64, UnsafeCell<u64>)>);

impl Slots {
    pub fn new(_: usize, capacity: usize) -> Result<Slots> {
        let slot = |index| (AtomicU64::new(super::STEP * index as u64), UnsafeCell::new(0));
        Ok(Slots((0..capacity).map(slot).collect()))
    }

    pub fn stamp(&self, index: u64) -> &AtomicU64 {
        &self.0[index as usize].0
    }

    pub unsafe fn put(&self, index: u64, from: *const u8) {
        // SAFETY: a number, and the slot is the caller's, which loom checks.
        self.0[index as usize].1.with_mut(|slot| unsafe { *slot = from.cast::<u64>().read() });
    }

    pub unsafe fn take(&self, index: u64, to: *mut u8) {
        // SAFETY: a place for a number, and the slot is the caller's, which loom checks.
        self.0[index as usize].1.with(|slot| unsafe { to.cast::<u64>().write(*slot) });
    }
}

pub fn send(ring: &Ring, number: u64) -> Option<Result<()>> {
    // SAFETY: a number.
    unsafe { ring.send((&raw const number).cast()) }
}

pub fn receive(ring: &Ring) -> Option<Result<u64>> {
    let mut number = 0_u64;
    // SAFETY: a place for a number.
    let received = unsafe { ring.receive((&raw mut number).cast()) };
    received.map(|result| result.map(|()| number))
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(check);
}

/// Two threads send, as much as there is room for, and one receives meanwhile.
#[test]
fn what_is_sent_is_received_once_and_in_order() {
    for capacity in [1, 2, 3] {
        model(move || {
            let ring = Arc::new(Ring::new(8, capacity).unwrap());
            let senders = [10, 20].map(|first| {
                let ring = ring.clone();
                thread::spawn(move || {
                    let sent =
                        (first..first + 2).take_while(|number| send(&ring, *number).is_some());
                    sent.collect::<Vec<_>>()
                })
            });
            let mut received = Vec::new();
            received.extend(receive(&ring).into_iter().flatten());
            received.extend(receive(&ring).into_iter().flatten());
            let mut sent = senders.map(|sender| sender.join().unwrap()).concat();
            received.extend(std::iter::from_fn(|| receive(&ring)?.ok()));
            for first in [10, 20] {
                assert!(received.iter().filter(|number| *number / 10 == first / 10).is_sorted());
            }
            sent.sort_unstable();
            received.sort_unstable();
            assert_eq!(sent, received);
            assert_eq!(ring.len(), 0);
        });
    }
}

/// Two threads receive what one sends.
#[test]
fn two_receivers_get_different_elements() {
    model(|| {
        let ring = Arc::new(Ring::new(8, 2).unwrap());
        assert_eq!(send(&ring, 1), Some(Ok(())));
        let others = [0, 1].map(|_| {
            let ring = ring.clone();
            thread::spawn(move || receive(&ring).into_iter().flatten().collect::<Vec<_>>())
        });
        let mut sent = vec![1];
        sent.extend([2, 3].into_iter().take_while(|number| send(&ring, *number).is_some()));
        let mut received = others.map(|other| other.join().unwrap()).concat();
        received.extend(std::iter::from_fn(|| receive(&ring)?.ok()));
        received.sort_unstable();
        assert_eq!(sent, received);
    });
}

/// What was sent before the channel was closed is received, and nobody is told before.
#[test]
fn a_close_comes_before_a_send_or_after_it() {
    model(|| {
        let ring = Arc::new(Ring::new(8, 1).unwrap());
        let sender = {
            let ring = ring.clone();
            thread::spawn(move || send(&ring, 1))
        };
        let closer = {
            let ring = ring.clone();
            thread::spawn(move || ring.close())
        };
        let early = receive(&ring);
        let sent = sender.join().unwrap();
        assert_eq!(closer.join().unwrap(), Ok(()));
        match sent {
            Some(Ok(())) => {
                assert!(early.is_none() || early == Some(Ok(1)), "{early:?}");
                if early.is_none() {
                    assert!(ring.is_ready(End::Receive));
                    assert_eq!(receive(&ring), Some(Ok(1)));
                }
            }
            sent => assert_eq!(sent, Some(Err(Error::Disconnected))),
        }
        assert_eq!(receive(&ring), Some(Err(Error::Disconnected)));
    });
}
