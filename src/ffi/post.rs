//! What other threads may do to a scheduler besides stopping it: leave functions for it, wake and cancel
//! its tasks, and read its counters.

use std::ffi::{c_int, c_void};
use std::mem::{offset_of, size_of};
use std::ptr::{self, NonNull, from_ref};

use super::status;
use super::task::WORDS;
use super::types::{mj_abandon_fn, mj_go_fn, mj_metrics, mj_post_node, mj_remote, mj_task_id};
use crate::engine::context::callback;
use crate::engine::measure::Metrics;
use crate::engine::scheduler::{
    self, Action, Post, Scheduler, act_on, free_message, post_allocated, running_task,
};
use crate::engine::sys::{self, Error, Result};
use crate::engine::task::Words;
use crate::engine::threads::{BLOCK_BYTES, Message, Remote};

/// A post of C.
#[repr(C)]
struct Posted {
    post: Post,
    function: unsafe extern "C-unwind" fn(*mut c_void),
    argument: *mut c_void,
    abandon: mj_abandon_fn,
}

const _: () = assert!(offset_of!(Posted, post) == 0);
const _: () = assert!(size_of::<Posted>() == size_of::<mj_post_node>());
const _: () = assert!(size_of::<Posted>() == BLOCK_BYTES);

/// A post whose task has had no turn is abandoned.
static POST_WORDS: Words = Words { abandon: Some(abandon_task), ..WORDS };

impl Posted {
    /// The program's function will not run.
    fn abandon(&self) {
        // SAFETY: the program's function and its argument.
        unsafe { callback::abandon(self.abandon, self.argument) };
    }
}

/// Lets a task of a scheduler run a function, whether or not the scheduler runs. Each function
/// has a task of its own, so one that suspends does not hold up the next; they begin in the order in
/// which a thread has posted them. The task ends when the function returns. `argument` is passed to it.
///
/// If the scheduler is destroyed before the function has begun, `abandon` is called with the argument
/// instead, once, by the thread that destroys it, unless it is NULL; it must not use that scheduler. A
/// post that was accepted is not lost for want of memory: it waits until there is some, and one ERROR line
/// says so.
///
/// Callable from any thread, inside or outside a task, not from a signal handler: mj_post_with_node() is.
/// Does not suspend.
///
/// Returns 0. Errors, with which nothing is called:
///   -EAGAIN  as many posts wait as may, see mj_remote_set_post_limit()
///   -EPIPE   the scheduler has been destroyed
///   -ENOMEM  out of memory
///   -EINVAL  `remote` or `function` is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_post(
    remote: *mut mj_remote,
    function: mj_go_fn,
    argument: *mut c_void,
    abandon: mj_abandon_fn,
) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { post(remote, function, argument, abandon) })
}

/// # Safety
/// As [`mj_post`].
unsafe fn post(
    remote: *mut mj_remote,
    function: mj_go_fn,
    argument: *mut c_void,
    abandon: mj_abandon_fn,
) -> Result<()> {
    let function = function.ok_or(Error::InvalidArgument)?;
    // SAFETY: as this function's contract says.
    unsafe { with(remote, |remote| post_to(remote, function, argument, abandon)) }
}

/// [`mj_post`] to a scheduler.
///
/// # Safety
/// The functions may be called with the argument, on the scheduler's thread.
pub(super) unsafe fn post_to(
    remote: &Remote,
    function: unsafe extern "C-unwind" fn(*mut c_void),
    argument: *mut c_void,
    abandon: mj_abandon_fn,
) -> Result<()> {
    let post = Post::new(start_allocated, abandon_allocated);
    // SAFETY: a post comes first.
    unsafe { post_allocated(remote, Posted { post, function, argument, abandon }) }
}

/// mj_post() without an allocation: the post is in `node`, which the caller brings. Its fields are set
/// here. Callable from any thread and from a signal handler. Does not suspend.
///
/// Returns 0: the node is the library's until the function or `abandon` is called, or, with `abandon`
/// NULL, the scheduler is destroyed. Errors, with which it stays the caller's:
///   -EAGAIN, -EPIPE  as mj_post()
///   -EINVAL          `remote`, `node` or `function` is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_post_with_node(
    remote: *mut mj_remote,
    node: *mut mj_post_node,
    function: mj_go_fn,
    argument: *mut c_void,
    abandon: mj_abandon_fn,
) -> c_int {
    let (Some(function), Some(node)) = (function, NonNull::new(node.cast::<Posted>())) else {
        return Error::InvalidArgument.status();
    };
    // SAFETY: the caller's, of this size and nobody else's.
    unsafe {
        node.write(Posted {
            post: Post::new(start_node, abandon_node),
            function,
            argument,
            abandon,
        });
    }
    // SAFETY: as this function's contract says.
    status(unsafe { with(remote, |remote| remote.post_counted(node.cast())) })
}

/// Sets how many posts may wait to begin, 16,384 at first: with so many, mj_post() and mj_post_with_node()
/// return -EAGAIN. Those that wait already are left alone. Callable from any thread. Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  `remote` is NULL, or `posts` is 0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_remote_set_post_limit(remote: *mut mj_remote, posts: usize) -> c_int {
    if posts == 0 {
        return Error::InvalidArgument.status();
    }
    // SAFETY: as this function's contract says.
    status(unsafe {
        with(remote, |remote| {
            remote.set_most_posts(posts);
            Ok(())
        })
    })
}

