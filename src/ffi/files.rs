//! Files.

use std::ffi::{CStr, c_char, c_int, c_uchar, c_void};
use std::os::fd::IntoRawFd;

use libc::{mode_t, off_t, size_t, ssize_t, stat};

use super::fd::{buffer, count, limit};
use super::{reported, status, text_ref};
use crate::engine::files::{self, Entries};
use crate::engine::scheduler::Limit;
use crate::engine::sys::{Error, Result};

/// The path at an address.
///
/// # Safety
/// As [`text_ref`].
unsafe fn path_ref<'p>(path: *const c_char) -> Result<&'p CStr> {
    // SAFETY: as this function's contract says.
    unsafe { text_ref(path) }.ok_or(Error::InvalidArgument)
}

/// open(2) by a worker of the pool, for at most `timeout_ns`, as all calls on paths: the disk may be slow, and
/// the name be another machine's. The descriptor is closed on exec. `mode` counts with O_CREAT. May suspend.
///
/// Returns a descriptor, which is the program's: close it by mj_fd_close(). Errors:
///   -ETIMEDOUT  not in time
///   -ECANCELED  the task is canceled, or marked as ended
///   -ENOMEM     out of memory
///   -EINVAL     a path is NULL
///   -EPERM      not in a task, or as open(2)
///   -EOWNERDEAD  this is a child of fork(), and the worker is the parent's
///   and as open(2)
///
/// After -ETIMEDOUT and -ECANCELED the worker may still go on, or even begin: a file may be created or emptied
/// later, and is closed then. A FIFO keeps its worker until somebody opens its other end; with O_NONBLOCK it
/// does not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_open(
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let opened = unsafe { path_ref(path) }
        .and_then(|path| files::open(path, flags, mode, limit(timeout_ns)));
    reported("mj_open", opened).map_or_else(Error::status, IntoRawFd::into_raw_fd)
}

/// Reads `bytes` from a place of a file, fewer only at its end, and leaves the file's own place alone. What is
/// in memory is read at once, and the rest by a worker of the pool. May suspend.
///
/// Returns how many bytes. Errors, with which any part of `buffer` may have been written to:
///   -ETIMEDOUT, -ECANCELED  as mj_open(), but only before a worker has begun: a call whose worker has begun
///                           ends when that has ended
///   -EBADF      not open, or closed with mj_fd_close() before a worker has begun
///   -EINVAL     `buffer` is NULL with a size, `offset` is negative, or they reach beyond what there is
///   -ENOMEM, -EPERM, -EOWNERDEAD  as mj_open()
///   and as pread(2)
///
/// With a limit of 0 it reads what is in memory, and is -ETIMEDOUT if that is not all. Close the descriptor after
/// the call; if another task has to do so earlier, then by mj_fd_close(). A worker that begins later leaves the
/// number alone then, which may be another file's. It looks just before it reads: a close between the two is too
/// late for it to see.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_pread(
    fd: c_int,
    buffer: *mut c_void,
    bytes: size_t,
    offset: off_t,
    timeout_ns: u64,
) -> ssize_t {
    let mut done = 0;
    let read = self::buffer(buffer, bytes).and_then(|buffer| {
        // SAFETY: as this function's contract says.
        unsafe { files::read_at(fd, buffer, offset, limit(timeout_ns), &mut done) }
    });
    count("mj_pread", read.map(|()| done))
}

/// Writes all `bytes` to a place of a file, and leaves the file's own place alone; as mj_pread(). May suspend.
///
/// Returns `bytes`. Errors, with which a part may have been written:
///   -ETIMEDOUT, -ECANCELED, -EBADF, -EINVAL, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_pread()
///   and as pwrite(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_pwrite(
    fd: c_int,
    buffer: *const c_void,
    bytes: size_t,
    offset: off_t,
    timeout_ns: u64,
) -> ssize_t {
    let mut done = 0;
    let written = self::buffer(buffer, bytes).and_then(|buffer| {
        // SAFETY: as this function's contract says.
        unsafe { files::write_at(fd, buffer, offset, limit(timeout_ns), &mut done) }
    });
    count("mj_pwrite", written.map(|()| done))
}

/// fsync(2) by a worker of the pool. May suspend.
///
/// Returns 0: what was written before is on the disk. Errors:
///   -EBADF  as mj_pread(), which says how to close the descriptor
///   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_open()
///   and as fsync(2)
#[unsafe(no_mangle)]
pub extern "C" fn mj_fsync(fd: c_int, timeout_ns: u64) -> c_int {
    status(reported("mj_fsync", files::sync(fd, limit(timeout_ns))))
}

/// stat(2) by a worker of the pool, for at most `timeout_ns`. May suspend.
///
/// Returns 0. Errors, with which `file_status` is left alone:
///   -EINVAL  `path` or `file_status` is NULL
///   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_open()
///   and as stat(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_stat(
    path: *const c_char,
    file_status: *mut stat,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { tell_status("mj_stat", files::stat, path, file_status, timeout_ns) }
}

/// lstat(2) by a worker of the pool, for at most `timeout_ns`: mj_stat() of a link itself. May suspend.
///
/// Returns 0. Errors, with which `file_status` is left alone:
///   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EINVAL, -EPERM, -EOWNERDEAD  as mj_stat()
///   and as lstat(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_lstat(
    path: *const c_char,
    file_status: *mut stat,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { tell_status("mj_lstat", files::stat_link, path, file_status, timeout_ns) }
}

