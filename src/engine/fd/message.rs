//! Messages of sockets, with addresses, flags and control data.

use std::ffi::c_int;

use super::call::Call;
use crate::engine::io::{READABLE, WRITABLE};
use crate::engine::scheduler::Limit;
use crate::engine::sys::{self, Result, iovec, msghdr, sockaddr, socklen_t};

const URGENT: u32 = libc::POLLPRI as u32;
/// An error is told whatever a wait is for.
const NOTHING: u32 = 0;

/// What a receive with these flags waits for.
fn events(flags: c_int) -> u32 {
    if flags & libc::MSG_ERRQUEUE != 0 {
        NOTHING
    } else if flags & libc::MSG_OOB != 0 {
        URGENT
    } else {
        READABLE
    }
}

/// recvfrom(2).
///
/// # Safety
/// As recvfrom(2) demands, for the length of the call.
pub unsafe fn receive_from(
    fd: c_int,
    buffer: &iovec,
    flags: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    limit: Limit,
) -> Result<usize> {
    let mut call = Call::new(fd, events(flags), limit)?;
    call.begin()?;
    // SAFETY: as this function's contract says.
    call.complete(|call| unsafe { sys::receive_from(call.fd, buffer, flags, address, length) })
}

/// sendto(2), of all of the buffer.
///
/// # Safety
/// As sendto(2) demands, for the length of the call.
pub unsafe fn send_to(
    fd: c_int,
    buffer: &iovec,
    flags: c_int,
    address: *const sockaddr,
    length: socklen_t,
    limit: Limit,
) -> Result<usize> {
    let mut call = Call::new(fd, WRITABLE, limit)?;
    call.begin()?;
    // SAFETY: as this function's contract says.
    call.complete(|call| unsafe { sys::send_to(call.fd, buffer, flags, address, length) })
}

/// recvmsg(2).
///
/// # Safety
/// As recvmsg(2) demands, for the length of the call.
pub unsafe fn receive_message(
    fd: c_int,
    message: *mut msghdr,
    flags: c_int,
    limit: Limit,
) -> Result<usize> {
    let mut call = Call::new(fd, events(flags), limit)?;
    call.begin()?;
    // SAFETY: as this function's contract says.
    call.complete(|call| unsafe { sys::receive_message(call.fd, message, flags) })
}

/// sendmsg(2).
///
/// # Safety
/// As sendmsg(2) demands, for the length of the call.
pub unsafe fn send_message(
    fd: c_int,
    message: *const msghdr,
    flags: c_int,
    limit: Limit,
) -> Result<usize> {
    let mut call = Call::new(fd, WRITABLE, limit)?;
    call.begin()?;
    // SAFETY: as this function's contract says.
    call.complete(|call| unsafe { sys::send_message(call.fd, message, flags) })
}
