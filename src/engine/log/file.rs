//! The log file.
//!
//! A line is one `write` of a descriptor with O_APPEND, so lines of several threads or processes do
//! not mix.

use std::ffi::CStr;

use super::line::Line;
use super::settings::Settings;
use super::sink::Sink;
use super::swappable_fd::SwappableFd;
use crate::engine::sys::{self, Mark, QuietWrites, Result};

pub static SINK: Sink = Sink::new();

static FILE: SwappableFd = SwappableFd::none(Mark::LOG_FILE);

/// Opens the file, and replaces the previous one, which is kept on an error.
pub fn open(path: &CStr) -> Result<()> {
    let file = sys::open_appending(path, Mark::LOG_FILE)?;
    FILE.replace(file.fd)?;
    if file.is_empty {
        SINK.forget_partial_line();
    }
    Ok(())
}

pub fn close() {
    FILE.release();
}

pub fn write(line: &mut Line, settings: &Settings) -> Result<()> {
    SINK.write(FILE.number()?, &mut QuietWrites::begin(), line, settings)
}