/// # Safety
/// As [`mj_stat`].
#[track_caller]
unsafe fn tell_status(
    call: &str,
    look: fn(&CStr, Limit) -> Result<stat>,
    path: *const c_char,
    file_status: *mut stat,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let Some(file_status) = (unsafe { file_status.as_mut() }) else {
        return Error::InvalidArgument.status();
    };
    // SAFETY: as above.
    let found = unsafe { path_ref(path) }.and_then(|path| look(path, limit(timeout_ns)));
    status(reported(call, found).map(|found| *file_status = found))
}

/// unlink(2) by a worker of the pool, for at most `timeout_ns`. May suspend.
///
/// Returns 0. Errors, as for all calls that change a directory: after -ETIMEDOUT and -ECANCELED it may still
/// be done:
///   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EINVAL, -EPERM, -EOWNERDEAD  as mj_open()
///   and as unlink(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_unlink(path: *const c_char, timeout_ns: u64) -> c_int {
    // SAFETY: as this function's contract says.
    let done = unsafe { path_ref(path) }.and_then(|path| files::unlink(path, limit(timeout_ns)));
    status(reported("mj_unlink", done))
}

/// rename(2) by a worker of the pool, for at most `timeout_ns`. May suspend.
///
/// Returns 0. Errors:
///   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EINVAL, -EPERM, -EOWNERDEAD  as mj_unlink()
///   and as rename(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_rename(
    from: *const c_char,
    to: *const c_char,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let paths = [from, to].map(|path| unsafe { path_ref(path) });
    let done = match paths {
        [Ok(from), Ok(to)] => files::rename(from, to, limit(timeout_ns)),
        _ => Err(Error::InvalidArgument),
    };
    status(reported("mj_rename", done))
}

/// mkdir(2) by a worker of the pool, for at most `timeout_ns`. May suspend.
///
/// Returns 0. Errors:
///   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EINVAL, -EPERM, -EOWNERDEAD  as mj_unlink()
///   and as mkdir(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_mkdir(path: *const c_char, mode: mode_t, timeout_ns: u64) -> c_int {
    // SAFETY: as this function's contract says.
    let done = unsafe { path_ref(path) }
        .and_then(|path| files::make_directory(path, mode, limit(timeout_ns)));
    status(reported("mj_mkdir", done))
}

/// rmdir(2) by a worker of the pool, for at most `timeout_ns`. May suspend.
///
/// Returns 0. Errors:
///   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EINVAL, -EPERM, -EOWNERDEAD  as mj_unlink()
///   and as rmdir(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_rmdir(path: *const c_char, timeout_ns: u64) -> c_int {
    // SAFETY: as this function's contract says.
    let done =
        unsafe { path_ref(path) }.and_then(|path| files::remove_directory(path, limit(timeout_ns)));
    status(reported("mj_rmdir", done))
}

/// Lists the names in a directory, at most `most_names`, without "." and "..", in no order, and what each of
/// them is, by a worker of the pool, for at most `timeout_ns`. May suspend.
///
/// Returns 0, with an array of strings in `*names`, NULL behind the last one, and in `*types` an array of
/// DT_REG, DT_DIR, DT_LNK and the like, of <dirent.h>. One free(3) of `*names` releases both arrays, and the
/// strings. Errors, with which `*names`, `*types` and `*name_count` are left alone:
///   -EFBIG   there are more names
///   -EINVAL  `path` or `names` is NULL
///   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_open()
///   and as opendir(3)
///
/// `types` and `name_count` may be NULL. A type is that of what has the name itself, as by mj_lstat(), which is
/// asked where the file system does not tell the type. DT_UNKNOWN is what that cannot tell either, since it was
/// removed meanwhile, for example.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_list_directory(
    path: *const c_char,
    most_names: size_t,
    names: *mut *mut *mut c_char,
    types: *mut *mut c_uchar,
    name_count: *mut size_t,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let Some(names) = (unsafe { names.as_mut() }) else {
        return Error::InvalidArgument.status();
    };
    // SAFETY: as above.
    let types = unsafe { types.as_mut() };
    // SAFETY: as above.
    let listed = unsafe { path_ref(path) }
        .and_then(|path| {
            files::list_directory(path, most_names, types.is_some(), limit(timeout_ns))
        })
        .and_then(Entries::into_arrays);
    status(reported("mj_list_directory", listed).map(|listed| {
        *names = listed.names;
        if let Some(types) = types {
            *types = listed.kinds;
        }
        // SAFETY: as above.
        unsafe { super::fd::tell(name_count, listed.count) };
    }))
}

/// Reads a whole file, of at most `most_bytes`, by a worker of the pool, for at most `timeout_ns` in all. What is
/// not on a disk, such as a FIFO or a terminal, is read by the task, to its end, with no worker waiting. May
/// suspend.
///
/// Returns 0, with what it holds in `*data`, which free(3) releases, and a NUL behind it that does not count.
/// Errors, with which `*data` and `*bytes` are left alone:
///   -EFBIG   it has more bytes
///   -EISDIR  it is a directory
///   -EINVAL  `path` or `data` is NULL
///   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_open()
///   and as open(2) and read(2)
///
/// `bytes` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_file_read_all(
    path: *const c_char,
    most_bytes: size_t,
    data: *mut *mut c_char,
    bytes: *mut size_t,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let Some(data) = (unsafe { data.as_mut() }) else {
        return Error::InvalidArgument.status();
    };
    // SAFETY: as above.
    let read = unsafe { path_ref(path) }
        .and_then(|path| files::read_all(path, most_bytes, limit(timeout_ns)));
    status(reported("mj_file_read_all", read).map(|read| {
        let length = read.as_slice().len();
        *data = read.into_raw().cast();
        // SAFETY: as above.
        unsafe { super::fd::tell(bytes, length) };
    }))
}
