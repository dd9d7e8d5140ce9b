//! Conversions of the Rust API's errors, and sockets that several threads share.

mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use majjen::net::UnixStream;
use majjen::sync::channel;
use majjen::{Error, JoinError, Scheduler, task};

use support::scheduler;

/// The error of joining a task that has panicked.
fn panicked() -> JoinError {
    let scheduler = scheduler();
    let panics = scheduler.spawn(|| {
        if true {
            panic!("on purpose")
        }
    });
    scheduler.run().unwrap();
    panics.join().unwrap_err()
}

/// The error of a send without a receiver.
fn not_sent() -> majjen::sync::SendError<String> {
    let (sender, receiver) = channel(1);
    drop(receiver);
    sender.send("to nobody".to_owned()).unwrap_err()
}

#[test]
fn errors_are_taken_by_anyhow() {
    fn joined(error: JoinError) -> anyhow::Result<()> {
        Err(error)?
    }
    fn sent() -> anyhow::Result<()> {
        Err(not_sent())?
    }
    fn slept() -> anyhow::Result<()> {
        Ok(task::sleep(Duration::ZERO)?)
    }
    fn boxed(error: JoinError) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err(error)?
    }
    assert!(joined(panicked()).unwrap_err().to_string().contains("on purpose"));
    assert!(boxed(panicked()).unwrap_err().to_string().contains("on purpose"));
    assert_eq!(sent().unwrap_err().to_string(), Error::Disconnected.to_string());
    assert_eq!(slept().unwrap_err().downcast_ref(), Some(&Error::NotInTask));
    // Another thread may read it.
    let error = joined(panicked()).unwrap_err();
    let said = thread::scope(|scope| scope.spawn(|| error.to_string()).join().unwrap());
    assert_eq!(said, "the task has panicked: on purpose");
}

#[test]
fn errors_are_taken_by_functions_of_io() {
    fn all(which: usize) -> io::Result<()> {
        match which {
            0 => task::sleep(Duration::ZERO)?,
            1 => Err(not_sent())?,
            2 => Err(panicked())?,
            3 => Err(JoinError::Canceled)?,
            _ => Err(JoinError::Failed(Error::TimedOut))?,
        }
        Ok(())
    }
    let kinds = [0, 1, 2, 3, 4].map(|which| all(which).unwrap_err().kind());
    let expected = [
        ErrorKind::PermissionDenied,
        ErrorKind::BrokenPipe,
        ErrorKind::Other,
        ErrorKind::Other,
        ErrorKind::TimedOut,
    ];
    assert_eq!(kinds, expected);
    let panicked = all(2).unwrap_err();
    let inner = panicked.get_ref().unwrap().downcast_ref().unwrap();
    assert!(matches!(inner, JoinError::Panicked(panic) if panic.message() == "on purpose"));
}

#[test]
fn errors_of_io_are_taken_by_functions_of_ours() {
    fn all(which: usize) -> majjen::Result<()> {
        match which {
            0 => Err(io::Error::from_raw_os_error(libc::ENOENT))?,
            1 => Err(io::Error::from(Error::Deadlock))?,
            2 => Err(not_sent())?,
            3 => Err(panicked())?,
            4 => Err(JoinError::Canceled)?,
            _ => Err(JoinError::Failed(Error::TimedOut))?,
        }
        Ok(())
    }
    let errors = [0, 1, 2, 3, 4, 5].map(|which| all(which).unwrap_err());
    let expected = [
        Error::Os(libc::ENOENT),
        Error::Deadlock,
        Error::Disconnected,
        Error::Panicked,
        Error::Canceled,
        Error::TimedOut,
    ];
    assert_eq!(errors, expected);
}

/// What has no number and is not ours is what has its kind.
#[test]
fn errors_that_others_have_made_keep_their_kind() {
    for (kind, errno) in [
        (ErrorKind::NotFound, libc::ENOENT),
        (ErrorKind::PermissionDenied, libc::EACCES),
        (ErrorKind::AlreadyExists, libc::EEXIST),
        (ErrorKind::ConnectionRefused, libc::ECONNREFUSED),
        (ErrorKind::ConnectionReset, libc::ECONNRESET),
        (ErrorKind::ConnectionAborted, libc::ECONNABORTED),
        (ErrorKind::NotConnected, libc::ENOTCONN),
        (ErrorKind::AddrInUse, libc::EADDRINUSE),
        (ErrorKind::AddrNotAvailable, libc::EADDRNOTAVAIL),
        (ErrorKind::Unsupported, libc::ENOSYS),
        (ErrorKind::InvalidData, libc::EIO),
    ] {
        assert_eq!(Error::from(io::Error::new(kind, "of another crate")), Error::Os(errno));
        assert!(
            kind == ErrorKind::InvalidData || io::Error::from_raw_os_error(errno).kind() == kind
        );
    }
}

#[test]
fn a_panic_goes_on_where_it_is_resumed() {
    let JoinError::Panicked(panic) = panicked() else { panic!("it has panicked") };
    assert_eq!(format!("{panic:?}"), r#"Panic("on purpose")"#);
    let scheduler = scheduler();
    let joins = scheduler.spawn(|| panic.resume());
    scheduler.run().unwrap();
    let JoinError::Panicked(again) = joins.join().unwrap_err() else { panic!("it goes on") };
    assert!(again.into_payload().is::<&str>());
}

/// Each thread has a scheduler of its own, whose task uses the same socket.
#[test]
fn threads_share_a_socket() {
    let (one, mut other) = UnixStream::pair().unwrap();
    let one = Arc::new(one);
    let in_a_task = |body: fn(&UnixStream) -> io::Result<()>| {
        let stream = one.clone();
        thread::spawn(move || {
            let scheduler = Scheduler::new().unwrap();
            let ends = scheduler.spawn(move || body(&stream));
            scheduler.run().unwrap();
            ends.join().unwrap().unwrap();
        })
    };
    let reads = in_a_task(|mut stream| {
        let mut text = [0; 5];
        stream.read_exact(&mut text)?;
        assert_eq!(text, *b"hello");
        stream.set_read_timeout(Some(Duration::from_secs(7)))
    });
    let writes = in_a_task(|mut stream| {
        task::sleep(Duration::from_millis(5))?;
        stream.write_all(b"world")
    });
    let mut text = [0; 5];
    let scheduler = scheduler();
    let answers = scheduler.spawn(move || {
        other.read_exact(&mut text)?;
        other.write_all(b"hello").map(|()| text)
    });
    scheduler.run().unwrap();
    assert_eq!(answers.join().unwrap().unwrap(), *b"world");
    reads.join().unwrap();
    writes.join().unwrap();
    assert_eq!(one.read_timeout().unwrap(), Some(Duration::from_secs(7)));
}
