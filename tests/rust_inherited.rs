//! Listening sockets that a process was given, `net::Builder::inherited`, and that it hands over,
//! `process::Successor`.
//!
//! Each test starts this program again, which is the one that was given them.

use std::io::{Read, Write};
use std::net::{self as std_net, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::net as std_unix;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use majjen::net::{Builder, close_inherited};
use majjen::process::{Successor, notify};
use majjen::{Error, Scheduler, cluster, task};

/// The variable that tells the program what it was given.
const GIVEN: &str = "MAJJEN_TEST_GIVEN";

/// Runs one of the tests in a process that is given these descriptors, and of which it is told by `given`.
fn run_with(test: &str, fds: &[i32], given: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(GIVEN, given);
    command.env("LISTEN_FDS", fds.len().to_string()).env_remove("LISTEN_PID");
    // Under numbers that are not those to be.
    // SAFETY: no preconditions.
    let fds: Vec<i32> =
        fds.iter().map(|&fd| unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 100) }).collect();
    let to_give = fds.clone();
    // SAFETY: it calls dup2() only.
    unsafe {
        command.pre_exec(move || {
            // One may be the pipe by which the standard library learns of an error: then it learns of none.
            for (number, &fd) in (3..).zip(&to_give) {
                if libc::dup2(fd, number) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        })
    };
    let status = command.status().unwrap();
    // SAFETY: of this function.
    fds.into_iter().for_each(|fd| assert_eq!(unsafe { libc::close(fd) }, 0));
    assert!(status.success(), "{test} with {given}: {status}");
}

fn given() -> Option<String> {
    std::env::var(GIVEN).ok()
}

#[test]
fn a_listener_is_taken_with_who_waits_there() {
    if let Some(address) = given() {
        let address: SocketAddr = address.parse().unwrap();
        let scheduler = Scheduler::new().unwrap();
        let served = scheduler.spawn(move || {
            let listener = Builder::new().inherited(true).nodelay(true).listen(address)?;
            assert_eq!(listener.local_addr()?, address);
            assert_eq!(listener.as_raw_fd(), 3);
            let (mut stream, _) = listener.accept()?;
            // Who comes from now on has the options.
            let client = std_net::TcpStream::connect(address)?;
            assert!(listener.accept()?.0.nodelay()?);
            drop(client);
            assert!(Builder::new().inherited(true).listen(address).is_err()); // Once.
            stream.write_all(b"hello")
        });
        scheduler.run().unwrap();
        return served.join().unwrap().unwrap();
    }
    let listener = std_net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = std_net::TcpStream::connect(address).unwrap();
    run_with(
        "a_listener_is_taken_with_who_waits_there",
        &[listener.as_raw_fd()],
        &address.to_string(),
    );
    let mut text = [0; 5];
    client.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"hello");
}

