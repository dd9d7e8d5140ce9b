//! Files and names.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::rc::Rc;
use std::time::Duration;

use majjen::net::{TcpStream, lookup_host};
use majjen::{Error, task};

use super::c_abi::{CAbi, ns, result};
use super::majjen_h::*;
use super::rust_api::RustApi;
use super::{Api, End, HOUR, MS, in_task};

behaviours!(
    a_file_is_read_up_to_a_limit,
    a_directory_is_listed,
    a_canceled_task_does_not_wait_for_a_file,
    a_file_that_nobody_writes_is_waited_for_in_time,
    a_name_is_dialed,
    a_canceled_task_looks_up_no_name,
);

/// What a path may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    File,
    Directory,
    Link,
}

impl Kind {
    fn of(kind: std::fs::FileType) -> Kind {
        match kind {
            file if file.is_file() => Kind::File,
            directory if directory.is_dir() => Kind::Directory,
            link if link.is_symlink() => Kind::Link,
            other => panic!("{other:?}"),
        }
    }

    /// That of a DT_ constant.
    fn of_type(kind: u8) -> Kind {
        match kind {
            libc::DT_REG => Kind::File,
            libc::DT_DIR => Kind::Directory,
            libc::DT_LNK => Kind::Link,
            other => panic!("{other}"),
        }
    }
}

/// What both APIs can do with files and names. Errors are errno values.
trait Files: Api {
    fn read(path: &Path, most: usize, timeout: Option<Duration>) -> Result<Vec<u8>, i32>;
    /// The names in a directory, in order, and what each is.
    fn list(path: &Path) -> Result<Vec<(String, Kind)>, i32>;
    /// What a path leads to, or what it is itself.
    fn kind(path: &Path, follows: bool) -> Result<Kind, i32>;
    /// Connects, and closes the connection.
    fn dial(host: &str, port: u16) -> Result<(), i32>;
    /// How many addresses a host has.
    fn look_up(host: &str) -> Result<usize, i32>;
}

/// Runs a call of the Rust API that returns a cancellation as an error, and one of a time-out.
fn told<T>(timeout: Option<Duration>, call: impl FnOnce() -> std::io::Result<T>) -> Result<T, i32> {
    let call = || task::no_unwind(call).map_err(|error| Error::from(error).errno());
    let deadline = timeout.map(|timeout| majjen::Instant::now() + timeout);
    let before = task::set_deadline(deadline).unwrap();
    let result = call();
    task::set_deadline(before).unwrap();
    result
}

impl Files for RustApi {
    fn read(path: &Path, most: usize, timeout: Option<Duration>) -> Result<Vec<u8>, i32> {
        told(timeout, || majjen::fs::read_at_most(path, most))
    }

    fn list(path: &Path) -> Result<Vec<(String, Kind)>, i32> {
        let entries = told(None, || majjen::fs::read_dir(path))?;
        let told = |entry: &std::fs::DirEntry| {
            let kind = Kind::of(entry.file_type().unwrap());
            (entry.file_name().into_string().unwrap(), kind)
        };
        let mut found: Vec<_> = entries.iter().map(told).collect();
        found.sort();
        Ok(found)
    }

    fn kind(path: &Path, follows: bool) -> Result<Kind, i32> {
        use majjen::fs::{metadata, symlink_metadata};
        let look = || if follows { metadata(path) } else { symlink_metadata(path) };
        told(None, look).map(|found| Kind::of(found.file_type()))
    }

    fn dial(host: &str, port: u16) -> Result<(), i32> {
        told(None, || TcpStream::connect((host, port)).map(drop))
    }

    fn look_up(host: &str) -> Result<usize, i32> {
        told(None, || lookup_host((host, 0)).map(|found| found.len()))
    }
}

fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

