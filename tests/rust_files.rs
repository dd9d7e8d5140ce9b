//! Files and names: what a program sees of the threads that do the work.

mod support;

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Seek, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use majjen::blocking::{self, Class};
use majjen::fs::{self, File};
use majjen::net::{TcpListener, TcpStream, lookup_host};
use majjen::{Error, JoinError, task};
use support::scheduler;

/// A directory that is removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("majjen-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let text = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: a C string.
        assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Runs a closure in a task.
fn in_task<T: 'static>(body: impl FnOnce() -> T + 'static) -> T {
    let scheduler = scheduler();
    let task = scheduler.spawn(body);
    scheduler.run().unwrap();
    task.join().unwrap()
}

/// How many descriptors of this process are of a path.
fn descriptors_of(path: &Path) -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    entries
        .flatten()
        .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == path))
        .count()
}

fn wait_until(done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(30));
        task::sleep(Duration::from_millis(1)).unwrap();
    }
}

#[test]
fn paths_are_worked_on() {
    in_task(|| {
        let directory = Directory::new("paths");
        let (one, other) = (directory.path("one"), directory.path("other"));
        fs::write(&one, "hello").unwrap();
        assert_eq!(fs::read(&one).unwrap(), b"hello");
        assert_eq!(fs::read_at_most(&one, 5).unwrap(), b"hello");
        assert_eq!(fs::read_at_most(&one, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(fs::metadata(&one).unwrap().len(), 5);
        fs::rename(&one, &other).unwrap();
        assert_eq!(fs::read_to_string(&one).unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(&other, b"\xff").unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap_err().kind(), ErrorKind::InvalidData);
        fs::create_dir(&one).unwrap();
        assert_eq!(fs::create_dir(&one).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&one).unwrap_err().kind(), ErrorKind::IsADirectory);
        let mut names: Vec<_> =
            fs::read_dir(&directory.0).unwrap().iter().map(|entry| entry.file_name()).collect();
        names.sort();
        assert_eq!(names, ["one", "other"]);
        fs::remove_dir(&one).unwrap();
        fs::remove_file(&other).unwrap();
        assert_eq!(fs::read_dir(&directory.0).unwrap().len(), 0);
        assert_eq!(fs::remove_file("a\0b").unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_file_is_read_and_written() {
    const LARGE: usize = 1_000_000;
    in_task(|| {
        let directory = Directory::new("file");
        let path = directory.path("one");
        let data: Vec<u8> = (0..LARGE).map(|place| (place % 251) as u8).collect();
        let mut options = OpenOptions::new();
        let mut file = File::open_with(options.read(true).write(true).create(true), &path).unwrap();
        file.write_all(&data).unwrap();
        file.sync_all().unwrap();
        // SAFETY: no pointers.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        file.rewind().unwrap();
        let mut back = Vec::new();
        file.read_to_end(&mut back).unwrap();
        assert!(back == data);
        assert_eq!((&file).stream_position().unwrap(), LARGE as u64);
        back.fill(0);
        back.push(0);
        assert_eq!(file.read_at(&mut back, 0).unwrap(), LARGE);
        assert!(back[..LARGE] == data);
        file.write_at(b"hello", LARGE as u64 + 10).unwrap();
        assert_eq!(file.metadata().unwrap().len(), LARGE as u64 + 15);
        file.set_len(3).unwrap();
        assert_eq!(fs::read(&path).unwrap(), data[..3]);
        assert_eq!(file.read_at(&mut [0], u64::MAX).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(File::open(&path).unwrap().set_len(0).is_err());
        let file = File::create(&path).unwrap();
        assert_eq!(std::fs::File::from(file).metadata().unwrap().len(), 0);
    });
}

#[test]
fn outside_a_task_files_are_refused() {
    let is_refused = |error: std::io::Error| {
        error.get_ref().and_then(|inner| inner.downcast_ref()) == Some(&Error::NotInTask)
    };
    assert!(is_refused(fs::read("Cargo.toml").unwrap_err()));
    assert!(is_refused(fs::metadata("Cargo.toml").unwrap_err()));
    assert!(is_refused(File::open("Cargo.toml").unwrap_err()));
    let file = File::from(std::fs::File::open("Cargo.toml").unwrap());
    assert!(is_refused(file.read_at(&mut [0], 0).unwrap_err()));
    assert!(is_refused(file.metadata().unwrap_err()));
    // What need not suspend works, as for all descriptors.
    assert_eq!((&file).read(&mut [0]).unwrap(), 1);
}

#[test]
fn a_task_that_waits_for_a_fifo_is_canceled() {
    let directory = Directory::new("fifo");
    let path = directory.fifo("fifo");
    let scheduler = scheduler();
    let of_read = path.clone();
    let reads = scheduler.spawn(move || fs::read(of_read));
    let of_open = path.clone();
    let opens = scheduler.spawn(move || File::open(of_open).map(drop));
    let path_of_test = path.clone();
    let checks = scheduler.spawn(move || {
        wait_until(|| descriptors_of(&path_of_test) == 1);
        reads.cancel();
        opens.cancel();
        assert!(matches!(reads.join(), Err(JoinError::Canceled)));
        assert!(matches!(opens.join(), Err(JoinError::Canceled)));
        let late = || fs::read(&path_of_test);
        assert!(task::timeout(Duration::from_millis(5), late).is_err());
        // The thread that still opens it, if one had begun, closes it.
        wait_until(|| {
            let options = &mut OpenOptions::new();
            let opened = options.write(true).custom_flags(libc::O_NONBLOCK).open(&path_of_test);
            let counts = blocking::counts(Class::File);
            opened.is_ok() || counts.queued + counts.running == 0
        });
        wait_until(|| descriptors_of(&path_of_test) == 0);
    });
    scheduler.run().unwrap();
    checks.join().unwrap();
}

#[test]
fn a_file_has_what_that_of_the_standard_library_has() {
    in_task(|| {
        let directory = Directory::new("traits");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        let mut file = File::open_with(&options, directory.path("file")).unwrap();
        let pieces = [IoSlice::new(b"on"), IoSlice::new(b"etwo")];
        assert_eq!(file.write_vectored(&pieces).unwrap(), 6);
        assert_eq!((&file).write_vectored(&pieces).unwrap(), 6);
        assert_eq!((&file).write(b"x").unwrap(), 1);
        file.flush().unwrap();
        file.rewind().unwrap();
        let (mut one, mut two) = ([0; 3], [0; 3]);
        for read in 0..2 {
            let mut pieces = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
            let count = match read {
                0 => file.read_vectored(&mut pieces),
                _ => (&file).read_vectored(&mut pieces),
            };
            assert_eq!((count.unwrap(), &one, &two), (6, b"one", b"two"));
        }
        assert!(format!("{file:?}").starts_with("File { fd: "));
        let number = file.as_raw_fd();
        assert_eq!(file.as_fd().as_raw_fd(), number);
        let fd: OwnedFd = file.into();
        assert_eq!(fd.as_raw_fd(), number);
    });
}

/// Whoever opens a file of which somebody has a lease waits until that is given up.
#[test]
fn a_file_of_which_there_is_a_lease_is_waited_for() {
    in_task(|| {
        let directory = Directory::new("lease");
        let path = directory.path("file");
        std::fs::write(&path, "leased").unwrap();
        let holder = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        // SAFETY: no pointers. The signal says that somebody wants the file.
        let set = |lease: libc::c_int| unsafe {
            libc::signal(libc::SIGIO, libc::SIG_IGN);
            libc::fcntl(holder.as_raw_fd(), libc::F_SETLEASE, lease)
        };
        if set(libc::F_WRLCK) != 0 {
            return eprintln!("this file system has no leases");
        }
        let reads = task::spawn(move || fs::read(path));
        task::sleep(Duration::from_millis(20)).unwrap();
        assert!(!reads.is_finished());
        assert_eq!(set(libc::F_UNLCK), 0);
        assert_eq!(reads.join().unwrap().unwrap(), b"leased");
    });
}

#[test]
fn a_device_that_is_full_is_an_error() {
    in_task(|| {
        let full = fs::write("/dev/full", "x").unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
    });
}

#[test]
fn names_are_looked_up() {
    in_task(|| {
        let found = lookup_host("localhost:80").unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
        assert_eq!(lookup_host(("localhost", 80)).unwrap(), found);
        let numeric: Vec<SocketAddr> = vec![([127, 0, 0, 1], 80).into()];
        assert_eq!(lookup_host(("127.0.0.1", 80)).unwrap(), numeric);
        assert_eq!(lookup_host("127.0.0.1:80").unwrap(), numeric);
        assert_eq!(lookup_host(&numeric[..]).unwrap(), numeric);
        assert_eq!(lookup_host(numeric.clone()).unwrap(), numeric);
        assert_eq!(lookup_host("127.0.0.1:80".to_owned()).unwrap(), numeric);
        assert_eq!(lookup_host(("127.0.0.1".to_owned(), 80)).unwrap(), numeric);
        assert_eq!(lookup_host(("localhost".to_owned(), 80)).unwrap(), found);
        for wrong in ["localhost", "localhost:http", "localhost:65536", "a\0b:80"] {
            assert_eq!(
                lookup_host(wrong).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{wrong:?}"
            );
        }
        let error = lookup_host("no such name:80").unwrap_err(); // No server is asked for that.
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().starts_with("cannot look up no such name: "), "{error}");
    });
    assert!(lookup_host("localhost:80").is_ok()); // Outside a task the thread waits.
}

#[test]
fn a_name_is_listened_at_and_connected_to() {
    in_task(|| {
        let listener = TcpListener::bind("localhost:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut stream = TcpStream::connect(("localhost", port)).unwrap();
        listener.accept().unwrap().0.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        drop(listener);
        let refused = TcpStream::connect(("localhost", port)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let none: &[SocketAddr] = &[];
        assert_eq!(TcpStream::connect(none).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

/// An address at which attempts are neither taken nor refused, while the rest lives.
fn silent() -> (SocketAddr, std::net::TcpListener, Vec<OwnedFd>) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // SAFETY: no pointers. A second call changes the backlog.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300))
    {
        waiting.push(stream.into());
    }
    (address, listener, waiting)
}

#[test]
fn an_attempt_that_takes_long_gets_company() {
    in_task(|| {
        let (silent, _listener, _waiting) = silent();
        // Bound to, and not listened at any more.
        let bound = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let refusing = bound.local_addr().unwrap();
        drop(bound);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let answering = listener.local_addr().unwrap();
        let began = Instant::now();
        let stream = TcpStream::connect([silent, refusing, answering]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), answering);
        assert!(began.elapsed() >= Duration::from_millis(250));
        let connect = || TcpStream::connect([silent, silent]);
        assert!(task::timeout(Duration::from_millis(300), connect).is_err());
        let timed_out = TcpStream::connect_timeout(&silent, Duration::from_millis(10));
        assert_eq!(timed_out.unwrap_err().kind(), ErrorKind::TimedOut);
    });
}