#[test]
fn paths_are_taken_and_what_is_left_is_closed() {
    if let Some(path) = given() {
        let builder = Builder::new().inherited(true);
        let listener = builder.listen_unix(&path).unwrap();
        assert_eq!(listener.as_raw_fd(), 4);
        assert!(builder.listen_unix(&path).is_err());
        assert_eq!(close_inherited(), 1);
        assert_eq!(close_inherited(), 0);
        return;
    }
    let path: PathBuf =
        std::env::temp_dir().join(format!("majjen-inherited-{}", std::process::id()));
    let listener = std_unix::UnixListener::bind(&path).unwrap();
    let other = std_net::TcpListener::bind("127.0.0.1:0").unwrap();
    let fds = [other.as_raw_fd(), listener.as_raw_fd()];
    run_with("paths_are_taken_and_what_is_left_is_closed", &fds, path.to_str().unwrap());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_name_is_listened_at_where_the_process_was_given_a_socket() {
    if let Some(port) = given() {
        let port: u16 = port.parse().unwrap();
        let listener = Builder::new().inherited(true).listen(("localhost", port)).unwrap();
        return assert_eq!(listener.as_raw_fd(), 3);
    }
    let listener = std_net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    run_with(
        "a_name_is_listened_at_where_the_process_was_given_a_socket",
        &[listener.as_raw_fd()],
        &port.to_string(),
    );
}

/// The file system's user of this thread: whom a socket that it makes belongs to. It stays if the process may not
/// change it.
fn be_user_of_files(user: u32) {
    // SAFETY: no preconditions.
    unsafe { libc::syscall(libc::SYS_setfsuid, user) };
}

#[test]
fn a_cluster_has_one_socket_where_nobody_else_may_listen_beside_it() {
    const THIS: &str = "a_cluster_has_one_socket_where_nobody_else_may_listen_beside_it";
    if let Some(address) = given() {
        let address: SocketAddr = address.parse().unwrap();
        let cluster = cluster::Builder::new().cores(2).build().unwrap();
        let options = Builder::new().inherited(true);
        let served = cluster.listen_with(&options, address, |mut stream| {
            stream.write_all(b"hello").unwrap();
        });
        assert_eq!(served.unwrap(), address);
        cluster.start().unwrap();
        let mut text = [0; 5];
        std_net::TcpStream::connect(address).unwrap().read_exact(&mut text).unwrap();
        assert_eq!(&text, b"hello");
        cluster.stop(Duration::ZERO);
        return cluster.join().unwrap();
    }
    be_user_of_files(12_345);
    let listener = std_net::TcpListener::bind("127.0.0.1:0").unwrap();
    be_user_of_files(0);
    let address = listener.local_addr().unwrap();
    run_with(THIS, &[listener.as_raw_fd()], &address.to_string());
}

/// This program again, for one of the tests.
fn successor<'l>(test: &str, given: &str) -> Successor<'l> {
    let program = Successor::new(std::env::current_exe().unwrap());
    let program = program.arg("--exact").arg(test).arg("--nocapture").env(GIVEN, "?");
    program.env(GIVEN, given).env("MAJJEN_TEST_GONE", "").env_remove("MAJJEN_TEST_GONE")
}

#[test]
fn a_successor_takes_over() {
    const THIS: &str = "a_successor_takes_over";
    if let Some(address) = given() {
        let address: SocketAddr = address.parse().unwrap();
        assert!(std::env::var_os("PATH").is_some());
        assert!(std::env::var_os("MAJJEN_TEST_GONE").is_none());
        let scheduler = Scheduler::new().unwrap();
        let served = scheduler.spawn(move || {
            let listener = Builder::new().inherited(true).listen(address)?;
            assert_eq!(listener.as_raw_fd(), 3);
            assert!(notify("READY=1")?);
            for stream in listener.incoming().take(2) {
                writeln!(stream?, "{}", std::process::id())?;
            }
            std::io::Result::Ok(())
        });
        scheduler.run().unwrap();
        return served.join().unwrap().unwrap();
    }
    let scheduler = Scheduler::new().unwrap();
    let handed = scheduler.spawn(|| {
        let listener = Builder::new().listen("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let before = std_net::TcpStream::connect(address).unwrap();
        let limit = Duration::from_secs(100);
        let successor = successor(THIS, &address.to_string()).listener(&listener);
        let child = successor.start(limit).unwrap();
        drop(listener);
        let after = std_net::TcpStream::connect(address).unwrap();
        for mut stream in [before, after] {
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert_eq!(text, format!("{}\n", child.id()));
        }
        assert!(child.wait().unwrap().success());
    });
    scheduler.run().unwrap();
    handed.join().unwrap();
}

#[test]
fn a_successor_that_does_not_come_up_is_ended() {
    let scheduler = Scheduler::new().unwrap();
    let tried = scheduler.spawn(|| {
        let listener = Builder::new().listen("127.0.0.1:0").unwrap();
        let shell = |script| Successor::new("sh").arg("-c").arg(script).listener(&listener);
        let shown = format!("{:?}", shell("exit 1"));
        assert!(
            shown.starts_with("Successor { arguments: [\"sh\", \"-c\", \"exit 1\"], listeners: [")
        );
        let long = Duration::from_secs(100);
        let error = shell("exit 1").start(long).unwrap_err();
        assert_eq!(Error::from(error), Error::NoSuchTask);
        let error = Successor::new("/no/such/program").start(long).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        let error = Successor::new("a\0b").start(long).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        let stream = std_net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let error = Successor::new("true").listener(&stream).start(long).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        let error = shell("exec sleep 100").start(Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        // A canceled task is unwound, and its successor has ended by then.
        let waits = task::spawn(move || Successor::new("sleep").arg("100").start(long).map(drop));
        task::sleep(Duration::from_millis(20)).unwrap();
        waits.task().cancel();
        assert!(waits.join().is_err());
    });
    scheduler.run().unwrap();
    tried.join().unwrap();
    assert_eq!(
        Successor::new("true").start(Duration::ZERO).unwrap_err().kind(),
        std::io::ErrorKind::PermissionDenied // Not in a task.
    );
}
