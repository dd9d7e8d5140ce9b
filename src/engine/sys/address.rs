//! Addresses of sockets.

use std::ffi::{OsStr, c_int};
use std::mem::{offset_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net as std_unix;

use super::error::{Error, Result};
use super::transfer::{sockaddr, socklen_t};

/// An address in the kernel's form.
pub struct Address {
    storage: libc::sockaddr_storage,
    length: socklen_t,
}

impl Address {
    /// Calls the kernel for one, by a function that is given the places for the address and its length.
    pub fn told_by<T>(
        call: impl FnOnce(*mut sockaddr, *mut socklen_t) -> Result<T>,
    ) -> Result<(T, Address)> {
        // SAFETY: an address is integers, for which zero is a value.
        let storage: libc::sockaddr_storage = unsafe { zeroed() };
        let mut address = Address { storage, length: size_of_val(&storage) as socklen_t };
        let result = call((&raw mut address.storage).cast(), &mut address.length)?;
        Ok((result, address))
    }

    fn new<A>(raw: &A) -> Address {
        // SAFETY: an address is integers, for which zero is a value.
        let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
        // SAFETY: the storage has room for an address of any family.
        unsafe { (&raw mut storage).cast::<A>().write_unaligned(std::ptr::read(raw)) };
        Address { storage, length: size_of::<A>() as socklen_t }
    }

    /// A copy of one, as far as the storage has room for it.
    ///
    /// # Safety
    /// It is as long as said.
    pub unsafe fn copy(address: *const sockaddr, length: socklen_t) -> Address {
        // SAFETY: an address is integers, for which zero is a value.
        let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
        let length = (length as usize).min(size_of_val(&storage));
        let target = (&raw mut storage).cast::<u8>();
        // SAFETY: as this function's contract says; the storage has room for so many bytes.
        unsafe { std::ptr::copy_nonoverlapping(address.cast::<u8>(), target, length) };
        Address { storage, length: length as socklen_t }
    }

    pub fn inet(address: &SocketAddr) -> Address {
        match address {
            SocketAddr::V4(v4) => {
                // SAFETY: an address is integers, for which zero is a value.
                let mut raw: libc::sockaddr_in = unsafe { zeroed() };
                raw.sin_family = libc::AF_INET as libc::sa_family_t;
                raw.sin_port = v4.port().to_be();
                raw.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                Address::new(&raw)
            }
            SocketAddr::V6(v6) => {
                // SAFETY: as above.
                let mut raw: libc::sockaddr_in6 = unsafe { zeroed() };
                raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                raw.sin6_port = v6.port().to_be();
                raw.sin6_addr.s6_addr = v6.ip().octets();
                raw.sin6_flowinfo = v6.flowinfo();
                raw.sin6_scope_id = v6.scope_id();
                Address::new(&raw)
            }
        }
    }

    /// Of a path.
    pub fn unix(path: &[u8]) -> Result<Address> {
        // SAFETY: an address is integers, for which zero is a value.
        let mut raw: libc::sockaddr_un = unsafe { zeroed() };
        raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
        // The last byte stays zero.
        if path.is_empty() || path.len() >= raw.sun_path.len() || path.contains(&0) {
            return Err(Error::InvalidArgument);
        }
        for (target, byte) in raw.sun_path.iter_mut().zip(path) {
            *target = *byte as std::ffi::c_char;
        }
        Ok(Address::new(&raw))
    }

    /// Of a socket that gets its name, an abstract one, from the kernel.
    pub fn any_unix() -> Address {
        let family = libc::AF_UNIX as libc::sa_family_t;
        let length = size_of_val(&family) as socklen_t;
        Address { length, ..Address::new(&family) }
    }

    /// As NOTIFY_SOCKET says it: a path from the root on, or '@' and an abstract name.
    pub fn unix_text(text: &[u8]) -> Result<Address> {
        let [b'@', name @ ..] = text else {
            return match text.first() {
                Some(b'/') => Address::unix(text),
                _ => Err(Error::InvalidArgument),
            };
        };
        let path = Address::unix(text)?;
        let mut storage = path.storage;
        let start = offset_of!(libc::sockaddr_un, sun_path);
        // SAFETY: the storage has room for a longer address, as the path with its last byte was one.
        unsafe { (&raw mut storage).cast::<u8>().add(start).write(0) };
        Ok(Address { storage, length: (start + 1 + name.len()) as socklen_t })
    }

    /// The abstract name, if it has one that is text.
    pub fn abstract_name(&self) -> Option<&str> {
        std::str::from_utf8(self.name().strip_prefix(&[0])?).ok()
    }

    pub fn family(&self) -> c_int {
        c_int::from(self.storage.ss_family)
    }

    pub fn as_ptr(&self) -> *const sockaddr {
        (&raw const self.storage).cast()
    }

    pub fn length(&self) -> socklen_t {
        self.length
    }

    /// The path, if it is one of this machine; or 0 and an abstract name, or nothing.
    fn name(&self) -> &[u8] {
        let length = (self.length as usize).min(size_of::<libc::sockaddr_un>());
        // SAFETY: the storage has room for so many bytes, all of which are initialized.
        let bytes = unsafe { std::slice::from_raw_parts(self.as_ptr().cast::<u8>(), length) };
        match bytes.get(offset_of!(libc::sockaddr_un, sun_path)..).unwrap_or_default() {
            name @ [0, ..] => name,
            path => path.split(|&byte| byte == 0).next().unwrap_or_default(),
        }
    }

    /// Whether both stand for the same place.
    pub fn is_same(&self, other: &Address) -> bool {
        if self.family() != other.family() {
            return false;
        }
        match (self.to_inet(), other.to_inet()) {
            (Ok(SocketAddr::V6(one)), Ok(SocketAddr::V6(other))) => {
                // Not the information on flows, which is not a part of it.
                (one.ip(), one.port(), one.scope_id())
                    == (other.ip(), other.port(), other.scope_id())
            }
            (Ok(one), Ok(other)) => one == other,
            _ => self.family() == libc::AF_UNIX && self.name() == other.name(),
        }
    }

    /// Of the internet; an error if it is of another family.
    pub fn to_inet(&self) -> Result<SocketAddr> {
        match self.family() {
            libc::AF_INET => {
                // SAFETY: that is what the family's addresses are; the storage has room for them.
                let raw: libc::sockaddr_in = unsafe { std::ptr::read(self.as_ptr().cast()) };
                let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
                Ok(SocketAddr::new(ip.into(), u16::from_be(raw.sin_port)))
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let raw: libc::sockaddr_in6 = unsafe { std::ptr::read(self.as_ptr().cast()) };
                let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                let port = u16::from_be(raw.sin6_port);
                Ok(SocketAddrV6::new(ip, port, raw.sin6_flowinfo, raw.sin6_scope_id).into())
            }
            _ => Err(Error::InvalidArgument),
        }
    }

    /// Of this machine; `None` if the standard library cannot make it.
    pub fn to_unix(&self) -> Option<std_unix::SocketAddr> {
        match self.name() {
            [0, name @ ..] => std_unix::SocketAddr::from_abstract_name(name).ok(),
            path => std_unix::SocketAddr::from_pathname(OsStr::from_bytes(path)).ok(),
        }
    }
}
