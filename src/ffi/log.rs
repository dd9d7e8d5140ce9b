//! The logger's settings. `mj_log` and `mj_vlog` themselves are in C, being variadic: see
//! [`crate::engine::log`].

use std::ffi::{c_char, c_int, c_void};

use super::types::{LogLevelInt, mj_log_callback, mj_logger};
use super::{bool_from, status, text_ref};
use crate::engine::log::{self, Level, Receiver};
use crate::engine::sys::{Error, Result};

/// Sets the level from which lines are written, for the whole process. Until it is set it is
/// MJ_LOG_INFO, or MJ_LOG_WARN if the Rust API was the first to make a scheduler or to set up the
/// logger. At INFO the library writes two lines to stdout for each run. A number that is no level
/// is a WARN line and changes nothing. Callable from any thread. Does not suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_log_set_level(level: LogLevelInt) {
    match Level::from_int(level) {
        Some(level) => log::set_level(level),
        None => log::warn(format_args!(
            "mj_log_set_level: {level} is not a level; the level is unchanged"
        )),
    }
}

/// Returns whether mj_log() writes lines of this level now, to leave out work that only prepares
/// one: false for MJ_LOG_SILENT and for a number that is no level. Callable from any thread. Does
/// not suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_log_enabled(level: LogLevelInt) -> bool {
    Level::from_int(level).is_some_and(|level| level != Level::Silent && log::enabled(level))
}

/// Sets the function that receives each line, for the whole process; NULL restores the streams.
/// Lines have one receiver: the streams at first, and then what was last set by this function,
/// mj_log_set_config(), mj_log_to_stderr(), mj_log_to_file() or mj_log_to_syslog(). On the streams,
/// lines from MJ_LOG_ERROR on go to stderr and the others to stdout, in order with what the program
/// prints there.
///
/// A line that a stream does not take is lost, and counted by mj_log_dropped(). The first one in a
/// row on stdout is reported as an ERROR line on stderr. No signal is raised: no SIGPIPE when nobody
/// reads, no SIGXFSZ past RLIMIT_FSIZE. Where a stream is nonblocking and full, a line waits at most
/// 100 ms for room; further ones do not wait until one has been taken.
///
/// `user_data` is passed to each call and stays the caller's. A thread that is logging right now
/// may still call the old function. Callable from any thread. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_log_set_callback(callback: mj_log_callback, user_data: *mut c_void) {
    log::set_callback(callback, user_data);
}

/// Sets everything in `logger`, which is copied, for the whole process. At first that is
/// {MJ_LOG_INFO, NULL, NULL, true, true}. A callback becomes the receiver, as by
/// mj_log_set_callback(). NULL in its place ends a callback, after which lines go to the streams, or
/// all to stderr if they did so before, and leaves any other receiver as it is: so what
/// mj_log_get_config() has filled in can be changed and set again. Callable from any thread. Does not
/// suspend.
///
/// Returns 0. Errors (nothing has changed then):
///   -EINVAL  `logger` is NULL, or its level is no level
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_log_set_config(logger: *const mj_logger) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { configure(logger) })
}

/// # Safety
/// As [`mj_log_set_config`].
unsafe fn configure(logger: *const mj_logger) -> Result<()> {
    if logger.is_null() {
        return Err(Error::InvalidArgument);
    }
    // SAFETY: as this function's contract says.
    unsafe {
        let level = Level::from_int((*logger).min_level).ok_or(Error::InvalidArgument)?;
        let include_time = bool_from(&raw const (*logger).include_time);
        let include_level = bool_from(&raw const (*logger).include_level);
        let (callback, user_data) = ((*logger).callback, (*logger).user_data);
        log::configure(level, callback, user_data, include_time, include_level);
    }
    Ok(())
}

/// Fills in `logger` with the settings in force. NULL is reported in the log. Callable from any
/// thread. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_log_get_config(logger: *mut mj_logger) {
    if logger.is_null() {
        return log::warn(format_args!("mj_log_get_config: the logger is NULL"));
    }
    let log::Settings { receiver, include_time, include_level, .. } = log::current();
    let (callback, user_data) = match receiver {
        Receiver::Callback { function, user_data } => (Some(function as _), user_data),
        _ => (None, std::ptr::null_mut()),
    };
    let min_level = log::level() as u32;
    // SAFETY: not NULL, and good to write by contract.
    unsafe {
        logger.write(mj_logger { min_level, callback, user_data, include_time, include_level });
    }
}

