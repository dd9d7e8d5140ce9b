//! The logger's settings. `mj_log` and `mj_vlog` themselves are in C, being variadic: see
//! [`crate::log`].

use std::ffi::c_void;

use super::types::{LogLevelInt, mj_log_callback};
use crate::log::{self, Level};

/// Sets the level from which lines are written, for the whole process: MJ_LOG_INFO unless set. A
/// number that is no level is reported as a WARN line and changes nothing. Callable from any
/// thread. Does not suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_log_set_level(level: LogLevelInt) {
    match Level::from_int(level) {
        Some(level) => log::set_level(level),
        None => log::warn(format_args!("mj_log_set_level: {level} is not a level")),
    }
}

/// Sets the function that receives each line, for the whole process; NULL restores the streams.
/// `user_data` is handed to each call and stays the caller's. A thread that is logging right now
/// may still call the old one. When memory is missing, an ERROR line says so and nothing changes.
/// Callable from any thread. Does not suspend.
///
/// `callback` is NULL or stays callable, from any thread that logs, while it is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_log_set_callback(callback: mj_log_callback, user_data: *mut c_void) {
    if let Err(error) = log::set_callback(callback, user_data) {
        log::error(format_args!("mj_log_set_callback: {error}; the callback is unchanged"));
    }
}
