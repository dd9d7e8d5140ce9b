//! The ring: a bounded lock-free MPMC queue of elements of one size. Checked with loom: `make loom`.
//!
//! # The states
//!
//! Vyukov's queue (2010): positions count up for ever, each belongs to one slot, and the slot's *stamp* says
//! what can be done there.
//!
//! | stamp of the slot of position `p` | is | goes to | by whom |
//! |---|---|---|---|
//! | `p` | free | `p + FILLED` | the sender that has moved `tail` from `p` on: that has claimed the slot for it, and now the element is written |
//! | `p + FILLED` | filled | the same slot's next position: free again, a lap later | the receiver that has moved `head` from `p` on: that has claimed it, and now the element is read |
//!
//! | word | goes to | by whom |
//! |---|---|---|
//! | `tail` | the next position | a sender, by a compare-and-swap, if the slot is free |
//! | | the same with [`CLOSED`], for good | who closes the channel |
//! | `head` | the next position | a receiver, by a compare-and-swap, if the slot is filled |
//!
//! A position is a lap and an index, so that any capacity goes without a division. It is even; the lowest bit
//! of a stamp is [`FILLED`], that of `tail` is [`CLOSED`].
//!
//! *Closing* sets that bit: the same compare-and-swap that would claim a slot fails, so a sender has claimed one
//! before, and then its element is received, or is told. A receiver is told once `head` is where `tail` is:
//! not while an element has been claimed for and is not there yet.
//!
//! *Nobody waits here.* What another thread has claimed and not finished counts as not there: the ring is empty
//! to a receiver, or full to a sender. That thread notifies when it has finished, as after any send and receive.
//! So a thread that stops in between, or does not exist in a child of fork(), makes no call hang.
//!
//! *Order*: elements are received in the order of their positions, so those of one sender in the order of its
//! sends.

use super::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::engine::sys::{Error, Result};

#[cfg(loom)]
use models::Slots;
#[cfg(not(loom))]
use slots::Slots;

/// The two ends of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Send,
    Receive,
}

/// The queue.
pub struct Ring {
    tail: Padded,
    head: Padded,
    slots: Slots,
    capacity: u64,
    /// The distance of a slot's positions: a power of two.
    lap: u64,
}

/// A counter in cache lines of its own: two, since processors fetch them in pairs.
#[repr(align(128))]
struct Padded(AtomicU64);

/// What the position of the same lap with the next index is away.
const STEP: u64 = 2;
/// In a stamp: the element is there.
const FILLED: u64 = 1;
/// In `tail`: nothing can be sent any more.
const CLOSED: u64 = 1;

/// How far a stamp is behind (negative) or ahead of what it should be.
fn distance(stamp: u64, expected: u64) -> i64 {
    stamp.wrapping_sub(expected).cast_signed()
}

impl Ring {
    /// A ring for `capacity` elements, which is not 0.
    pub fn new(element_bytes: usize, capacity: usize) -> Result<Ring> {
        let lap = (capacity as u64).checked_next_power_of_two().and_then(|n| n.checked_mul(STEP));
        Ok(Ring {
            tail: Padded(AtomicU64::new(0)),
            head: Padded(AtomicU64::new(0)),
            slots: Slots::new(element_bytes, capacity)?,
            capacity: capacity as u64,
            lap: lap.ok_or(Error::OutOfMemory)?,
        })
    }

    #[inline]
    fn index(&self, position: u64) -> u64 {
        (position & (self.lap - 1)) / STEP
    }

    #[inline]
    fn next(&self, position: u64) -> u64 {
        if self.index(position) + 1 < self.capacity {
            position + STEP
        } else {
            (position & !(self.lap - 1)).wrapping_add(self.lap)
        }
    }

    /// Sends the element at an address; `None` if there is no room.
    ///
    /// # Safety
    /// An element.
    #[inline(always)]
    pub unsafe fn send(&self, element: *const u8) -> Option<Result<()>> {
        let mut tail = self.tail.0.load(Relaxed);
        loop {
            if tail & CLOSED != 0 {
                return Some(Err(Error::Disconnected));
            }
            let index = self.index(tail);
            let stamp = self.slots.stamp(index);
            // Acquire: the receiver that was here a lap ago has read its element.
            match distance(stamp.load(Acquire), tail) {
                0 => {
                    let next = self.next(tail);
                    match self.tail.0.compare_exchange_weak(tail, next, Relaxed, Relaxed) {
                        Ok(_) => {
                            // SAFETY: claimed just now, and an element.
                            unsafe { self.slots.put(index, element) };
                            stamp.store(tail + FILLED, Release);
                            return Some(Ok(()));
                        }
                        Err(others) => tail = others,
                    }
                }
                ..0 => return None,
                _ => tail = self.tail.0.load(Relaxed), // Another sender has claimed it.
            }
        }
    }

