//! A scheduler's name, for people.

use std::fmt;

use super::object::Scheduler;
use crate::engine::sys::until_nul;
use crate::engine::task::{Name, to_name};

/// How a line goes on about a scheduler that has a name: with what stands in front of it, and the name. Without one
/// there is nothing.
pub struct Title {
    before: &'static str,
    name: Name,
}

impl Scheduler {
    /// Sets the name, truncated. Empty: none.
    pub fn set_name(&self, name: &[u8]) {
        let name = to_name(name);
        self.name.set(name);
        self.remote.share_name(name);
    }

    pub fn title(&self, before: &'static str) -> Title {
        Title { before, name: self.name.get() }
    }
}

impl fmt::Display for Title {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match until_nul(&self.name) {
            [] => Ok(()),
            name => write!(out, "{} \"{}\"", self.before, name.escape_ascii()),
        }
    }
}
