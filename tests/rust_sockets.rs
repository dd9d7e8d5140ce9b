//! Sockets with options, the queues of listeners, accepted connections and their addresses, and datagrams
//! on this machine.

mod support;

use std::ffi::c_int;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as std_unix};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use majjen::net::{
    Builder, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream,
};
use majjen::task;
use support::{in_a_task, scheduler};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn temporary_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("majjen-{name}-{}", std::process::id()))
}

fn option(socket: &impl AsRawFd, level: c_int, name: c_int) -> c_int {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    let address = (&raw mut value).cast();
    // SAFETY: the addresses are good for a value and its length.
    let got = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, address, &mut length) };
    assert_eq!(got, 0);
    value
}

/// Whether O_NONBLOCK and FD_CLOEXEC are set.
fn flags(socket: &impl AsRawFd) -> (bool, bool) {
    let get = |request, flag| {
        // SAFETY: reads flags of an open descriptor.
        unsafe { libc::fcntl(socket.as_raw_fd(), request) & flag != 0 }
    };
    (get(libc::F_GETFL, libc::O_NONBLOCK), get(libc::F_GETFD, libc::FD_CLOEXEC))
}

/// How many connections may wait to be accepted, whatever is asked for.
fn longest_queue() -> usize {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    text.trim().parse().unwrap_or(128)
}

