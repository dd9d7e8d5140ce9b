//! The environment of a process that is given listening sockets.

use std::ffi::{CStr, c_char};
use std::fmt::{Arguments, Write};

use crate::engine::fd::PREDECESSOR;
use crate::engine::sys::{self, Error, Result, TruncatingWriter};

/// A list for execve(2): that of somebody else, with some variables in the place of those of their names.
pub struct Environment(*mut *const c_char);

/// A variable with its value, as a C string.
pub struct Variable([u8; 64]);

impl Variable {
    pub fn new(text: Arguments<'_>) -> Result<Variable> {
        let mut variable = Variable([0; 64]);
        let mut writer = TruncatingWriter::new(&mut variable.0[..63]);
        let written = writer.write_fmt(text);
        let fits = writer.length < 63;
        if written.is_ok() && fits { Ok(variable) } else { Err(Error::InvalidArgument) }
    }
}

/// Those of sockets that were given to this process, or to who has started it.
const REPLACED: [&CStr; 5] =
    [c"LISTEN_FDS", c"LISTEN_PID", c"LISTEN_PIDFDID", c"LISTEN_FDNAMES", PREDECESSOR];

/// Whether a "NAME=value" is one of them.
fn is_replaced(variable: &CStr) -> bool {
    let name = variable.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
    REPLACED.iter().any(|replaced| replaced.to_bytes() == name)
}

impl Environment {
    /// # Safety
    /// `others` is NULL, or a list of C strings that ends with NULL. It and the variables stay as they are while this
    /// lives.
    pub unsafe fn new(others: *const *const c_char, variables: &[Variable]) -> Result<Environment> {
        // SAFETY: as this function's contract says; the addresses are those of the list up to its NULL.
        let entries = || unsafe {
            let others = (0..).map(|index| others.add(index)).take_while(|_| !others.is_null());
            others.map(|entry| *entry).take_while(|entry| !entry.is_null())
        };
        let list = sys::allocate::<*const c_char>(entries().count() + variables.len() + 1);
        if list.is_null() {
            return Err(Error::OutOfMemory);
        }
        let environment = Environment(list);
        // SAFETY: C strings, as above.
        let kept = entries().filter(|entry| unsafe { !is_replaced(CStr::from_ptr(*entry)) });
        let new = variables.iter().map(|variable| variable.0.as_ptr().cast());
        let all = kept.chain(new).chain([std::ptr::null()]);
        // SAFETY: there is room for all of them.
        (0..).zip(all).for_each(|(index, entry)| unsafe { list.add(index).write(entry) });
        Ok(environment)
    }

    pub fn as_ptr(&self) -> *const *const c_char {
        self.0
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        // SAFETY: from `allocate`.
        unsafe { sys::free(self.0.cast()) };
    }
}
