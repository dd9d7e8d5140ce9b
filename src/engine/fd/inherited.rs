//! Listening sockets that the process was given by who has started it, in systemd's way: LISTEN_FDS in the
//! environment is their number, and they are the descriptors from 3 on. LISTEN_PID, if it is there, says whose they
//! are: a child of this process has these variables too.
//!
//! # The marks
//!
//! One table for the process, since any thread may listen; it is changed under a lock. The environment is read
//! once, by the first call that asks. From then on a descriptor is
//!
//! | mark | goes to | by whom |
//! |---|---|---|
//! | left | taken | a call that listens at its address |
//! | | taken | [`close_inherited`] |
//! | taken, or none of them | | nobody: so each is given out once |
//!
//! Whoever takes one owns it, as if it had opened it. Until then it is nobody's: each look at it asks the kernel
//! what it is, since the program may have closed it. A child of fork() has the sockets and a copy of the marks.

use std::ffi::{CStr, c_int};
use std::fmt;
use std::os::fd::FromRawFd;

use crate::engine::log;
use crate::engine::sys::{self, Address, ErrnoGuard, OwnedFd, SocketOption, variable};
use crate::engine::threads::{Lock, Ownership};

/// "1234 @name": the process that has handed them to this one and waits for it, and where it hears.
pub const PREDECESSOR: &CStr = c"MAJJEN_PREDECESSOR";

/// The first one's number.
pub const FIRST: c_int = 3;
/// So many can be given.
pub const MOST: usize = 4096;

struct Inherited {
    is_read: bool,
    /// A bit for each that is left.
    left: [u64; MOST / 64],
}

static INHERITED: Lock<Inherited> =
    Lock::in_static(Inherited { is_read: false, left: [0; MOST / 64] });

/// What is wrong with what the environment says: a log line, to be written when the lock is open.
enum Complaint {
    NoNumber(&'static CStr, Text),
    NotListening { count: usize, first: c_int },
}

/// The beginning of a text of the environment.
struct Text([u8; 32], usize);

impl Text {
    fn of(text: &[u8]) -> Text {
        let mut start = [0; 32];
        let count = text.len().min(start.len());
        start[..count].copy_from_slice(&text[..count]);
        Text(start, count)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}\"", self.0[..self.1].escape_ascii())
    }
}

impl Complaint {
    fn tell(self) {
        match self {
            Complaint::NoNumber(name, text) => log::warn(format_args!(
                "{} is {text}, and no number that could be right: no socket is inherited",
                name.to_string_lossy()
            )),
            Complaint::NotListening { count, first } => log::warn(format_args!(
                "LISTEN_FDS tells of {count} that cannot be taken: from descriptor {first} on, what is no \
                 free stream socket that listens is left alone"
            )),
        }
    }
}

/// A variable that is a number up to `most`; nothing if it is not set.
fn number(name: &'static CStr, most: usize) -> Result<Option<usize>, Complaint> {
    let Some(text) = variable(name).map(CStr::to_bytes) else { return Ok(None) };
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit); // A sign would be taken.
    let value = std::str::from_utf8(text).ok().filter(|_| is_number);
    let value = value.and_then(|text| text.parse().ok()).filter(|value| *value <= most);
    value.map(Some).ok_or(Complaint::NoNumber(name, Text::of(text)))
}

/// How many this process was given.
fn count() -> Result<usize, Complaint> {
    let Some(count) = number(c"LISTEN_FDS", MOST)? else { return Ok(0) };
    let pid = number(c"LISTEN_PID", c_int::MAX as usize)?;
    let is_ours = match pid {
        Some(pid) => c_int::try_from(pid) == Ok(sys::process_id()),
        None => variable(PREDECESSOR).is_none_or(is_of_parent),
    };
    Ok(if is_ours { count } else { 0 })
}

/// Whether a [`PREDECESSOR`] is the parent of this process, and not that of an ancestor.
fn is_of_parent(predecessor: &CStr) -> bool {
    let pid = predecessor.to_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    std::str::from_utf8(pid).is_ok_and(|pid| pid.parse() == Ok(sys::parent_id()))
}

fn is_free_listener(fd: c_int) -> bool {
    sys::is_stream_listener(fd) && !Ownership::of(fd).is_owned()
}

impl Inherited {
    /// Reads the environment, the first time. The sockets are closed on exec from then on.
    fn read(&mut self) -> Result<(), Complaint> {
        if std::mem::replace(&mut self.is_read, true) {
            return Ok(());
        }
        let (mut refused, mut first) = (0, 0);
        for (index, fd) in (0..count()?).zip(FIRST..) {
            if is_free_listener(fd) && sys::set_closed_on_exec(fd).is_ok() {
                self.left[index / 64] |= 1 << (index % 64);
            } else {
                first = if refused == 0 { fd } else { first };
                refused += 1;
            }
        }
        if refused == 0 { Ok(()) } else { Err(Complaint::NotListening { count: refused, first }) }
    }

    /// Takes the first one out that is as is asked for.
    fn take(&mut self, is_one: impl Fn(c_int) -> bool) -> Option<c_int> {
        for (word, first) in self.left.iter_mut().zip((FIRST..).step_by(64)) {
            let mut rest = *word;
            while rest != 0 {
                let bit = rest & rest.wrapping_neg();
                let fd = first + bit.trailing_zeros() as c_int;
                if is_free_listener(fd) && is_one(fd) {
                    *word &= !bit;
                    return Some(fd);
                }
                rest &= !bit;
            }
        }
        None
    }
}

fn take(is_one: impl Fn(c_int) -> bool) -> Option<c_int> {
    let (read, taken) = {
        let mut inherited = INHERITED.lock();
        (inherited.read(), inherited.take(is_one))
    };
    if let Err(complaint) = read {
        complaint.tell(); // May call the program.
    }
    taken
}

/// A socket that listens at this very address and that nobody has taken, if there is one. It does not block, and
/// gets the options that a socket can still get when it listens.
pub fn take_inherited(address: &Address, options: &[SocketOption]) -> Option<OwnedFd> {
    let _errno = ErrnoGuard::save();
    let fd = take(|fd| {
        let at = sys::local_address(fd);
        at.is_ok_and(|at| at.is_same(address)) && sys::set_nonblocking(fd, true).is_ok()
    })?;
    for option in options {
        let _ = option.set(fd, address.family());
    }
    // SAFETY: whoever has started the process says that it is for us to take, nobody of the library owns it, and
    // it is given out once.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes those that nobody has taken. Returns how many there were.
pub fn close_inherited() -> usize {
    let _errno = ErrnoGuard::save();
    let mut closed = 0;
    while let Some(fd) = take(|_| true) {
        let _ = sys::close_checked(fd);
        closed += 1;
    }
    closed
}
