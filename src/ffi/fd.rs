//! Reading, writing, and the descriptors that the library owns.

use std::ffi::{c_int, c_void};
use std::slice;

use libc::{iovec, msghdr, nfds_t, off_t, pollfd, size_t, sockaddr, socklen_t, ssize_t};

use super::{reported, status};
use crate::engine::fd;
use crate::engine::scheduler::Limit;
use crate::engine::sys::{Error, Result};
use crate::engine::time::Deadline;

/// What the caller says how long to wait: a wake-up does not end a call.
pub(super) fn limit(timeout_ns: u64) -> Limit {
    Limit::uninterrupted(Deadline::after_ns(timeout_ns))
}

/// A buffer of C, checked.
pub(super) fn buffer(address: *const c_void, bytes: size_t) -> Result<iovec> {
    if address.is_null() && bytes > 0 || bytes > ssize_t::MAX as size_t {
        return Err(Error::InvalidArgument);
    }
    Ok(iovec { iov_base: address.cast_mut(), iov_len: bytes })
}

/// Buffers of C, checked.
///
/// # Safety
/// NULL, or so many.
pub(super) unsafe fn buffers<'b>(address: *const iovec, count: c_int) -> Result<&'b [iovec]> {
    let count = usize::try_from(count).map_err(|_| Error::InvalidArgument)?;
    if address.is_null() && count > 0 || count > libc::UIO_MAXIOV as usize {
        return Err(Error::InvalidArgument);
    }
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: as this function's contract says.
    let buffers = unsafe { slice::from_raw_parts(address, count) };
    let bytes = buffers.iter().try_fold(0usize, |sum, one| {
        buffer(one.iov_base, one.iov_len)?;
        sum.checked_add(one.iov_len).ok_or(Error::InvalidArgument)
    })?;
    if bytes > ssize_t::MAX as usize { Err(Error::InvalidArgument) } else { Ok(buffers) }
}

#[track_caller]
pub(super) fn count(call: &str, result: Result<usize>) -> ssize_t {
    match reported(call, result) {
        Ok(count) => count as ssize_t,
        Err(error) => error.status() as ssize_t,
    }
}

/// Stores how much was done, if the caller wants to know.
///
/// # Safety
/// NULL, or good for a number.
pub(super) unsafe fn tell(place: *mut size_t, done: usize) {
    // SAFETY: as this function's contract says.
    if let Some(place) = unsafe { place.as_mut() } {
        *place = done;
    }
}

/// Reads what is there, at most `bytes`, from any descriptor, whether it blocks or not; waits for at
/// most `timeout_ns` while there is nothing. The descriptor's flags stay as they are. May suspend.
///
/// What is on a disk, and not in memory, is read by a thread of the library, while other tasks run. It has a
/// second to begin, though the limit is shorter; once it has begun, the call ends when it has ended. A file of
/// another kind that cannot be read without blocking, such as a terminal, is asked by poll(2) first.
///
/// Returns how many bytes, or 0 at the end. Errors, with which nothing was read:
///   -ETIMEDOUT  there was nothing in time
///   -ECANCELED  the task is canceled, and there is nothing to read, or it was given something 64
///               times since; or it is marked as ended, and would have to wait
///   -EBADF      not open, or closed with mj_fd_close() meanwhile
///   -EBUSY      another scheduler has the descriptor, which the library owns, see mj_fd_adopt()
///   -EINVAL     `buffer` is NULL with a size, or `bytes` is more than SSIZE_MAX
///   -EOWNERDEAD  this is a child of fork(), and the thread that reads from the disk is the parent's
///   -ENOMEM, -EPERM  as mj_sleep_ns()
///   and as read(2)
///
/// `buffer` has room for `bytes`, and stays there during the call. A file on a disk is closed as mj_pread() says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_read(
    fd: c_int,
    buffer: *mut c_void,
    bytes: size_t,
    timeout_ns: u64,
) -> ssize_t {
    let read = self::buffer(buffer, bytes).and_then(|buffer| {
        // SAFETY: as this function's contract says.
        unsafe { fd::read(fd, &[buffer], limit(timeout_ns)) }
    });
    count("mj_read", read)
}

