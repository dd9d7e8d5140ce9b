//! Copies of C strings, for threads that outlive the call.

use std::ffi::{CStr, c_char};

use super::error::{Error, Result};

unsafe extern "C" {
    /// Not in the libc crate.
    fn secure_getenv(name: *const c_char) -> *const c_char;
}

/// A variable of the environment, unless the program has more rights than who runs it. It stays as it is until the
/// program changes the environment.
pub fn variable<'v>(name: &CStr) -> Option<&'v CStr> {
    // SAFETY: a C string; null, or one of the environment.
    unsafe {
        let value = secure_getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value))
    }
}

/// A C string of its own.
pub struct Text(Vec<u8>);

impl Text {
    pub fn copy(text: &CStr) -> Result<Text> {
        let bytes = text.to_bytes_with_nul();
        let mut copy = Vec::new();
        copy.try_reserve_exact(bytes.len()).map_err(|_| Error::OutOfMemory)?;
        copy.extend_from_slice(bytes);
        Ok(Text(copy))
    }

    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}
