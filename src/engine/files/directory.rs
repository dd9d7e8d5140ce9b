//! What is in a directory.

use std::ffi::{CStr, c_char};

use super::path::on_path;
use crate::engine::scheduler::Limit;
use crate::engine::sys::{Bytes, Directory, Error, Result};

/// What was found.
pub struct Entries {
    /// Their names, as C strings one behind the other.
    names: Bytes,
    /// What each is: DT_REG and the like.
    kinds: Bytes,
}

/// The same in one block of memory, of which free(3) of `names` is the end.
pub struct Arrays {
    /// As many addresses as there are entries, NULL behind the last one, and the names behind that.
    pub names: *mut *mut c_char,
    pub kinds: *mut u8,
    pub count: usize,
}

/// What is in a directory, without "." and "..", in the order of the file system. EFBIG if that is more than
/// `most`. Without `with_kinds` these are what the file system tells anyway.
pub fn list_directory(path: &CStr, most: usize, with_kinds: bool, limit: Limit) -> Result<Entries> {
    on_path(path, limit, move |path| {
        let mut directory = Directory::open(path)?;
        let mut found = Entries { names: Bytes::new(), kinds: Bytes::new() };
        while let Some(entry) = directory.next_entry(with_kinds)? {
            if found.count() == most {
                return Err(Error::Os(libc::EFBIG));
            }
            found.names.push(entry.name.to_bytes_with_nul())?;
            found.kinds.push(&[entry.kind])?;
        }
        Ok(found)
    })
}

impl Entries {
    fn count(&self) -> usize {
        self.kinds.as_slice().len()
    }

    fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.names.as_slice().split(|&byte| byte == 0).take(self.count())
    }

    pub fn into_arrays(self) -> Result<Arrays> {
        let count = self.count();
        let slots = (count + 1).checked_mul(size_of::<*mut c_char>());
        let slots = slots.ok_or(Error::OutOfMemory)?;
        let texts = self.names.as_slice().len().checked_add(count).ok_or(Error::OutOfMemory)?;
        let mut block = Bytes::new();
        block.reserve(slots.checked_add(texts).ok_or(Error::OutOfMemory)?)?;
        let names = block.into_raw().cast::<*mut c_char>();
        let mut place = names.wrapping_byte_add(slots).cast::<u8>();
        for (index, name) in self.names().enumerate() {
            // SAFETY: the block has room for all addresses, all names with their NULs, and the kinds.
            unsafe {
                names.add(index).write(place.cast());
                place.copy_from_nonoverlapping(name.as_ptr(), name.len());
                place.add(name.len()).write(0);
            }
            place = place.wrapping_add(name.len() + 1);
        }
        // SAFETY: as above.
        unsafe {
            names.add(count).write(std::ptr::null_mut());
            place.copy_from_nonoverlapping(self.kinds.as_slice().as_ptr(), count);
        }
        Ok(Arrays { names, kinds: place, count })
    }
}
