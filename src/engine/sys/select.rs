//! select(2), in the place of poll(2) where that is refused: poll(2) takes no more descriptors than
//! RLIMIT_NOFILE says, which may be none at all in a program that has given up its privileges.

use std::ffi::c_int;
use std::ptr::{null, null_mut};

use super::cancellation::uncancelable;
use super::errno::check;
use super::error::{Error, Result};
use super::memory::{allocate, free};
use super::time::timespec;

/// What a set of select(2) tells of: a descriptor is in it when one of these events has happened.
const READABLE: u32 = (libc::POLLIN | libc::POLLRDNORM) as u32;
const WRITABLE: u32 = (libc::POLLOUT | libc::POLLWRNORM) as u32;
const URGENT: u32 = libc::POLLPRI as u32;
const SETS: [u32; 3] = [READABLE, WRITABLE, URGENT];

/// A word of a set, as the kernel has it.
type Word = std::ffi::c_ulong;

/// The words of sets for which no memory is allocated: up to descriptor 1023.
const FEW: usize = 1024 / Word::BITS as usize;

/// As [`poll_one`](super::poll_one), but that an end or an error shows as readable or writable only,
/// and EINTR is an error.
pub fn select_one(fd: c_int, events: u32, timeout_ns: u64) -> Result<u32> {
    let number = usize::try_from(fd).map_err(|_| Error::Os(libc::EBADF))?;
    let (word, bit) = (number / Word::BITS as usize, 1 << (number % Word::BITS as usize));
    // The sets reach from 0 to the descriptor, for which an fd_set may be too small.
    let words = word + 1;
    let mut few = [0; SETS.len() * FEW];
    let mut many = null_mut();
    let sets = if words <= FEW {
        &mut few[..]
    } else {
        many = allocate::<Word>(SETS.len() * words);
        if many.is_null() {
            return Err(Error::OutOfMemory);
        }
        // SAFETY: as many words as were allocated, which are freed below.
        unsafe {
            many.write_bytes(0, SETS.len() * words);
            std::slice::from_raw_parts_mut(many, SETS.len() * words)
        }
    };
    for (index, _) in SETS.iter().enumerate().filter(|(_, set)| events & *set != 0) {
        sets[index * words + word] = bit;
    }
    let limit = timespec(timeout_ns);
    let limit = if timeout_ns == u64::MAX { null() } else { &raw const limit };
    let [readable, writable, urgent] =
        [0, 1, 2].map(|index| sets[index * words..].as_mut_ptr().cast::<libc::fd_set>());
    // SAFETY: three sets that have room for the descriptor, which is all that is looked at; a timeout
    // that is good for the call or NULL; NULL leaves the signal mask.
    let selected = check(uncancelable(|| unsafe {
        libc::pselect(fd + 1, readable, writable, urgent, limit, null())
    }));
    let is_in = |index: usize| sets[index * words + word] & bit != 0;
    let happened = SETS.iter().enumerate().filter(|(index, _)| is_in(*index));
    let happened = happened.fold(0, |all, (_, set)| all | events & set);
    // SAFETY: null, or from `allocate`, and nothing refers to it any more.
    unsafe { free(many.cast()) };
    selected.map(|count| if count > 0 { happened } else { 0 })
}

/// Whether poll(2) is refused.
pub(super) fn is_poll_refused() -> bool {
    let mut nothing = libc::pollfd { fd: -1, events: 0, revents: 0 };
    // SAFETY: one pollfd.
    uncancelable(|| unsafe { libc::poll(&mut nothing, 1, 0) < 0 })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::{READABLE, URGENT, WRITABLE, select_one};
    use crate::engine::sys::Error;

    #[test]
    fn it_tells_what_poll_tells() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let fd = near.as_raw_fd();
        assert_eq!(select_one(fd, READABLE, 0), Ok(0));
        assert_eq!(select_one(fd, READABLE, 1000), Ok(0));
        assert_eq!(select_one(fd, READABLE | WRITABLE | URGENT, 0), Ok(WRITABLE));
        far.write_all(b"x").unwrap();
        assert_eq!(select_one(fd, libc::POLLIN as u32, u64::MAX), Ok(libc::POLLIN as u32));
        assert_eq!(select_one(fd, 0, 0), Ok(0));
        drop(far);
        assert_eq!(select_one(fd, READABLE, 0), Ok(READABLE));
        assert_eq!(select_one(-1, READABLE, 0), Err(Error::Os(libc::EBADF)));
        drop(near);
        assert!(select_one(1_000_000, READABLE, 0) != Ok(READABLE));
    }

    #[test]
    fn descriptors_that_no_fd_set_has_room_for_can_be_asked_for() {
        let (near, mut far) = UnixStream::pair().unwrap();
        // SAFETY: no preconditions; closed below.
        let high = unsafe { libc::fcntl(near.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 1500) };
        if high < 0 {
            return; // The limit is lower.
        }
        assert_eq!(select_one(high, READABLE, 0), Ok(0));
        far.write_all(b"x").unwrap();
        assert_eq!(select_one(high, READABLE, 0), Ok(READABLE));
        // SAFETY: made above.
        unsafe { libc::close(high) };
    }
}