#[test]
fn many_connections_may_wait_to_be_accepted() {
    if longest_queue() < 400 {
        return eprintln!("this system has short queues");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&address, 10 * SECOND);
    let waiting: Vec<_> = (0..300).map(|_| connect().unwrap()).collect();
    let accepted = in_a_task(move || listener.incoming().take(300).flatten().count());
    assert_eq!((waiting.len(), accepted), (300, 300));

    let path = temporary_path("queue-of-many");
    let listener = UnixListener::bind(&path).unwrap();
    let waiting: Vec<_> = in_a_task({
        let path = path.clone();
        let connect = move |_| UnixStream::connect_timeout(&path, 10 * SECOND).unwrap();
        move || (0..300).map(connect).collect()
    });
    let accepted = in_a_task(move || listener.incoming().take(300).flatten().count());
    assert_eq!((waiting.len(), accepted), (300, 300));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_builder_sets_how_many() {
    in_a_task(|| {
        let listener = Builder::new().backlog(1).listen("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        let error = loop {
            match TcpStream::connect_timeout(&address, 20 * MS) {
                Ok(stream) if waiting.len() < 100 => waiting.push(stream),
                Ok(_) => panic!("the queue has no end"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn accepted_connections_have_the_listeners_options() {
    in_a_task(|| {
        let builder = Builder::new()
            .nodelay(true)
            .keepalive(Some(60 * SECOND))
            .keepalive_interval(7 * SECOND)
            .keepalive_count(3)
            .user_timeout(5 * SECOND)
            .linger(Some(Duration::ZERO))
            .ttl(9)
            .receive_buffer(8192)
            .send_buffer(16384);
        let listener = builder.listen("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connected = builder.connect(address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        for stream in [connected, accepted] {
            assert!(stream.nodelay().unwrap());
            assert_eq!(stream.keepalive().unwrap(), Some(60 * SECOND));
            assert_eq!(option(&stream, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL), 7);
            assert_eq!(option(&stream, libc::IPPROTO_TCP, libc::TCP_KEEPCNT), 3);
            assert_eq!(option(&stream, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT), 5000);
            assert_eq!(stream.linger().unwrap(), Some(Duration::ZERO));
            assert_eq!(stream.ttl().unwrap(), 9);
            assert_eq!(option(&stream, libc::SOL_SOCKET, libc::SO_RCVBUF), 16384); // Doubled.
            assert_eq!(option(&stream, libc::SOL_SOCKET, libc::SO_SNDBUF), 32768);
            stream.set_keepalive(Some(MS)).unwrap();
            assert_eq!(stream.keepalive().unwrap(), Some(SECOND)); // Rounded up.
            stream.set_keepalive(None).unwrap();
            assert_eq!(stream.keepalive().unwrap(), None);
            stream.set_linger(None).unwrap();
            assert_eq!(stream.linger().unwrap(), None);
        }
    });
}

#[test]
fn an_option_that_a_socket_cannot_have_is_an_error() {
    let udp = Builder::new().nodelay(true).bind_udp("127.0.0.1:0");
    assert!(udp.is_err());
    let large = Builder::new().send_buffer(usize::MAX).listen("127.0.0.1:0").unwrap_err();
    assert_eq!(large.kind(), ErrorKind::InvalidInput);
    let none: &[SocketAddr] = &[];
    assert_eq!(Builder::new().listen(none).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(Builder::new().bind_udp(none).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_lingering_of_nothing_is_a_reset() {
    in_a_task(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let builder = Builder::new().linger(Some(Duration::ZERO));
        let stream = builder.connect(listener.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        drop(stream);
        assert_eq!(accepted.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn listeners_share_a_port() {
    in_a_task(|| {
        let builder = Builder::new().reuse_port(true);
        let one = builder.listen("127.0.0.1:0").unwrap();
        let address = one.local_addr().unwrap();
        assert_eq!(TcpListener::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
        let other = builder.listen(address).unwrap();
        let streams: Vec<_> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
        let count = |listener: TcpListener| {
            listener.set_read_timeout(Some(20 * MS)).unwrap();
            listener.incoming().take_while(Result::is_ok).count()
        };
        // By chance; that all go to one happens once in 2^63 times.
        let counts = [count(one), count(other)];
        assert_eq!(counts.iter().sum::<usize>(), streams.len());
        assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
    });
}

#[test]
fn a_connection_has_the_local_address_that_it_is_given() {
    in_a_task(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let local = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0));
        let stream = Builder::new().local(local).connect_timeout(&address, 10 * SECOND).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), local.ip());
        assert_eq!(stream.local_addr().unwrap(), peer);
    });
}

#[test]
fn a_listener_may_be_for_ipv6_only() {
    in_a_task(|| {
        let unspecified = (Ipv6Addr::UNSPECIFIED, 0);
        let Ok(both) = Builder::new().only_v6(false).listen(unspecified) else {
            return eprintln!("this machine has no IPv6");
        };
        let port = both.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        // Then the other family of addresses has ports of its own.
        assert!(both.accept().unwrap().1.is_ipv6());
        let only = Builder::new().only_v6(true).ttl(9).listen(unspecified).unwrap();
        let address = (Ipv4Addr::LOCALHOST, only.local_addr().unwrap().port());
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(option(&only, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS), 9);
    });
}

#[test]
fn an_accepted_connection_neither_blocks_nor_is_inherited() {
    in_a_task(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, address) = listener.accept().unwrap();
        assert_eq!(stream.local_addr().unwrap(), address);
        assert_eq!(accepted.peer_addr().unwrap(), address);
        for flags in [flags(&listener), flags(&stream), flags(&accepted)] {
            assert_eq!(flags, (true, true));
        }
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(flags(&udp), (true, true));
        let path = temporary_path("flags");
        let listener = UnixListener::bind(&path).unwrap();
        let stream = UnixStream::connect(&path).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        std::fs::remove_file(path).unwrap();
        for flags in [flags(&listener), flags(&stream), flags(&accepted)] {
            assert_eq!(flags, (true, true));
        }
    });
}

/// Accepts a connection from a socket that is bound to this address.
fn accepted_from(address: Option<&std_unix::SocketAddr>) -> std_unix::SocketAddr {
    let path = temporary_path("accepts");
    let listener = UnixListener::bind(&path).unwrap();
    // The standard library cannot bind a stream before it connects it.
    let client = match address {
        None => std_unix::UnixStream::connect(&path).unwrap(),
        Some(address) => bound_and_connected(address, &path),
    };
    std::fs::remove_file(path).unwrap();
    let (accepted, told) = in_a_task(move || listener.accept().unwrap());
    assert_eq!(format!("{told:?}"), format!("{:?}", accepted.peer_addr().unwrap()));
    drop(client);
    told
}

fn bound_and_connected(
    address: &std_unix::SocketAddr,
    path: &std::path::Path,
) -> std_unix::UnixStream {
    use std::os::fd::{FromRawFd, OwnedFd};
    use std::os::unix::ffi::OsStrExt;
    // SAFETY: no preconditions.
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0);
    // SAFETY: opened just now, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let raw = |bytes: &[u8]| {
        // SAFETY: an address is integers, for which zero is a value.
        let mut raw: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in raw.sun_path.iter_mut().zip(bytes) {
            *to = *from as libc::c_char;
        }
        (raw, (std::mem::offset_of!(libc::sockaddr_un, sun_path) + bytes.len()) as libc::socklen_t)
    };
    let name = match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => path.as_os_str().as_bytes().to_vec(),
        (_, Some(name)) => [b"\0", name].concat(),
        _ => unreachable!(),
    };
    let (raw_name, name_length) = raw(&name);
    // SAFETY: the address is as long as said.
    assert_eq!(unsafe { libc::bind(fd, (&raw const raw_name).cast(), name_length) }, 0);
    let (raw_path, path_length) = raw(path.as_os_str().as_bytes());
    // SAFETY: as above.
    assert_eq!(unsafe { libc::connect(fd, (&raw const raw_path).cast(), path_length) }, 0);
    socket.into()
}

#[test]
fn the_addresses_of_accepted_connections_are_told() {
    assert!(accepted_from(None).is_unnamed());
    let name = format!("majjen-test-{}", std::process::id());
    let address = std_unix::SocketAddr::from_abstract_name(&name).unwrap();
    assert_eq!(accepted_from(Some(&address)).as_abstract_name(), Some(name.as_bytes()));
    for length in [40, 107] {
        let mut path = temporary_path("from").into_os_string();
        path.push("x".repeat(length - path.len()));
        let address = std_unix::SocketAddr::from_pathname(&path).unwrap();
        assert_eq!(accepted_from(Some(&address)).as_pathname().unwrap(), &*path);
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_listener_of_another_family_has_no_connection_of_the_internet() {
    in_a_task(|| {
        let path = temporary_path("family");
        let listener = std_unix::UnixListener::bind(&path).unwrap();
        let listener = TcpListener::try_from(OwnedFd::from(listener)).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::InvalidInput);
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn paths_that_cannot_be_are_refused() {
    for path in ["a\0b", "\0abstract", "", &"x".repeat(200)] {
        assert_eq!(
            UnixListener::bind(path).unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{path:?}"
        );
    }
}

#[test]
fn datagrams_on_this_machine_have_limits_and_wait_for_room() {
    in_a_task(|| {
        let (one, other) = UnixDatagram::pair().unwrap();
        one.set_write_timeout(Some(3 * MS)).unwrap();
        other.set_read_timeout(Some(3 * MS)).unwrap();
        let began = Instant::now();
        assert_eq!(other.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
        let mut sent = 0;
        let error = loop {
            match one.send(&[7; 1000]) {
                Ok(length) if sent < 100_000 => sent += usize::from(length == 1000),
                Ok(_) => panic!("the queue has no end"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(sent > 0 && began.elapsed() >= 6 * MS);
        one.set_write_timeout(None).unwrap();
        let waits = task::spawn(move || one.send(b"last").unwrap());
        task::sleep(MS).unwrap();
        assert!(!waits.is_finished());
        for _ in 0..sent {
            assert_eq!(other.recv(&mut [0; 2000]).unwrap(), 1000);
        }
        let mut last = [0; 8];
        assert_eq!(other.recv(&mut last).unwrap(), 4);
        assert_eq!(&last[..4], b"last");
        assert_eq!(waits.join().unwrap(), 4);
        // The other end is gone.
        assert!(other.recv(&mut last).is_err());
    });
}

/// The kernel does not say when another's queue has room.
#[test]
fn datagrams_to_a_path_are_tried_again() {
    let path = temporary_path("datagrams");
    let server = UnixDatagram::bind(&path).unwrap();
    let client = UnixDatagram::unbound().unwrap();
    let mut sent = 0;
    while client.send_to(b"x", &path).is_ok() {
        sent += 1;
        assert!(sent < 100_000);
    }
    let scheduler = scheduler();
    let to = path.clone();
    let waits = scheduler.spawn(move || {
        client.set_write_timeout(Some(3 * MS)).unwrap();
        let late = client.send_to(b"late", &to).unwrap_err();
        client.set_write_timeout(None).unwrap();
        (late.kind(), client.send_to(b"last", &to).unwrap())
    });
    scheduler.spawn(move || {
        task::sleep(100 * MS).unwrap();
        for _ in 0..sent {
            let (length, sender) = server.recv_from(&mut [0; 8]).unwrap();
            assert!(length == 1 && sender.is_unnamed());
        }
        assert_eq!(server.recv(&mut [0; 8]).unwrap(), 4);
    });
    scheduler.run().unwrap();
    assert_eq!(waits.join().unwrap(), (ErrorKind::TimedOut, 4));
    // It does not spin: that would be tens of thousands.
    let turns = scheduler.metrics().task_executions;
    assert!(turns < 1000, "{turns}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn datagram_sockets_of_this_machine_are_connected_and_closed() {
    in_a_task(|| {
        let path = temporary_path("connected");
        let (server, client) =
            (UnixDatagram::bind(&path).unwrap(), UnixDatagram::unbound().unwrap());
        client.connect(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(client.peer_addr().unwrap().as_pathname(), Some(&*path));
        let receives = task::spawn(move || {
            let mut buffer = [0; 3];
            let length = server.recv(&mut buffer).unwrap();
            (length, buffer)
        });
        task::sleep(MS).unwrap();
        client.send(b"hello").unwrap();
        assert_eq!(receives.join().unwrap(), (3, *b"hel"));
        let std_socket: std_unix::UnixDatagram = client.into();
        assert!(UnixDatagram::try_from(std_socket).unwrap().local_addr().unwrap().is_unnamed());
    });
}

#[test]
fn a_stream_writes_after_its_listener_is_gone() {
    in_a_task(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        drop(listener);
        stream.write_all(b"x").unwrap();
        accepted.read_exact(&mut [0]).unwrap();
    });
}
