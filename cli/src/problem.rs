//! What went wrong, in words for who runs the program: what, with whom, and what to do.

use std::fmt;
use std::io::{self, Write};

/// See the module.
#[derive(Debug)]
pub struct Problem(String);

pub type Result<T> = std::result::Result<T, Problem>;

impl Problem {
    pub fn new(text: impl Into<String>) -> Problem {
        Problem(text.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

/// Says something on standard error, if there is one: `eprintln!` panics where it cannot be written.
pub fn tell(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "majjen: {text}");
}
