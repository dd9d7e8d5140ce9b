//! The inbox: a queue that any thread and any signal handler puts messages into, and that one thread
//! takes them out of.
//!
//! A stack of linked messages (Treiber, 1986): to put one in is a single compare-and-swap, so a
//! poster that is interrupted anywhere, or never goes on, leaves a whole queue to the others. The
//! receiver takes all at once and turns them round, so the messages of one poster keep their order.

use std::ptr::{NonNull, null_mut};

use super::atomic::{
    AtomicPtr,
    Ordering::{AcqRel, Acquire, Relaxed},
    step,
};

/// What is put in: the first field of whatever is sent. Whoever posts one keeps it where it is until
/// it has been run or abandoned.
#[repr(C)]
pub struct Message {
    next: AtomicPtr<Message>,
    /// Called by the scheduler's thread.
    pub run: unsafe fn(NonNull<Message>),
    /// Called in its place when the scheduler is destroyed first.
    pub abandon: unsafe fn(NonNull<Message>),
}

impl Message {
    #[cfg_attr(not(loom), expect(dead_code, reason = "see `Mailbox::post`"))]
    pub fn new(run: unsafe fn(NonNull<Message>), abandon: unsafe fn(NonNull<Message>)) -> Message {
        Message { next: AtomicPtr::new(null_mut()), run, abandon }
    }
}

/// The inbox is closed: the message is not in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

/// The queue.
pub struct Inbox {
    /// The latest message; null for none, [`CLOSED`] once nothing can be put in any more.
    latest: AtomicPtr<Message>,
}

/// What is no message's address.
const CLOSED: *mut Message = std::ptr::without_provenance_mut(1);

impl Inbox {
    pub fn new() -> Inbox {
        Inbox { latest: AtomicPtr::new(null_mut()) }
    }

    /// Puts a message in.
    pub fn push(&self, message: NonNull<Message>) -> Result<(), Closed> {
        let mut latest = self.latest.load(Relaxed);
        loop {
            if latest == CLOSED {
                return Err(Closed);
            }
            // SAFETY: the caller's, and in no queue.
            unsafe { message.as_ref() }.next.store(latest, Relaxed);
            step();
            // Release: what was written to the message is seen by who takes it.
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

    /// Takes all messages out. Only by the receiver.
    pub fn take(&self) -> Batch {
        if self.is_empty() {
            return Batch { first: null_mut() }; // Not by swapping, which would open a closed one.
        }
        Batch::of(self.latest.swap(null_mut(), AcqRel))
    }

    /// Takes all messages out, and lets nothing in any more. Only by the receiver.
    pub fn close(&self) -> Batch {
        match self.latest.swap(CLOSED, AcqRel) {
            CLOSED => Batch { first: null_mut() },
            latest => Batch::of(latest),
        }
    }
}

/// Messages that were taken out, the one that was put in first at the front.
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

    /// The message is the caller's from then on, and may be gone before the next one is asked for.
    fn next(&mut self) -> Option<NonNull<Message>> {
        let message = NonNull::new(self.first)?;
        // SAFETY: a message that was taken out, and not handed on yet.
        self.first = unsafe { message.as_ref() }.next.load(Relaxed);
        Some(message)
    }
}