/// Reads `bytes`, fewer only at the end, for at most `timeout_ns` in all. May suspend.
///
/// Returns how many bytes. Errors, with which `*done` is how many came before:
///   -ETIMEDOUT  they did not all come in time
///   and as mj_read()
///
/// `done` may be NULL, and is always set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_read_exact(
    fd: c_int,
    buffer: *mut c_void,
    bytes: size_t,
    timeout_ns: u64,
    done: *mut size_t,
) -> ssize_t {
    let mut before = 0;
    let read = self::buffer(buffer, bytes).and_then(|buffer| {
        // SAFETY: as this function's contract says.
        unsafe { fd::read_exact(fd, buffer, limit(timeout_ns), &mut before) }
    });
    // SAFETY: as this function's contract says.
    unsafe { tell(done, before) };
    count("mj_read_exact", read.map(|()| before))
}

/// Writes all `bytes`, to any descriptor, whether it blocks or not, for at most `timeout_ns` in all. The
/// descriptor's flags stay as they are, and no SIGPIPE is raised. May suspend.
///
/// Returns `bytes`. Errors, with which a part may have been written, see mj_write_all():
///   -ETIMEDOUT  there was no room for all of it in time
///   -EPIPE      nobody reads any more
///   -ECANCELED, -EBADF, -EBUSY, -EINVAL, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_read()
///   and as write(2)
///
/// What would wait for a disk is written by a thread of the library. What that has begun when the task is
/// canceled, or its time is over, is written before the call returns, and counted.
///
/// An eventfd takes numbers, and has room as soon as it has room for 1: give one that may be nearly full
/// O_NONBLOCK, since a larger number would block the thread.
///
/// `buffer` holds `bytes`, and stays there during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_write(
    fd: c_int,
    buffer: *const c_void,
    bytes: size_t,
    timeout_ns: u64,
) -> ssize_t {
    let mut done = 0;
    let written = self::buffer(buffer, bytes).and_then(|buffer| {
        // SAFETY: as this function's contract says.
        unsafe { fd::write_all(fd, &[buffer], limit(timeout_ns), &mut done) }
    });
    count("mj_write", written.map(|()| done))
}

/// mj_write() that tells how much it has written. May suspend.
///
/// Returns 0. Errors, with which `*done` is how much was written before:
///   -ETIMEDOUT  there was no room for all of it in time
///   and as mj_write()
///
/// `done` may be NULL, and is always set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_write_all(
    fd: c_int,
    buffer: *const c_void,
    bytes: size_t,
    timeout_ns: u64,
    done: *mut size_t,
) -> c_int {
    let mut before = 0;
    let written = self::buffer(buffer, bytes).and_then(|buffer| {
        // SAFETY: as this function's contract says.
        unsafe { fd::write_all(fd, &[buffer], limit(timeout_ns), &mut before) }
    });
    // SAFETY: as this function's contract says.
    unsafe { tell(done, before) };
    status(reported("mj_write_all", written))
}

/// mj_read() into several buffers, as readv(2). May suspend.
///
/// Returns how many bytes, or 0 at the end. Errors:
///   -EINVAL  as mj_read() for each buffer and for all together, or more than 1024 buffers
///   and as mj_read()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_readv(
    fd: c_int,
    buffers: *const iovec,
    buffer_count: c_int,
    timeout_ns: u64,
) -> ssize_t {
    // SAFETY: as this function's contract says.
    let read = unsafe { self::buffers(buffers, buffer_count) }.and_then(|buffers| {
        // SAFETY: as above.
        unsafe { fd::read(fd, buffers, limit(timeout_ns)) }
    });
    count("mj_readv", read)
}

