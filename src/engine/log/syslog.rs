//! The system log: datagrams in the format of syslog(3).
//!
//! Not syslog(3) itself: its lock may stay locked in a child of fork(), and it blocks without limit
//! if the log daemon has stopped reading.

use std::ffi::CStr;
use std::fmt::Write;

use super::level::Level;
use super::line::{Line, Prefix};
use super::sink::Sink;
use super::swappable_fd::SwappableFd;
use super::time::LocalTime;
use crate::engine::sys::{self, Error, Mark, Result};

/// Where log daemons listen, by a convention as old as syslog.
pub const PATH: &CStr = c"/dev/log";

/// The longest ident: what RFC 5424 grants the name of a program.
pub const IDENT_BYTES: usize = 48;

/// Its datagrams are sent with the sink's patience, and raise no signal: `sys::send`.
pub static SINK: Sink = Sink::new();

static SOCKET: SwappableFd = SwappableFd::none(Mark::SYSTEM_LOG);

/// Connects to the log daemon that runs now.
pub fn open() -> Result<()> {
    SOCKET.replace(sys::datagram_socket(PATH, Mark::SYSTEM_LOG)?)
}

pub fn close() {
    SOCKET.release();
}

pub fn send(line: &mut Line, ident: &[u8]) -> Result<()> {
    let mut prefix = Prefix::new();
    // Fits in: HEADROOM has room for the longest ident.
    let _ = write!(prefix, "<{}>", priority(line.level));
    prefix.push(&LocalTime::now().month_and_time());
    prefix.push(b" ");
    prefix.push(ident);
    let _ = write!(prefix, "[{}]: ", sys::process_id());
    let [datagram @ .., _newline] = line.framed(&prefix) else { return Ok(()) };

    // Wait for a daemon that does not read once, and not at each line.
    let may_wait = !SINK.is_dropping();
    let socket = SOCKET.number()?;
    match sys::send(socket, datagram, may_wait) {
        // The daemon has ended; there may be a new one.
        Err(Error::Os(libc::ECONNREFUSED | libc::ENOTCONN)) => {
            sys::connect(socket, PATH)?;
            sys::send(socket, datagram, may_wait)
        }
        result => result,
    }
}

/// Facility "user" and the severity.
fn priority(level: Level) -> i32 {
    libc::LOG_USER
        | match level {
            Level::Trace | Level::Debug => libc::LOG_DEBUG,
            Level::Info => libc::LOG_INFO,
            Level::Warn => libc::LOG_WARNING,
            Level::Error => libc::LOG_ERR,
            Level::Fatal | Level::Silent => libc::LOG_CRIT,
        }
}
