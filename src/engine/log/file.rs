//! The log file.
//!
//! A line is one `write` of a descriptor with O_APPEND, so lines of several threads or processes do
//! not mix. After a partial line, on a full disk, the next one starts with a newline.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::line::{Line, Prefix};
use super::settings::Settings;
use super::swappable_fd::SwappableFd;
use crate::engine::sys::{self, Result, SIGPIPE};

static FILE: SwappableFd = SwappableFd::none();

/// Whether the file is a pipe, so that a write may raise SIGPIPE.
static IS_PIPE: AtomicBool = AtomicBool::new(false);

/// Whether the file ends with a partial line.
static PARTIAL_LINE: AtomicBool = AtomicBool::new(false);

/// Opens the file, and replaces the previous one, which is kept on an error.
pub fn open(path: &CStr) -> Result<()> {
    let file = sys::open_appending(path)?;
    // Before the first line can go there.
    IS_PIPE.fetch_or(file.is_pipe, Relaxed);
    FILE.replace(file.fd)?;
    IS_PIPE.store(file.is_pipe, Relaxed);
    if file.is_empty {
        PARTIAL_LINE.store(false, Relaxed);
    }
    Ok(())
}

pub fn close() {
    FILE.release();
}

pub fn write(line: &mut Line, settings: &Settings) -> Result<()> {
    let mut prefix = Prefix::new();
    let after_partial_line = PARTIAL_LINE.load(Relaxed) && PARTIAL_LINE.swap(false, Relaxed);
    if after_partial_line {
        prefix.push(b"\n");
    }
    prefix.push_settings(settings, line.level);

    let holds_signal = IS_PIPE.load(Relaxed) && sys::block_signal(SIGPIPE);
    let written = sys::write_all(FILE.number(), line.framed(&prefix));
    if holds_signal {
        sys::drop_and_unblock_signal(SIGPIPE);
    }
    written.map_err(|(bytes, error)| {
        if after_partial_line || bytes > 0 {
            PARTIAL_LINE.store(true, Relaxed);
        }
        error
    })
}
