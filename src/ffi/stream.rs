//! Buffered streams.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;

use libc::{size_t, ssize_t};

use super::fd::{buffer, count, limit, tell};
use super::types::mj_stream;
use super::{Opaque, object_ref, reported, status};
use crate::engine::stream::{Held, Stream};
use crate::engine::sys::{self, Error, Result};

impl Opaque for mj_stream {
    type Object = Stream;
}

/// Makes a stream of a descriptor, which it owns from then on: a socket, a pipe, a terminal, whether it
/// blocks or not. `read_bytes` is how much it reads ahead, and so how long a line may be, see
/// mj_stream_read_line(); `write_bytes` is how much it collects before it writes. 0 stands for 8192. Callable
/// from any thread. Does not suspend.
///
/// One task may read while another one writes. The stream is the scheduler's whose task uses it first; until
/// then it may be handed to any thread. Calls that need only its buffers work outside a task too; where it
/// would have to read or write the descriptor, they return -EPERM there.
///
/// Returns the stream, to be released with mj_stream_close() or mj_stream_destroy(), or NULL. Errors, in
/// errno, with which the descriptor stays the caller's:
///   EBADF   it is not open
///   EBUSY   another scheduler has it, see mj_fd_adopt()
///   EINVAL  a size is more than SSIZE_MAX
///   ENOMEM  no memory. What the stream needs it takes now, and nothing later
#[unsafe(no_mangle)]
pub extern "C" fn mj_stream_create(
    fd: c_int,
    read_bytes: size_t,
    write_bytes: size_t,
) -> *mut mj_stream {
    match Stream::create(fd, read_bytes, write_bytes) {
        Ok(stream) => stream.cast(),
        Err(error) => {
            sys::set_errno(error.errno());
            null_mut()
        }
    }
}

/// Reads what is there, at most `bytes`, and waits for at most `timeout_ns` while there is nothing. What
/// the stream has read ahead comes first. May suspend.
///
/// Returns how many bytes, or 0 at the end. Errors, with which nothing is lost:
///   -EBUSY   another task reads from the stream, or as mj_read()
///   -EBADF   the descriptor has been closed or released by others
///   -EINVAL  `stream` is NULL, `buffer` is NULL with a size, or `bytes` is more than SSIZE_MAX
///   -EPERM   outside a task, and nothing has been read ahead; another scheduler's stream, or its
///            scheduler runs on another thread
///   -ETIMEDOUT, -ECANCELED, -ENOMEM  as mj_read(), and as read(2)
///
/// `buffer` has room for `bytes`, and stays there during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_stream_read(
    stream: *mut mj_stream,
    buffer: *mut c_void,
    bytes: size_t,
    timeout_ns: u64,
) -> ssize_t {
    let read = || {
        let room = self::buffer(buffer, bytes)?;
        // SAFETY: as this function's contract says.
        unsafe { object_ref(stream)?.read(room, limit(timeout_ns)) }
    };
    count("mj_stream_read", read())
}

/// Reads `bytes`, fewer only at the end, for at most `timeout_ns` in all. May suspend.
///
/// Returns how many bytes. Errors, with which `*done` is how many came before:
///   -ETIMEDOUT  they did not all come in time
///   and as mj_stream_read()
///
/// `done` may be NULL, and is always set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_stream_read_exact(
    stream: *mut mj_stream,
    buffer: *mut c_void,
    bytes: size_t,
    timeout_ns: u64,
    done: *mut size_t,
) -> ssize_t {
    let mut before = 0;
    let mut read = || {
        let room = self::buffer(buffer, bytes)?;
        // SAFETY: as this function's contract says.
        unsafe { object_ref(stream)?.read_exact(room, limit(timeout_ns), &mut before) }
    };
    let result = read();
    // SAFETY: as this function's contract says.
    unsafe { tell(done, before) };
    count("mj_stream_read_exact", result.map(|()| before))
}

