//! Copies of C strings, for threads that outlive the call.

use std::ffi::CStr;

use super::error::{Error, Result};

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
