//! Reading and writing descriptors of the program without waiting, whatever their flags, and without a
//! signal.
//!
//! The kernel has two forms for that: flags of the socket calls, and RWF_NOWAIT for other files
//! (Linux 4.14; for pipes 5.7, for eventfds 5.8). A file that has neither, such as a terminal, is
//! asked by poll(2) first, and then written to in pieces that fit for certain.
//!
//! The calls that servers live on are made by number: syscall(2) is no cancellation point.

use std::ffi::c_int;
use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::cancellation::uncancelable;
use super::descriptor::poll_now;
use super::errno::{check, last_error};
use super::error::{Error, Result};
use super::output::QuietWrites;

pub use libc::{iovec, msghdr, sockaddr, socklen_t};

/// The way in which a descriptor is read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Form {
    /// Not known: as a socket, and if it is none the others are tried.
    #[default]
    Unknown,
    Socket,
    /// With RWF_NOWAIT.
    Nowait,
    /// poll(2) first.
    Polled,
}

const SIGNALS_NOTHING: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
/// RWF_NOSIGNAL, Linux 6.18: as MSG_NOSIGNAL.
const RWF_NOSIGNAL: c_int = 0x100;
/// What a terminal takes at once if it takes anything.
const TERMINAL_ROOM: usize = 256;

/// What comes after the first `done` bytes of a buffer.
#[inline(always)]
pub fn rest_of(buffer: iovec, done: usize) -> iovec {
    iovec { iov_base: buffer.iov_base.wrapping_byte_add(done), iov_len: buffer.iov_len - done }
}

/// What the buffers hold together.
#[inline(always)]
pub fn bytes_of(buffers: &[iovec]) -> usize {
    match buffers {
        [one] => one.iov_len,
        _ => buffers.iter().map(|buffer| buffer.iov_len).sum(),
    }
}

/// Whether the buffers hold nothing.
#[inline(always)]
pub fn is_empty(buffers: &[iovec]) -> bool {
    buffers.iter().all(|buffer| buffer.iov_len == 0)
}

#[inline(always)]
fn count(result: isize) -> Result<usize> {
    usize::try_from(result).map_err(|_| last_error())
}

/// Reads what is there, at most what the buffers hold. EAGAIN if there is nothing. `form` is tried first,
/// and what proves right is left in it.
///
/// # Safety
/// The buffers are good to be written.
#[inline(always)]
pub unsafe fn read_some(fd: c_int, buffers: &[iovec], form: &mut Form) -> Result<usize> {
    if *form == Form::Socket {
        // SAFETY: as this function's contract says.
        let result = unsafe { receive(fd, buffers) };
        if result != Err(Error::Os(libc::ENOTSOCK)) {
            return result;
        }
    }
    // SAFETY: as above.
    unsafe { read_in_any_form(fd, buffers, form) }
}

#[inline(never)]
unsafe fn read_in_any_form(fd: c_int, buffers: &[iovec], form: &mut Form) -> Result<usize> {
    loop {
        let read = match *form {
            Form::Unknown | Form::Socket => receive,
            Form::Nowait => read_nowait,
            Form::Polled => read_polled,
        };
        // SAFETY: as the contract of `read_some` says.
        let result = unsafe { read(fd, buffers) };
        if !has_other_form(result, form) {
            return result;
        }
    }
}

/// Writes what there is room for. EAGAIN if there is none; no SIGPIPE. `form` as in [`read_some`].
///
/// # Safety
/// The buffers are good to be read.
#[inline(always)]
pub unsafe fn write_some(fd: c_int, buffers: &[iovec], form: &mut Form) -> Result<usize> {
    if *form == Form::Socket {
        // SAFETY: as this function's contract says.
        let result = unsafe { send_some(fd, buffers) };
        if result != Err(Error::Os(libc::ENOTSOCK)) {
            return result;
        }
    }
    // SAFETY: as above.
    unsafe { write_in_any_form(fd, buffers, form) }
}

#[inline(never)]
unsafe fn write_in_any_form(fd: c_int, buffers: &[iovec], form: &mut Form) -> Result<usize> {
    loop {
        let write = match *form {
            Form::Unknown | Form::Socket => send_some,
            Form::Nowait => write_nowait,
            Form::Polled => write_polled,
        };
        // SAFETY: as the contract of `write_some` says.
        let result = unsafe { write(fd, buffers) };
        if !has_other_form(result, form) {
            return result;
        }
    }
}