/// Reads a line, for at most `timeout_ns` in all: what there is up to a newline, and that. `*line` is where it
/// is in the stream's buffer, with a NUL behind it, until the next call that reads from the stream or releases
/// it; it may be written to. A line has at most `read_bytes` bytes, of which the newline is one. The last line
/// of a stream may be without one, and is then shorter than that. May suspend.
///
/// Returns how many bytes the line has, its newline included, or 0 at the end of the stream. Errors, with which
/// `*line` is NULL, and what has come stays for the next call:
///   -EMSGSIZE  there is no newline among the next `read_bytes` bytes, which are there to be read in other ways
///   -EINVAL    `stream` or `line` is NULL
///   and as mj_stream_read()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_stream_read_line(
    stream: *mut mj_stream,
    line: *mut *mut c_char,
    timeout_ns: u64,
) -> ssize_t {
    // SAFETY: as this function's contract says.
    unsafe {
        hold("mj_stream_read_line", line, || {
            object_ref(stream)?.read_until(b'\n', limit(timeout_ns))
        })
    }
}

/// mj_stream_read_line() up to another byte than a newline, such as '\0' or ';'. May suspend.
///
/// Returns how many bytes the text has, `delimiter` included, or 0 at the end of the stream. Errors:
///   -EINVAL  `delimiter` is no byte
///   and as mj_stream_read_line()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_stream_read_until(
    stream: *mut mj_stream,
    delimiter: c_int,
    text: *mut *mut c_char,
    timeout_ns: u64,
) -> ssize_t {
    // SAFETY: as this function's contract says.
    unsafe {
        hold("mj_stream_read_until", text, || {
            let delimiter = byte(delimiter).ok_or(Error::InvalidArgument)?;
            object_ref(stream)?.read_until(delimiter, limit(timeout_ns))
        })
    }
}

/// Shows what has been read ahead, and reads until that is at least `at_least` bytes, for at most
/// `timeout_ns` in all. `*data` is where it is in the stream's buffer, as for mj_stream_read_line(), but
/// without a NUL. It stays to be read. With an `at_least` of 0 it reads nothing from the descriptor, and says
/// how much has been read ahead: what mj_select(), mj_poll() and mj_task_wait_fd() do not see. May suspend.
///
/// Returns how many bytes there are, fewer than `at_least` only at the end of the stream. Errors, with which
/// `*data` is NULL, and what has come stays:
///   -EMSGSIZE  `at_least` is more than the stream's `read_bytes`
///   -EINVAL    `stream` or `data` is NULL
///   and as mj_stream_read()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_stream_peek(
    stream: *mut mj_stream,
    at_least: size_t,
    data: *mut *mut c_char,
    timeout_ns: u64,
) -> ssize_t {
    // SAFETY: as this function's contract says.
    unsafe {
        hold("mj_stream_peek", data, || object_ref(stream)?.peek(at_least, limit(timeout_ns)))
    }
}

/// Skips bytes that have been read ahead, as after mj_stream_peek(). Does not suspend.
///
/// Returns 0. Errors, with which none is skipped:
///   -EINVAL  there are not so many, or `stream` is NULL
///   -EBUSY   another task reads from the stream
///   -EPERM   as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_stream_skip(stream: *mut mj_stream, bytes: size_t) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { object_ref(stream) }.and_then(|stream| stream.skip(bytes)))
}

/// Writes `bytes`: collects them if there is room, and else writes them with what has been collected before,
/// by one system call if the descriptor takes it all, for at most `timeout_ns`. No SIGPIPE is raised. May
/// suspend.
///
/// Returns 0. Errors, with which `*done` of the bytes are written or collected, and the others are not:
///   -ETIMEDOUT  there was no room for all of it in time
///   -EPIPE      nobody reads any more
///   -EBUSY      another task writes to the stream, or as mj_read()
///   -EPERM      outside a task, and there is no room to collect it; or as mj_stream_read()
///   -ECANCELED, -EBADF, -EINVAL, -ENOMEM  as mj_stream_read(), and as write(2)
///
/// What had been collected before and is not written stays for the next call that writes. `done` may be
/// NULL, and is always set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_stream_write(
    stream: *mut mj_stream,
    data: *const c_void,
    bytes: size_t,
    timeout_ns: u64,
    done: *mut size_t,
) -> c_int {
    let mut before = 0;
    let mut write = || {
        let data = buffer(data, bytes)?;
        // SAFETY: as this function's contract says.
        unsafe { object_ref(stream)?.write(data, limit(timeout_ns), &mut before) }
    };
    let result = write();
    // SAFETY: as this function's contract says.
    unsafe { tell(done, before) };
    status(reported("mj_stream_write", result))
}