/// mj_write() of several buffers, as writev(2). May suspend.
///
/// Returns how many bytes they hold. Errors:
///   -EINVAL  as mj_readv()
///   and as mj_write()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_writev(
    fd: c_int,
    buffers: *const iovec,
    buffer_count: c_int,
    timeout_ns: u64,
) -> ssize_t {
    let mut done = 0;
    // SAFETY: as this function's contract says.
    let written = unsafe { self::buffers(buffers, buffer_count) }.and_then(|buffers| {
        // SAFETY: as above.
        unsafe { fd::write_all(fd, buffers, limit(timeout_ns), &mut done) }
    });
    count("mj_writev", written.map(|()| done))
}

/// recvfrom(2), waiting for at most `timeout_ns`. `flags` are MSG_PEEK and the like; MSG_DONTWAIT has no
/// effect. May suspend.
///
/// Returns how many bytes. Errors:
///   -ETIMEDOUT  nothing came in time
///   and as mj_read(), and as recvfrom(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    bytes: size_t,
    flags: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    timeout_ns: u64,
) -> ssize_t {
    let read = self::buffer(buffer, bytes).and_then(|buffer| {
        // SAFETY: as this function's contract says.
        unsafe { fd::receive_from(fd, &buffer, flags, address, length, limit(timeout_ns)) }
    });
    count("mj_recvfrom", read)
}

/// sendto(2), waiting for room for at most `timeout_ns`, without SIGPIPE. Of a stream a part may be sent.
/// May suspend.
///
/// Returns how many bytes. Errors:
///   -ETIMEDOUT  there was no room in time
///   and as mj_write(), and as sendto(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_sendto(
    fd: c_int,
    buffer: *const c_void,
    bytes: size_t,
    flags: c_int,
    address: *const sockaddr,
    length: socklen_t,
    timeout_ns: u64,
) -> ssize_t {
    let sent = self::buffer(buffer, bytes).and_then(|buffer| {
        // SAFETY: as this function's contract says.
        unsafe { fd::send_to(fd, &buffer, flags, address, length, limit(timeout_ns)) }
    });
    count("mj_sendto", sent)
}

/// recvmsg(2), waiting for at most `timeout_ns`. May suspend.
///
/// Returns how many bytes. Errors:
///   -EINVAL  `message` is NULL
///   and as mj_read(), and as recvmsg(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_recvmsg(
    fd: c_int,
    message: *mut msghdr,
    flags: c_int,
    timeout_ns: u64,
) -> ssize_t {
    if message.is_null() {
        return Error::InvalidArgument.status() as ssize_t;
    }
    // SAFETY: as this function's contract says.
    let read = unsafe { fd::receive_message(fd, message, flags, limit(timeout_ns)) };
    count("mj_recvmsg", read)
}

/// sendmsg(2), waiting for room for at most `timeout_ns`, without SIGPIPE. Of a stream a part may be
/// sent. May suspend.
///
/// Returns how many bytes. Errors:
///   -EINVAL  `message` is NULL
///   and as mj_write(), and as sendmsg(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_sendmsg(
    fd: c_int,
    message: *const msghdr,
    flags: c_int,
    timeout_ns: u64,
) -> ssize_t {
    if message.is_null() {
        return Error::InvalidArgument.status() as ssize_t;
    }
    // SAFETY: as this function's contract says.
    let sent = unsafe { fd::send_message(fd, message, flags, limit(timeout_ns)) };
    count("mj_sendmsg", sent)
}

/// sendfile(2) of all `bytes`, fewer only at the end of the file, for at most `timeout_ns` in all. To
/// a descriptor that blocks it is copied, by way of memory that is lost if the scheduler is destroyed
/// meanwhile. May suspend.
///
/// Returns how many bytes; those that were sent before an error, if there were any, which the next call
/// tells. Errors, with which nothing was sent:
///   -ETIMEDOUT  there was no room in time
///   and as mj_write(), and as sendfile(2)
///
/// `offset` is NULL, or where to begin in the file, and is then where the call has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_sendfile(
    fd: c_int,
    file: c_int,
    offset: *mut off_t,
    bytes: size_t,
    timeout_ns: u64,
) -> ssize_t {
    if bytes > ssize_t::MAX as size_t {
        return Error::InvalidArgument.status() as ssize_t;
    }
    let mut done = 0;
    // SAFETY: as this function's contract says.
    let sent = unsafe { fd::send_file(fd, file, offset, bytes, limit(timeout_ns), &mut done) };
    count("mj_sendfile", if done > 0 { Ok(done) } else { sent.map(|()| 0) })
}

