//! The error type, and its errno values.

use std::ffi::{CStr, c_char, c_int};
use std::fmt;

/// A result of this crate.
///
/// ```
/// fn nap() -> majjen::Result<()> {
///     majjen::task::sleep(std::time::Duration::from_millis(1))
/// }
/// assert!(nap().is_err()); // Not in a task.
/// ```
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call had no effect.
///
/// ```
/// use majjen::{Error, task};
///
/// assert_eq!(task::yield_now(), Err(Error::NotInTask)); // Nothing runs here that could be suspended.
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// An argument is null, out of range, or refers to an object that is not alive.
    InvalidArgument,
    /// The call suspends, and the caller is not a task.
    NotInTask,
    /// The scheduler is running on another thread.
    WrongThread,
    /// The object is in use.
    Busy,
    /// Memory could not be allocated.
    OutOfMemory,
    /// The process has reached the system's limit of memory mappings.
    TooManyMappings,
    /// The task has been canceled, or has marked itself as ended.
    Canceled,
    /// A wake-up interrupted the wait.
    Interrupted,
    /// The deadline has passed.
    TimedOut,
    /// The id is not that of a living task of this scheduler.
    NoSuchTask,
    /// The wait would never end: a task waits for itself, or nothing is left that could wake a
    /// task.
    Deadlock,
    /// The object belongs to another scheduler.
    WrongScheduler,
    /// The mutex is not locked by this task.
    NotOwner,
    /// The mutex was left locked by a task that has ended; or, in a child of fork(), what is waited for is
    /// the parent's.
    OwnerDied,
    /// The channel is closed, the tasks of a set or a scope have been canceled, or the scheduler is gone.
    Disconnected,
    /// The operation would have to wait.
    WouldBlock,
    /// The counter would overflow.
    Overflow,
    /// A panic is unwinding this thread's stack: a destructor that it runs cannot suspend.
    Unwinding,
    /// The task has panicked.
    Panicked,
    /// The operating system refused, with this errno value.
    Os(i32),
}

impl Error {
    /// The corresponding errno value, a positive number.
    ///
    /// ```
    /// assert_eq!(majjen::Error::Os(2).errno(), 2);
    /// ```
    pub fn errno(self) -> i32 {
        match self {
            Error::InvalidArgument => libc::EINVAL,
            Error::NotInTask | Error::WrongThread | Error::WrongScheduler | Error::NotOwner => {
                libc::EPERM
            }
            Error::Busy => libc::EBUSY,
            Error::OutOfMemory | Error::TooManyMappings => libc::ENOMEM,
            Error::Canceled => libc::ECANCELED,
            Error::Interrupted => libc::EINTR,
            Error::TimedOut => libc::ETIMEDOUT,
            Error::NoSuchTask => libc::ESRCH,
            Error::Deadlock => libc::EDEADLK,
            Error::OwnerDied => libc::EOWNERDEAD,
            Error::Disconnected => libc::EPIPE,
            Error::WouldBlock => libc::EAGAIN,
            Error::Overflow => libc::EOVERFLOW,
            Error::Unwinding | Error::Panicked => libc::ENOTRECOVERABLE,
            Error::Os(errno) => errno,
        }
    }

    /// The negative errno value, which C functions return.
    pub(crate) fn status(self) -> i32 {
        -self.errno()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InvalidArgument => out.write_str("invalid argument"),
            Error::NotInTask => out.write_str("not called from a task"),
            Error::WrongThread => out.write_str("the scheduler is running on another thread"),
            Error::Busy => out.write_str("the object is in use"),
            Error::OutOfMemory => out.write_str("out of memory"),
            Error::TooManyMappings => {
                out.write_str("too many memory mappings; raise vm.max_map_count (see sysctl(8))")
            }
            Error::Canceled => out.write_str("the task is canceled"),
            Error::Interrupted => out.write_str("the wait was interrupted by a wake-up"),
            Error::TimedOut => out.write_str("timed out"),
            Error::NoSuchTask => out.write_str("no living task has this id"),
            Error::WrongScheduler => out.write_str("the object belongs to another scheduler"),
            Error::NotOwner => out.write_str("the mutex is not locked by this task"),
            Error::OwnerDied => out.write_str(
                "its owner has gone: a task that had locked the mutex, or the parent of this process",
            ),
            Error::Disconnected => {
                out.write_str("the channel or set of tasks is closed, or the scheduler is gone")
            }
            Error::WouldBlock => out.write_str("the operation would block"),
            Error::Overflow => out.write_str("the counter would overflow"),
            Error::Deadlock => out.write_str("deadlock: the wait would never end"),
            Error::Unwinding => out.write_str("cannot suspend while a panic unwinds the stack"),
            Error::Panicked => out.write_str("the task has panicked"),
            Error::Os(errno) => describe_errno(*errno, out),
        }
    }
}

impl std::error::Error for Error {}

