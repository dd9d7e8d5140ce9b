//! Looking up a name and an address.
//!
//! What is numeric needs no look-up, and so no thread: getaddrinfo(3) is asked with AI_NUMERICHOST first.
//! Else it is asked on a worker, with copies of the arguments, since it may take longer than the task wants
//! to wait: it cannot be stopped.

use std::ffi::{CStr, c_int};

use crate::engine::pool::{Class, run_apart};
use crate::engine::scheduler::{Limit, spend};
use crate::engine::sys::{self, Address, AddressList, ErrnoGuard, Hints, NameError, Text};

type Result<T> = std::result::Result<T, NameError>;

/// getaddrinfo(3) on a worker.
pub fn find_addresses(
    host: Option<&CStr>,
    service: Option<&CStr>,
    hints: Hints,
    limit: Limit,
) -> Result<AddressList> {
    let _errno = ErrnoGuard::save();
    spend()?;
    match sys::find_addresses(host, service, hints.numeric()) {
        Err(NameError::NO_NAME) if host.is_some() || service.is_some() => {}
        // A service that has no number is told by either.
        Err(NameError::Resolver(code)) if -code == libc::EAI_SERVICE => {}
        result => return result,
    }
    if hints.flags & libc::AI_NUMERICHOST != 0 && is_number(service) {
        return Err(NameError::NO_NAME);
    }
    let copy = |text: Option<&CStr>| text.map(Text::copy).transpose();
    let (host, service) = (copy(host)?, copy(service)?);
    run_apart(Class::Dns, limit, move || {
        let [host, service] = [&host, &service].map(|text| text.as_ref().map(Text::as_c_str));
        sys::find_addresses(host, service, hints)
    })?
}

fn is_number(service: Option<&CStr>) -> bool {
    service.is_none_or(|service| service.to_bytes().iter().all(u8::is_ascii_digit))
}

/// A host's name has at most so many bytes, with its NUL (NI_MAXHOST).
const HOST_BYTES: usize = 1025;
/// As many as the path of a Unix socket, which counts as a service.
const SERVICE_BYTES: usize = 128;

/// What getnameinfo(3) has written.
struct Names {
    host: [u8; HOST_BYTES],
    service: [u8; SERVICE_BYTES],
}

/// getnameinfo(3) on a worker. The buffers are empty, or hold C strings then.
pub fn find_name(
    address: Address,
    host: &mut [u8],
    service: &mut [u8],
    flags: c_int,
    limit: Limit,
) -> Result<()> {
    let _errno = ErrnoGuard::save();
    spend()?;
    let no_host = host.is_empty() || flags & libc::NI_NUMERICHOST != 0;
    let no_service = service.is_empty() || flags & libc::NI_NUMERICSERV != 0;
    if no_host && no_service {
        return sys::find_name(&address, host, service, flags);
    }
    let (host_bytes, service_bytes) =
        (host.len().min(HOST_BYTES), service.len().min(SERVICE_BYTES));
    let names = run_apart(Class::Dns, limit, move || {
        let mut names = Names { host: [0; HOST_BYTES], service: [0; SERVICE_BYTES] };
        let (host, service) = (&mut names.host[..host_bytes], &mut names.service[..service_bytes]);
        sys::find_name(&address, host, service, flags).map(|()| names)
    })??;
    host[..host_bytes].copy_from_slice(&names.host[..host_bytes]);
    service[..service_bytes].copy_from_slice(&names.service[..service_bytes]);
    Ok(())
}
