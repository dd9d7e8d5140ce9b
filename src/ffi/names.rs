//! Names of hosts and services.

use std::ffi::{c_char, c_int};
use std::slice;

use libc::{addrinfo, sockaddr, socklen_t};

use super::fd::limit;
use super::{reported, text_ref};
use crate::engine::names;
use crate::engine::scheduler::running_task;
use crate::engine::sys::{Address, Error, Hints, NameError, Result, check_address_length};

/// Connects to a service of a host, within `timeout_ns` in all. `host` is a name or a numeric address, and
/// `service` a port's number or the name of a service; or `host` is "unix:/path", and `service` NULL.
/// A name is looked up as by mj_getaddrinfo(). Up to 32 of its addresses are tried, IPv6 and IPv4 in turn,
/// the next one when one has failed, or has not answered for 250 ms (RFC 8305): the first to answer wins, and
/// the other attempts are closed. May suspend.
///
/// Returns a descriptor that does not block and is closed on exec, which the library owns: close it by
/// mj_fd_close(). Errors, with which nothing is left open; those of the look-up are none of connect(2)'s:
///   -ENOENT      no such host, or it has no address; or no such path
///   -EAGAIN      the name servers do not answer now
///   -EREMOTEIO   the name servers have failed for good
///   -EPROTONOSUPPORT  no such service
///   -ETIMEDOUT   not in time
///   -EINVAL      `host` or `service` is NULL or empty, a port is over 65535, or there is a service for a
///                path; a path that is empty or too long
///   -ECONNABORTED  an attempt has failed, and this is a child of fork(), whose parent is told why
///   -ECANCELED, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_getaddrinfo()
///   and as socket(2) and connect(2): of several addresses, the error that says most. An answer of another
///   machine says more than a missing way to it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_dial(
    host: *const c_char,
    service: *const c_char,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let [host, service] = [host, service].map(|text| unsafe { text_ref(text) });
    let dialed = host
        .ok_or(Error::InvalidArgument)
        .and_then(|host| names::dial(host, service, limit(timeout_ns)));
    reported("mj_dial", dialed).unwrap_or_else(Error::status)
}

/// getaddrinfo(3) that suspends the task, for at most `timeout_ns`: a worker of the pool looks the name up, as
/// the system is set to (/etc/nsswitch.conf). What is numeric needs no worker. `hints` may be NULL. May
/// suspend.
///
/// Returns 0, with the addresses in `*list`, which freeaddrinfo(3) releases; or a positive number, with which
/// gai_strerror(3) of its negative says why the name was not found: `-EAI_NONAME` is returned for EAI_NONAME.
/// Errors, with which `*list` is left alone too:
///   -ETIMEDOUT  not in time
///   -ECANCELED  the task is canceled, or marked as ended
///   -ENOMEM     out of memory, or EAI_MEMORY
///   -EINVAL     `list` is NULL
///   -EPERM      not in a task
///   -EOWNERDEAD  this is a child of fork(), and the look-up is the parent's
///   and what errno is with EAI_SYSTEM
///
/// A look-up cannot be stopped: after -ETIMEDOUT and -ECANCELED it keeps its worker until it ends, but
/// nothing of the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_getaddrinfo(
    host: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    list: *mut *mut addrinfo,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let Some(list) = (unsafe { list.as_mut() }) else {
        return Error::InvalidArgument.status();
    };
    // SAFETY: as above.
    let [host, service] = [host, service].map(|text| unsafe { text_ref(text) });
    // SAFETY: as above.
    let hints = unsafe { hints.as_ref() }.map_or(Hints::NONE, Hints::of);
    let found = in_task("mj_getaddrinfo")
        .map_err(NameError::from)
        .and_then(|()| names::find_addresses(host, service, hints, limit(timeout_ns)));
    result_of(found.map(|found| *list = found.into_raw()))
}

/// getnameinfo(3) that suspends the task, for at most `timeout_ns`, as mj_getaddrinfo(). With NI_NUMERICHOST
/// and NI_NUMERICSERV in `flags` it needs no worker. A buffer may be NULL if its size is 0. May suspend.
///
/// Returns 0, or a positive number as mj_getaddrinfo(). Errors:
///   -EINVAL  `address` is NULL, or no address is so long; a buffer is NULL with a size
///   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_getaddrinfo()
///   and what errno is with EAI_SYSTEM
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_getnameinfo(
    address: *const sockaddr,
    length: socklen_t,
    host: *mut c_char,
    host_bytes: socklen_t,
    service: *mut c_char,
    service_bytes: socklen_t,
    flags: c_int,
    timeout_ns: u64,
) -> c_int {
    if address.is_null()
        || check_address_length(length as usize).is_err()
        || host.is_null() && host_bytes > 0
        || service.is_null() && service_bytes > 0
    {
        return Error::InvalidArgument.status();
    }
    // SAFETY: as this function's contract says.
    let address = unsafe { Address::copy(address, length) };
    // SAFETY: as above.
    let host = unsafe { buffer_of(host, host_bytes) };
    // SAFETY: as above.
    let service = unsafe { buffer_of(service, service_bytes) };
    let found = in_task("mj_getnameinfo")
        .map_err(NameError::from)
        .and_then(|()| names::find_name(address, host, service, flags, limit(timeout_ns)));
    result_of(found)
}

/// A buffer of C for a string.
///
/// # Safety
/// It is good for so many bytes.
unsafe fn buffer_of<'b>(address: *mut c_char, bytes: socklen_t) -> &'b mut [u8] {
    if bytes == 0 {
        return &mut [];
    }
    // SAFETY: as this function's contract says.
    unsafe {
        address.write_bytes(0, bytes as usize);
        slice::from_raw_parts_mut(address.cast(), bytes as usize)
    }
}

/// An error, with a line, if the caller is no task.
#[track_caller]
fn in_task(call: &str) -> Result<()> {
    reported(call, running_task().map(drop).ok_or(Error::NotInTask))
}

/// What C is told of a look-up.
fn result_of(found: std::result::Result<(), NameError>) -> c_int {
    match found {
        Ok(()) => 0,
        Err(NameError::Resolver(code)) => code,
        Err(NameError::Call(error)) => error.status(),
    }
}
