//! Listening at a name.

use std::ffi::{CStr, c_int};
use std::net::IpAddr;

use super::lookup::find_addresses;
use crate::engine::fd::{self, ListenFlags};
use crate::engine::scheduler::{Limit, running_task};
use crate::engine::sys::{Error, Hints, NameError, Result, Uncancelable};
use crate::engine::time::Deadline;

/// [`fd::listen`], where a task may give a name too: it listens at the first of the name's addresses that
/// works. [`Error::NotInTask`] for a name elsewhere.
pub fn listen(address: &CStr, service: &[u8], backlog: c_int, flags: ListenFlags) -> Result<c_int> {
    let _uncancelable = Uncancelable::begin(); // A socket that is dropped is closed by the standard library.
    if !is_name(address) {
        return fd::listen(address.to_bytes(), service, backlog, flags);
    }
    let port = fd::port(service)?;
    running_task().ok_or(Error::NotInTask)?;
    let family = if flags.v6_only { libc::AF_INET6 } else { libc::AF_UNSPEC };
    let hints = Hints { family, ..Hints::of_streams(libc::AI_PASSIVE) };
    let limit = Limit::uninterrupted(Deadline::Never); // The task may have a deadline.
    let list = find_addresses(Some(address), None, hints, limit).map_err(NameError::as_error)?;
    let places = || {
        list.inet().map(|mut place| {
            place.set_port(port);
            place
        })
    };
    if let Some(taken) = places().find_map(|place| fd::take_at(&place, flags)) {
        return Ok(taken);
    }
    let mut result = Err(Error::Os(libc::ENOENT));
    for place in places() {
        result = fd::listen_at(&place, backlog, flags);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Whether it is neither numeric nor a path.
fn is_name(address: &CStr) -> bool {
    let is_path = address.to_bytes().starts_with(b"unix:");
    let is_numeric = || address.to_str().is_ok_and(|text| text.parse::<IpAddr>().is_ok());
    !address.is_empty() && !is_path && !is_numeric()
}
