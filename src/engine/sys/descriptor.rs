//! Descriptors: closing, polling, epoll and eventfd.

use std::ffi::c_int;
use std::ptr::null;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::cancellation::uncancelable;
use super::errno::{check, is_refusal, retry_interrupted};
use super::error::{Error, Result};
use super::mark::{Mark, is_anothers, is_inherited};
use super::select::select_one;
use super::time::timespec;

pub fn close(fd: c_int) {
    // SAFETY: only called with descriptors that this library opened. The kernel closes even on
    // EINTR.
    uncancelable(|| unsafe { libc::close(fd) });
}

/// Closes a scheduler's descriptor, unless the number is another file's by now.
pub fn close_marked(fd: c_int) {
    if !is_anothers(fd) {
        close(fd);
    }
}

/// dup3(fd, number) and close(fd), also on an error.
pub fn dup_onto(fd: c_int, number: c_int) -> Result<()> {
    // SAFETY: only called with numbers that this library got from the system.
    let moved = check(retry_interrupted(|| unsafe { libc::dup3(fd, number, libc::O_CLOEXEC) }));
    close(fd);
    moved.map(drop)
}

/// What a call has returned that opens a descriptor for the library, above 2: in a program that has
/// closed 0, 1 or 2, it would become standard input or output. All descriptors of the library come
/// through here.
pub(super) fn opened(result: c_int) -> Result<c_int> {
    let fd = check(result)?;
    if fd > 2 { Ok(fd) } else { move_above_stdio(fd) }
}

#[cold]
fn move_above_stdio(fd: c_int) -> Result<c_int> {
    let higher = copy_above_stdio(fd);
    close(fd);
    higher
}

/// Another number of the same file, above 2, closed by exec.
pub fn copy_above_stdio(fd: c_int) -> Result<c_int> {
    copy_from(fd, 3)
}

/// Another number of the same file, `lowest` or above, closed by exec.
pub fn copy_from(fd: c_int, lowest: c_int) -> Result<c_int> {
    // SAFETY: no preconditions.
    match check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, lowest) }) {
        // The process may have no such number.
        Err(Error::Os(libc::EINVAL)) => Err(Error::Os(libc::EMFILE)),
        higher => higher,
    }
}

/// Puts a new descriptor in the place of one that a child of fork() shares with its parent, and
/// returns its number: that of the old one, if it still is that file's as far as can be told, which
/// is left open else. Closes `fd` on an error.
pub fn take_over(fd: c_int, old: c_int) -> Result<c_int> {
    if is_inherited(old, fd) { dup_onto(fd, old).map(|()| old) } else { Ok(fd) }
}

/// An error unless the descriptor is open.
pub fn check_open(fd: c_int) -> Result<()> {
    // SAFETY: the request reads a flag.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) }).map(drop)
}

