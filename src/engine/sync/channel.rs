//! The channel: a queue of elements of one size, which are copied in and out.
//!
//! Elements are plain bytes. A waiting sender's element stays in the sender's memory until there is
//! room; an element for a waiting receiver is copied directly to the receiver's memory. So
//! receivers wait only while the buffer is empty, senders only while it is full, both in FIFO
//! order.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::ptr::{copy, null_mut};

use super::case::{Case, Operation};
use super::home::Home;
use super::object::Object;
use super::select::wait_for_channel;
use crate::engine::scheduler::Limit;
use crate::engine::sys::{self, Error, Result};
use crate::engine::task::WaitQueue;

/// A channel.
#[repr(C)]
pub struct Channel {
    home: Home,
    element_bytes: usize,
    /// Capacity of the buffer, in elements; 0 for an unbuffered channel.
    capacity: usize,
    buffer: *mut u8,
    /// Index of the oldest element.
    first: Cell<usize>,
    /// How many elements are in the buffer.
    length: Cell<usize>,
    closed: Cell<bool>,
    senders: WaitQueue<Case>,
    receivers: WaitQueue<Case>,
}

impl Object for Channel {
    fn home(&self) -> &Home {
        &self.home
    }

    fn is_in_use(&self) -> bool {
        !self.senders.is_empty() || !self.receivers.is_empty()
    }
}

impl Channel {
    /// For debuggers.
    pub const CAPACITY_OFFSET: usize = offset_of!(Channel, capacity);
    pub const LENGTH_OFFSET: usize = offset_of!(Channel, length);

    /// A buffered channel of `capacity` elements; with 0 an unbuffered one, where a sender waits
    /// for a receiver.
    pub fn new(home: Home, element_bytes: usize, capacity: usize) -> Result<Channel> {
        let bytes = element_bytes.checked_mul(capacity).ok_or(Error::OutOfMemory)?;
        let buffer = if bytes == 0 { null_mut() } else { sys::allocate::<u8>(bytes) };
        if buffer.is_null() && bytes > 0 {
            return Err(Error::OutOfMemory);
        }
        Ok(Channel {
            home,
            element_bytes,
            capacity,
            buffer,
            first: Cell::new(0),
            length: Cell::new(0),
            closed: Cell::new(false),
            senders: WaitQueue::new(),
            receivers: WaitQueue::new(),
        })
    }

    /// Sends the element at an address, once there is room. The element is moved out only on
    /// success.
    ///
    /// # Safety
    /// The address is that of an element, which stays there during the call.
    pub unsafe fn send(&self, element: *const c_void, limit: Limit) -> Result<()> {
        // SAFETY: as this function's contract says.
        unsafe { self.transfer(Operation::Send, element.cast_mut(), limit) }
    }

    /// Receives the oldest element into the place at an address, once there is one.
    ///
    /// # Safety
    /// The address is that of a place for an element, which nobody else uses during the call.
    pub unsafe fn receive(&self, place: *mut c_void, limit: Limit) -> Result<()> {
        // SAFETY: as this function's contract says.
        unsafe { self.transfer(Operation::Receive, place, limit) }
    }

    /// In its callers, which know the operation: that saves a fifth of the instructions of a call that need
    /// not wait.
    #[inline(always)]
    unsafe fn transfer(
        &self,
        operation: Operation,
        element: *mut c_void,
        limit: Limit,
    ) -> Result<()> {
        self.begin_call()?;
        // SAFETY: as the contracts of the callers say.
        if let Some(result) = unsafe { self.attempt(operation, element) } {
            return result;
        }
        // SAFETY: as above.
        unsafe { self.wait_for(operation, element, limit) }
    }

    #[inline(never)]
    unsafe fn wait_for(
        &self,
        operation: Operation,
        element: *mut c_void,
        limit: Limit,
    ) -> Result<()> {
        // SAFETY: as the contracts of the callers say.
        unsafe { wait_for_channel(self, operation, element, limit) }
    }

    /// Sends or receives if that is possible now, without waiting.
    ///
    /// # Safety
    /// As [`send`](Self::send) or [`receive`](Self::receive).
    pub unsafe fn try_transfer(&self, operation: Operation, element: *mut c_void) -> Result<()> {
        self.home.for_caller()?;
        // SAFETY: as this function's contract says.
        unsafe { self.attempt(operation, element) }.unwrap_or(Err(Error::WouldBlock))
    }

