//! Delivering a line to its receiver.

use std::cell::Cell;

use super::level::Level;
use super::line::Line;
use super::own_line::OwnLine;
use super::settings::{self, Receiver, Settings};
use super::{file, loss, stream, syslog};
use crate::engine::context::switch;
use crate::engine::sys::Error;
use crate::engine::task;

/// Delivers a line to its receiver.
pub fn deliver(line: &mut Line) {
    loop {
        let (version, settings) = settings::read();
        let settings = &settings;
        let written = match settings.receiver {
            Receiver::Streams => return stream::write(line, settings),
            Receiver::Callback { function, user_data } => {
                let busy = in_callback();
                // A callback that logs would recurse without end: its own lines go to the streams.
                if busy.replace(true) {
                    return stream::write(line, settings);
                }
                // SAFETY: the program's function, with the arguments of its type. `busy` is a cell
                // of the task or the thread that runs the callback; a task is not released before
                // the callback returns.
                unsafe { function(line.level as u32, line.message(), user_data) };
                return busy.set(false);
            }
            Receiver::File => file::write(line, settings),
            Receiver::Syslog => match settings::text(version, &mut [0; syslog::IDENT_BYTES]) {
                Some(ident) => syslog::send(line, ident),
                None => continue,
            },
        };
        match written {
            Ok(()) => return loss::clear(),
            // Another thread has changed the receiver, and closed the one that this write went to:
            // try again.
            Err(_) if settings::has_changed(version) => {}
            Err(error) => return lose(version, settings, error),
        }
    }
}

/// Whether a callback is running, for the running task, or for the thread outside tasks. Per task,
/// since a callback may suspend its task, and lines of other tasks must still reach it.
fn in_callback<'t>() -> &'t Cell<bool> {
    match task::running() {
        Some(task) => &task.in_log_callback,
        // SAFETY: the thread's own variable.
        None => unsafe { &(*switch::thread()).in_log_callback },
    }
}

/// Counts a line that could not be written. The first in a row is reported on stderr.
fn lose(version: u32, settings: &Settings, error: Error) {
    if !loss::add() {
        return;
    }
    let mut buffer = [0; 256]; // What a line of the library's own has room for.
    let path = match settings.receiver {
        Receiver::File => settings::text(version, &mut buffer).unwrap_or_default(),
        _ => syslog::PATH.to_bytes(),
    };
    let path = path.escape_ascii();
    let message = format_args!("Log lines are being lost: {error}: \"{path}\"");
    stream::write(&mut OwnLine::new(Level::Error, message).line(), settings);
}