/// Writes what has been collected, for at most `timeout_ns` in all. May suspend.
///
/// Returns 0. Errors, with which what is not written stays:
///   -ETIMEDOUT  there was no room for all of it in time
///   and as mj_stream_write()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_stream_flush(stream: *mut mj_stream, timeout_ns: u64) -> c_int {
    // SAFETY: as this function's contract says.
    let flushed = unsafe { object_ref(stream) }.and_then(|stream| stream.flush(limit(timeout_ns)));
    status(reported("mj_stream_flush", flushed))
}

/// shutdown(2) of a socket: `how` is SHUT_RD, SHUT_WR or SHUT_RDWR. For the latter two what has been
/// collected is written first, for at most `timeout_ns`. A task that waits to read gets the end. What has
/// been read ahead stays. May suspend.
///
/// Returns 0. Errors, with which nothing is shut down:
///   -EINVAL    `stream` is NULL, or another `how`
///   -ENOTSOCK  it is no socket
///   and as mj_stream_flush(), and as shutdown(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_stream_shutdown(
    stream: *mut mj_stream,
    how: c_int,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let shut =
        unsafe { object_ref(stream) }.and_then(|stream| stream.shutdown(how, limit(timeout_ns)));
    status(reported("mj_stream_shutdown", shut))
}

/// mj_stream_flush() and mj_stream_destroy(): as fclose(3), the stream is gone even if what has been
/// collected cannot be written in time. To keep it then, call the two by themselves. May suspend.
///
/// Returns 0. Errors, with which the stream stays:
///   -EBUSY   another task uses it, or another scheduler has the descriptor
///   -EINVAL  `stream` is NULL
///   -EPERM   outside a task, and something has been collected; or as mj_stream_read()
///
/// Other errors, with which it is gone, and what was not written is lost: as mj_stream_flush(), and as
/// close(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_stream_close(stream: *mut mj_stream, timeout_ns: u64) -> c_int {
    if stream.is_null() {
        return Error::InvalidArgument.status();
    }
    // SAFETY: as this function's contract says; from `mj_stream_create`.
    let closed = unsafe { Stream::close(stream.cast(), limit(timeout_ns)) };
    status(reported("mj_stream_close", closed))
}

/// Closes the descriptor by mj_fd_close(), and releases the stream, with what it has read ahead or collected.
/// Does not suspend.
///
/// To keep the descriptor, release it first: `mj_fd_release(mj_stream_fd(stream))`. Neither that one, nor one
/// that others have closed by mj_fd_close(), is closed here. After a plain close(2) the number may be another
/// file's, and is closed.
///
/// Returns 0. Errors (it stays as it is then):
///   -EBUSY   another task uses it
///   -EINVAL  `stream` is NULL
///   -EPERM   as mj_chan_destroy()
///
/// Other errors, with which it is gone: as close(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_stream_destroy(stream: *mut mj_stream) -> c_int {
    if stream.is_null() {
        return Error::InvalidArgument.status();
    }
    // SAFETY: as this function's contract says; from `mj_stream_create`.
    status(unsafe { Stream::destroy(stream.cast()) })
}

/// The descriptor of a stream, which stays the stream's: to set its options, or to wait for it, as in
/// mj_select(). Callable from any thread. Does not suspend.
///
/// The descriptor is not readable for the sake of what the stream has read ahead. So before each wait for it
/// take what is there: `mj_stream_peek(stream, 0, &data, 0)` says how much that is. Or let a task of its own
/// read the stream, and send what it gets to a channel, which a select can wait for.
///
/// Returns the descriptor. Errors:
///   -EBADF   others have closed or released it
///   -EINVAL  `stream` is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_stream_fd(stream: *const mj_stream) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { object_ref(stream) }.and_then(Stream::fd).unwrap_or_else(Error::status)
}

/// A byte as C passes it: as an int that was a char, signed or not.
fn byte(value: c_int) -> Option<u8> {
    u8::try_from(value).ok().or_else(|| i8::try_from(value).ok().map(|value| value as u8))
}

/// Calls for bytes in a stream's buffer, and stores where they are, or NULL.
///
/// # Safety
/// NULL, or good for an address.
#[track_caller]
unsafe fn hold(
    call: &str,
    place: *mut *mut c_char,
    read: impl FnOnce() -> Result<Held>,
) -> ssize_t {
    if place.is_null() {
        return Error::InvalidArgument.status() as ssize_t;
    }
    let held = read();
    // SAFETY: as this function's contract says.
    unsafe { place.write(held.map_or(null_mut(), |(start, _)| start.cast())) };
    count(call, held.map(|(_, length)| length))
}