/// Whether a call is to be made again in another form, which is left in `form`.
fn has_other_form(result: Result<usize>, form: &mut Form) -> bool {
    let other = match (*form, result) {
        (Form::Unknown | Form::Socket, Err(Error::Os(libc::ENOTSOCK))) => Form::Nowait,
        (Form::Unknown, _) => {
            *form = Form::Socket;
            return false;
        }
        // Not supported by the file, by an older kernel, or by a sandbox. Where the call itself is
        // wrong, the next form says so.
        (
            Form::Nowait,
            Err(Error::Os(
                libc::EOPNOTSUPP
                | libc::ENOSYS
                | libc::EINVAL
                | libc::EPERM
                | libc::EACCES
                | libc::ESPIPE,
            )),
        ) => Form::Polled,
        _ => return false,
    };
    *form = other;
    true
}

#[inline(always)]
unsafe fn receive(fd: c_int, buffers: &[iovec]) -> Result<usize> {
    match buffers {
        // SAFETY: as the contract of `read_some` says.
        [one] => count(unsafe {
            let (address, length) = (null_mut::<sockaddr>(), null_mut::<socklen_t>());
            let flags = libc::MSG_DONTWAIT;
            libc::syscall(libc::SYS_recvfrom, fd, one.iov_base, one.iov_len, flags, address, length)
        } as isize),
        // SAFETY: as above.
        _ => unsafe { receive_message(fd, &mut message(buffers), 0) },
    }
}

#[inline(always)]
unsafe fn send_some(fd: c_int, buffers: &[iovec]) -> Result<usize> {
    match buffers {
        // SAFETY: as the contract of `write_some` says.
        [one] => count(unsafe {
            let (flags, address) = (SIGNALS_NOTHING, null::<sockaddr>());
            libc::syscall(libc::SYS_sendto, fd, one.iov_base, one.iov_len, flags, address, 0)
        } as isize),
        // SAFETY: as above.
        _ => unsafe { send_message(fd, &message(buffers), 0) },
    }
}

fn message(buffers: &[iovec]) -> msghdr {
    // SAFETY: addresses and lengths, for which zero is a value.
    let mut message: msghdr = unsafe { zeroed() };
    message.msg_iov = buffers.as_ptr().cast_mut();
    message.msg_iovlen = buffers.len() as _;
    message
}

/// recvmsg(2) without waiting.
///
/// # Safety
/// As recvmsg(2) demands.
pub unsafe fn receive_message(fd: c_int, message: *mut msghdr, flags: c_int) -> Result<usize> {
    // SAFETY: as this function's contract says.
    count(uncancelable(|| unsafe { libc::recvmsg(fd, message, flags | libc::MSG_DONTWAIT) }))
}

/// sendmsg(2) without waiting, and without a signal.
///
/// # Safety
/// As sendmsg(2) demands.
pub unsafe fn send_message(fd: c_int, message: *const msghdr, flags: c_int) -> Result<usize> {
    // SAFETY: as this function's contract says.
    count(uncancelable(|| unsafe { libc::sendmsg(fd, message, flags | SIGNALS_NOTHING) }))
}

