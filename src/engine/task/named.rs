//! A task as lines for people name it.

use std::fmt;

use super::object::Task;
use crate::engine::sys::until_nul;

/// Its id, and its name if it has one.
pub struct Named<'t>(pub &'t Task);

impl fmt::Display for Named<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.name.get();
        let name = until_nul(&name);
        write!(out, "task {:#x}", self.0.id.get())?;
        if name.is_empty() { Ok(()) } else { write!(out, " \"{}\"", name.escape_ascii()) }
    }
}