    /// Receives the oldest element into the place at an address; `None` if there is none.
    ///
    /// # Safety
    /// A place for an element.
    #[inline(always)]
    pub unsafe fn receive(&self, place: *mut u8) -> Option<Result<()>> {
        let mut head = self.head.0.load(Relaxed);
        loop {
            let index = self.index(head);
            let stamp = self.slots.stamp(index);
            // Acquire: the sender has written the element.
            match distance(stamp.load(Acquire), head + FILLED) {
                0 => {
                    let next = self.next(head);
                    match self.head.0.compare_exchange_weak(head, next, Relaxed, Relaxed) {
                        Ok(_) => {
                            // SAFETY: claimed just now, and a place for an element.
                            unsafe { self.slots.take(index, place) };
                            stamp.store(head.wrapping_add(self.lap), Release);
                            return Some(Ok(()));
                        }
                        Err(others) => head = others,
                    }
                }
                // Nobody has got past a slot that is not filled, so `head` is up to date.
                ..0 => return self.is_closed_at(head).then_some(Err(Error::Disconnected)),
                _ => head = self.head.0.load(Relaxed), // Another receiver has claimed it.
            }
        }
    }

    /// Acquires what the thread that has closed it has written.
    fn is_closed_at(&self, head: u64) -> bool {
        self.tail.0.load(Acquire) == head | CLOSED
    }

    /// Whether a send or a receive would complete, also with the error that the channel is closed.
    pub fn is_ready(&self, end: End) -> bool {
        let counter = match end {
            End::Send => &self.tail.0,
            End::Receive => &self.head.0,
        };
        loop {
            let position = counter.load(Relaxed);
            let expected = match end {
                End::Send if position & CLOSED != 0 => return true,
                End::Send => position,
                End::Receive => position + FILLED,
            };
            match distance(self.slots.stamp(self.index(position)).load(Acquire), expected) {
                0 => return true,
                ..0 => return end == End::Receive && self.is_closed_at(position),
                _ => {} // Another thread has claimed it.
            }
        }
    }

    /// Closes it. An error if it is closed already.
    pub fn close(&self) -> Result<()> {
        let tail = self.tail.0.fetch_or(CLOSED, AcqRel);
        if tail & CLOSED != 0 { Err(Error::Disconnected) } else { Ok(()) }
    }

    /// How many elements are in it, or were a moment ago.
    pub fn len(&self) -> usize {
        let head = self.head.0.load(Acquire);
        let tail = self.tail.0.load(Acquire) & !CLOSED;
        let laps = (tail & !(self.lap - 1)).wrapping_sub(head & !(self.lap - 1)) / self.lap;
        let count = laps
            .wrapping_mul(self.capacity)
            .wrapping_add(self.index(tail))
            .wrapping_sub(self.index(head));
        count.min(self.capacity) as usize
    }
}

/// Slots in memory: a stamp and an element each.
#[cfg(not(loom))]
mod slots {
    use std::ptr::copy_nonoverlapping;

    use super::AtomicU64;
    use crate::engine::context::sanitizer;
    use crate::engine::sys::{self, Error, Result};

    pub struct Slots {
        memory: *mut AtomicU64,
        /// The size of a slot, in words.
        words: usize,
        element_bytes: usize,
    }

    // SAFETY: atomics, and elements that belong to whoever has claimed their slot.
    unsafe impl Send for Slots {}
    // SAFETY: as above.
    unsafe impl Sync for Slots {}

    impl Slots {
        pub fn new(element_bytes: usize, capacity: usize) -> Result<Slots> {
            const WORD: usize = size_of::<AtomicU64>();
            sanitizer::look_up_tsan_hooks();
            let words = 1 + element_bytes.div_ceil(WORD);
            let total = words.checked_mul(capacity).ok_or(Error::OutOfMemory)?;
            let memory = sys::allocate::<AtomicU64>(total);
            if memory.is_null() {
                return Err(Error::OutOfMemory);
            }
            for index in 0..capacity {
                // SAFETY: within the memory just allocated.
                unsafe {
                    memory.add(index * words).write(AtomicU64::new(super::STEP * index as u64))
                };
            }
            Ok(Slots { memory, words, element_bytes })
        }

        #[inline]
        pub fn stamp(&self, index: u64) -> &AtomicU64 {
            // SAFETY: an index is less than the capacity, and the slot begins with the stamp.
            unsafe { &*self.memory.add(index as usize * self.words) }
        }

        fn element(&self, index: u64) -> *mut u8 {
            self.memory.wrapping_add(index as usize * self.words + 1).cast()
        }

        /// # Safety
        /// The caller has claimed the free slot; an element.
        #[inline]
        pub unsafe fn put(&self, index: u64, from: *const u8) {
            sanitizer::acquire(self.stamp(index));
            // SAFETY: as this function's contract says.
            unsafe { self.copy(from, self.element(index)) };
            sanitizer::release(self.stamp(index));
        }

