//! The sockets of the Rust API.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use majjen::io::Suspending;
use majjen::net::{TcpListener, TcpStream, UnixStream};
use majjen::sync::Select;
use majjen::{Error, task};

use super::Io;
use super::poll::{Poll, To, Told};
use crate::Api;
use crate::rust_api::RustApi;

pub enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Makes a call with a limit of the whole, which the running task's deadline is.
fn within<R>(limit: Option<Duration>, call: impl FnOnce() -> io::Result<R>) -> Result<R, i32> {
    let old = limit.map(|_| RustApi::set_deadline(limit)).transpose()?;
    let result = task::no_unwind(call).map_err(|error| errno(&error));
    if let Some(old) = old {
        RustApi::set_deadline(old)?;
    }
    result
}

fn errno(error: &io::Error) -> i32 {
    match error.kind() {
        ErrorKind::UnexpectedEof => libc::ENODATA,
        ErrorKind::TimedOut => libc::ETIMEDOUT,
        _ => {
            let told = error.get_ref().and_then(|inner| inner.downcast_ref::<majjen::Error>());
            let own = told.map(|error| error.errno());
            own.or(error.raw_os_error()).unwrap_or_else(|| panic!("no number: {error:?}"))
        }
    }
}

impl Io for RustApi {
    type Socket = Socket;
    type Listener = TcpListener;

    fn pair() -> (Socket, Socket) {
        let (one, other) = UnixStream::pair().unwrap();
        (Socket::Unix(one), Socket::Unix(other))
    }

    fn read(socket: &Socket, to: &mut [u8], limit: Option<Duration>) -> Result<usize, i32> {
        within(limit, || match socket {
            Socket::Unix(socket) => (&*socket).read(to),
            Socket::Tcp(socket) => (&*socket).read(to),
        })
    }

    fn read_exact(socket: &Socket, to: &mut [u8], limit: Option<Duration>) -> Result<(), i32> {
        within(limit, || match socket {
            Socket::Unix(socket) => (&*socket).read_exact(to),
            Socket::Tcp(socket) => (&*socket).read_exact(to),
        })
    }

    fn write_all(socket: &Socket, bytes: &[u8], limit: Option<Duration>) -> Result<(), i32> {
        within(limit, || match socket {
            Socket::Unix(socket) => (&*socket).write_all(bytes),
            Socket::Tcp(socket) => (&*socket).write_all(bytes),
        })
    }

    fn end_writing(socket: &Socket) {
        match socket {
            Socket::Unix(socket) => socket.shutdown(Shutdown::Write).unwrap(),
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Write).unwrap(),
        }
    }

    fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn accept(listener: &TcpListener, limit: Option<Duration>) -> Result<Socket, i32> {
        within(limit, || Ok(Socket::Tcp(listener.accept()?.0)))
    }

    fn connect(address: SocketAddr, limit: Option<Duration>) -> Result<Socket, i32> {
        within(limit, || Ok(Socket::Tcp(TcpStream::connect(address)?)))
    }
}

/// A select of these, which tells the place of the one that is chosen.
fn select_of<'a>(
    entries: impl Iterator<Item = (usize, &'a (BorrowedFd<'a>, To))>,
) -> Select<'a, (usize, Result<(), i32>)> {
    entries.fold(Select::new(), |select, (at, (fd, to))| {
        let told = move |result: Result<(), Error>| (at, result.map_err(Error::errno));
        match to {
            To::Read => select.readable(fd, told),
            To::Write => select.writable(fd, told),
        }
    })
}

/// What polls in the Rust API: a select tells of one that is ready, and the others are asked.
impl Poll for RustApi {
    fn poll(entries: &[(BorrowedFd<'_>, To)], limit: Option<Duration>) -> Result<Told, i32> {
        let select = select_of(entries.iter().enumerate());
        let (chosen, result) = task::no_unwind(|| match limit {
            Some(limit) => select.wait_timeout(limit),
            None => select.wait(),
        })
        .map_err(Error::errno)?;
        let others = entries.iter().enumerate().filter(|(at, _)| *at != chosen);
        let asked = others.filter_map(|one| select_of([one].into_iter()).attempt().ok());
        let mut told: Told = asked.chain([(chosen, result)]).collect();
        told.sort_unstable_by_key(|(at, _)| *at);
        Ok(told)
    }

    fn select(fd: BorrowedFd<'_>) -> Result<(), i32> {
        let select = Select::new().readable(&fd, |ready| ready);
        task::no_unwind(|| select.wait()?).map_err(Error::errno)
    }

    fn read_fd(fd: BorrowedFd<'_>) -> Result<usize, i32> {
        within(None, || Suspending::new(fd).read(&mut [0; 8]))
    }

    fn write_fd(fd: BorrowedFd<'_>) -> Result<usize, i32> {
        within(None, || Suspending::new(fd).write(&[0; 8]))
    }

    fn adopt(_: BorrowedFd<'_>) {}

    fn close(&self, fd: OwnedFd) {
        self.scheduler().close_fd(fd).unwrap();
    }
}