impl Files for CAbi {
    fn read(path: &Path, most: usize, timeout: Option<Duration>) -> Result<Vec<u8>, i32> {
        let (mut data, mut bytes) = (null_mut(), 0);
        let read = mj_file_read_all(text(path).as_ptr(), most, &mut data, &mut bytes, ns(timeout));
        result(read)?;
        // SAFETY: so many bytes were read, and there is a NUL behind them.
        let copy = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), bytes + 1) };
        let (&nul, copy) = copy.split_last().unwrap();
        assert_eq!(nul, 0);
        let copy = copy.to_vec();
        // SAFETY: from malloc.
        unsafe { libc::free(data.cast()) };
        Ok(copy)
    }

    fn list(path: &Path) -> Result<Vec<(String, Kind)>, i32> {
        let (mut names, mut types): (*mut *mut c_char, *mut u8) = (null_mut(), null_mut());
        let (path, mut count, most) = (text(path), 0, usize::MAX);
        let path = path.as_ptr();
        result(mj_list_directory(path, most, &mut names, &mut types, &mut count, u64::MAX))?;
        let told = |index: usize| {
            // SAFETY: an array of so many strings.
            let name = unsafe { CStr::from_ptr(*names.add(index)) };
            // SAFETY: an array of so many types.
            let kind = unsafe { *types.add(index) };
            (name.to_str().unwrap().to_owned(), Kind::of_type(kind))
        };
        let mut copy: Vec<_> = (0..count).map(told).collect();
        copy.sort();
        // SAFETY: from malloc.
        unsafe { libc::free(names.cast()) };
        Ok(copy)
    }

    fn kind(path: &Path, follows: bool) -> Result<Kind, i32> {
        // SAFETY: integers, for which zero is a value.
        let mut found: libc::stat = unsafe { std::mem::zeroed() };
        let (path, look) = (text(path), if follows { mj_stat } else { mj_lstat });
        result(look(path.as_ptr(), &mut found, u64::MAX))?;
        Ok(Kind::of_type(((found.st_mode & libc::S_IFMT) >> 12) as u8))
    }

    fn dial(host: &str, port: u16) -> Result<(), i32> {
        let (host, service) =
            (CString::new(host).unwrap(), CString::new(port.to_string()).unwrap());
        let fd = mj_dial(host.as_ptr(), service.as_ptr(), u64::MAX);
        result(fd)?;
        assert_eq!(mj_fd_close(fd), 0);
        Ok(())
    }

    fn look_up(host: &str) -> Result<usize, i32> {
        let (host, mut list) = (CString::new(host).unwrap(), null_mut());
        // SAFETY: integers and addresses, for which zero is a value.
        let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
        hints.ai_socktype = libc::SOCK_STREAM;
        match mj_getaddrinfo(host.as_ptr(), null(), &hints, &mut list, u64::MAX) {
            0 => {}
            resolver @ 1.. => panic!("{resolver}"),
            error => return Err(-error),
        }
        let (mut count, mut element) = (0, list);
        while !element.is_null() {
            count += 1;
            // SAFETY: an element of the list.
            element = unsafe { (*element).ai_next };
        }
        // SAFETY: from the call above.
        unsafe { libc::freeaddrinfo(list) };
        Ok(count)
    }
}

