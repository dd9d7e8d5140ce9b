//! Child processes.

use std::ffi::{CStr, c_char, c_int};
use std::ptr::null_mut;
use std::slice;

use super::process_types::{mj_process, mj_process_descriptor, mj_process_options};
use super::{Opaque, object_ref, reported, status, text_ref};
use crate::engine::children::{Child, Descriptor, Spawn, hand_over, notify, spawn};
use crate::engine::log;
use crate::engine::scheduler::Limit;
use crate::engine::sys::{self, Error, Result};

impl Opaque for mj_process {
    type Object = Child;
}

/// Makes a child process, which runs a program. `arguments` ends with NULL; the first one is the program, which
/// is looked for in PATH if it has no slash in it. `options` may be NULL: the child has this process's environment,
/// directory and first three descriptors. It begins with default actions for all signals, none of them blocked,
/// and with no descriptor of this library. What else it inherits is as execve(2) says. Callable from any thread.
/// Does not suspend: the thread waits until the child has begun the program.
///
/// The child is the scheduler's whose task waits for it first, and until then anybody's. It runs on if its
/// scheduler is destroyed: the handle is still there, for mj_process_end() or mj_process_let_go(). While
/// handles are there, do not wait for any child by waitpid(-1) and the like, nor ignore SIGCHLD: what waits for
/// a child first is told how it has ended, and others are not.
///
/// Returns the child's handle, to be released with mj_process_end() or mj_process_let_go(), or NULL. Errors, in
/// errno, with which there is no child:
///   ENOENT, EACCES  and others of execve(2) and chdir(2): the program has not begun
///   EAGAIN  as fork(2): as at the limit of processes
///   EBADF   a descriptor that it is to have is not open
///   EMFILE, ENFILE  too many descriptors
///   EINVAL  `arguments` is NULL, or has no first one; an option is not one
///   ENOMEM  out of memory
///
/// The lists and texts are good for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_process_spawn(
    arguments: *const *const c_char,
    options: *const mj_process_options,
) -> *mut mj_process {
    // SAFETY: as this function's contract says.
    match unsafe { described(arguments, options).and_then(|begun| spawn(&begun)) } {
        Ok(child) => child.cast(),
        Err(error) => {
            sys::set_errno(error.errno());
            null_mut()
        }
    }
}

/// # Safety
/// As [`mj_process_spawn`].
unsafe fn described<'a>(
    arguments: *const *const c_char,
    options: *const mj_process_options,
) -> Result<Spawn<'a>> {
    // SAFETY: as this function's contract says: a list, and options.
    let (first, options) = unsafe { (arguments.as_ref(), options.as_ref()) };
    if first.is_none_or(|first| first.is_null()) {
        return Err(Error::InvalidArgument);
    }
    let mut begun = Spawn::of(arguments);
    if let Some(options) = options {
        if options.reserved.iter().any(|word| *word != 0) {
            return Err(Error::InvalidArgument);
        }
        begun.environment = options.environment;
        begun.leads_group = options.new_group;
        begun.descriptors = [
            descriptor(options.input, false)?,
            descriptor(options.output, false)?,
            descriptor(options.error, true)?,
        ];
        if !options.directory.is_null() {
            // SAFETY: as this function's contract says.
            begun.directory = Some(unsafe { CStr::from_ptr(options.directory) });
        }
    }
    Ok(begun)
}