        /// # Safety
        /// The caller has claimed the filled slot; a place for an element.
        #[inline]
        pub unsafe fn take(&self, index: u64, to: *mut u8) {
            sanitizer::acquire(self.stamp(index));
            // SAFETY: as this function's contract says.
            unsafe { self.copy(self.element(index), to) };
            sanitizer::release(self.stamp(index));
        }

        /// # Safety
        /// An element and a place for one, of which one is the slot's.
        #[inline]
        unsafe fn copy(&self, from: *const u8, to: *mut u8) {
            match self.element_bytes {
                0 => {}
                // SAFETY: as this function's contract says; a pointer or a number saves the call.
                8 => unsafe {
                    to.cast::<u64>().write_unaligned(from.cast::<u64>().read_unaligned())
                },
                // SAFETY: as above.
                bytes => unsafe { copy_nonoverlapping(from, to, bytes) },
            }
        }
    }

    impl Drop for Slots {
        fn drop(&mut self) {
            // SAFETY: from `new`.
            unsafe { sys::free(self.memory.cast()) };
        }
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/ring.rs"]
pub mod models;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{End, Ring};
    use crate::engine::sys::Error;

    fn send(ring: &Ring, number: u64) -> Option<Result<(), Error>> {
        // SAFETY: a number.
        unsafe { ring.send((&raw const number).cast()) }
    }

    fn receive(ring: &Ring) -> Option<Result<u64, Error>> {
        let mut number = 0_u64;
        // SAFETY: a place for a number.
        let received = unsafe { ring.receive((&raw mut number).cast()) };
        received.map(|result| result.map(|()| number))
    }

    #[test]
    fn a_ring_of_any_capacity_is_full_empty_and_closed_when_it_should_be() {
        for capacity in 1..=9 {
            let ring = Ring::new(8, capacity).unwrap();
            let mut next = 0;
            for round in 0..40 {
                for count in 0..capacity {
                    assert_eq!(ring.len(), count);
                    assert!(ring.is_ready(End::Send));
                    assert_eq!(send(&ring, next + count as u64), Some(Ok(())));
                    assert!(ring.is_ready(End::Receive));
                }
                assert_eq!((ring.is_ready(End::Send), send(&ring, 0)), (false, None));
                let taken = if round % 2 == 0 { capacity } else { 1 };
                for _ in 0..taken {
                    assert_eq!(receive(&ring), Some(Ok(next)));
                    next += 1;
                }
                for _ in taken..capacity {
                    assert_eq!(receive(&ring), Some(Ok(next)));
                    next += 1;
                }
                assert_eq!((ring.is_ready(End::Receive), receive(&ring)), (false, None));
            }
            assert_eq!(send(&ring, 7), Some(Ok(())));
            assert_eq!((ring.close(), ring.close()), (Ok(()), Err(Error::Disconnected)));
            assert_eq!(send(&ring, 8), Some(Err(Error::Disconnected)));
            assert_eq!((ring.len(), receive(&ring)), (1, Some(Ok(7))));
            assert_eq!(receive(&ring), Some(Err(Error::Disconnected)));
            assert!(ring.is_ready(End::Send) && ring.is_ready(End::Receive));
        }
    }

    #[test]
    fn elements_may_be_nothing_or_of_an_odd_size() {
        let nothing = Ring::new(0, 2).unwrap();
        assert_eq!(send(&nothing, 1), Some(Ok(())));
        assert_eq!(receive(&nothing), Some(Ok(0)));
        let ring = Ring::new(13, 3).unwrap();
        for round in 0..5_u8 {
            let element = [round; 13];
            let mut place = [0xff; 14];
            // SAFETY: an element, and a place for one.
            unsafe {
                assert_eq!(ring.send(element.as_ptr()), Some(Ok(())));
                assert_eq!(ring.receive(place.as_mut_ptr()), Some(Ok(())));
            }
            assert_eq!((&place[..13], place[13]), (&element[..], 0xff));
        }
        assert_eq!(Ring::new(usize::MAX / 2, 3).err(), Some(Error::OutOfMemory));
        assert_eq!(Ring::new(1, usize::MAX).err(), Some(Error::OutOfMemory));
    }

    /// What has been claimed and not finished is not there, and nobody waits for it.
    #[test]
    fn a_slot_that_a_thread_has_left_claimed_makes_no_call_hang() {
        let ring = Ring::new(8, 2).unwrap();
        ring.tail.0.store(super::STEP, super::Relaxed); // A sender stops here.
        assert_eq!(receive(&ring), None);
        assert_eq!(send(&ring, 1), Some(Ok(())));
        assert_eq!((receive(&ring), send(&ring, 2)), (None, None));
        ring.close().unwrap();
        assert_eq!((receive(&ring), ring.is_ready(End::Receive)), (None, false));
    }
}
