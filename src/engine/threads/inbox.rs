//! The inbox: a lock-free MPSC queue. Any thread and signal handler may push messages, one thread
//! takes them.
//!
//! A Treiber stack (1986) of messages: a push is a single compare-and-swap, so a poster that is
//! interrupted, or stops for ever, leaves a consistent queue. The receiver takes all messages at
//! once and reverses them, so the messages of one poster keep their order.

use std::cell::Cell;
use std::ptr::{NonNull, null_mut};

use super::atomic::{
    AtomicPtr,
    Ordering::{AcqRel, Acquire, Relaxed},
    step,
};

/// An intrusive message: the first field of the poster's struct, which must keep its address until
/// it is run or abandoned.
#[repr(C)]
pub struct Message {
    next: AtomicPtr<Message>,
    /// Called on the scheduler's thread.
    pub run: unsafe fn(NonNull<Message>),
    /// Called instead if the scheduler is destroyed first.
    pub abandon: unsafe fn(NonNull<Message>),
}

impl Message {
    pub fn new(run: unsafe fn(NonNull<Message>), abandon: unsafe fn(NonNull<Message>)) -> Message {
        Message { next: AtomicPtr::new(null_mut()), run, abandon }
    }
}

/// The error of a push into a closed inbox.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

/// The queue.
pub struct Inbox {
    /// The latest message; null if empty, [`CLOSED`] after [`Inbox::close`].
    latest: AtomicPtr<Message>,
}

/// Not a message's address.
const CLOSED: *mut Message = std::ptr::without_provenance_mut(1);

impl Inbox {
    pub fn new() -> Inbox {
        Inbox { latest: AtomicPtr::new(null_mut()) }
    }

    /// Pushes a message.
    pub fn push(&self, message: NonNull<Message>) -> Result<(), Closed> {
        let mut latest = self.latest.load(Relaxed);
        loop {
            if latest == CLOSED {
                return Err(Closed);
            }
            // SAFETY: the caller's, and in no queue.
            unsafe { message.as_ref() }.next.store(latest, Relaxed);
            step();
            // Release: the receiver sees the poster's writes to the message.
            match self.latest.compare_exchange_weak(latest, message.as_ptr(), AcqRel, Relaxed) {
                Ok(_) => return Ok(()),
                Err(others) => latest = others,
            }
        }
    }

    /// Whether there is no message. Ordered by the fence of the caller.
    pub fn is_empty(&self) -> bool {
        let latest = self.latest.load(Relaxed);
        latest.is_null() || latest == CLOSED
    }

    pub fn is_closed(&self) -> bool {
        self.latest.load(Acquire) == CLOSED
    }

    /// Takes all messages. Only for the receiver.
    pub fn take(&self) -> Batch {
        if self.is_empty() {
            return Batch { first: null_mut() }; // Not by swapping, which would open a closed one.
        }
        Batch::of(self.latest.swap(null_mut(), AcqRel))
    }

    /// Takes all messages, and closes the inbox. Only for the receiver.
    pub fn close(&self) -> Batch {
        match self.latest.swap(CLOSED, AcqRel) {
            CLOSED => Batch { first: null_mut() },
            latest => Batch::of(latest),
        }
    }
}

/// A FIFO queue of messages that were taken, for one thread.
pub struct Queue {
    first: Cell<*mut Message>,
    last: Cell<*mut Message>,
}

impl Queue {
    pub const fn new() -> Queue {
        Queue { first: Cell::new(null_mut()), last: Cell::new(null_mut()) }
    }

    pub fn is_empty(&self) -> bool {
        self.first.get().is_null()
    }

    /// Appends a message, which keeps its address while it is in the queue.
    pub fn push(&self, message: NonNull<Message>) {
        // SAFETY: a message that was taken, so it is the receiver's.
        unsafe { message.as_ref() }.next.store(null_mut(), Relaxed);
        // SAFETY: a message of the queue.
        match unsafe { self.last.replace(message.as_ptr()).as_ref() } {
            Some(last) => last.next.store(message.as_ptr(), Relaxed),
            None => self.first.set(message.as_ptr()),
        }
    }

    /// The first message, which stays in the queue.
    pub fn first(&self) -> Option<NonNull<Message>> {
        NonNull::new(self.first.get())
    }

    /// Puts the message that was taken out last back.
    pub fn push_front(&self, message: NonNull<Message>) {
        let first = self.first.replace(message.as_ptr());
        // SAFETY: a message that was taken, so it is the receiver's.
        unsafe { message.as_ref() }.next.store(first, Relaxed);
        if first.is_null() {
            self.last.set(message.as_ptr());
        }
    }

    /// Takes the first message out.
    pub fn pop(&self) -> Option<NonNull<Message>> {
        let first = self.first()?;
        // SAFETY: a message of the queue.
        let next = unsafe { first.as_ref() }.next.load(Relaxed);
        self.first.set(next);
        if next.is_null() {
            self.last.set(null_mut());
        }
        Some(first)
    }
}

/// Messages that were taken, in FIFO order.
pub struct Batch {
    first: *mut Message,
}

impl Batch {
    fn of(mut latest: *mut Message) -> Batch {
        let mut first = null_mut();
        // SAFETY: messages of the queue, which are the receiver's now.
        while let Some(message) = unsafe { latest.as_ref() } {
            let earlier = message.next.load(Relaxed);
            message.next.store(first, Relaxed);
            (first, latest) = (latest, earlier);
        }
        Batch { first }
    }
}

impl Iterator for Batch {
    type Item = NonNull<Message>;

    /// The caller owns the message from now on, and may free it before the next call.
    fn next(&mut self) -> Option<NonNull<Message>> {
        let message = NonNull::new(self.first)?;
        // SAFETY: a message that was taken out, and not handed on yet.
        self.first = unsafe { message.as_ref() }.next.load(Relaxed);
        Some(message)
    }
}