/// Sets that exec closes a descriptor.
pub fn set_closed_on_exec(fd: c_int) -> Result<()> {
    // SAFETY: the request writes a flag.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}

/// Closes a program's descriptor.
pub fn close_checked(fd: c_int) -> Result<()> {
    // SAFETY: the program asked for it, as it could ask close(2) itself.
    match check(uncancelable(|| unsafe { libc::close(fd) })) {
        // On Linux the descriptor is closed all the same, and must not be closed again.
        Ok(_) | Err(Error::Os(libc::EINTR)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The events of poll(2) that have happened on a descriptor, without waiting.
pub fn poll_now(fd: c_int, events: u32) -> Result<u32> {
    if fd < 0 {
        return Err(Error::Os(libc::EBADF)); // poll(2) passes over these.
    }
    let happened = poll_one(fd, events, 0)?;
    if happened & NOT_OPEN != 0 { Err(Error::Os(libc::EBADF)) } else { Ok(happened) }
}

pub use libc::pollfd;

/// poll(2)'s answer for a descriptor that is not open.
pub const NOT_OPEN: u32 = libc::POLLNVAL as u32;

/// poll(2) with a timeout of 0. On an error all `revents` stay as they are, also where it is refused
/// for more descriptors than RLIMIT_NOFILE says.
pub fn poll_all(polls: &mut [pollfd]) {
    // SAFETY: the slice is good for as many entries. An error leaves it as it is.
    uncancelable(|| unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, 0) });
}

/// poll(2) with a timeout of 0: the number of entries that are ready. Where it is refused, one at a
/// time.
pub fn poll_ready(polls: &mut [pollfd]) -> Result<usize> {
    let (address, count) = (polls.as_mut_ptr(), polls.len() as libc::nfds_t);
    // SAFETY: the slice is good for as many entries.
    match check(uncancelable(|| unsafe { libc::poll(address, count, 0) })) {
        Ok(ready) => Ok(ready as usize),
        Err(_) => poll_each(polls), // Also where it is interrupted, which may be so each time.
    }
}

#[cold]
fn poll_each(polls: &mut [pollfd]) -> Result<usize> {
    let mut ready = 0;
    for poll in polls {
        let happened = match poll.fd {
            ..0 => 0,
            fd => match poll_one(fd, u32::from(poll.events as u16), 0) {
                Err(Error::Os(libc::EBADF)) => NOT_OPEN,
                happened => happened?,
            },
        };
        poll.revents = happened as i16;
        ready += usize::from(happened != 0);
    }
    Ok(ready)
}

/// ppoll(2) for one descriptor, for at most `timeout_ns` (u64::MAX: no timeout). EINTR counts as no
/// event. Where it is refused, by select(2).
pub fn poll_one(fd: c_int, events: u32, timeout_ns: u64) -> Result<u32> {
    let mut poll = libc::pollfd { fd, events: events as libc::c_short, revents: 0 };
    let limit = timespec(timeout_ns);
    let limit = if timeout_ns == u64::MAX { null() } else { &raw const limit };
    // SAFETY: one pollfd, and a timeout that is good for the call or NULL; NULL leaves the signal
    // mask.
    let polled = match check(uncancelable(|| unsafe { libc::ppoll(&mut poll, 1, limit, null()) })) {
        Ok(_) => Ok(u32::from(poll.revents as u16)),
        Err(error) if is_refusal(error) => select_one(fd, events, timeout_ns),
        Err(error) => Err(error),
    };
    if polled == Err(Error::Os(libc::EINTR)) { Ok(0) } else { polled }
}

pub fn epoll_create(mark: Mark) -> Result<c_int> {
    // SAFETY: no preconditions.
    let fd = opened(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    mark.set(fd);
    Ok(fd)
}

/// `operation` is one of libc's EPOLL_CTL constants.
pub fn epoll_ctl(
    epoll_fd: c_int,
    operation: c_int,
    fd: c_int,
    events: u32,
    data: u64,
) -> Result<()> {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: the event is good for the call, which keeps no address.
    check(unsafe { libc::epoll_ctl(epoll_fd, operation, fd, &mut event) }).map(drop)
}

pub use libc::epoll_event;

/// Whether epoll_pwait2(2) was refused, and epoll_wait(2) was not.
static IMPRECISE: AtomicBool = AtomicBool::new(false);

/// Whether nobody has been told of that.
static UNTOLD: AtomicBool = AtomicBool::new(false);

/// Whether waits have become imprecise since the last call, in the whole process.
pub fn take_news_of_imprecision() -> bool {
    UNTOLD.load(Relaxed) && UNTOLD.swap(false, Relaxed)
}

/// Whether [`epoll_wait`] can wait for less than a millisecond.
pub(super) fn has_epoll_pwait2() -> bool {
    // Of no descriptor, so it does not wait.
    epoll_pwait2(-1, &mut [], 0) == Err(Error::Os(libc::EBADF))
}

/// epoll_pwait2(2). By its number: glibc has the function since 2.35 only, and programs that are
/// linked with the static one do not have it.
fn epoll_pwait2(epoll_fd: c_int, events: &mut [epoll_event], timeout_ns: u64) -> Result<usize> {
    let timeout = timespec(timeout_ns);
    // At the least one event, also of an empty slice: what is not open is looked at first.
    let capacity = c_int::try_from(events.len().max(1)).unwrap_or(c_int::MAX);
    // SAFETY: the events are good for `capacity` entries, or, of none, for what there is no
    // descriptor for; the timeout is good for the call; NULL leaves the signal mask.
    let count = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll_fd,
            events.as_mut_ptr(),
            capacity,
            &raw const timeout,
            null::<libc::sigset_t>(),
            0usize,
        )
    };
    check(count as c_int).map(|count| count as usize)
}

/// epoll_wait(2) for at most `timeout_ns` (u64::MAX: no timeout). Returns the number of events.
pub fn epoll_wait(epoll_fd: c_int, events: &mut [epoll_event], timeout_ns: u64) -> Result<usize> {
    // Plain epoll_wait is exact for the common timeouts, and cheaper.
    let is_whole = timeout_ns == u64::MAX || timeout_ns.is_multiple_of(1_000_000);
    if is_whole || IMPRECISE.load(Relaxed) {
        return epoll_wait_ms(epoll_fd, events, timeout_ns);
    }
    match epoll_pwait2(epoll_fd, events, timeout_ns) {
        Err(refused) if is_refusal(refused) => {
            let result = epoll_wait_ms(epoll_fd, events, timeout_ns);
            // Else it is the arguments that are wrong.
            if result.is_ok() {
                IMPRECISE.store(true, Relaxed);
                UNTOLD.store(true, Relaxed);
            }
            result
        }
        result => result,
    }
}

fn epoll_wait_ms(epoll_fd: c_int, events: &mut [epoll_event], timeout_ns: u64) -> Result<usize> {
    let capacity = c_int::try_from(events.len()).unwrap_or(c_int::MAX);
    let timeout_ms = match timeout_ns {
        u64::MAX => -1,
        // Rounded up: waking early would mean waking twice.
        ns => c_int::try_from(ns.div_ceil(1_000_000)).unwrap_or(c_int::MAX),
    };
    // SAFETY: the events are good for `capacity` entries.
    let count = uncancelable(|| unsafe {
        libc::epoll_wait(epoll_fd, events.as_mut_ptr(), capacity, timeout_ms)
    });
    check(count).map(|count| count as usize)
}

/// A descriptor that is readable from [`eventfd_raise`] to [`eventfd_clear`].
pub fn eventfd(mark: Mark) -> Result<c_int> {
    // SAFETY: no preconditions.
    let fd = opened(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    mark.set(fd);
    Ok(fd)
}

/// Safe in a signal handler, but for errno, which the handler keeps.
pub fn eventfd_raise(fd: c_int) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the bytes are good for the call. It fails only when the counter is full: then the
    // descriptor is readable, as wanted.
    let write = || unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
    uncancelable(|| retry_interrupted(write));
}

pub fn eventfd_clear(fd: c_int) {
    let mut count = [0u8; 8];
    // SAFETY: the buffer is good for the call. It fails only when the counter is 0 already.
    uncancelable(|| unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) });
}