/// Hands listening sockets over to a new process, which is begun as by mj_process_spawn(), and waits for at most
/// `timeout_ns` until it says that it is ready, by mj_notify(): then this process can stop accepting, finish what it
/// has, and end. It has the sockets as its descriptors from 3 on, so mj_listen() with MJ_LISTEN_INHERITED takes
/// them, as what listens is the same socket in both processes: who connects meanwhile is served by one of them, and
/// nobody is refused. Usually the program is this one, `arguments` are those of main(), and a signal asks for it:
/// docs/restart.md. May suspend.
///
/// If it is not ready in time, or ends before, this process goes on as if nothing had been: the new one is ended,
/// by SIGTERM, and SIGKILL a second later. So it is when the task is canceled. If the scheduler is destroyed
/// meanwhile, the new one runs on.
///
/// Its environment is that of `options` with LISTEN_FDS, and MAJJEN_PREDECESSOR, by which mj_notify() knows where
/// to say that it is ready. LISTEN_PID is not set, since its number is not known before. A service manager that
/// NOTIFY_SOCKET names is told of the reload, of its end, and of the new main process (MAINPID).
///
/// Returns 0, and with that `*process` is the new one's handle, as of mj_process_spawn(); NULL for `process` lets it
/// go. Errors, with which there is no new process:
///   -ETIMEDOUT  it was not ready in time
///   -ESRCH      it has ended before it was ready
///   -ECHILD     as mj_process_wait()
///   -ECANCELED  the task is canceled, or has called mj_task_exit()
///   -EINVAL     `arguments` is NULL, or has no first one; an option is not one; a listener is no stream socket
///               that listens; there are more than 4,096
///   -EBADF      a listener, or a descriptor that it is to have, is not open
///   -EPERM      not called from a task; this is also logged
///   and as mj_process_spawn()
///
/// The sockets stay this process's as well. `process` is told nothing on an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_process_hand_over(
    arguments: *const *const c_char,
    options: *const mj_process_options,
    listeners: *const c_int,
    count: usize,
    timeout_ns: u64,
    process: *mut *mut mj_process,
) -> c_int {
    let begin = || {
        if listeners.is_null() && count > 0 {
            return Err(Error::InvalidArgument);
        }
        // SAFETY: as this function's contract says.
        unsafe {
            let listeners = if count > 0 { slice::from_raw_parts(listeners, count) } else { &[] };
            hand_over(described(arguments, options)?, listeners, timeout_ns)
        }
    };
    let handed = reported("mj_process_hand_over", begin()).map(|child| {
        if process.is_null() {
            // SAFETY: made just now, and nobody else's.
            let _ = unsafe { Child::let_go(child) };
        } else {
            // SAFETY: as this function's contract says.
            unsafe { process.write(child.cast()) };
        }
    });
    status(handed)
}

/// Tells who has started this process how it is, in the way of sd_notify(3): "READY=1" when it serves, "STOPPING=1"
/// when it is about to end, "STATUS=text", "WATCHDOG=1", or several of them as lines. It goes to the service manager
/// that NOTIFY_SOCKET in the environment names, if there is one, and READY=1 to the process that waits for it in
/// mj_process_hand_over(). If the receiver's queue is full the thread waits for at most 100 ms. Callable from any
/// thread. Does not suspend.
///
/// Returns 1 if it was sent, and 0 if nobody has asked for it. Errors:
///   -EINVAL  `state` is NULL, or NOTIFY_SOCKET names no socket of this machine
///   -EAGAIN  the receiver's queue is full
///   and as socket(2), connect(2), send(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_notify(state: *const c_char) -> c_int {
    // SAFETY: as this function's contract says.
    let state = unsafe { text_ref(state) }.ok_or(Error::InvalidArgument);
    state.and_then(|state| notify(state.to_bytes())).map_or_else(Error::status, c_int::from)
}

fn descriptor(value: c_int, is_error: bool) -> Result<Descriptor> {
    use mj_process_descriptor::{
        MJ_PROCESS_INHERIT, MJ_PROCESS_NULL, MJ_PROCESS_OUTPUT, MJ_PROCESS_PIPE,
    };
    const INHERIT: c_int = MJ_PROCESS_INHERIT as c_int;
    const NULL: c_int = MJ_PROCESS_NULL as c_int;
    const PIPE: c_int = MJ_PROCESS_PIPE as c_int;
    const OUTPUT: c_int = MJ_PROCESS_OUTPUT as c_int;
    Ok(match value {
        INHERIT => Descriptor::Inherited,
        NULL => Descriptor::Null,
        PIPE => Descriptor::Pipe,
        OUTPUT if is_error => Descriptor::Output,
        1.. => Descriptor::File(value),
        -1 => return Err(Error::Os(libc::EBADF)), // As of a call that has failed.
        _ => return Err(Error::InvalidArgument),
    })
}

/// The child's number. It is the system's to give away again once the child has been waited for: to send signals
/// there is mj_process_kill(). Does not suspend.
///
/// Returns the number. Errors:
///   -EINVAL  `process` is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_process_pid(process: *const mj_process) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { object_ref(process) }.map_or_else(Error::status, Child::pid)
}

/// Takes this process's end of a pipe that the child has as its descriptor 0, 1 or 2, by MJ_PROCESS_PIPE: to be
/// written to for 0, to be read from for the others. It is the caller's then, for mj_read() and mj_write(), or for
/// mj_stream_create(). Those that are not taken are closed with the handle. A child whose pipe is full waits until
/// there is room. Does not suspend.
///
/// Returns the descriptor. Errors:
///   -EBADF   there is no such pipe, or it has been taken
///   -EINVAL  `process` is NULL, or `descriptor` is none of the three
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_process_take_pipe(
    process: *mut mj_process,
    descriptor: c_int,
) -> c_int {
    let take = || {
        let number = usize::try_from(descriptor).map_err(|_| Error::InvalidArgument)?;
        // SAFETY: as this function's contract says.
        unsafe { object_ref(process)? }.take_pipe(number)
    };
    take().unwrap_or_else(Error::status)
}

