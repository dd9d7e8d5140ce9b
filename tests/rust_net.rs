//! Sockets: waiting, timeouts, connecting, and what happens to them when their task is canceled.

mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use majjen::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use majjen::{Error, JoinError, task};
use support::{HOUR, in_a_task, run_for_a_moment, scheduler};

const MS: Duration = Duration::from_millis(1);

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Both ends of a connection.
fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listen();
    let client = TcpStream::connect(address).unwrap();
    (client, listener.accept().unwrap().0)
}

#[track_caller]
fn assert_times_out<T>(call: impl FnOnce() -> io::Result<T>) {
    let began = Instant::now();
    match call() {
        Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}"),
        Ok(_) => panic!("it has not waited"),
    }
    assert!(began.elapsed() >= 3 * MS, "after {:?}", began.elapsed());
}

#[test]
fn calls_have_time_limits() {
    in_a_task(|| {
        let (mut one, mut other) = pair();
        one.set_read_timeout(Some(3 * MS)).unwrap();
        assert_times_out(|| one.read(&mut [0; 8]));
        assert_times_out(|| one.peek(&mut [0; 8]));
        one.set_write_timeout(Some(3 * MS)).unwrap();
        assert_times_out(|| (0..1000).try_for_each(|_| one.write(&[0; 65536]).map(drop)));
        other.read_exact(&mut [0; 65536]).unwrap(); // The connection still works.

        let (listener, _) = listen();
        listener.set_read_timeout(Some(3 * MS)).unwrap();
        assert_times_out(|| listener.accept());
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_read_timeout(Some(3 * MS)).unwrap();
        assert_times_out(|| udp.recv(&mut [0; 8]));
        let (mut unix, _other) = UnixStream::pair().unwrap();
        unix.set_read_timeout(Some(3 * MS)).unwrap();
        assert_times_out(|| unix.read(&mut [0; 8]));
        assert_eq!(unix.read_timeout().unwrap(), Some(3 * MS));
        let zero = unix.set_read_timeout(Some(Duration::ZERO)).unwrap_err();
        assert_eq!(zero.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn others_run_while_a_socket_is_waited_for() {
    in_a_task(|| {
        let (mut one, mut other) = pair();
        let reads = task::spawn(move || {
            let mut buffer = [0; 5];
            other.read_exact(&mut buffer).map(|()| buffer)
        });
        for byte in b"hello" {
            task::sleep(MS).unwrap();
            one.write_all(&[*byte]).unwrap();
        }
        assert_eq!(&reads.join().unwrap().unwrap(), b"hello");
    });
}

#[test]
fn one_task_reads_and_another_writes_by_shared_reference() {
    in_a_task(|| {
        let (mut one, other) = pair();
        let other = Rc::new(other);
        let (reader, writer) = (other.clone(), other);
        let data = vec![7; 3_000_000]; // More than the socket's buffers hold.
        let expected = data.clone();
        let writes = task::spawn(move || {
            (&mut &*writer).write_all(&data).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let reads = task::spawn(move || {
            let mut text = String::new();
            (&mut &*reader).read_to_string(&mut text).map(|_| text)
        });
        let mut received = Vec::new();
        one.read_to_end(&mut received).unwrap();
        one.write_all(b"thanks").unwrap();
        drop(one);
        assert!(received == expected);
        assert_eq!(reads.join().unwrap().unwrap(), "thanks");
        writes.join().unwrap();
    });
}

#[test]
fn connecting_fails_as_it_should() {
    in_a_task(|| {
        let (listener, address) = listen();
        drop(listener);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let nothing: &[SocketAddr] = &[];
        assert_eq!(TcpStream::connect(nothing).unwrap_err().kind(), ErrorKind::InvalidInput);
        let missing = UnixStream::connect(temporary_path("missing")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        for path in ["x".repeat(500), "a\0b".to_owned()] {
            let wrong = UnixStream::connect(path).unwrap_err();
            assert_eq!(wrong.kind(), ErrorKind::InvalidInput);
        }
        // The second address is tried when the first fails.
        let (_listener, good) = listen();
        let stream = TcpStream::connect(&[address, good][..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
    });
}

/// Makes a listener's backlog as short as possible.
fn shorten_queue(listener: &impl AsRawFd) {
    // SAFETY: the descriptor is open.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
}

#[test]
fn connecting_has_a_timeout() {
    in_a_task(|| {
        let (listener, address) = listen();
        shorten_queue(&listener);
        let mut waiting = Vec::new();
        let began = Instant::now();
        let error = loop {
            match TcpStream::connect_timeout(&address, 20 * MS) {
                Ok(stream) if waiting.len() < 100 => waiting.push(stream),
                Ok(_) => panic!("the queue has no end"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() >= 20 * MS);
    });
}

fn temporary_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("majjen-{name}-{}", std::process::id()))
}

#[test]
fn connecting_to_a_full_queue_of_a_path_is_tried_again() {
    in_a_task(|| {
        let path = temporary_path("queue");
        let listener = UnixListener::bind(&path).unwrap();
        shorten_queue(&listener);
        let mut waiting = Vec::new();
        let error = loop {
            match UnixStream::connect_timeout(&path, 5 * MS) {
                Ok(stream) if waiting.len() < 100 => waiting.push(stream),
                Ok(_) => panic!("the queue has no end"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let connected = path.clone();
        let connects = task::spawn(move || UnixStream::connect(connected).map(drop));
        task::sleep(5 * MS).unwrap();
        assert!(!connects.is_finished());
        listener.accept().unwrap();
        connects.join().unwrap().unwrap();
        assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(&*path));
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn both_families_of_addresses_are_connected_to() {
    in_a_task(|| {
        let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
            return eprintln!("this machine has no IPv6 address");
        };
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        assert_eq!(stream.local_addr().unwrap(), peer);
        assert_eq!(stream.peer_addr().unwrap(), accepted.local_addr().unwrap());
        stream.set_nodelay(true).unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(stream.take_error().unwrap().is_none());
    });
}

#[test]
fn datagrams_are_sent_and_received() {
    in_a_task(|| {
        let [one, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let (one_address, other_address) = (one.local_addr().unwrap(), other.local_addr().unwrap());
        let echo = task::spawn(move || {
            let mut buffer = [0; 16];
            for _ in 0..3 {
                let (length, sender) = other.recv_from(&mut buffer).unwrap();
                other.send_to(&buffer[..length], sender).unwrap();
                assert_eq!(sender, one_address);
            }
        });
        one.connect(other_address).unwrap();
        assert_eq!(one.peer_addr().unwrap(), other_address);
        let mut buffer = [0; 16];
        for text in ["a", "bc", "def"] {
            one.send(text.as_bytes()).unwrap();
            let length = one.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], text.as_bytes());
        }
        echo.join().unwrap();
    });
}

#[test]
fn a_canceled_task_closes_its_sockets() {
    let scheduler = scheduler();
    let (mut one, other) = std::os::unix::net::UnixStream::pair().unwrap();
    let waits = scheduler.spawn(move || {
        let mut stream = UnixStream::from_std(other)?;
        stream.read(&mut [0; 8])
    });
    run_for_a_moment(&scheduler);
    one.write_all(b"").unwrap();
    drop(scheduler);
    assert!(matches!(waits.join(), Err(JoinError::Canceled)));
    assert_eq!(one.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_write_buffer_is_flushed_by_unwinding_as_far_as_there_is_room() {
    let scheduler = scheduler();
    let (mut one, other) = std::os::unix::net::UnixStream::pair().unwrap();
    scheduler.spawn(move || {
        let mut writer = io::BufWriter::new(UnixStream::from_std(other).unwrap());
        writer.write_all(b"buffered").unwrap();
        let _ = task::sleep(HOUR);
    });
    run_for_a_moment(&scheduler);
    drop(scheduler);
    let mut text = String::new();
    one.read_to_string(&mut text).unwrap();
    assert_eq!(text, "buffered");
}

#[test]
fn a_destructor_that_unwinding_runs_gets_an_error_where_it_would_wait() {
    let scheduler = scheduler();
    struct ReadsWhenDropped(UnixStream, Rc<std::cell::Cell<Option<Error>>>);
    impl Drop for ReadsWhenDropped {
        fn drop(&mut self) {
            let error = self.0.read(&mut [0; 8]).unwrap_err();
            self.1.set(error.get_ref().and_then(|inner| inner.downcast_ref()).copied());
        }
    }
    let seen = Rc::default();
    let result = Rc::clone(&seen);
    let (_one, other) = UnixStream::pair().unwrap();
    scheduler.spawn(move || {
        let _reader = ReadsWhenDropped(other, seen);
        task::sleep(HOUR)
    });
    run_for_a_moment(&scheduler);
    drop(scheduler);
    assert_eq!(result.get(), Some(Error::Unwinding));
}

#[test]
fn outside_a_task_a_call_works_unless_it_would_wait() {
    let (mut one, mut other) = UnixStream::pair().unwrap();
    one.write_all(b"x").unwrap();
    other.read_exact(&mut [0]).unwrap();
    let (_listener, address) = listen();
    for error in [other.read(&mut [0]).map(drop), TcpStream::connect(address).map(drop)] {
        let error = error.unwrap_err();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        assert_eq!(inner, Some(&Error::NotInTask));
    }
}

#[test]
fn sockets_become_those_of_the_standard_library_and_back() {
    in_a_task(|| {
        let (one, other) = pair();
        let mut plain: std::net::TcpStream = one.into();
        let would_block = plain.read(&mut [0]).unwrap_err();
        assert_eq!(would_block.kind(), ErrorKind::WouldBlock);
        plain.set_nonblocking(false).unwrap();
        let mut again = TcpStream::try_from(plain).unwrap();
        again.flush().unwrap(); // Nothing is buffered.
        again.set_read_timeout(Some(3 * MS)).unwrap();
        assert_times_out(|| again.read(&mut [0]));
        let number = again.as_raw_fd();
        let fd: std::os::fd::OwnedFd = again.into();
        assert_eq!(fd.as_raw_fd(), number);
        drop(other);
        let listener: std::net::TcpListener = listen().0.into();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let socket: std::net::UdpSocket = UdpSocket::bind("127.0.0.1:0").unwrap().into();
        assert_eq!(socket.recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

/// A socket that moves to another thread's scheduler.
#[test]
fn sockets_move_between_threads() {
    let (listener, address) = listen();
    let accepted = in_a_task(move || {
        let client = task::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"x").unwrap();
            stream
        });
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap(); // This thread's reactor has registered it.
        (stream, client.join().unwrap())
    });
    let other = std::thread::spawn(move || {
        in_a_task(move || {
            let (mut stream, mut client) = accepted;
            let reads = task::spawn(move || stream.read_exact(&mut [0; 2]));
            task::sleep(MS).unwrap();
            client.write_all(b"yz").unwrap();
            reads.join().unwrap().unwrap();
        });
    });
    other.join().unwrap();
}
