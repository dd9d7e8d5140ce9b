//! Whole files.

use std::ffi::{CStr, c_int};
use std::os::fd::{AsRawFd, IntoRawFd};

use super::path::on_path;
use crate::engine::fd;
use crate::engine::io::READABLE;
use crate::engine::scheduler::{Limit, close_fd, running_task, wait_fd};
use crate::engine::sys::{self, Bytes, ErrnoGuard, Error, OwnedFd, Result, iovec, mode_t};

/// What is read of a file whose size is not known.
const PIECE: usize = 16 * 1024;

/// What a worker has made of a path.
enum Opened {
    Read(Bytes),
    /// It is not of a disk: the task reads it, and may leave at any time.
    Stream(OwnedFd),
}

/// Reads a whole file, with a NUL behind it. EFBIG if it has more bytes than `most`.
pub fn read_all(path: &CStr, most: usize, mut limit: Limit) -> Result<Bytes> {
    let (scheduler, _) = running_task().ok_or(Error::NotInTask)?;
    limit.deadline.resolve(&scheduler.time.clock); // For all that it waits for.
    match on_path(path, limit, move |path| open_and_read(path, most))? {
        Opened::Read(bytes) => Ok(bytes),
        Opened::Stream(file) => {
            let fd = file.into_raw_fd();
            let read = read_stream(fd, most, limit);
            let _ = close_fd(fd); // Open until here, and nothing of it is to be written.
            read
        }
    }
}

/// On a worker. A FIFO that nobody writes to yet does not hold it up.
fn open_and_read(path: &CStr, most: usize) -> Result<Opened> {
    const FLAGS: c_int = libc::O_RDONLY | libc::O_NOCTTY;
    let file = match sys::open_file(path, FLAGS | libc::O_NONBLOCK, 0) {
        Err(Error::Os(libc::EAGAIN)) => sys::open_file(path, FLAGS, 0)?, // Somebody has a lease.
        opened => opened?,
    };
    let status = sys::stat_file(&file)?;
    let size = match status.st_mode & libc::S_IFMT {
        libc::S_IFREG => usize::try_from(status.st_size).unwrap_or(0),
        libc::S_IFBLK => 0, // Not told.
        libc::S_IFDIR => return Err(Error::Os(libc::EISDIR)),
        _ => return Ok(Opened::Stream(file)),
    };
    if size > most {
        return Err(Error::Os(libc::EFBIG));
    }
    let mut bytes = Bytes::new();
    bytes.reserve(size.saturating_add(2))?; // A read that finds the end, and the NUL.
    let read = |buffer| {
        // SAFETY: the buffer is the rest of the bytes.
        unsafe { sys::read_blocking(file.as_raw_fd(), &[buffer]) }
    };
    fill(&mut bytes, most, read).map(|()| Opened::Read(bytes))
}

/// In the task.
fn read_stream(fd: c_int, most: usize, limit: Limit) -> Result<Bytes> {
    let _errno = ErrnoGuard::save();
    // What nobody has written to yet is at its end.
    wait_fd(fd, READABLE, limit)?;
    let mut bytes = Bytes::new();
    // SAFETY: the buffer is the rest of the bytes.
    fill(&mut bytes, most, |buffer| unsafe { fd::read(fd, &[buffer], limit) })?;
    Ok(bytes)
}

/// Reads to the end, and puts a NUL behind it.
fn fill(
    bytes: &mut Bytes,
    most: usize,
    mut read: impl FnMut(iovec) -> Result<usize>,
) -> Result<()> {
    loop {
        let (_, room) = bytes.rest();
        if room < 2 {
            bytes.reserve_more(PIECE)?;
        }
        let (address, room) = bytes.rest();
        match read(iovec { iov_base: address.cast(), iov_len: room - 1 }) {
            Ok(0) => {
                // SAFETY: there is room for one more.
                unsafe { address.write(0) };
                return Ok(());
            }
            // SAFETY: so many have been read there.
            Ok(count) => unsafe { bytes.advance(count) },
            Err(Error::Os(libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
        if bytes.as_slice().len() > most {
            return Err(Error::Os(libc::EFBIG));
        }
    }
}

/// Writes a whole file, which is created or emptied first.
pub fn write_all(path: &CStr, data: Bytes, mode: mode_t, limit: Limit) -> Result<()> {
    on_path(path, limit, move |path| {
        let file = sys::open_file(path, sys::NEW_FILE, mode)?;
        let mut left = data.as_slice();
        while !left.is_empty() {
            let buffer = iovec { iov_base: left.as_ptr().cast_mut().cast(), iov_len: left.len() };
            // SAFETY: the buffer is what is left.
            match unsafe { sys::write_blocking(file.as_raw_fd(), &[buffer]) } {
                Ok(0) => return Err(Error::Os(libc::EIO)),
                Ok(count) => left = &left[count..],
                Err(Error::Os(libc::EINTR)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
}