/// A directory that is removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new<D: Api>(name: &str) -> Directory {
        let door = std::any::type_name::<D>().rsplit(':').next().unwrap_or_default();
        let path =
            std::env::temp_dir().join(format!("majjen-{name}-{door}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }

    fn fifo(&self) -> PathBuf {
        let path = self.0.join("fifo");
        // SAFETY: a C string.
        assert_eq!(unsafe { libc::mkfifo(text(&path).as_ptr(), 0o600) }, 0);
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn a_file_is_read_up_to_a_limit<D: Files>() {
    let directory = Directory::new::<D>("read");
    let path = directory.0.join("file");
    std::fs::write(&path, "hello").unwrap();
    let folder = directory.0.clone();
    in_task::<D>(move || {
        for most in [5, 6, usize::MAX] {
            assert_eq!(D::read(&path, most, None).unwrap(), b"hello");
        }
        assert_eq!(D::read(&path, 4, None), Err(libc::EFBIG));
        assert_eq!(D::read(&path, 0, None), Err(libc::EFBIG));
        assert_eq!(D::read(&folder, 100, None), Err(libc::EISDIR));
        assert_eq!(D::read(&folder.join("none"), 100, None), Err(libc::ENOENT));
        assert_eq!(D::read(&path.join("below"), 100, None), Err(libc::ENOTDIR));
        assert_eq!(D::read(Path::new("/dev/null"), 0, None).unwrap(), b"");
        assert_eq!(D::read(Path::new("/dev/zero"), 10, None), Err(libc::EFBIG));
    });
}

fn a_directory_is_listed<D: Files>() {
    let directory = Directory::new::<D>("list");
    let path = directory.0.clone();
    in_task::<D>(move || {
        assert_eq!(D::list(&path).unwrap(), []);
        std::fs::write(path.join("a"), "").unwrap();
        std::fs::create_dir(path.join("b c")).unwrap();
        std::os::unix::fs::symlink("a", path.join("\u{e4}")).unwrap();
        std::os::unix::fs::symlink("none", path.join("dangling")).unwrap();
        let expected = [
            ("a", Kind::File),
            ("b c", Kind::Directory),
            ("dangling", Kind::Link),
            ("\u{e4}", Kind::Link),
        ];
        assert_eq!(D::list(&path).unwrap(), expected.map(|(name, kind)| (name.to_owned(), kind)));
        for (name, kind) in expected {
            assert_eq!(D::kind(&path.join(name), false), Ok(kind));
        }
        assert_eq!(D::kind(&path.join("a"), true), Ok(Kind::File));
        assert_eq!(D::kind(&path.join("\u{e4}"), true), Ok(Kind::File));
        assert_eq!(D::kind(&path.join("b c"), true), Ok(Kind::Directory));
        assert_eq!(D::kind(&path.join("dangling"), true), Err(libc::ENOENT));
        assert_eq!(D::kind(&path.join("none"), false), Err(libc::ENOENT));
        assert_eq!(D::list(&path.join("a")), Err(libc::ENOTDIR));
        assert_eq!(D::list(&path.join("none")), Err(libc::ENOENT));
    });
}

/// Cancels a task that makes a call once it waits, and returns the call's result.
fn canceled<D: Api, T: 'static>(call: impl FnOnce() -> Result<T, i32> + 'static) -> Option<i32> {
    let told = Rc::new(Cell::new(None));
    let place = told.clone();
    let api = D::new();
    let task = api.spawn(move || place.set(call().err()));
    api.spawn(move || {
        D::sleep(5 * MS).unwrap();
        D::cancel(&task);
    });
    assert_eq!(api.run(), End::Completed);
    told.get()
}

fn a_canceled_task_does_not_wait_for_a_file<D: Files>() {
    let directory = Directory::new::<D>("cancel");
    let path = directory.fifo();
    let of_task = path.clone();
    let told = canceled::<D, _>(move || D::read(&of_task, 100, None));
    assert_eq!(told, Some(libc::ECANCELED));
    // Nobody reads it any more, once the thread that may have opened it has closed it.
    let writer =
        || std::fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path);
    while writer().is_ok() {
        std::thread::sleep(MS);
    }
}

fn a_file_that_nobody_writes_is_waited_for_in_time<D: Files>() {
    let directory = Directory::new::<D>("late");
    let path = directory.fifo();
    in_task::<D>(move || {
        assert_eq!(D::read(&path, 100, Some(5 * MS)), Err(libc::ETIMEDOUT));
        let of_thread = path.clone();
        let writes = std::thread::spawn(move || {
            let mut file = std::fs::OpenOptions::new().write(true).open(of_thread).unwrap();
            file.write_all(b"hello, ").unwrap();
            std::thread::sleep(2 * MS);
            file.write_all(b"world").unwrap();
        });
        assert_eq!(D::read(&path, 100, None).unwrap(), b"hello, world");
        writes.join().unwrap();
    });
}

fn a_name_is_dialed<D: Files>() {
    in_task::<D>(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            D::dial(host, port).unwrap();
        }
        assert!(D::look_up("localhost").unwrap() > 0);
        assert_eq!(D::look_up("127.0.0.1").unwrap(), 1);
        assert_eq!(D::dial("no such name", port), Err(libc::ENOENT)); // No server is asked.
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let port = client.local_addr().unwrap().port(); // It is taken, and nobody listens there.
        assert_eq!(D::dial("localhost", port), Err(libc::ECONNREFUSED));
    });
}

fn a_canceled_task_looks_up_no_name<D: Files>() {
    let told = canceled::<D, _>(|| {
        assert_eq!(D::sleep(HOUR), Err(libc::ECANCELED));
        // What needs no look-up is there all the same.
        assert_eq!(D::look_up("127.0.0.1"), Ok(1));
        D::look_up("localhost")
    });
    assert_eq!(told, Some(libc::ECANCELED));
}