    /// [`try_transfer`](Self::try_transfer) without the check of the caller; `None` if it would
    /// have to wait.
    ///
    /// # Safety
    /// As [`try_transfer`](Self::try_transfer).
    #[inline]
    pub unsafe fn attempt(&self, operation: Operation, element: *mut c_void) -> Option<Result<()>> {
        match operation {
            Operation::Send if self.closed.get() => return Some(Err(Error::Disconnected)),
            Operation::Send => {
                if let Some(receiver) = self.receivers.first() {
                    // SAFETY: an element and a place for one, of a task that waits and the caller.
                    unsafe { self.copy(element.cast(), receiver.element()) };
                    self.finish(receiver, 0);
                } else if self.length.get() < self.capacity {
                    // SAFETY: as this function's contract says.
                    unsafe { self.put(element.cast()) };
                } else {
                    return None;
                }
            }
            Operation::Receive => {
                let sender = self.senders.first();
                if self.length.get() > 0 {
                    // SAFETY: an element of the buffer, and a place for one.
                    unsafe { self.copy(self.slot(self.first.get()), element.cast()) };
                    self.first.set((self.first.get() + 1) % self.capacity);
                    self.length.set(self.length.get() - 1);
                    if let Some(sender) = sender {
                        // SAFETY: the element of a task that waits.
                        unsafe { self.put(sender.element()) };
                    }
                } else if let Some(sender) = sender {
                    // SAFETY: as above, from the one to the other.
                    unsafe { self.copy(sender.element(), element.cast()) };
                } else if self.closed.get() {
                    return Some(Err(Error::Disconnected));
                } else {
                    return None;
                }
                if let Some(sender) = sender {
                    self.finish(sender, 0);
                }
            }
        }
        Some(Ok(()))
    }

    /// Ends the wait of the task that this case belongs to.
    fn finish(&self, case: &Case, result: c_int) {
        // The scheduler is alive, since one of its tasks waits.
        if let Some(scheduler) = self.home.scheduler() {
            case.finish(scheduler, result);
        }
    }

    /// Whether [`attempt`](Self::attempt) would complete, also with the error that the channel is
    /// closed.
    pub fn is_ready(&self, operation: Operation) -> bool {
        self.closed.get()
            || match operation {
                Operation::Send => !self.receivers.is_empty() || self.length.get() < self.capacity,
                Operation::Receive => !self.senders.is_empty() || self.length.get() > 0,
            }
    }

    /// The queue of the cases that wait for an operation.
    pub fn waiters(&self, operation: Operation) -> &WaitQueue<Case> {
        match operation {
            Operation::Send => &self.senders,
            Operation::Receive => &self.receivers,
        }
    }

    /// Closes the channel: sends fail from now on, and receives fail once the buffer is empty.
    /// Waiters are woken with the error.
    pub fn close(&self) -> Result<()> {
        self.home.for_caller()?;
        if self.closed.get() {
            return Err(Error::Disconnected);
        }
        self.disconnect();
        Ok(())
    }

    /// [`close`](Self::close) without checks; idempotent.
    pub fn disconnect(&self) {
        const CLOSED: c_int = -libc::EPIPE;
        self.closed.set(true);
        for waiters in [&self.senders, &self.receivers] {
            while let Some(case) = waiters.first() {
                self.finish(case, CLOSED);
            }
        }
    }

    /// How many elements are in the buffer.
    pub fn len(&self) -> usize {
        self.length.get()
    }

    /// An error for an address that cannot be an element's.
    pub fn check(&self, element: *const c_void) -> Result<()> {
        if element.is_null() && self.element_bytes > 0 {
            return Err(Error::InvalidArgument);
        }
        Ok(())
    }

    fn slot(&self, index: usize) -> *mut u8 {
        self.buffer.wrapping_add(index * self.element_bytes)
    }

    /// Appends an element to the buffer, which has room.
    ///
    /// # Safety
    /// An element.
    unsafe fn put(&self, element: *const u8) {
        // It overflows only for elements of size 0, where all slots are the same.
        let index = self.first.get().wrapping_add(self.length.get()) % self.capacity;
        // SAFETY: as this function's contract says, and a free slot.
        unsafe { self.copy(element, self.slot(index)) };
        self.length.set(self.length.get() + 1);
    }

    /// # Safety
    /// An element, and a place for one.
    unsafe fn copy(&self, from: *const u8, to: *mut u8) {
        if self.element_bytes > 0 {
            // SAFETY: as this function's contract says. Two callers may have lent the same memory, or
            // memory that overlaps, which is not forbidden to `copy`.
            unsafe { copy(from, to, self.element_bytes) };
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: from `new`, or null.
        unsafe { sys::free(self.buffer.cast()) };
    }
}
