//! The load: many clients on one thread, each sending a request when it has received the whole answer to the
//! previous one. Every byte received is compared with the expected one.

use std::io;
use std::mem::{size_of, zeroed};
use std::time::{Duration, Instant};

use crate::Result;

pub const PORT: u16 = 8080;

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: majjen-bench\r\nAccept: */*\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
pub const ECHO_BYTES: usize = 512;

/// No load takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The clients' behaviour; the numbers are those of `server.h`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One request per connection; the server closes it.
    Once = 0,
    /// Many requests per connection.
    Kept = 1,
    /// 512 bytes back and forth, one connection per client.
    Echo = 2,
}

/// Connected clients.
pub struct Load {
    kind: Kind,
    epoll: i32,
    clients: Vec<Client>,
    message: Vec<u8>,
    expected: Vec<u8>,
    /// Requests answered so far, and how many may be started.
    answered: u64,
    begun: u64,
    goal: u64,
}

#[derive(Clone, Copy)]
struct Client {
    socket: i32,
    /// Whether a request is in flight.
    active: bool,
    /// Whether the request has been sent.
    sent: bool,
    received: usize,
}

const IDLE: Client = Client { socket: -1, active: false, sent: false, received: 0 };

impl Load {
    /// Clients, connected if their kind keeps connections.
    pub fn connect(kind: Kind, clients: usize) -> Result<Load> {
        // SAFETY: no preconditions.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let (message, expected) = match kind {
            Kind::Once | Kind::Kept => (REQUEST.to_vec(), RESPONSE.to_vec()),
            Kind::Echo => {
                let pattern: Vec<u8> = (0..ECHO_BYTES).map(|index| (index * 7) as u8).collect();
                (pattern.clone(), pattern)
            }
        };
        let mut load = Load {
            kind,
            epoll,
            clients: vec![IDLE; clients],
            message,
            expected,
            answered: 0,
            begun: 0,
            goal: 0,
        };
        if kind != Kind::Once {
            for index in 0..clients {
                load.open(index, false).map_err(|error| format!("connection {index}: {error}"))?;
                load.watch(index)?;
            }
        }
        Ok(load)
    }

    /// Makes this many further requests.
    pub fn make(&mut self, requests: u64) -> Result<()> {
        self.goal += requests;
        for index in 0..self.clients.len() {
            if self.begin(index)? {
                self.progress(index)?;
            }
        }
        let deadline = Instant::now() + PATIENCE;
        // SAFETY: plain data.
        let mut events: [libc::epoll_event; 256] = unsafe { zeroed() };
        while self.answered < self.goal {
            // SAFETY: the array has room for as many events as said.
            let count = unsafe { libc::epoll_wait(self.epoll, events.as_mut_ptr(), 256, 100) };
            for event in &events[..count.max(0) as usize] {
                self.progress(event.u64 as usize)?;
            }
            if Instant::now() >= deadline {
                let seconds = PATIENCE.as_secs();
                return Err(format!("{} of {} requests in {seconds} s", self.answered, self.goal));
            }
        }
        Ok(())
    }

    /// Starts a client's next request, if there is one to make.
    fn begin(&mut self, index: usize) -> Result<bool> {
        if self.begun == self.goal {
            return Ok(false);
        }
        self.begun += 1;
        if self.kind == Kind::Once {
            self.open(index, true).map_err(|error| format!("connect: {error}"))?;
            self.watch(index)?;
        }
        let socket = self.clients[index].socket;
        self.clients[index] = Client { socket, active: true, sent: false, received: 0 };
        Ok(true)
    }

    /// Sends and receives as much as possible without blocking.
    fn progress(&mut self, index: usize) -> Result<()> {
        while self.clients[index].active {
            let client = self.clients[index];
            if !client.sent {
                match self.send(client.socket) {
                    Ok(()) => self.clients[index].sent = true,
                    Err(error) if would_block(&error) => return Ok(()),
                    Err(error) => return Err(format!("send: {error}")),
                }
            }
            match self.receive(index) {
                Ok(false) => {}
                Ok(true) => {
                    self.answered += 1;
                    self.clients[index].active = false;
                    if self.kind == Kind::Once {
                        self.close(index);
                    }
                    self.begin(index)?;
                }
                Err(error) if would_block(&error) => return Ok(()),
                Err(error) => return Err(format!("receive: {error}")),
            }
        }
        Ok(())
    }

    fn send(&self, socket: i32) -> io::Result<()> {
        // SAFETY: the address and length of a vector.
        let sent = unsafe {
            libc::send(socket, self.message.as_ptr().cast(), self.message.len(), libc::MSG_NOSIGNAL)
        };
        match sent {
            sent if sent == self.message.len() as isize => Ok(()),
            -1 => Err(io::Error::last_os_error()),
            _ => Err(io::Error::other("a short write")),
        }
    }

    /// Whether the answer is now complete.
    fn receive(&mut self, index: usize) -> io::Result<bool> {
        let client = &mut self.clients[index];
        let mut buffer = [0u8; 4096];
        // SAFETY: the address and length of an array.
        let received =
            unsafe { libc::recv(client.socket, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        let received = received as usize;
        if received == 0 {
            let complete = client.received == self.expected.len() && self.kind == Kind::Once;
            return if complete { Ok(true) } else { Err(io::Error::other("closed too early")) };
        }
        let rest = &self.expected[client.received..];
        if !rest.starts_with(&buffer[..received]) {
            return Err(io::Error::other("the answer is wrong"));
        }
        client.received += received;
        Ok(self.kind != Kind::Once && client.received == self.expected.len())
    }

    fn open(&mut self, index: usize, nonblocking_connect: bool) -> io::Result<()> {
        // SAFETY: system calls with valid addresses.
        unsafe {
            let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
            if socket < 0 {
                return Err(io::Error::last_os_error());
            }
            self.clients[index] = Client { socket, ..IDLE };
            if nonblocking_connect {
                libc::fcntl(socket, libc::F_SETFL, libc::O_NONBLOCK);
            }
            let on: libc::c_int = 1;
            let size = size_of::<libc::c_int>() as libc::socklen_t;
            libc::setsockopt(
                socket,
                libc::IPPROTO_TCP,
                libc::TCP_NODELAY,
                (&raw const on).cast(),
                size,
            );
            let mut address: libc::sockaddr_in = zeroed();
            address.sin_family = libc::AF_INET as libc::sa_family_t;
            address.sin_port = PORT.to_be();
            address.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
            let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            if libc::connect(socket, (&raw const address).cast(), size) != 0 {
                let error = io::Error::last_os_error();
                if error.raw_os_error() != Some(libc::EINPROGRESS) {
                    return Err(error);
                }
            }
            libc::fcntl(socket, libc::F_SETFL, libc::O_NONBLOCK);
        }
        Ok(())
    }

    fn watch(&self, index: usize) -> Result<()> {
        let events = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
        let mut event = libc::epoll_event { events, u64: index as u64 };
        // SAFETY: the address is valid for the call.
        let failed = unsafe {
            libc::epoll_ctl(self.epoll, libc::EPOLL_CTL_ADD, self.clients[index].socket, &mut event)
        };
        if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error().to_string()) }
    }

    fn close(&mut self, index: usize) {
        let socket = std::mem::replace(&mut self.clients[index].socket, -1);
        if socket >= 0 {
            // SAFETY: this client's own descriptor.
            unsafe { libc::close(socket) };
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for index in 0..self.clients.len() {
            self.close(index);
        }
        // SAFETY: this load's own descriptor.
        unsafe { libc::close(self.epoll) };
    }
}

/// Whether to retry when the socket is ready: also for a connection that is still being established.
fn would_block(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOTCONN | libc::EINPROGRESS))
}