/// Makes a file the receiver of all lines, for the whole process. Lines are appended, each with one
/// write. The file is created if it is missing, with mode 0644 less the umask. `path` is copied,
/// and kept for mj_log_reopen(): give an absolute one if the program may change its directory.
/// Callable from any thread. Does not suspend.
///
/// A line that cannot be written, because the disk is full for example or the file is as large as
/// RLIMIT_FSIZE allows, is lost, and counted by mj_log_dropped(). The first one is reported as an
/// ERROR line on stderr, and nothing more until a line has been written again. No signal is raised.
///
/// The file stays open until the receiver is changed, and is not inherited across exec. Its
/// descriptor is the library's: a program that closes all descriptors calls this or mj_log_reopen()
/// afterwards. Lines until then are lost; none goes to a file that has got the number.
///
/// Returns 0. Errors (nothing has changed then):
///   -EINVAL  `path` is NULL
///   -ENXIO   it is a pipe without a reader
///   and as open(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_log_to_file(path: *const c_char) -> c_int {
    // SAFETY: as this function's contract says.
    let path = unsafe { text_ref(path) };
    status(path.ok_or(Error::InvalidArgument).and_then(log::set_file))
}

/// Opens the file of mj_log_to_file() by its path again, and lets the old one go: to be called
/// after the file has been renamed, as logrotate(8) does. No line is lost or goes to both. Without
/// effect while the receiver is not a file. Callable from any thread, not from a signal handler.
/// Does not suspend.
///
/// Returns 0. Errors (lines still go to the old file then):
///   as mj_log_to_file()
#[unsafe(no_mangle)]
pub extern "C" fn mj_log_reopen() -> c_int {
    status(log::reopen_file())
}

/// Makes the system log the receiver of all lines, for the whole process: each is a datagram to
/// /dev/log. `ident` says whose lines they are, commonly the program's name: 1 to 48 bytes, which
/// are copied. The facility is LOG_USER; MJ_LOG_TRACE and _DEBUG become LOG_DEBUG, _INFO LOG_INFO,
/// _WARN LOG_WARNING, _ERROR LOG_ERR, and _FATAL LOG_CRIT. The system log has its own time and
/// level, so `include_time` and `include_level` do not matter. Callable from any thread. Does not
/// suspend.
///
/// A line that the log daemon does not take within 100 ms is lost, and reported and counted as with
/// mj_log_to_file(); further ones do not wait until one has been taken. A line that is larger than a
/// datagram may be, some 200 KB by default (net.core.wmem_default), is lost in the same way. A daemon
/// that is restarted is found again.
///
/// Returns 0. Errors (nothing has changed then):
///   -EINVAL                 `ident` is NULL, empty or too long
///   -ENOENT, -ECONNREFUSED  no log daemon is running
///   and as socket(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_log_to_syslog(ident: *const c_char) -> c_int {
    // SAFETY: as this function's contract says.
    let ident = unsafe { text_ref(ident) };
    status(ident.ok_or(Error::InvalidArgument).and_then(log::set_syslog))
}

/// Makes stderr the receiver of all lines, for the whole process: for a program whose stdout is its
/// result. Callable from any thread. Does not suspend.
///
/// Returns 0, as its siblings do when they succeed.
#[unsafe(no_mangle)]
pub extern "C" fn mj_log_to_stderr() -> c_int {
    log::set_streams(true);
    0
}

/// Sets whether control characters in the text of lines are escaped, for the whole process and all
/// receivers: those of ASCII, which are the bytes below 0x20 and 0x7f, and U+0080 to U+009F in UTF-8. A
/// newline becomes `\n`, others `\t`, `\r`, `\x1b` or `\xc2\x9b`, and a backslash two. Then a line is
/// one line whatever the values in it are, and no escape sequence reaches a terminal that takes UTF-8.
/// All else passes: a byte 0x80 to 0x9f without 0xc2 before it, which a terminal in an 8-bit mode may
/// obey, and U+2028 and U+2029, which some programs take for the end of a line. At first nothing is escaped.
/// Names of tasks and schedulers are escaped in the library's own lines in any case, and with this once more: a
/// backslash there is two. When memory is missing for a line, a `?` stands for each such character. Callable from
/// any thread. Does not suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_log_set_escape(escape: bool) {
    log::set_escape(escape);
}

/// Returns how many lines have been lost since the process began because their receiver did not
/// take them: a stream, a file or the system log. Callable from any thread. Does not suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_log_dropped() -> u64 {
    log::dropped()
}