/// Waits until the child has ended, for at most `timeout_ns`. Its pipes may still be open then: what it has
/// started may have them. Any number of tasks may wait, also after it has ended. May suspend.
///
/// Returns 0, and with that `*status` is how it has ended, in the form of waitpid(2). Errors:
///   -ETIMEDOUT  it has not ended in time
///   -ECHILD     others have waited for it, or SIGCHLD is ignored: how it has ended is not known; or this is a
///               child of fork(), and it is the parent's
///   -ECANCELED  the task is canceled, or has called mj_task_exit()
///   -EINTR      the task was woken by mj_task_wake()
///   -ENOMEM     out of memory
///   -EINVAL     `process` is NULL
///   -EPERM      outside a task, and it has not ended; another scheduler's child
///
/// `status` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_process_wait(
    process: *mut mj_process,
    status: *mut c_int,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let wait = || unsafe {
        object_ref(process)?;
        Child::wait(process.cast(), Limit::after_ns(timeout_ns))
    };
    // SAFETY: as above.
    unsafe { tell("mj_process_wait", wait(), status) }
}

/// Sends the child a signal, and with `new_group` all processes of its group. 0 sends none, and tells whether it
/// could be sent. No other process gets it, though the system may give the child's number away again. Does not
/// suspend.
///
/// Returns 0. Errors:
///   -ESRCH   it has ended, and has been waited for; with `new_group`, nobody of the group is left
///   -EPERM   as kill(2); another scheduler's child
///   -EINVAL  `process` is NULL, or there is no such signal
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_process_kill(process: *mut mj_process, signal: c_int) -> c_int {
    // SAFETY: as this function's contract says.
    let sent = unsafe { object_ref(process) }.and_then(|child| child.signal(signal));
    status(said("mj_process_kill", sent))
}

/// Ends the child, and releases its handle: closes its pipes that have not been taken, sends SIGTERM, waits for at
/// most `grace_ns`, sends SIGKILL if it has not ended by then, and waits until it has. With `new_group` all
/// processes of its group get the signals, and those that are left when the child has ended get SIGKILL. Neither a
/// cancellation, nor the task's deadline, nor mj_task_wake() cuts the grace short, so it may be called by a
/// canceled task. Tasks that wait for the child are told of its end. Outside a task it blocks the thread, also
/// in a function of mj_task_defer() that mj_scheduler_destroy() calls. May suspend.
///
/// Returns 0, and with that `*status` is how it has ended, in the form of waitpid(2). Errors, of which all but the
/// last three release the handle:
///   -ECHILD  as mj_process_wait()
///   -EBUSY   another task is ending it
///   -EINVAL  `process` is NULL
///   -EPERM   another scheduler's child
///
/// `status` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_process_end(
    process: *mut mj_process,
    grace_ns: u64,
    status: *mut c_int,
) -> c_int {
    // SAFETY: as this function's contract says.
    let end = || unsafe {
        object_ref(process)?;
        Child::end(process.cast(), grace_ns)
    };
    // SAFETY: as above.
    unsafe { tell("mj_process_end", end(), status) }
}

/// Releases the handle, and lets the child run on. Its pipes that have not been taken are closed. Once it has
/// ended, the library waits for it, when it next makes a child or lets one go (of many, it looks at 64 in turn
/// then), so that none stays a zombie for long. NULL is ignored. Does not suspend.
///
/// Returns 0. Errors:
///   -EBUSY  another task is ending it
///   -EPERM  its scheduler runs on another thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_process_let_go(process: *mut mj_process) -> c_int {
    if process.is_null() {
        return 0;
    }
    // SAFETY: as this function's contract says.
    status(said("mj_process_let_go", unsafe { Child::let_go(process.cast()) }))
}

/// # Safety
/// The place is NULL, or good to be written.
#[track_caller]
unsafe fn tell(call: &str, ended: Result<c_int>, place: *mut c_int) -> c_int {
    let told = said(call, reported(call, ended)).map(|how| {
        // SAFETY: as this function's contract says.
        if let Some(place) = unsafe { place.as_mut() } {
            *place = how;
        }
    });
    status(told)
}

/// A result on its way to C. That the child's scheduler runs on another thread is a line in the log as well.
#[track_caller]
fn said<T>(call: &str, result: Result<T>) -> Result<T> {
    if let Err(error @ Error::WrongThread) = result {
        log::error(format_args!("{call}: {error}"));
    }
    result
}