/// For code that returns I/O errors. [`Error::Os`] becomes the operating system's error. Others get
/// the matching kind; `Error::from`, or [`get_ref`](std::io::Error::get_ref), returns the original
/// error.
impl From<Error> for std::io::Error {
    fn from(error: Error) -> std::io::Error {
        use std::io::ErrorKind;
        let kind = match error {
            Error::Os(errno) => return std::io::Error::from_raw_os_error(errno),
            Error::InvalidArgument => ErrorKind::InvalidInput,
            Error::NotInTask | Error::WrongThread | Error::WrongScheduler | Error::NotOwner => {
                ErrorKind::PermissionDenied
            }
            Error::Busy => ErrorKind::ResourceBusy,
            Error::OutOfMemory | Error::TooManyMappings => ErrorKind::OutOfMemory,
            Error::Interrupted => ErrorKind::Interrupted,
            Error::TimedOut => ErrorKind::TimedOut,
            Error::NoSuchTask => ErrorKind::NotFound,
            Error::Deadlock => ErrorKind::Deadlock,
            Error::Disconnected => ErrorKind::BrokenPipe,
            Error::WouldBlock => ErrorKind::WouldBlock,
            // Canceled is not Interrupted: much code retries after that, and would do so for ever.
            Error::Canceled
            | Error::OwnerDied
            | Error::Overflow
            | Error::Unwinding
            | Error::Panicked => ErrorKind::Other,
        };
        std::io::Error::new(kind, error)
    }
}

/// For code that deals in this crate's errors. One that was made of an [`Error`] is that again,
/// and one of the operating system is itself. Others are what has their kind, or else `Os(EIO)`:
/// where the difference matters, keep the [`std::io::Error`].
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        use std::io::ErrorKind;
        if let Some(errno) = error.raw_os_error() {
            return Error::Os(errno);
        }
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return *error;
        }
        match error.kind() {
            ErrorKind::InvalidInput => Error::InvalidArgument,
            ErrorKind::ResourceBusy => Error::Busy,
            ErrorKind::OutOfMemory => Error::OutOfMemory,
            ErrorKind::Interrupted => Error::Interrupted,
            ErrorKind::TimedOut => Error::TimedOut,
            ErrorKind::Deadlock => Error::Deadlock,
            ErrorKind::BrokenPipe => Error::Disconnected,
            ErrorKind::WouldBlock => Error::WouldBlock,
            ErrorKind::NotFound => Error::Os(libc::ENOENT),
            ErrorKind::PermissionDenied => Error::Os(libc::EACCES),
            ErrorKind::AlreadyExists => Error::Os(libc::EEXIST),
            ErrorKind::ConnectionRefused => Error::Os(libc::ECONNREFUSED),
            ErrorKind::ConnectionReset => Error::Os(libc::ECONNRESET),
            ErrorKind::ConnectionAborted => Error::Os(libc::ECONNABORTED),
            ErrorKind::NotConnected => Error::Os(libc::ENOTCONN),
            ErrorKind::AddrInUse => Error::Os(libc::EADDRINUSE),
            ErrorKind::AddrNotAvailable => Error::Os(libc::EADDRNOTAVAIL),
            ErrorKind::Unsupported => Error::Os(libc::ENOSYS),
            _ => Error::Os(libc::EIO),
        }
    }
}

/// Writes strerror's text and the number.
fn describe_errno(errno: c_int, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0 as c_char; 128];
    // SAFETY: the buffer is as long as said; the XSI function ends what it writes with a NUL.
    let failed = unsafe { libc::strerror_r(errno, text.as_mut_ptr(), text.len()) } != 0;
    if failed {
        return write!(out, "errno {errno}");
    }
    // SAFETY: a NUL-terminated string in `text`, see above.
    let text = unsafe { CStr::from_ptr(text.as_ptr()) };
    write!(out, "{} (errno {errno})", text.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};

    use super::Error::{self, *};

    const ALL: [Error; 21] = [
        InvalidArgument,
        NotInTask,
        WrongThread,
        Busy,
        OutOfMemory,
        TooManyMappings,
        Canceled,
        Interrupted,
        TimedOut,
        NoSuchTask,
        WrongScheduler,
        NotOwner,
        OwnerDied,
        Disconnected,
        WouldBlock,
        Overflow,
        Deadlock,
        Unwinding,
        Panicked,
        Os(libc::EMFILE),
        Os(4095),
    ];

    #[test]
    fn each_error_says_what_it_is() {
        let texts = ALL.map(|error| error.to_string());
        for (index, text) in texts.iter().enumerate() {
            assert!(text.len() > 4 && !texts[..index].contains(text), "{text:?}");
        }
        assert_eq!(texts[19..], ["Too many open files (errno 24)", "errno 4095"]);
    }

    #[test]
    fn each_error_has_an_errno_value_and_a_kind() {
        for error in ALL {
            assert!(error.errno() > 0 && error.status() == -error.errno(), "{error}");
            // That of the errno value, if it has one that can be named: each does, but for these.
            let kind = match error {
                Canceled | OwnerDied | Overflow | Unwinding | Panicked => ErrorKind::Other,
                NoSuchTask => ErrorKind::NotFound,
                other => io::Error::from_raw_os_error(other.errno()).kind(),
            };
            assert_eq!(io::Error::from(error).kind(), kind, "{error}");
        }
    }

    #[test]
    fn each_error_comes_back_from_one_of_io() {
        for error in ALL {
            assert_eq!(Error::from(io::Error::from(error)), error);
        }
        // One of io that has a kind only becomes one of that kind.
        for kind in ALL[..ALL.len() - 2].iter().map(|error| io::Error::from(*error).kind()) {
            let error = Error::from(io::Error::from(kind));
            if kind == ErrorKind::Other {
                assert_eq!(error, Os(libc::EIO));
            } else {
                assert_eq!(io::Error::from(error).kind(), kind, "{kind}");
            }
        }
        assert_eq!(Error::from(io::Error::new(ErrorKind::WouldBlock, "later")), WouldBlock);
        assert_eq!(Error::from(io::Error::from(ErrorKind::UnexpectedEof)), Os(libc::EIO));
    }
}