/// poll(2), but that it suspends the task, for at most `timeout_ns`. Entries with a negative
/// descriptor are passed over; one that mj_fd_close() closes meanwhile is ready, with POLLNVAL. Takes
/// memory for more than 8 entries, which is lost if the scheduler is destroyed meanwhile, and time in
/// proportion to `fd_count`. May suspend.
///
/// Returns how many entries are ready, more than 0: those whose `revents` are not 0. Errors, with which
/// all are 0:
///   -ETIMEDOUT  none was ready in time
///   -EINVAL     `fds` is NULL with a count, or that is more than INT_MAX
///   -EBUSY      one is the scheduler's own
///   -ENOSPC     the user's epoll sets are full, as for mj_task_wait_fd()
///   -ECANCELED, -ENOMEM, -EPERM  as mj_sleep_ns()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_poll(fds: *mut pollfd, fd_count: nfds_t, timeout_ns: u64) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { poll(fds, fd_count, limit(timeout_ns)) }
}

/// [`mj_poll`] with another limit.
///
/// # Safety
/// As `mj_poll`.
pub(super) unsafe fn poll(fds: *mut pollfd, fd_count: nfds_t, limit: Limit) -> c_int {
    let polls = match usize::try_from(fd_count) {
        Ok(0) => &mut [][..],
        Ok(count) if !fds.is_null() && count <= c_int::MAX as usize => {
            // SAFETY: as this function's contract says.
            unsafe { slice::from_raw_parts_mut(fds, count) }
        }
        _ => return Error::InvalidArgument.status(),
    };
    match reported("mj_poll", fd::poll(polls, limit)) {
        Ok(ready) => ready as c_int,
        Err(error) => {
            polls.iter_mut().for_each(|poll| poll.revents = 0);
            error.status()
        }
    }
}

/// Hands a descriptor over to the library, which then watches it with one registration, and not anew
/// for each wait. It must be closed by mj_fd_close(). Those that mj_accept(), mj_connect() and
/// mj_listen() return are the library's already, and so is a stream's: then nothing changes. Callable from
/// any thread. Does not suspend.
///
/// The scheduler whose task waits for it first has it until it is closed, released or the scheduler
/// destroyed, and calls by others, and outside that scheduler's run, are refused, but for mj_fd_close():
/// that closes it, and returns 0, but tells those who wait nothing. Before that it may be handed to any
/// thread.
///
/// An owned descriptor that is closed by close(2) all the same costs a delay: a wait for the file that
/// gets its number next may end up to 10 ms late, and if it waits long among many others, later. To
/// another scheduler that number is busy until it is closed by mj_fd_close().
///
/// Returns 0. Errors:
///   -EBADF   it is not open
///   -EBUSY   another scheduler has it, or one that does not run on this thread
///   -EINVAL  it is one of the scheduler's own two
///   -ENOMEM  no memory; it stays the program's
#[unsafe(no_mangle)]
pub extern "C" fn mj_fd_adopt(fd: c_int) -> c_int {
    status(fd::adopt(fd).map(drop))
}

/// Takes a descriptor back from the library: it stays open, and is closed by close(2). Waits for it go on.
/// Callable from any thread. Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  the library does not own it
///   -EBUSY   another scheduler has it, or one that does not run on this thread
#[unsafe(no_mangle)]
pub extern "C" fn mj_fd_release(fd: c_int) -> c_int {
    status(fd::release(fd))
}
