//! Listening sockets that a process was given: `net::Builder::inherited`.
//!
//! Each test starts this program again, which is the one that was given them.

use std::io::{Read, Write};
use std::net::{self as std_net, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::net as std_unix;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use majjen::Scheduler;
use majjen::net::{Builder, close_inherited};

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
