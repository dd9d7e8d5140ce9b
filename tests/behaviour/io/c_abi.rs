//! The I/O calls of the C ABI.

use std::ffi::c_int;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::ptr::null_mut;
use std::time::Duration;

use super::Io;
use super::poll::{Poll, To, Told};
use crate::c_abi::{CAbi, ns, result};
use crate::majjen_h::*;

/// A descriptor that the library owns.
pub struct Fd(c_int);

impl Drop for Fd {
    fn drop(&mut self) {
        assert_eq!(mj_fd_close(self.0), 0);
    }
}

const ADDRESS_BYTES: u32 = size_of::<libc::sockaddr_in>() as u32;

fn count(transferred: isize) -> Result<usize, i32> {
    usize::try_from(transferred).map_err(|_| -transferred as i32)
}

impl Io for CAbi {
    type Socket = Fd;
    type Listener = Fd;

    fn pair() -> (Fd, Fd) {
        let mut ends = [0; 2];
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
        // SAFETY: room for two.
        let made = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) };
        assert_eq!(made, 0);
        for end in ends {
            assert_eq!(mj_fd_adopt(end), 0);
        }
        (Fd(ends[0]), Fd(ends[1]))
    }

    fn read(socket: &Fd, to: &mut [u8], limit: Option<Duration>) -> Result<usize, i32> {
        count(mj_read(socket.0, to.as_mut_ptr().cast(), to.len(), ns(limit)))
    }

    fn read_exact(socket: &Fd, to: &mut [u8], limit: Option<Duration>) -> Result<(), i32> {
        let mut done = usize::MAX;
        let (memory, bytes) = (to.as_mut_ptr().cast(), to.len());
        let read = count(mj_read_exact(socket.0, memory, bytes, ns(limit), &raw mut done))?;
        assert_eq!(read, done);
        if read == bytes { Ok(()) } else { Err(libc::ENODATA) }
    }

    fn write_all(socket: &Fd, bytes: &[u8], limit: Option<Duration>) -> Result<(), i32> {
        let (memory, mut done) = (bytes.as_ptr().cast(), usize::MAX);
        let written = mj_write_all(socket.0, memory, bytes.len(), ns(limit), &raw mut done);
        assert!(written < 0 || done == bytes.len());
        result(written)
    }

    fn end_writing(socket: &Fd) {
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::shutdown(socket.0, libc::SHUT_WR) }, 0);
    }

    fn listen() -> (Fd, SocketAddr) {
        let fd = mj_listen(c"127.0.0.1".as_ptr(), c"0".as_ptr(), 0, 0);
        assert!(fd >= 0);
        // SAFETY: zero is an address.
        let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        let mut length = ADDRESS_BYTES;
        // SAFETY: room for one.
        let told = unsafe { libc::getsockname(fd, (&raw mut address).cast(), &raw mut length) };
        assert_eq!(told, 0);
        let port = u16::from_be(address.sin_port);
        (Fd(fd), SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    fn accept(listener: &Fd, limit: Option<Duration>) -> Result<Fd, i32> {
        let fd = mj_accept(listener.0, null_mut(), null_mut(), ns(limit));
        result(fd).map(|()| Fd(fd))
    }

    fn connect(address: SocketAddr, limit: Option<Duration>) -> Result<Fd, i32> {
        let SocketAddr::V4(to) = address else { unreachable!("the tests use IPv4") };
        // SAFETY: zero is an address.
        let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        address.sin_family = libc::AF_INET as u16;
        address.sin_addr.s_addr = u32::from(*to.ip()).to_be();
        address.sin_port = to.port().to_be();
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
        let socket = Fd(fd);
        let place = (&raw const address).cast();
        result(mj_connect(fd, place, ADDRESS_BYTES, ns(limit))).map(|()| socket)
    }
}

impl Poll for CAbi {
    fn poll(entries: &[(BorrowedFd<'_>, To)], limit: Option<Duration>) -> Result<Told, i32> {
        let poll = |(fd, to): &(BorrowedFd<'_>, To)| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: match to {
                To::Read => libc::POLLIN,
                To::Write => libc::POLLOUT,
            },
            revents: 0x55, // It is always set.
        };
        let mut polls: Vec<_> = entries.iter().map(poll).collect();
        let told = mj_poll(polls.as_mut_ptr(), polls.len() as u64, ns(limit));
        let ready = polls.iter().enumerate().filter(|(_, poll)| poll.revents != 0);
        let ready: Told = ready
            .map(|(at, poll)| match poll.revents {
                libc::POLLNVAL => (at, Err(libc::EBADF)),
                _ => (at, Ok(())),
            })
            .collect();
        assert_eq!(ready.len(), usize::try_from(told).unwrap_or(0));
        result(told).map(|()| ready)
    }

    fn select(fd: BorrowedFd<'_>) -> Result<(), i32> {
        let mut case = mj_select_case {
            op: MJ_SELECT_FD,
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            ..Default::default()
        };
        result(mj_select(&raw mut case, 1, MJ_FOREVER))?;
        result(case.result)
    }

    fn read_fd(fd: BorrowedFd<'_>) -> Result<usize, i32> {
        let mut buffer = [0_u8; 8];
        count(mj_read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), MJ_FOREVER))
    }

    fn write_fd(fd: BorrowedFd<'_>) -> Result<usize, i32> {
        let buffer = [0_u8; 8];
        count(mj_write(fd.as_raw_fd(), buffer.as_ptr().cast(), buffer.len(), MJ_FOREVER))
    }

    fn adopt(fd: BorrowedFd<'_>) {
        assert_eq!(mj_fd_adopt(fd.as_raw_fd()), 0);
    }

    fn close(&self, fd: OwnedFd) {
        assert_eq!(mj_fd_close(fd.into_raw_fd()), 0);
    }
}
