//! Posts: functions that any thread leaves for a scheduler, each of which a task of its own runs.
//!
//! | a post is | whose it is |
//! |---|---|
//! | in the inbox | the mailbox's; any thread and signal handler may have left it |
//! | taken | the scheduler's, in [`Posts`], in the order of the inbox |
//! | begun | a task's, which is ready behind those of the posts before it |
//! | abandoned | of who destroys the scheduler |
//!
//! From the inbox on it counts for the limit, until it is begun or abandoned. It is begun once there is
//! memory for its task, and stays the first one until then: no later post overtakes it, and none is
//! dropped.

use std::cell::Cell;
use std::mem::offset_of;
use std::ptr::NonNull;

use super::object::{Scheduler, current};
use crate::engine::sys::{self, Result};
use crate::engine::threads::{Message, Queue};

/// How many are begun in an iteration of the loop: their tasks run before more are made, so that they
/// do not take more memory than there is in the caches.
const BATCH: usize = 128;

/// A post: the first field of the poster's struct.
#[repr(C)]
pub struct Post {
    message: Message,
    start: Start,
}

/// Makes the task. On success the post is the task's or its owner's again; on an error nothing has
/// happened to it.
///
/// # Safety
/// The scheduler runs on this thread, and the post is of a struct that the function is for.
type Start = unsafe fn(&Scheduler, NonNull<Post>) -> Result<()>;

const _: () = assert!(offset_of!(Post, message) == 0);

impl Post {
    /// `abandon` is called instead of `start` when the scheduler is destroyed first.
    pub fn new(start: Start, abandon: unsafe fn(NonNull<Message>)) -> Post {
        Post { message: Message::new(take, abandon), start }
    }
}

/// The posts that were taken from the inbox.
pub struct Posts {
    queue: Queue,
    /// Whether there was no memory for the task of the first one.
    starved: Cell<bool>,
    /// How many messages of other threads are sure to come.
    expected: Cell<usize>,
    /// How many times the loop is not to look for one before it sleeps, and how often after it has looked
    /// in vain once more.
    looks_left_out: Cell<u32>,
    doubts: Cell<u32>,
}

impl Posts {
    pub const fn new() -> Posts {
        Posts {
            queue: Queue::new(),
            starved: Cell::new(false),
            expected: Cell::new(0),
            looks_left_out: Cell::new(0),
            doubts: Cell::new(1),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether one waits for memory.
    pub fn is_starved(&self) -> bool {
        self.starved.get()
    }

    /// Whether a message is sure to come, or a post to be begun once there is memory.
    pub fn may_come(&self) -> bool {
        self.expected.get() > 0 || self.is_starved()
    }
}

/// The loop has found it in the inbox.
///
/// # Safety
/// The message of a [`Post`].
unsafe fn take(message: NonNull<Message>) {
    if let Some(scheduler) = current() {
        scheduler.posts.queue.push(message);
    }
}

impl Scheduler {
    /// Another thread is sure to send a message, for which a task waits: so a run does not end by
    /// deadlock, and nothing is said of it.
    pub fn expect_message(&self) {
        self.posts.expected.update(|count| count + 1);
    }

    /// The message has come.
    pub fn message_has_come(&self) {
        self.posts.expected.update(|count| count - 1);
    }

    /// The loop is about to sleep: whether a message that is sure to come is there after a look or two, for
    /// which other threads are let run. What a task waits for may take less than to sleep and be woken. The
    /// more looks were in vain, the fewer there are.
    pub(super) fn look_for_message(&self) -> bool {
        const LOOKS: u32 = 2;
        const MOST_DOUBTS: u32 = 64;
        let Posts { expected, looks_left_out, doubts, .. } = &self.posts;
        if expected.get() != 1 || self.time.clock.has_custom() {
            return false;
        }
        if looks_left_out.get() > 0 {
            looks_left_out.update(|left| left - 1);
            return false;
        }
        for _ in 0..LOOKS {
            sys::yield_thread();
            if self.remote.has_messages() {
                doubts.set(1);
                return true;
            }
        }
        looks_left_out.set(doubts.get());
        doubts.set((2 * doubts.get()).min(MOST_DOUBTS));
        false
    }

    /// Makes tasks of posts.
    pub(super) fn begin_posts(&self) {
        for _ in 0..BATCH {
            let Some(message) = self.posts.queue.pop() else { break };
            let post = message.cast::<Post>();
            // SAFETY: only posts are in the queue, each of which is the first field of its struct.
            let started = unsafe { (post.as_ref().start)(self, post) };
            self.posts.starved.set(started.is_err());
            if started.is_err() {
                self.posts.queue.push_front(message);
                break;
            }
            self.remote.uncount_post();
        }
    }

    /// Abandons those that have not begun.
    pub(super) fn abandon_posts(&self) {
        while let Some(message) = self.posts.queue.pop() {
            self.remote.uncount_post();
            // SAFETY: as the poster has said.
            unsafe { (message.as_ref().abandon)(message) };
        }
    }
}
