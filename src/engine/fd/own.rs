//! Which descriptors the library owns.

use std::ffi::c_int;

use crate::engine::scheduler::current;
use crate::engine::sys::{self, ErrnoGuard, Error, Result};
use crate::engine::threads::Ownership;

/// A descriptor that the kernel has just opened for the library.
pub fn opened(fd: c_int, is_plain_tcp: bool) {
    Ownership::take(fd, is_plain_tcp);
}

/// A descriptor is about to be closed, or given to somebody else.
pub fn forget(fd: c_int) {
    Ownership::give_up(fd);
    if let Some(scheduler) = current() {
        scheduler.deregister(fd);
    }
}

/// Takes over a descriptor of the program, unless the library owns it already. Returns the identity of the
/// ownership.
pub fn adopt(fd: c_int) -> Result<u64> {
    let _errno = ErrnoGuard::save();
    sys::check_open(fd)?;
    let scheduler = current();
    if scheduler.is_some_and(|scheduler| scheduler.is_internal(fd)) {
        return Err(Error::InvalidArgument);
    }
    let number = scheduler.map_or(0, |scheduler| scheduler.io.number());
    let ownership = Ownership::of(fd);
    if ownership.is_of_another(number) {
        return Err(Error::Busy);
    }
    if !ownership.is_owned() {
        Ownership::adopt(fd, sys::is_plain_tcp(fd), number)?;
    }
    Ok(Ownership::of(fd).identity())
}

/// Gives a descriptor back to the program, which may be waited for as a raw one.
pub fn release(fd: c_int) -> Result<()> {
    let _errno = ErrnoGuard::save();
    let ownership = Ownership::of(fd);
    if !ownership.is_owned() {
        return Err(Error::InvalidArgument);
    }
    let scheduler = current();
    if ownership.is_of_another(scheduler.map_or(0, |scheduler| scheduler.io.number())) {
        return Err(Error::Busy);
    }
    forget(fd);
    Ok(())
}