/// recvfrom(2) without waiting.
///
/// # Safety
/// As recvfrom(2) demands.
pub unsafe fn receive_from(
    fd: c_int,
    buffer: &iovec,
    flags: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> Result<usize> {
    let flags = flags | libc::MSG_DONTWAIT;
    // SAFETY: as this function's contract says.
    count(uncancelable(|| unsafe {
        libc::recvfrom(fd, buffer.iov_base, buffer.iov_len, flags, address, length)
    }))
}

/// sendto(2) without waiting, and without a signal.
///
/// # Safety
/// As sendto(2) demands.
pub unsafe fn send_to(
    fd: c_int,
    buffer: &iovec,
    flags: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> Result<usize> {
    // SAFETY: as this function's contract says.
    count(uncancelable(|| unsafe {
        libc::sendto(fd, buffer.iov_base, buffer.iov_len, flags | SIGNALS_NOTHING, address, length)
    }))
}

unsafe fn read_nowait(fd: c_int, buffers: &[iovec]) -> Result<usize> {
    let (address, length) = (buffers.as_ptr(), buffers.len() as c_int);
    // SAFETY: as the contract of `read_some` says.
    count(uncancelable(|| unsafe { libc::preadv2(fd, address, length, -1, libc::RWF_NOWAIT) }))
}

unsafe fn write_nowait(fd: c_int, buffers: &[iovec]) -> Result<usize> {
    /// Whether the kernel has no RWF_NOSIGNAL.
    static SIGNALS: AtomicBool = AtomicBool::new(false);
    let (address, length) = (buffers.as_ptr(), buffers.len() as c_int);
    let write = |flags| {
        // SAFETY: as the contract of `write_some` says.
        count(uncancelable(|| unsafe { libc::pwritev2(fd, address, length, -1, flags) }))
    };
    if !SIGNALS.load(Relaxed) {
        match write(libc::RWF_NOWAIT | RWF_NOSIGNAL) {
            Err(Error::Os(libc::EOPNOTSUPP | libc::EINVAL)) => {}
            result => return result,
        }
    }
    let result = quietly(|| write(libc::RWF_NOWAIT));
    if !matches!(result, Err(Error::Os(libc::EOPNOTSUPP | libc::EINVAL))) {
        SIGNALS.store(true, Relaxed);
    }
    result
}

/// Whether files that are no sockets can be read and written without waiting, and without a signal. Tried
/// with a pipe; without descriptors for one they count as there.
pub(super) fn moves() -> [bool; 2] {
    let mut ends = [-1; 2];
    // SAFETY: the address is good for two numbers.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } < 0 {
        return [true; 2];
    }
    let mut byte = 0u8;
    let buffer = iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: the buffer is good for the call. The pipe has room.
    let written = uncancelable(|| unsafe { libc::pwritev2(ends[1], &buffer, 1, -1, RWF_NOSIGNAL) });
    // SAFETY: the buffer is good for the call.
    let read = uncancelable(|| unsafe { libc::preadv2(ends[0], &buffer, 1, -1, libc::RWF_NOWAIT) });
    let nowait = read >= 0 || super::errno::errno() == libc::EAGAIN;
    ends.into_iter().for_each(super::descriptor::close);
    [nowait, written >= 0]
}

/// Makes a call that writes, without its signals.
fn quietly(write: impl FnOnce() -> Result<usize>) -> Result<usize> {
    let mut writes = QuietWrites::begin();
    let result = write();
    writes.has_failed = result.is_err();
    result
}

unsafe fn read_polled(fd: c_int, buffers: &[iovec]) -> Result<usize> {
    if poll_now(fd, libc::POLLIN as u32)? == 0 {
        // No bytes: an error at once where the descriptor cannot be read at all.
        // SAFETY: no buffers.
        return Err(unsafe { read_blocking(fd, &[]) }.err().unwrap_or(Error::Os(libc::EAGAIN)));
    }
    match kind(fd)? {
        // The number was another file's when the form was found out, as in `write_polled`.
        // SAFETY: as the contract of `read_some` says.
        libc::S_IFSOCK => return unsafe { receive(fd, buffers) },
        // It may take the time of a disk.
        kind if is_of_a_disk(kind) => return Err(Error::Os(libc::EAGAIN)),
        _ => {}
    }
    // SAFETY: as above.
    unsafe { read_blocking(fd, buffers) }
}

/// readv(2), which may block.
///
/// # Safety
/// As [`read_some`].
pub unsafe fn read_blocking(fd: c_int, buffers: &[iovec]) -> Result<usize> {
    // SAFETY: as this function's contract says.
    count(uncancelable(|| unsafe { libc::readv(fd, buffers.as_ptr(), buffers.len() as c_int) }))
}

/// writev(2), which may block, without a signal.
///
/// # Safety
/// As [`write_some`].
pub unsafe fn write_blocking(fd: c_int, buffers: &[iovec]) -> Result<usize> {
    quietly(|| {
        // SAFETY: as this function's contract says.
        count(uncancelable(|| unsafe {
            libc::writev(fd, buffers.as_ptr(), buffers.len() as c_int)
        }))
    })
}

unsafe fn write_polled(fd: c_int, buffers: &[iovec]) -> Result<usize> {
    if poll_now(fd, libc::POLLOUT as u32)? == 0 {
        // As in `read_polled`.
        // SAFETY: no buffers.
        return Err(unsafe { write_blocking(fd, &[]) }.err().unwrap_or(Error::Os(libc::EAGAIN)));
    }
    let most = match kind(fd)? {
        // The number was another file's when the form was found out.
        // SAFETY: as the contract of `write_some` says.
        libc::S_IFSOCK => return unsafe { send_some(fd, buffers) },
        // It may take the time of a disk.
        kind if is_of_a_disk(kind) => return Err(Error::Os(libc::EAGAIN)),
        libc::S_IFCHR => TERMINAL_ROOM,
        libc::S_IFIFO => libc::PIPE_BUF,
        // One whose elements are written whole.
        _ => usize::MAX,
    };
    let is_piece = |buffer: &&iovec| buffer.iov_len > 0;
    match buffers.iter().find(is_piece) {
        Some(first) if most < usize::MAX => {
            // SAFETY: as the contract of `write_some` says.
            let bytes =
                unsafe { slice::from_raw_parts(first.iov_base.cast::<u8>(), first.iov_len) };
            let iov_len = if most == TERMINAL_ROOM { fitting(bytes) } else { most };
            let piece = iovec { iov_base: first.iov_base, iov_len: first.iov_len.min(iov_len) };
            // SAFETY: as above.
            unsafe { write_blocking(fd, &[piece]) }
        }
        // SAFETY: as above.
        _ => unsafe { write_blocking(fd, buffers) },
    }
}

/// How many of the bytes a terminal takes at once if it takes anything. Those of which it may make other
/// ones it takes one at a time, and asks for room anew.
fn fitting(bytes: &[u8]) -> usize {
    let is_converted = |byte: &u8| matches!(byte, b'\n' | b'\r' | b'\t');
    let plain = bytes.iter().take(TERMINAL_ROOM).position(is_converted).unwrap_or(TERMINAL_ROOM);
    plain.max(1)
}

/// The type bits of the file's mode.
fn kind(fd: c_int) -> Result<libc::mode_t> {
    // SAFETY: a stat is integers, for which zero is a value.
    let mut status: libc::stat = unsafe { zeroed() };
    // SAFETY: the address is good for a stat.
    check(unsafe { libc::fstat(fd, &mut status) })?;
    Ok(status.st_mode & libc::S_IFMT)
}

/// Whether reads and writes may take the time of a disk, but never wait for another program.
pub fn is_always_ready(fd: c_int) -> bool {
    kind(fd).is_ok_and(is_of_a_disk)
}

fn is_of_a_disk(kind: libc::mode_t) -> bool {
    matches!(kind, libc::S_IFREG | libc::S_IFBLK | libc::S_IFDIR)
}

/// Whether O_NONBLOCK is set.
pub fn is_nonblocking(fd: c_int) -> Result<bool> {
    // SAFETY: the request reads flags.
    check(unsafe { libc::fcntl(fd, libc::F_GETFL) }).map(|flags| flags & libc::O_NONBLOCK != 0)
}

/// Sets or clears O_NONBLOCK.
pub fn set_nonblocking(fd: c_int, on: bool) -> Result<()> {
    // SAFETY: the requests read and write flags.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) }).map(drop)
}

/// sendfile(2).
///
/// # Safety
/// NULL, or the address of an offset.
pub unsafe fn send_file(
    fd: c_int,
    from: c_int,
    offset: *mut libc::off_t,
    bytes: usize,
) -> Result<usize> {
    // SAFETY: as this function's contract says.
    quietly(|| count(uncancelable(|| unsafe { libc::sendfile(fd, from, offset, bytes) })))
}

/// Where a file is at.
pub fn file_position(fd: c_int) -> Result<i64> {
    seek(fd, 0, libc::SEEK_CUR)
}

/// Sets where a file is at.
pub fn set_file_position(fd: c_int, place: i64) -> Result<()> {
    seek(fd, place, libc::SEEK_SET).map(drop)
}

fn seek(fd: c_int, place: i64, from: c_int) -> Result<i64> {
    // SAFETY: no preconditions.
    match unsafe { libc::lseek(fd, place, from) } {
        -1 => Err(last_error()),
        place => Ok(place),
    }
}
