//! Delivering a line to its receiver.

use std::cell::Cell;

use super::level::Level;
use super::line::Line;
use super::own_line::OwnLine;
use super::settings::{self, Receiver, Settings, current};
use super::{file, loss, stream, syslog};
use crate::engine::context::switch;
use crate::engine::sys::Error;
use crate::engine::task;

/// Delivers a line to its receiver.
pub fn deliver(line: &mut Line) {
    loop {
        let version = settings::version();
        let settings = current();
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
            Receiver::File { .. } => file::write(line, settings),
            Receiver::Syslog { ident } => syslog::send(line, ident),
        };
        match written {
            Ok(()) => return loss::clear(),
            // Another thread has changed the receiver, and closed the one that this write went to:
            // try again.
            Err(_) if settings::version() != version => {}
            Err(error) => return lose(settings, error),
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
fn lose(settings: &Settings, error: Error) {
    if !loss::add() {
        return;
    }
    let path = match settings.receiver {
        Receiver::File { path } => path,
        _ => syslog::PATH,
    };
    let message = format_args!("Log lines are being lost: {error}: {path:?}");
    stream::write(&mut OwnLine::new(Level::Error, message).line(), settings);
}
