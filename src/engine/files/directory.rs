//! What is in a directory.

use std::ffi::{CStr, c_char};

use super::path::on_path;
use crate::engine::scheduler::Limit;
use crate::engine::sys::{Bytes, Directory, Error, Result};

/// Names, as C strings one behind the other.
pub struct Names {
    text: Bytes,
    count: usize,
}

/// The names in a directory, without "." and "..", in the order of the file system. EFBIG if there are more than
/// `most`.
pub fn list_directory(path: &CStr, most: usize, limit: Limit) -> Result<Names> {
    on_path(path, limit, move |path| {
        let mut directory = Directory::open(path)?;
        let mut names = Names { text: Bytes::new(), count: 0 };
        while let Some(name) = directory.next_name()? {
            if names.count == most {
                return Err(Error::Os(libc::EFBIG));
            }
            names.text.push(name.to_bytes_with_nul())?;
            names.count += 1;
        }
        Ok(names)
    })
}

impl Names {
    pub fn count(&self) -> usize {
        self.count
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.text.as_slice().split(|&byte| byte == 0).take(self.count)
    }

    /// One block of memory: an array of addresses, NULL behind the last one, and the names behind that.
    /// free(3) is its end.
    pub fn into_array(self) -> Result<*mut *mut c_char> {
        let slots = (self.count + 1).checked_mul(size_of::<*mut c_char>());
        let slots = slots.ok_or(Error::OutOfMemory)?;
        let mut block = Bytes::new();
        block.reserve(slots.checked_add(self.text.as_slice().len()).ok_or(Error::OutOfMemory)?)?;
        let array = block.into_raw().cast::<*mut c_char>();
        let mut place = array.wrapping_byte_add(slots).cast::<u8>();
        for (index, name) in self.iter().enumerate() {
            // SAFETY: the block has room for all addresses and all names with their NULs.
            unsafe {
                array.add(index).write(place.cast());
                place.copy_from_nonoverlapping(name.as_ptr(), name.len());
                place.add(name.len()).write(0);
            }
            place = place.wrapping_add(name.len() + 1);
        }
        // SAFETY: as above.
        unsafe { array.add(self.count).write(std::ptr::null_mut()) };
        Ok(array)
    }
}
