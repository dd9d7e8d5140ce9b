//! What this process tells who has started it, in the way of sd_notify(3).
//!
//! NOTIFY_SOCKET in the environment is the address of a service manager, which is told everything; all of it stays so
//! from one process to the next. But that this process is ready, the one is told first that it is to take over from:
//! [`PREDECESSOR`] says which process that is and where it is told, and it tells the manager. The variable is left to
//! children of this process too, whose parent is another one: they are not asked.

use std::ffi::c_int;

use crate::engine::fd::PREDECESSOR;
use crate::engine::sys::{self, Address, ErrnoGuard, Error, Result, Uncancelable, variable};

/// Whether it is said that the process is ready.
pub fn says_ready(state: &[u8]) -> bool {
    state.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

/// Where this process's predecessor waits for it, if it does.
fn predecessor() -> Option<Address> {
    let text = variable(PREDECESSOR)?.to_str().ok()?;
    let (pid, address) = text.split_once(' ')?;
    let pid: c_int = pid.parse().ok()?;
    Address::unix_text(address.as_bytes()).ok().filter(|_| pid == sys::parent_id())
}

/// Tells the service manager. Returns whether there is one.
pub fn tell_manager(state: &[u8]) -> Result<bool> {
    let Some(text) = variable(c"NOTIFY_SOCKET").filter(|text| !text.is_empty()) else {
        return Ok(false);
    };
    sys::notify(&Address::unix_text(text.to_bytes())?, state).map(|()| true)
}

/// Tells who has started this process. Returns whether anybody has asked.
pub fn notify(state: &[u8]) -> Result<bool> {
    let _errno = ErrnoGuard::save();
    let _uncancelable = Uncancelable::begin(); // As a socket that is dropped is closed by the standard library.
    if says_ready(state)
        && let Some(address) = predecessor()
    {
        match sys::notify(&address, state) {
            // It does not wait any more: this is the process that the manager knows.
            Err(Error::Os(libc::ECONNREFUSED)) => {}
            told => return told.map(|()| true),
        }
    }
    tell_manager(state)
}
