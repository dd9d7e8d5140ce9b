//! Waking a task from any thread, as futures do, and running a future in a task.
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
use std::pin::pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::task::{Context, Poll, Wake, Waker};

use super::handle::wake_task;
use super::{current, park};
use crate::engine::scheduler;
use crate::engine::sys::{Error, Result};
use crate::engine::threads::{Message, Remote};

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
            wake_task(scheduler, task);
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

/// Runs a future to its end, and suspends the running task while the future is not ready. For futures that
/// need no runtime of their own: channels between threads, what combines such futures. This library is no
/// executor: a future of tokio, say, finds no tokio here.
///
/// The future is dropped when the task is canceled, or its time is over, and unwound from here.
///
/// While it waits, the run does not end by [`Error::Deadlock`], since another thread may wake it.
///
/// ```
/// use majjen::{Scheduler, task};
///
/// let scheduler = Scheduler::new()?;
/// let waits = scheduler.spawn(|| task::block_on(async { std::future::ready(1).await + 1 }));
/// scheduler.run()?;
/// assert_eq!(waits.join()?, Ok(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::NotInTask`] outside a task, and in one that C code has created; and those of
/// [`sleep`](super::sleep).
pub fn block_on<F: Future>(future: F) -> Result<F::Output> {
    let task = current().ok_or(Error::NotInTask)?;
    let waker = task.waker();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Ok(output);
        }
        let _expected = Expected::begin();
        // It may return for no reason, and the future is asked again then.
        park(None)?;
    }
}

/// While it lives, other threads may wake a task of the running scheduler.
struct Expected(Option<Remote>);

impl Expected {
    fn begin() -> Expected {
        let remote = scheduler::current().map(|here| here.remote.clone());
        remote.iter().for_each(Remote::add_waker);
        Expected(remote)
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.0.iter().for_each(Remote::remove_waker);
    }
}
