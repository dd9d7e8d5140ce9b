//! Delivering a line to its receiver.

use std::cell::Cell;
use std::ffi::c_void;
use std::panic::Location;

use super::escape::with_escaped;
use super::level::Level;
use super::line::Line;
use super::own_line::OwnLine;
use super::settings::{self, Callback, Receiver, Settings};
use super::stream;
use super::{file, limit, syslog};
use crate::engine::context::{callback, switch};
use crate::engine::sys::{Error, Uncancelable};
use crate::engine::task;

/// Calls the program's callback for a line.
pub type Call = fn(Callback, &mut Line, *mut c_void);

/// For a line that is logged by frames of C: an exception of the callback goes on to them.
pub fn letting_exceptions_pass(function: Callback, line: &mut Line, user_data: *mut c_void) {
    // SAFETY: the program's function, with the arguments of its type.
    unsafe { function(line.level as u32, line.message(), user_data) };
}

/// For a line that is logged by frames that may be in the middle of something.
pub fn stopping_exceptions(function: Callback, line: &mut Line, user_data: *mut c_void) {
    let arguments = [line.level as usize, line.message() as usize, user_data as usize];
    // SAFETY: as above.
    unsafe { callback::call(function as *const c_void, arguments, c"a log callback") };
}

/// Delivers a line to its receiver. The thread is not canceled meanwhile: not in the callback
/// either, whose lines and locks are the whole program's.
pub fn deliver(line: &mut Line, call: Call) {
    let _uncancelable = Uncancelable::begin();
    with_escaped(line, |line| deliver_as_it_is(line, call));
}

fn deliver_as_it_is(line: &mut Line, call: Call) {
    loop {
        let (version, settings) = settings::read();
        let settings = &settings;
        let (written, sink) = match settings.receiver {
            Receiver::Streams => return to_stream(line, settings),
            Receiver::Callback { function, user_data } => {
                // A callback that logs would recurse without end: its own lines go to the streams.
                return match InCallback::enter() {
                    Some(_busy) => call(function, line, user_data),
                    None => to_stream(line, settings),
                };
            }
            Receiver::File => (file::write(line, settings), &file::SINK),
            Receiver::Syslog => match settings::text(version, &mut [0; syslog::IDENT_BYTES]) {
                Some(ident) => (syslog::send(line, ident), &syslog::SINK),
                None => continue, // The settings have changed.
            },
        };
        // Another thread has changed the receiver, and closed the one that this write went to: try
        // again.
        if written.is_err() && !settings::is_in_force(version) {
            continue;
        }
        if let Some(error) = sink.note(written) {
            let mut buffer = [0; 256]; // What a line of the library's own has room for.
            let name = match settings.receiver {
                Receiver::File => settings::text(version, &mut buffer).unwrap_or_default(),
                _ => syslog::PATH.to_bytes(),
            };
            report_loss(error, name, settings);
        }
        return;
    }
}

/// A callback is running while this lives.
struct InCallback<'t>(&'t Cell<bool>);

impl InCallback<'_> {
    /// Nothing, if one is running: for the running task, or for the thread outside tasks. Per task,
    /// since a callback may suspend its task, and lines of other tasks must still reach it. A task
    /// is not released before the callback returns.
    fn enter() -> Option<Self> {
        let busy = match task::running() {
            Some(task) => &task.in_log_callback,
            // SAFETY: the thread's own variable.
            None => unsafe { &(*switch::thread()).in_log_callback },
        };
        (!busy.replace(true)).then(|| InCallback(busy))
    }
}

impl Drop for InCallback<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

fn to_stream(line: &mut Line, settings: &Settings) {
    let stream = if settings.stderr_only { &stream::STDERR } else { stream::for_level(line.level) };
    // What stderr does not take cannot be reported there.
    if let Some(error) = stream.sink.note(stream.write(line, settings))
        && stream.name != stream::STDERR.name
    {
        report_loss(error, stream.name.to_bytes(), settings);
    }
}

/// Reports the first of a row of dropped lines on stderr.
fn report_loss(error: Error, name: &[u8], settings: &Settings) {
    // A receiver that takes some lines and not others begins row after row.
    if limit::admit(Location::caller()).is_none() {
        return;
    }
    let name = name.escape_ascii();
    let message = format_args!("Log lines are being lost: {error}: \"{name}\"");
    // A line about a lost line is not one of the lines that are counted.
    let _ = stream::STDERR.write(&mut OwnLine::new(Level::Error, message).line(), settings);
}
