//! What a process tells who has started it, in the way of sd_notify(3): datagrams to a socket of this machine.

use std::ffi::c_int;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::ptr::{null_mut, read_unaligned};

use super::address::Address;
use super::cancellation::uncancelable;
use super::child::Pid;
use super::datagram::{patient_socket, send};
use super::errno::last_error;
use super::error::Result;
use super::owned_fd::OwnedFd;
use super::socket::{bind, connect_socket, socket};
use super::socket_option::set;
use super::transfer::iovec;

/// Sends one datagram to the socket at an address. Waits 100 ms at most while its queue is full.
pub fn notify(address: &Address, bytes: &[u8]) -> Result<()> {
    let socket = patient_socket()?;
    // SAFETY: the address is of the family's type, and as long as said.
    unsafe { connect_socket(socket.as_raw_fd(), address.as_ptr(), address.length())? };
    send(socket.as_raw_fd(), bytes, true)
}

/// A socket that such datagrams can be sent to, under a name that the kernel chooses. It does not block.
pub fn notified_socket() -> Result<OwnedFd> {
    let socket = socket(libc::AF_UNIX, libc::SOCK_DGRAM, &[])?;
    set(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PASSCRED, &c_int::from(true))?;
    bind(&socket, &Address::any_unix())?;
    Ok(socket)
}

/// Room for the sender, and for nothing else that may be sent along.
const CONTROL: usize = 32;

#[repr(C, align(8))]
struct Control([u8; CONTROL]);

const _: () = assert!(size_of::<libc::cmsghdr>() + size_of::<libc::ucred>() <= CONTROL);

/// Receives a datagram: how many bytes of it are in the buffer, and the number of the process that has sent it, as
/// the kernel knows it. EAGAIN if there is none.
pub fn notified(fd: c_int, buffer: &mut [u8]) -> Result<(usize, Option<Pid>)> {
    let mut control = Control([0; CONTROL]);
    let mut part = iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: addresses and lengths, for which zero is a value.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = null_mut();
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = CONTROL as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: all addresses are good for as many bytes as said.
    let count = uncancelable(|| unsafe { libc::recvmsg(fd, &mut message, flags) });
    let count = usize::try_from(count).map_err(|_| last_error())?;
    // SAFETY: the header is NULL, or in the control data, which has room for a sender behind it.
    let sender = unsafe {
        libc::CMSG_FIRSTHDR(&message).as_ref().and_then(|header| {
            let is_sender = header.cmsg_level == libc::SOL_SOCKET
                && header.cmsg_type == libc::SCM_CREDENTIALS
                && header.cmsg_len >= size_of::<libc::cmsghdr>() + size_of::<libc::ucred>();
            is_sender.then(|| read_unaligned(libc::CMSG_DATA(header).cast::<libc::ucred>()).pid)
        })
    };
    Ok((count, sender))
}

/// The number of the process that has started this one, or of who has adopted it.
pub fn parent_id() -> Pid {
    // SAFETY: no preconditions.
    unsafe { libc::getppid() }
}
