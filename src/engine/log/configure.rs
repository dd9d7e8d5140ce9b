//! Changing the settings, and opening and closing the receivers.

use std::ffi::{CStr, c_void};

use super::level::{self, Level};
use super::settings::{Callback, Receiver, Settings, SettingsLock, check_text, current};
use super::{file, limit, start, syslog};
use crate::engine::sys::{Error, Result};

/// Sets the callback, or with `None` both streams. The callback must stay callable while it is set.
pub fn set_callback(callback: Option<Callback>, user_data: *mut c_void) {
    let Some(function) = callback else { return set_streams(false) };
    let lock = SettingsLock::lock();
    let receiver = Receiver::Callback { function, user_data };
    set(&lock, Settings { receiver, ..current() }, c"");
}

/// Sends lines to the streams: by their levels, or all to stderr.
pub fn set_streams(stderr_only: bool) {
    let lock = SettingsLock::lock();
    set(&lock, Settings { receiver: Receiver::Streams, stderr_only, ..current() }, c"");
}

/// Sets everything that an `mj_logger` has. That has no other receiver than a callback: without
/// one, it removes one that is set, which leaves the streams, and keeps any other receiver.
pub fn configure(
    from: Level,
    callback: Option<Callback>,
    user_data: *mut c_void,
    include_time: bool,
    include_level: bool,
) {
    let lock = SettingsLock::lock();
    let receiver = match (callback, current().receiver) {
        (Some(function), _) => Receiver::Callback { function, user_data },
        (None, Receiver::Callback { .. }) => Receiver::Streams,
        (None, receiver) => receiver,
    };
    let text = if callback.is_some() { c"" } else { lock.text() };
    set(&lock, Settings { receiver, include_time, include_level, ..current() }, text);
    level::set_level(from);
}

/// Appends lines to a file, which is created if it is missing. The path is copied.
pub fn set_file(path: &CStr) -> Result<()> {
    let lock = SettingsLock::lock();
    check_text(path)?;
    file::open(path)?;
    set(&lock, Settings { receiver: Receiver::File, ..current() }, path);
    Ok(())
}

/// Reopens the log file by its path; does nothing if none is set.
pub fn reopen_file() -> Result<()> {
    let lock = SettingsLock::lock();
    match current().receiver {
        Receiver::File => file::open(lock.text()),
        _ => Ok(()),
    }
}

/// Sends lines to the system log, which shows the ident before each. The ident is copied.
pub fn set_syslog(ident: &CStr) -> Result<()> {
    if ident.is_empty() || ident.count_bytes() > syslog::IDENT_BYTES {
        return Err(Error::InvalidArgument);
    }
    let lock = SettingsLock::lock();
    syslog::open()?;
    set(&lock, Settings { receiver: Receiver::Syslog, ..current() }, ident);
    Ok(())
}

/// Puts settings in force, and closes the previous receiver.
fn set(lock: &SettingsLock, settings: Settings, text: &CStr) {
    start::begin();
    let (before, is_other) = lock.set(settings, text);
    if is_other {
        limit::reset();
        file::SINK.reset();
        syslog::SINK.reset();
    }
    // Other threads' writes to the closed receiver fail; they see that the settings have changed,
    // and try the new receiver.
    match (before, settings.receiver) {
        (Receiver::File, Receiver::File) | (Receiver::Syslog, Receiver::Syslog) => {}
        (Receiver::File, _) => file::close(),
        (Receiver::Syslog, _) => syslog::close(),
        _ => {}
    }
}
