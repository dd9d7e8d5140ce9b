//! What is done to a path.

use std::ffi::{CStr, c_int};

use crate::engine::pool::{Class, run_apart};
use crate::engine::scheduler::{Limit, spend};
use crate::engine::sys::{self, ErrnoGuard, OwnedFd, Result, Text, mode_t};
use crate::engine::threads::Generation;

/// Does something on a worker, with a copy of a path.
pub(super) fn on_path<T: Send>(
    path: &CStr,
    limit: Limit,
    act: impl FnOnce(&CStr) -> Result<T> + Send,
) -> Result<T> {
    let _errno = ErrnoGuard::save();
    spend()?;
    let path = Text::copy(path)?;
    run_apart(Class::File, limit, move || act(path.as_c_str()))?
}

/// open(2), of a descriptor that is closed on exec.
pub fn open(path: &CStr, flags: c_int, mode: mode_t, limit: Limit) -> Result<OwnedFd> {
    on_path(path, limit, move |path| sys::open_file(path, flags, mode))
}

/// stat(2).
pub fn stat(path: &CStr, limit: Limit) -> Result<sys::stat> {
    on_path(path, limit, sys::stat_path)
}

/// lstat(2).
pub fn stat_link(path: &CStr, limit: Limit) -> Result<sys::stat> {
    on_path(path, limit, sys::stat_link)
}

/// unlink(2).
pub fn unlink(path: &CStr, limit: Limit) -> Result<()> {
    on_path(path, limit, sys::unlink)
}

/// rename(2).
pub fn rename(from: &CStr, to: &CStr, limit: Limit) -> Result<()> {
    let to = Text::copy(to)?;
    on_path(from, limit, move |from| sys::rename(from, to.as_c_str()))
}

/// mkdir(2).
pub fn make_directory(path: &CStr, mode: mode_t, limit: Limit) -> Result<()> {
    on_path(path, limit, move |path| sys::make_directory(path, mode))
}

/// rmdir(2).
pub fn remove_directory(path: &CStr, limit: Limit) -> Result<()> {
    on_path(path, limit, sys::remove_directory)
}

/// fsync(2).
pub fn sync(fd: c_int, limit: Limit) -> Result<()> {
    let _errno = ErrnoGuard::save();
    let generation = Generation::of(fd);
    let spent = spend();
    generation.check()?;
    spent?;
    sys::check_open(fd)?; // At once, though all workers are busy.
    run_apart(Class::File, limit, move || {
        generation.check()?;
        sys::sync_file(fd)
    })?
}
