//! Connections.

use std::ffi::{c_char, c_int, c_uint};

use libc::{sockaddr, socklen_t};

use super::fd::limit;
use super::{reported, status, text_ref};
use crate::engine::fd::{self, ListenFlags};
use crate::engine::log::warn;
use crate::engine::names;
use crate::engine::sys::{Error, Result};

/// For mj_listen(): several sockets may listen at the address, and the kernel shares the connections among
/// them.
pub const MJ_LISTEN_REUSEPORT: c_uint = 1;
/// For mj_listen() at an IPv6 address: connections from IPv4 are not accepted.
pub const MJ_LISTEN_V6ONLY: c_uint = 2;
/// For mj_listen(): a socket that this process was given by who has started it, and that listens at the address,
/// is taken.
pub const MJ_LISTEN_INHERITED: c_uint = 4;

/// The flags of [`mj_listen`].
pub(super) fn listen_flags(flags: c_uint) -> Result<ListenFlags> {
    if flags & !(MJ_LISTEN_REUSEPORT | MJ_LISTEN_V6ONLY | MJ_LISTEN_INHERITED) != 0 {
        return Err(Error::InvalidArgument);
    }
    Ok(ListenFlags {
        reuse_port: flags & MJ_LISTEN_REUSEPORT != 0,
        v6_only: flags & MJ_LISTEN_V6ONLY != 0,
        inherited: flags & MJ_LISTEN_INHERITED != 0,
    })
}

#[track_caller]
fn descriptor(call: &str, result: Result<c_int>) -> c_int {
    reported(call, result).unwrap_or_else(Error::status)
}

/// Accepts a connection, waiting for at most `timeout_ns`. Where the process has no descriptor or no
/// memory for one, it writes an ERROR line and tries again every 100 ms. May suspend.
///
/// Returns a descriptor that does not block and is closed on exec, which the library owns: close it by
/// mj_fd_close(). Errors:
///   -ETIMEDOUT  none came in time
///   -ECANCELED, -EBADF, -EBUSY, -ENOMEM, -EPERM  as mj_read()
///   and as accept(2), but for those of a single connection
///
/// `address` and `length` are as for accept(2), and may be NULL. If another process accepts from
/// the same listener, give it O_NONBLOCK: else this call may block the thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_accept(
    listener: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    timeout_ns: u64,
) -> c_int {
    if !address.is_null() && length.is_null() {
        return Error::InvalidArgument.status();
    }
    // SAFETY: as this function's contract says.
    descriptor("mj_accept", unsafe { fd::accept(listener, address, length, limit(timeout_ns)) })
}

/// Connects a socket, waiting for at most `timeout_ns`. One that blocks is set not to for the length of a
/// system call. After an attempt that has failed, another call begins anew. May suspend.
///
/// Returns 0; the library owns the descriptor then: close it by mj_fd_close(). Errors, with which it is
/// still the caller's:
///   -ETIMEDOUT  not in time: the attempt goes on, and another call waits for its end
///   -EINVAL     `address` is NULL
///   -ECONNABORTED  the attempt has failed, and another task was told why; or this is a child of fork(), whose
///                  parent is told
///   -ECANCELED, -EBADF, -EBUSY, -ENOMEM, -EPERM  as mj_read()
///   and as connect(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_connect(
    fd: c_int,
    address: *const sockaddr,
    length: socklen_t,
    timeout_ns: u64,
) -> c_int {
    if address.is_null() {
        return Error::InvalidArgument.status();
    }
    // SAFETY: as this function's contract says.
    status(reported("mj_connect", unsafe { fd::connect(fd, address, length, limit(timeout_ns)) }))
}

/// Makes a socket that listens, also where one has just listened before (SO_REUSEADDR). `address` is
/// numeric, such as "127.0.0.1", "::", or NULL or empty for all addresses; `service` is a port's number, 0 for one
/// that the kernel chooses. Or `address` is "unix:/path", and `service` NULL. In a task `address` may also be
/// a name: it listens at the first of its addresses that works. Connections from IPv4 are accepted at
/// "::" too. A `backlog` of 0 or less is 4096. `flags` are 0 or MJ_LISTEN_REUSEPORT, MJ_LISTEN_V6ONLY,
/// MJ_LISTEN_INHERITED. May suspend in a task while a name is looked up; does not suspend else.
///
/// With MJ_LISTEN_INHERITED, sockets that the process was given are looked at first, in systemd's way: LISTEN_FDS in
/// the environment is how many there are, from descriptor 3 on, and LISTEN_PID, if it is there, is this process's
/// number. One that listens at this very address is taken, with the backlog and options that it has; it is set not
/// to block and to be closed on exec. Each is taken once: of several at one address, one by each call. If there is
/// none, the call listens anew. What is not taken stays open, and keeps connections that nobody accepts:
/// mj_close_inherited().
///
/// Returns a descriptor that does not block and is closed on exec, which the library owns: close it by
/// mj_fd_close(). Errors:
///   -EINVAL      `service` is not numeric or not there; an unknown flag, or one that the address cannot
///                have; a path that is empty or too long
///   -EPERM       a name, outside a task, which is also logged: resolve it before, by getaddrinfo(3), or call
///                this in a task
///   -EADDRINUSE  somebody listens there, or the path exists
///   -ENOENT, -EAGAIN, -EREMOTEIO  as mj_dial(), of a name
///   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EOWNERDEAD  as mj_getaddrinfo(), of a name: there is no limit but
///                the task's deadline
///   and as socket(2), bind(2), listen(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_listen(
    address: *const c_char,
    service: *const c_char,
    backlog: c_int,
    flags: c_uint,
) -> c_int {
    let Ok(flags) = listen_flags(flags) else {
        return Error::InvalidArgument.status();
    };
    // SAFETY: as this function's contract says.
    let [address, service] =
        [address, service].map(|text| unsafe { text_ref(text) }.unwrap_or_default());
    let listening = names::listen(address, service.to_bytes(), backlog, flags);
    if let Err(error @ Error::NotInTask) = listening {
        warn(format_args!(
            "mj_listen: {error}, which looking up a name needs: {address:?} is no numeric address"
        ));
    }
    listening.unwrap_or_else(Error::status)
}

/// Closes the listening sockets that the process was given and that no mj_listen() with MJ_LISTEN_INHERITED has
/// taken: call it once all are taken. Who connects to one of these else waits for ever, as in a set of
/// MJ_LISTEN_REUSEPORT that was larger. What the process was given besides is left alone. Callable from any thread.
/// Does not suspend.
///
/// Returns how many were closed.
#[unsafe(no_mangle)]
pub extern "C" fn mj_close_inherited() -> c_int {
    c_int::try_from(fd::close_inherited()).unwrap_or(c_int::MAX)
}
