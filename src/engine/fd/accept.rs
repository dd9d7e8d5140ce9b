//! Accepting connections.

use std::ffi::c_int;

use super::call::Call;
use super::own;
use crate::engine::io::READABLE;
use crate::engine::log;
use crate::engine::scheduler::{Limit, sleep};
use crate::engine::sys::{self, Error, Result, sockaddr, socklen_t};
use crate::engine::threads::Generation;
use crate::engine::time::Deadline;

/// How long it waits when there is no descriptor or no memory for a connection. Connections stay in the
/// listener's queue meanwhile, so there is no event to wait for.
const RETRY_NS: u64 = 100_000_000;

/// Accepts a connection, which the library owns, and which does not block.
///
/// # Safety
/// `address` and `length` are NULL, or as accept(2) demands.
pub unsafe fn accept(
    listener: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    limit: Limit,
) -> Result<c_int> {
    let mut call = Call::new(listener, READABLE, limit)?;
    call.begin()?;
    let is_nonblocking = call.is_owned() && sys::is_nonblocking(listener)?;
    let mut is_told = false;
    // SAFETY: as this function's contract says.
    let room = if length.is_null() { 0 } else { unsafe { *length } };
    loop {
        let accepted = call.complete(|call| {
            // What does not listen has an error for accept(2), and perhaps never an event.
            if !is_nonblocking
                && sys::poll_now(call.fd, READABLE)? == 0
                && sys::is_listening(call.fd)
            {
                return Err(Error::Os(libc::EAGAIN));
            }
            // SAFETY: as this function's contract says.
            unsafe { sys::accept(call.fd, address, length) }
        });
        match accepted {
            Ok(fd) => {
                own::opened(fd, call.keeps_no_rest());
                return Ok(fd);
            }
            Err(Error::Os(libc::EMFILE | libc::ENFILE | libc::ENOBUFS) | Error::OutOfMemory) => {
                if !std::mem::replace(&mut is_told, true) {
                    let why = accepted.unwrap_err();
                    log::error(format_args!(
                        "fd {listener} cannot accept connections: {why}; tried again every 100 ms"
                    ));
                }
                call.pause(RETRY_NS)?;
            }
            // Of a connection that has ended in the queue, see accept(2).
            Err(Error::Os(
                libc::ECONNABORTED
                | libc::ENETDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH,
            )) => call.go_on()?,
            Err(error) => return Err(error),
        }
        if !length.is_null() {
            // SAFETY: as this function's contract says.
            unsafe { *length = room };
        }
    }
}

impl Call {
    /// Sleeps for a while, or until the limit.
    pub fn pause(&mut self, ns: u64) -> Result<()> {
        let left_ns = self.left_ns();
        if left_ns == 0 {
            return Err(Error::TimedOut);
        }
        let before = Generation::of(self.fd);
        let slept = sleep(Limit::uninterrupted(Deadline::In(ns.min(left_ns))));
        self.check_generation(before)?;
        slept
    }
}
