//! Connecting to a name.

use std::ffi::{CStr, OsStr, c_int};
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::lookup::find_addresses;
use super::order::Addresses;
use super::race::race;
use crate::engine::fd;
use crate::engine::scheduler::{Limit, now_ns, running_task, sleep, spend};
use crate::engine::sys::{self, ErrnoGuard, Error, Hints, NameError, OwnedFd, Result};
use crate::engine::time::Deadline;

/// A connection to a host's service, or to `unix:/path`, which the library owns.
pub fn dial(host: &CStr, service: Option<&CStr>, mut limit: Limit) -> Result<c_int> {
    let (scheduler, _) = running_task().ok_or(Error::NotInTask)?;
    limit.deadline.resolve(&scheduler.time.clock); // For all that it waits for.
    if let Some(path) = host.to_bytes().strip_prefix(b"unix:") {
        if service.is_some() {
            return Err(Error::InvalidArgument);
        }
        return dial_unix(Path::new(OsStr::from_bytes(path)), limit).map(|fd| owned(fd, false));
    }
    let service = service.filter(|service| !service.is_empty()).ok_or(Error::InvalidArgument)?;
    if host.is_empty() {
        return Err(Error::InvalidArgument);
    }
    if service.to_bytes().iter().all(u8::is_ascii_digit) {
        fd::port(service.to_bytes())?; // getaddrinfo(3) takes the rest of a number that is too large.
    }
    let list = find_addresses(Some(host), Some(service), Hints::of_streams(0), limit);
    let list = list.map_err(NameError::as_error)?;
    let addresses = Addresses::of_list(&list);
    drop(list); // Nothing is lost if the scheduler is destroyed meanwhile.
    race(&addresses, None, &[], limit).map(|fd| owned(fd, true))
}

fn owned(socket: OwnedFd, is_plain_tcp: bool) -> c_int {
    let fd = socket.into_raw_fd();
    fd::opened(fd, is_plain_tcp);
    fd
}

/// A connection to a path. Where the listener's queue is full it tries again every millisecond: there is no
/// event for room in it.
pub fn dial_unix(path: &Path, mut limit: Limit) -> Result<OwnedFd> {
    const PAUSE_NS: u64 = 1_000_000;
    let _errno = ErrnoGuard::save();
    let (scheduler, _) = running_task().ok_or(Error::NotInTask)?;
    spend()?;
    let end_ns = limit.deadline.resolve(&scheduler.time.clock).unwrap_or(u64::MAX);
    loop {
        match sys::connect_unix(path) {
            Err(Error::Os(libc::EAGAIN)) => {}
            result => return result,
        }
        let now_ns = now_ns();
        if now_ns >= end_ns {
            return Err(Error::TimedOut);
        }
        let until_ns = now_ns.saturating_add(PAUSE_NS).min(end_ns);
        sleep(Limit::uninterrupted(Deadline::At(until_ns)))?;
    }
}