/// mj_scheduler_wake() by a handle. On another thread than the scheduler's it takes effect there
/// soon, after what this thread has posted before, and nothing tells whether the task was waiting then.
/// Callable from any thread, not from a signal handler. Does not suspend.
///
/// Returns 0. Errors:
///   -ESRCH   none of the scheduler's tasks has this id any more; told only on the scheduler's own
///            thread
///   -EAGAIN, -EPIPE, -ENOMEM  as mj_post()
///   -EINVAL  `remote` is NULL, or `id` is 0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_remote_wake(remote: *mut mj_remote, id: mj_task_id) -> c_int {
    let wake: Action = |scheduler, task| {
        scheduler.wake(task);
    };
    // SAFETY: as this function's contract says.
    status(unsafe { with(remote, |remote| act_on(remote, id, wake)) })
}

/// mj_scheduler_cancel() by a handle, as mj_remote_wake() is mj_scheduler_wake(). Callable from any thread,
/// not from a signal handler. Does not suspend.
///
/// Returns 0. Errors:
///   -ESRCH, -EAGAIN, -EPIPE, -ENOMEM, -EINVAL  as mj_remote_wake()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_remote_cancel(remote: *mut mj_remote, id: mj_task_id) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { with(remote, |remote| act_on(remote, id, Scheduler::cancel)) })
}

/// Reads a scheduler's counters. Each is true, does not go back but by a reset, and is at most one
/// iteration of the loop old; they are not all of one instant. `bytes` is sizeof(mj_metrics):
/// what the library does not know is 0. Callable from any thread and from a signal handler. Does not
/// suspend.
///
/// Returns 0. Errors, with which `metrics` is left alone:
///   -EPIPE   the scheduler has been destroyed
///   -EINVAL  `remote` or `metrics` is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_remote_metrics(
    remote: *mut mj_remote,
    metrics: *mut mj_metrics,
    bytes: usize,
) -> c_int {
    if metrics.is_null() {
        return Error::InvalidArgument.status();
    }
    // SAFETY: as this function's contract says.
    let counters = unsafe { with(remote, Remote::counters) };
    let known = counters.map(|values| Metrics::of(&values));
    let copy = |known: &Metrics| {
        let of_known = bytes.min(size_of::<Metrics>());
        // SAFETY: the caller's memory, of `bytes`.
        unsafe {
            metrics.cast::<u8>().write_bytes(0, bytes);
            ptr::copy_nonoverlapping(from_ref(known).cast::<u8>(), metrics.cast(), of_known);
        }
    };
    status(known.map(|known| copy(&known)))
}

// ---- what these are made of

/// Calls `act` with the handle.
///
/// # Safety
/// NULL, or a handle that is not released during the call.
unsafe fn with<T>(remote: *mut mj_remote, act: impl FnOnce(&Remote) -> Result<T>) -> Result<T> {
    // SAFETY: as this function's contract says.
    unsafe { Remote::borrow_raw(remote.cast(), act) }.unwrap_or(Err(Error::InvalidArgument))
}

/// Makes the task of a post that is in memory of its own, which is the task's state from now on.
///
/// # Safety
/// Called by the core, with the post of such a [`Posted`].
unsafe fn start_allocated(scheduler: &Scheduler, post: NonNull<Post>) -> Result<()> {
    scheduler.spawn(run, post.as_ptr().cast(), &POST_WORDS).map(|_| ())
}

/// Makes the task of a post that is the caller's, whose state is a copy.
///
/// # Safety
/// Called by the core, with the post of a [`Posted`].
unsafe fn start_node(scheduler: &Scheduler, post: NonNull<Post>) -> Result<()> {
    // SAFETY: as this function's contract says.
    let Posted { function, argument, abandon, .. } = unsafe { post.cast().read() };
    let post = Post::new(start_node, abandon_node);
    scheduler.spawn_with(run, Posted { post, function, argument, abandon }, &POST_WORDS).map(|_| ())
}

/// The body of such a task. An exception of the function passes it, on its way to the body's caller.
///
/// # Safety
/// Called by the core, with a [`Posted`].
unsafe extern "C-unwind" fn run(_scheduler: *mut c_void, state: *mut c_void) {
    let Some(mut posted) = NonNull::new(state.cast::<Posted>()) else { return };
    loop {
        // SAFETY: as this function's contract says.
        let Posted { function, argument, .. } = unsafe { posted.read() };
        let Some((scheduler, task)) = running_task() else { return }; // It is a task.
        // What the function sets as the task's state is the program's.
        task.user_state.set(ptr::null_mut());
        // SAFETY: it has been read, and is nobody's state now; also what was made for a node is as large.
        unsafe { scheduler.remote.release_block(posted.cast()) };
        // SAFETY: the program's function and the argument that it was given with.
        unsafe { function(argument) };
        let Some(next) = scheduler.next_post(task, start_allocated) else { break };
        // SAFETY: the task's, which the program has set.
        unsafe { sys::free(task.user_state.replace(next.as_ptr().cast())) };
        posted = next.cast();
    }
    let _ = scheduler::exit(); // In the task, and it may have been called already.
}

/// # Safety
/// The state of a task of [`run`], which will not run.
unsafe fn abandon_task(state: *mut c_void) {
    // SAFETY: as this function's contract says. A copy of the program's node, or in memory of its own.
    unsafe { state.cast::<Posted>().as_ref() }.inspect(|posted| posted.abandon());
}

/// # Safety
/// Called by the core, with the message of a [`Posted`] in memory of its own.
unsafe fn abandon_allocated(message: NonNull<Message>) {
    // SAFETY: as this function's contract says.
    unsafe {
        message.cast::<Posted>().as_ref().abandon();
        free_message(message);
    }
}

/// # Safety
/// Called by the core, with the message of a [`Posted`], which may be the caller's again in its function.
unsafe fn abandon_node(message: NonNull<Message>) {
    // SAFETY: as this function's contract says.
    let posted: Posted = unsafe { message.cast().read() };
    posted.abandon();
}
