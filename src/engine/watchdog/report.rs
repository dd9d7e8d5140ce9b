//! The lines about a turn that is too long.

use std::fmt::Write;

use super::capture::Capture;
use super::frames::{self, Frame, Text};
use super::registry::LongTurn;
use crate::engine::log::Permit;
use crate::engine::sys::{self, TruncatingWriter};

/// A line has at most so many bytes; the logger cuts what is longer.
const LINE_BYTES: usize = 280;

/// Writes them. `capture` is what the handler has found; nothing if it has not run.
pub fn write(long: &LongTurn, capture: Option<&Capture>) {
    let capture_of_turn = capture.filter(|capture| capture.is_same_turn);
    let name = capture_of_turn.map_or(&[][..], |capture| &capture.name);
    let name = sys::until_nul(name);
    let lasted_ns = sys::monotonic_ns().saturating_sub(long.since_ns);
    let why = match capture {
        Some(capture) if capture.is_same_turn => "",
        Some(_) => "; it has ended meanwhile",
        None => "; its stack cannot be seen",
    };
    long.permit.warn(format_args!(
        "task {:#x} \"{}\" has kept its thread for {} ms without suspending, which is over the \
         limit of {} ms{why}",
        long.task_id,
        name.escape_ascii(),
        lasted_ns / 1_000_000,
        long.limit_ns.div_ceil(1_000_000),
    ));
    if let Some(capture) = capture_of_turn {
        write_stack(&long.permit, long.task_id, capture);
    }
}

/// As many frames in a line as fit.
fn write_stack(permit: &Permit, task_id: u64, capture: &Capture) {
    let mut frames = [Frame::default(); frames::MOST];
    let count = frames::find(capture, &mut frames);
    let mut line = [0; LINE_BYTES];
    let mut length = 0;
    let (mut function, mut file) = (Text::EMPTY, Text::EMPTY);
    for (number, frame) in frames[..count].iter_mut().enumerate() {
        frames::describe(frame, &mut function, &mut file);
        let mut text = [0; LINE_BYTES];
        let mut writer = TruncatingWriter::new(&mut text);
        let file = match file.as_bytes() {
            [] => &b"?"[..],
            known => known,
        };
        // TruncatingWriter does not fail.
        let _ = write!(writer, " #{number} {}+{:#x}", file.escape_ascii(), frame.offset);
        if !function.as_bytes().is_empty() {
            let _ = write!(writer, " ({})", function.as_bytes().escape_ascii());
        }
        let text_length = writer.length.min(LINE_BYTES / 2);
        if length + text_length > LINE_BYTES - HEAD_BYTES {
            write_frames(permit, task_id, &line[..length]);
            length = 0;
        }
        line[length..length + text_length].copy_from_slice(&text[..text_length]);
        length += text_length;
    }
    write_frames(permit, task_id, &line[..length]);
}

/// The room for what is in front of the frames.
const HEAD_BYTES: usize = 40;

fn write_frames(permit: &Permit, task_id: u64, frames: &[u8]) {
    // Only ASCII was written.
    let frames = str::from_utf8(frames).unwrap_or_default();
    permit.warn(format_args!("stack of task {task_id:#x}:{frames}"));
}
