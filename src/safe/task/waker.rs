//! Waking a task from any thread, as futures do.
//!
//! | `in_flight` | the message |
//! |---|---|
//! | false | is in the waker's memory, and nobody's |
//! | true | is on its way to the scheduler, which has a reference to the waker by it |
//!
//! Who sets it to true posts the message; who runs or abandons it sets it to false first, so that a wake-up
//! that comes then is posted anew. Both by swaps, so that what any of the wakers has written before is seen
//! by the task.

use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::task::{Wake, Waker};

use crate::engine::scheduler;
use crate::engine::threads::{Message, Remote};
use crate::safe::record::wake;

/// What is behind a task's waker.
#[repr(C)]
struct TaskWaker {
    message: Message,
    in_flight: AtomicBool,
    remote: Remote,
    id: u64,
}

const _: () = assert!(offset_of!(TaskWaker, message) == 0);

// SAFETY: the message is touched by who has set `in_flight`, and the scheduler after it; the rest may be
// shared.
unsafe impl Send for TaskWaker {}
// SAFETY: as above.
unsafe impl Sync for TaskWaker {}

/// The waker of the task with an id.
pub fn of(core: &scheduler::Scheduler, id: u64) -> Waker {
    Waker::from(Arc::new(TaskWaker {
        message: Message::new(arrive, give_up),
        in_flight: AtomicBool::new(false),
        remote: core.remote.clone(),
        id,
    }))
}

impl TaskWaker {
    fn wake_in(&self, scheduler: &scheduler::Scheduler) {
        if let Some(task) = scheduler.tasks.find_id(self.id) {
            wake(scheduler, task);
        }
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(here) = scheduler::current().filter(|here| here.remote.is(&self.remote)) {
            return self.wake_in(here);
        }
        if self.in_flight.swap(true, AcqRel) {
            return;
        }
        // A cast of the pointer to the whole, and not one to the field, may be turned back.
        let message = Arc::into_raw(self.clone()).cast_mut().cast::<Message>();
        // SAFETY: not null, and nobody else's: see the module.
        let posted = unsafe { self.remote.post(NonNull::new_unchecked(message)) };
        if posted.is_err() {
            // SAFETY: from above.
            unsafe { give_up(NonNull::new_unchecked(message)) };
        }
    }
}

/// The message of a [`TaskWaker`], to which it is a reference, has arrived.
///
/// # Safety
/// As it says.
unsafe fn arrive(message: NonNull<Message>) {
    // SAFETY: as this function's contract says.
    let waker = unsafe { Arc::from_raw(message.as_ptr().cast::<TaskWaker>()) };
    waker.in_flight.swap(false, AcqRel);
    if let Some(here) = scheduler::current() {
        waker.wake_in(here);
    }
}

/// The scheduler is gone.
///
/// # Safety
/// As [`arrive`].
unsafe fn give_up(message: NonNull<Message>) {
    // SAFETY: as this function's contract says.
    let waker = unsafe { Arc::from_raw(message.as_ptr().cast::<TaskWaker>()) };
    waker.in_flight.swap(false, AcqRel);
}
