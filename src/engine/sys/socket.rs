//! Sockets that do not block, made and connected or bound.

use std::ffi::{c_int, c_void};
use std::mem::{offset_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::descriptor::opened;
use super::errno::check;
use super::error::{Error, Result};
use super::transfer::{connect_socket, sockaddr, socklen_t};

/// The result of a connection attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connected {
    Yes,
    /// In progress: the socket becomes writable when it ends.
    Later,
}

/// An address in the kernel's form.
struct Address {
    storage: libc::sockaddr_storage,
    length: socklen_t,
}

impl Address {
    fn new<A>(raw: &A) -> Address {
        // SAFETY: an address is integers, for which zero is a value.
        let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
        // SAFETY: the storage has room for an address of any family.
        unsafe { (&raw mut storage).cast::<A>().write_unaligned(std::ptr::read(raw)) };
        Address { storage, length: size_of::<A>() as socklen_t }
    }

    fn inet(address: &SocketAddr) -> Address {
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

    /// Of a path, or with a NUL byte in front of a name in the abstract namespace.
    fn unix(path: &[u8]) -> Result<Address> {
        // SAFETY: an address is integers, for which zero is a value.
        let mut raw: libc::sockaddr_un = unsafe { zeroed() };
        raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
        let is_abstract = path.first() == Some(&0);
        // The last byte of a path stays zero.
        if path.is_empty() || path.len() >= raw.sun_path.len() || !is_abstract && path.contains(&0)
        {
            return Err(Error::InvalidArgument);
        }
        for (target, byte) in raw.sun_path.iter_mut().zip(path) {
            *target = *byte as std::ffi::c_char;
        }
        let mut address = Address::new(&raw);
        if is_abstract {
            address.length = (offset_of!(libc::sockaddr_un, sun_path) + path.len()) as socklen_t;
        }
        Ok(address)
    }

    fn family(&self) -> c_int {
        c_int::from(self.storage.ss_family)
    }

    fn as_ptr(&self) -> *const sockaddr {
        (&raw const self.storage).cast()
    }
}

/// A nonblocking socket that connects to an address.
pub fn connect_tcp(address: &SocketAddr) -> Result<(OwnedFd, Connected)> {
    connect_to(&Address::inet(address))
}

/// A nonblocking socket connected to the one at a path. EAGAIN means that its backlog is full, for
/// which there is no event to wait.
pub fn connect_unix(path: &Path) -> Result<OwnedFd> {
    let path = path.as_os_str().as_bytes();
    if path.contains(&0) {
        return Err(Error::InvalidArgument);
    }
    connect_to(&Address::unix(path)?).map(|(socket, _)| socket)
}

fn connect_to(address: &Address) -> Result<(OwnedFd, Connected)> {
    let socket = stream_socket(address.family())?;
    // SAFETY: the address is of the family's type, and as long as said.
    match unsafe { connect_socket(socket.as_raw_fd(), address.as_ptr(), address.length) } {
        Ok(()) => Ok((socket, Connected::Yes)),
        // An interrupted attempt continues.
        Err(Error::Os(libc::EINPROGRESS | libc::EINTR)) => Ok((socket, Connected::Later)),
        Err(error) => Err(error),
    }
}

fn stream_socket(family: c_int) -> Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no preconditions.
    let fd = opened(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: opened just now, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A nonblocking TCP socket that listens, also where one has just listened before.
pub fn listen_tcp(
    address: &SocketAddr,
    backlog: c_int,
    reuse_port: bool,
    v6_only: bool,
) -> Result<c_int> {
    let address = Address::inet(address);
    let socket = stream_socket(address.family())?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, true)?;
    if reuse_port {
        set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, true)?;
    }
    if address.family() == libc::AF_INET6 {
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, v6_only)?;
    }
    listen_at(socket, &address, backlog)
}

/// A nonblocking socket that listens at a path, or at an abstract name behind a NUL byte.
pub fn listen_unix(path: &[u8], backlog: c_int) -> Result<c_int> {
    let address = Address::unix(path)?;
    listen_at(stream_socket(address.family())?, &address, backlog)
}

/// Whether a descriptor is a socket that listens.
pub fn is_listening(fd: c_int) -> bool {
    let mut listens: c_int = 0;
    let mut length = size_of::<c_int>() as socklen_t;
    // SAFETY: the addresses are good for an integer and its length.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ACCEPTCONN,
            (&raw mut listens).cast::<c_void>(),
            &mut length,
        )
    };
    result == 0 && listens != 0
}

fn set_option(socket: &OwnedFd, level: c_int, option: c_int, on: bool) -> Result<()> {
    let value = c_int::from(on);
    // SAFETY: the address is that of an integer.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast::<c_void>(),
            size_of::<c_int>() as socklen_t,
        )
    })
    .map(drop)
}

fn listen_at(socket: OwnedFd, address: &Address, backlog: c_int) -> Result<c_int> {
    // SAFETY: the address is of the family's type, and as long as said.
    check(unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr(), address.length) })?;
    // SAFETY: no preconditions.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) })?;
    Ok(socket.into_raw_fd())
}
