//! Marks: how the library knows its descriptors again.
//!
//! A program may close descriptors that it does not know, all from 3 on for example, and open others,
//! which get their numbers. So what the library keeps open is marked, and before it replaces, closes
//! or logs to the file that has the number, it looks whether that is its own.
//!
//! The mark is the signal that the open file would send if it had O_ASYNC, which it has not: a
//! property of the open file that nothing else uses (F_SETSIG of fcntl(2)), that duplicates and
//! children share, and that a file which somebody else has opened lacks. Where the system refuses
//! it nothing is marked, and each function here says what follows.
//!
//! All that stands for a child process has one mark. Whose it is, its owner says (F_SETOWN), to whom the
//! signal would go: the child, which gets none. Once that has been waited for, the owner is nobody.
//!
//! A file that the program may get, such as a pipe, is not marked but [known by its numbers](FileId).

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::errno::check;
use super::error::{Error, Result};

/// A signal's number, one of the first 31, since emulators number the others anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark(c_int);

/// Of a file that is not marked, and of no file.
const NONE: Mark = Mark(0);

const F_SETSIG: c_int = 10;
const F_GETSIG: c_int = 11;

/// Whether a file of the library could not be marked, or marks not be read.
static REFUSED: AtomicBool = AtomicBool::new(false);

impl Mark {
    pub const LOG_FILE: Mark = Mark(1);
    pub const SYSTEM_LOG: Mark = Mark(2);
    /// What stands for a child process.
    const CHILD: Mark = Mark(3);
    const FIRST_OF_A_PROCESS: c_int = 4;

    /// That of the descriptors of schedulers, another one in a child than in its parent.
    pub fn of_process(number: u32) -> Mark {
        Mark(Mark::FIRST_OF_A_PROCESS + (number % 28) as c_int)
    }

    /// The mark of a number's file.
    pub fn of(fd: c_int) -> Mark {
        Mark::read(fd).unwrap_or(NONE)
    }

    fn read(fd: c_int) -> Result<Mark> {
        // SAFETY: the request reads a number.
        noted(check(unsafe { libc::fcntl(fd, F_GETSIG) }), libc::EBADF).map(Mark)
    }

    fn is_of_a_process(self) -> bool {
        self.0 >= Mark::FIRST_OF_A_PROCESS
    }

    /// Marks a file that the library has opened.
    pub(super) fn set(self, fd: c_int) {
        // SAFETY: the request changes a number that nothing reads while O_ASYNC is not set.
        if self == NONE || check(unsafe { libc::fcntl(fd, F_SETSIG, self.0) }).is_err() {
            REFUSED.store(true, Relaxed);
        }
    }
}

/// The result of a request. An error other than this one, which says something of the file, is a refusal.
fn noted(result: Result<c_int>, of_the_file: c_int) -> Result<c_int> {
    if result.is_err_and(|error| error != Error::Os(of_the_file)) {
        REFUSED.store(true, Relaxed);
    }
    result
}

/// Marks what stands for a child process.
pub(super) fn mark_child(fd: c_int, pid: c_int) {
    // SAFETY: as in `Mark::set`.
    let owned = check(unsafe { libc::fcntl(fd, libc::F_SETOWN, pid) });
    let _ = noted(owned, libc::ESRCH); // It has been waited for.
    Mark::CHILD.set(fd);
}

/// Whether the file of a number stands for this child process, or for one that has been waited for: nobody
/// waits at that any more. True where there are no marks.
pub fn stands_for_child(fd: c_int, pid: c_int) -> bool {
    if !is_marked(fd, Mark::CHILD) {
        return false;
    }
    // SAFETY: the request reads a number.
    let owner = noted(check(unsafe { libc::fcntl(fd, libc::F_GETOWN) }), libc::EBADF);
    owner.is_ok_and(|owner| [0, pid].contains(&owner)) || REFUSED.load(Relaxed)
}

/// A file, told from all others that are open, but those that have no numbers of their own, as what stands for a
/// process before Linux 6.9.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FileId(libc::dev_t, libc::ino_t);

impl FileId {
    /// That of a number's file; nothing if there is none, or the system does not tell.
    pub fn of(fd: c_int) -> Option<FileId> {
        // SAFETY: integers, for which zero is a value.
        let mut status: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the address is good for the answer.
        check(unsafe { libc::fstat(fd, &mut status) }).ok()?;
        Some(FileId(status.st_dev, status.st_ino))
    }
}

/// Whether the file of a number is the one with this mark. True where there are no marks.
pub fn is_marked(fd: c_int, mark: Mark) -> bool {
    Mark::of(fd) == mark || REFUSED.load(Relaxed)
}

/// Whether the file of a number is a scheduler's, of another process than the one that has opened
/// `own`. False where there are no marks.
pub(super) fn is_inherited(fd: c_int, own: c_int) -> bool {
    let mark = Mark::of(fd);
    mark.is_of_a_process() && mark != Mark::of(own)
}

/// Whether the file of a number is not a scheduler's. False where there are no marks.
pub(super) fn is_anothers(fd: c_int) -> bool {
    Mark::read(fd).is_ok_and(|mark| !mark.is_of_a_process()) && !REFUSED.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::{Mark, is_inherited, is_marked};
    use crate::engine::sys::{close, epoll_create, eventfd};

    #[test]
    fn a_mark_tells_a_file_from_others() {
        let [parent, child] = [28, 29].map(Mark::of_process);
        assert_ne!(parent, child);
        let [inherited, own] = [parent, child].map(|mark| eventfd(mark).unwrap());
        let (reader, _writer) = std::io::pipe().unwrap();
        let other = reader.as_raw_fd();
        let log = epoll_create(Mark::LOG_FILE).unwrap();
        assert!(is_inherited(inherited, own));
        for fd in [own, other, log, -1] {
            assert!(!is_inherited(fd, own));
        }
        assert!(is_marked(log, Mark::LOG_FILE));
        for fd in [own, other, -1] {
            assert!(!is_marked(fd, Mark::LOG_FILE));
        }
        for fd in [inherited, own, log] {
            close(fd);
        }
    }
}
