//! Connecting.

use std::ffi::c_int;

use super::call::{Call, PAUSE_NS};
use super::own;
use crate::engine::io::WRITABLE;
use crate::engine::scheduler::Limit;
use crate::engine::sys::{self, Error, Result, sockaddr, socklen_t};
use crate::engine::threads::this_process;

/// Connects a socket, which the library owns then. When the time is over the attempt goes on, and so does a
/// second call.
///
/// # Safety
/// As connect(2) demands.
pub unsafe fn connect(
    fd: c_int,
    address: *const sockaddr,
    length: socklen_t,
    limit: Limit,
) -> Result<()> {
    let mut call = Call::new(fd, WRITABLE, limit)?;
    call.begin()?;
    let mut is_anew = false;
    loop {
        // SAFETY: as this function's contract says.
        match unsafe { connect_now(fd, address, length) } {
            Ok(()) | Err(Error::Os(libc::EISCONN)) => break,
            // Where all sockets of the file system are so, EAGAIN says that the queue is full, and there is no
            // event for room in it.
            Err(Error::Os(libc::EAGAIN)) => call.pause(PAUSE_NS)?,
            // An earlier attempt has failed, and its error was told already: nothing was tried now. As with a
            // socket that blocks, the next call begins anew.
            Err(Error::Os(libc::ECONNABORTED)) if !is_anew => is_anew = true,
            Err(Error::Os(libc::EINPROGRESS | libc::EALREADY | libc::EINTR)) => {
                call.wait_until_connected()?;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    if !call.is_owned() {
        own::opened(fd, sys::is_plain_tcp(fd));
    }
    Ok(())
}

/// connect(2) without waiting.
///
/// # Safety
/// As [`connect`].
unsafe fn connect_now(fd: c_int, address: *const sockaddr, length: socklen_t) -> Result<()> {
    let blocks = !sys::is_nonblocking(fd)?;
    if blocks {
        sys::set_nonblocking(fd, true)?;
    }
    // SAFETY: as this function's contract says.
    let connected = unsafe { sys::connect_socket(fd, address, length) };
    if blocks {
        sys::set_nonblocking(fd, false)?;
    }
    connected
}

impl Call {
    fn wait_until_connected(&mut self) -> Result<()> {
        let process = this_process();
        self.complete(|call| {
            if sys::poll_now(call.fd, WRITABLE)? == 0 {
                return Err(Error::Os(libc::EAGAIN));
            }
            outcome_of_attempt(call.fd, process)
        })
    }
}

/// What has come of an attempt to connect that is over, and that a process, by its identity, began or waited for. Its
/// error is told once: ECONNABORTED if another task has been told, or in a child of that process, which leaves it to
/// its parent.
pub fn outcome_of_attempt(fd: c_int, began_in: u32) -> Result<()> {
    if this_process() == began_in {
        sys::take_socket_error(fd)?;
    }
    match sys::check_connected(fd) {
        Err(Error::Os(libc::ENOTCONN)) => Err(Error::Os(libc::ECONNABORTED)),
        result => result,
    }
}
