//! The sockets of the Rust API.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::time::Duration;

use majjen::net::{TcpListener, TcpStream, UnixStream};
use majjen::task;

use super::Io;
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
