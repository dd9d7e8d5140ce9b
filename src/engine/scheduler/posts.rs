//! Posts: functions that any thread leaves for a scheduler, each of which a task of its own runs.
//!
//! | a post is | whose it is |
//! |---|---|
//! | in the inbox | the mailbox's; any thread and signal handler may have left it |
//! | taken | the scheduler's, in its `posts`, in the order of the inbox |
//! | begun | a task's, which is ready behind those of the posts before it |
//! | abandoned | of who destroys the scheduler: also one whose task has had no turn |
//!
//! Where no other task is ready, the task of a post goes on with the next one when its function has
//! returned, as a new task that takes over its stack would: with another id, and only if the function has
//! left nothing behind. That saves the making of a task, which takes as long as all else.
//!
//! From the inbox on it counts for the limit, until it is begun or abandoned. It is begun once there is
//! memory for its task, and stays the first one until then: no later post overtakes it, and none is
//! dropped.

use std::mem::offset_of;
use std::ptr::{NonNull, fn_addr_eq};

use super::object::{Scheduler, current};
use crate::engine::context::{probe, stack::Stack};
use crate::engine::measure;
use crate::engine::sys::Result;
use crate::engine::task::Task;
use crate::engine::threads::Message;

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
pub type Start = unsafe fn(&Scheduler, NonNull<Post>) -> Result<()>;

const _: () = assert!(offset_of!(Post, message) == 0);

impl Post {
    /// `abandon` is called instead of `start` when the scheduler is destroyed first.
    pub fn new(start: Start, abandon: unsafe fn(NonNull<Message>)) -> Post {
        Post { message: Message::new(take, abandon), start }
    }
}

/// The loop has found it in the inbox.
///
/// # Safety
/// The message of a [`Post`].
unsafe fn take(message: NonNull<Message>) {
    if let Some(scheduler) = current() {
        probe::post(message.as_ptr().cast());
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

    /// Makes tasks of posts: of one, if it may take the others.
    pub(super) fn begin_posts(&self) {
        if self.posts.is_empty() {
            return;
        }
        let is_alone = self.run_queue.is_empty() && !self.posts.is_out.get();
        for _ in 0..if is_alone { 1 } else { BATCH } {
            let Some(message) = self.posts.queue.pop() else { break };
            let post = message.cast::<Post>();
            // SAFETY: only posts are in the queue, each of which is the first field of its struct.
            let started = unsafe { (post.as_ref().start)(self, post) };
            self.posts.shortage.set(started.err());
            if started.is_err() {
                self.posts.queue.push_front(message);
                break;
            }
            self.remote.count_begun();
            if self.recorder.is_on() {
                self.record_post();
            }
        }
        self.posts.is_out.set(is_alone);
    }

    /// The next post, if it is made by `start`, for the task that runs, whose post has returned.
    pub fn next_post(&self, task: &Task, start: Start) -> Option<NonNull<Post>> {
        self.posts.is_out.set(false);
        let post = self.posts.queue.first()?.cast::<Post>();
        // SAFETY: as above.
        let is_alike = fn_addr_eq(unsafe { post.as_ref() }.start, start);
        let is_next = self.run_queue.is_empty() && is_alike && task.is_as_new();
        let is_next = is_next && !self.recorder.is_on(); // Which is told of each task.
        if !is_next || !self.can_switch_directly(self.time.clock.ticks()) {
            return None;
        }
        self.posts.queue.pop();
        self.remote.count_begun();
        self.tasks.renew(task);
        self.dispatch.float_modes.get().restore();
        self.dispatch.thread_state.clear();
        measure::add(&self.metrics.tasks_exited, 1);
        measure::add(&self.metrics.tasks_created, 1);
        Some(post)
    }

    /// Abandons those that have not begun, and before them those whose tasks have had no turn.
    pub(super) fn abandon_posts(&self) {
        for task in self.tasks.iter().filter(|task| task.stack.get() == Stack::NONE) {
            if let Some(abandon) = task.words().abandon {
                // SAFETY: the state is the task's, which will not run.
                unsafe { abandon(task.user_state.get()) };
            }
        }
        while let Some(message) = self.posts.queue.pop() {
            self.remote.count_begun();
            // SAFETY: as the poster has said.
            unsafe { (message.as_ref().abandon)(message) };
        }
    }
}
