//! Names of hosts and services: the C library's resolver, which may block for long.

use std::ffi::{CStr, c_char, c_int};
use std::mem::{ManuallyDrop, zeroed};
use std::net::SocketAddr;
use std::ptr::{NonNull, null, null_mut};

use super::address::Address;
use super::cancellation::uncancelable;
use super::errno::last_error;
use super::error::{Error, Result};
use super::transfer::{sockaddr, socklen_t};

pub use libc::addrinfo;

/// Why a name was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// What the resolver says: an EAI_ value without its sign.
    Resolver(c_int),
    /// Anything else.
    Call(Error),
}

impl From<Error> for NameError {
    fn from(error: Error) -> NameError {
        NameError::Call(error)
    }
}

impl NameError {
    /// No such name, or none that has what was asked for.
    pub const NO_NAME: NameError = NameError::Resolver(-libc::EAI_NONAME);

    /// What a call of the resolver has returned.
    fn check(result: c_int) -> std::result::Result<(), NameError> {
        match result {
            0 => Ok(()),
            libc::EAI_MEMORY => Err(Error::OutOfMemory.into()),
            libc::EAI_SYSTEM => Err(last_error().into()),
            other => Err(NameError::Resolver(other.saturating_neg())),
        }
    }

    /// As an error of a call that goes on to connect or to bind, none of which it can be taken for.
    pub fn as_error(self) -> Error {
        /// No address for the name, and no address of the family: glibc's own.
        const NO_DATA: c_int = 5;
        const NO_SUCH_FAMILY: c_int = 9;
        match self {
            NameError::Call(error) => error,
            NameError::Resolver(code) => Error::Os(match -code {
                libc::EAI_AGAIN => libc::EAGAIN,
                libc::EAI_FAIL => libc::EREMOTEIO,
                libc::EAI_SERVICE => libc::EPROTONOSUPPORT,
                libc::EAI_NONAME => libc::ENOENT,
                _ if code == NO_DATA || code == NO_SUCH_FAMILY => libc::ENOENT,
                _ => return Error::InvalidArgument,
            }),
        }
    }
}

/// What a look-up asks for.
#[derive(Clone, Copy, Default)]
pub struct Hints {
    pub flags: c_int,
    pub family: c_int,
    pub kind: c_int,
    pub protocol: c_int,
}

impl Hints {
    /// What getaddrinfo(3) assumes for NULL.
    pub const NONE: Hints = Hints {
        flags: libc::AI_V4MAPPED | libc::AI_ADDRCONFIG,
        family: libc::AF_UNSPEC,
        kind: 0,
        protocol: 0,
    };

    /// For streams, with these flags.
    pub const fn of_streams(flags: c_int) -> Hints {
        Hints { flags, family: libc::AF_UNSPEC, kind: libc::SOCK_STREAM, protocol: 0 }
    }

    pub fn of(hints: &addrinfo) -> Hints {
        Hints {
            flags: hints.ai_flags,
            family: hints.ai_family,
            kind: hints.ai_socktype,
            protocol: hints.ai_protocol,
        }
    }

    /// The same, but that nothing is looked up.
    pub fn numeric(self) -> Hints {
        Hints { flags: self.flags | libc::AI_NUMERICHOST | libc::AI_NUMERICSERV, ..self }
    }
}

/// A list of getaddrinfo(3).
pub struct AddressList(NonNull<addrinfo>);

// SAFETY: memory of C's allocator, which any thread may free.
unsafe impl Send for AddressList {}

impl AddressList {
    /// Hands it over: freeaddrinfo(3) is its end.
    pub fn into_raw(self) -> *mut addrinfo {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// Those of the internet.
    pub fn inet(&self) -> impl Iterator<Item = SocketAddr> {
        let mut next = self.0.as_ptr().cast_const();
        std::iter::from_fn(move || {
            // SAFETY: NULL, or an element of the list, which is borrowed.
            let element = unsafe { next.as_ref() }?;
            next = element.ai_next;
            Some((element.ai_addr, element.ai_addrlen))
        })
        .filter_map(|(address, length)| {
            // SAFETY: an element has an address that is as long as said.
            unsafe { Address::copy(address, length) }.to_inet().ok()
        })
    }
}

impl Drop for AddressList {
    fn drop(&mut self) {
        // SAFETY: from getaddrinfo, and nobody else's.
        unsafe { libc::freeaddrinfo(self.0.as_ptr()) };
    }
}

/// getaddrinfo(3).
pub fn find_addresses(
    host: Option<&CStr>,
    service: Option<&CStr>,
    hints: Hints,
) -> std::result::Result<AddressList, NameError> {
    // SAFETY: integers and addresses, for which zero is a value.
    let mut asked: addrinfo = unsafe { zeroed() };
    asked.ai_flags = hints.flags;
    asked.ai_family = hints.family;
    asked.ai_socktype = hints.kind;
    asked.ai_protocol = hints.protocol;
    let mut list = null_mut();
    let [host, service] = [host, service].map(|text| text.map_or(null(), CStr::as_ptr));
    // SAFETY: C strings or NULL; the other addresses are good for the call.
    let found = uncancelable(|| unsafe { libc::getaddrinfo(host, service, &asked, &mut list) });
    NameError::check(found)?;
    NonNull::new(list).map(AddressList).ok_or(NameError::NO_NAME)
}

/// getnameinfo(3): writes C strings, unless a buffer is empty.
pub fn find_name(
    address: &Address,
    host: &mut [u8],
    service: &mut [u8],
    flags: c_int,
) -> std::result::Result<(), NameError> {
    let place = |buffer: &mut [u8]| {
        let address = if buffer.is_empty() { null_mut() } else { buffer.as_mut_ptr() };
        (address.cast::<c_char>(), buffer.len() as socklen_t)
    };
    let ((host, host_bytes), (service, service_bytes)) = (place(host), place(service));
    // SAFETY: the address and the buffers are as long as said.
    NameError::check(uncancelable(|| unsafe {
        libc::getnameinfo(
            address.as_ptr().cast::<sockaddr>(),
            address.length(),
            host,
            host_bytes,
            service,
            service_bytes,
            flags,
        )
    }))
}

/// The length of an address's own type is right, as far as it is known here.
pub fn check_address_length(length: usize) -> Result<()> {
    let family = size_of::<libc::sa_family_t>();
    let most = size_of::<libc::sockaddr_storage>();
    if (family..=most).contains(&length) { Ok(()) } else { Err(Error::InvalidArgument) }
}

/// What the resolver says of an error.
pub fn describe_name_error(error: NameError) -> String {
    match error {
        NameError::Call(error) => error.to_string(),
        NameError::Resolver(code) => {
            // SAFETY: no preconditions; a C string that is never freed.
            let text = unsafe { CStr::from_ptr(libc::gai_strerror(-code)) };
            text.to_string_lossy().into_owned()
        }
    }
}
