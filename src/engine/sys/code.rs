//! The program's code: where it is, and what it is called.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::from_mut;

unsafe extern "C" {
    static program_invocation_short_name: *const c_char;
}

/// A part of the program or of a library, which can be read as long as the function of
/// [`for_each_segment`] runs.
pub struct Segment {
    pub addresses: Range<usize>,
    pub is_code: bool,
    /// What the file's addresses are relative to, and its path; empty for the program itself.
    pub base: usize,
    path: *const c_char,
}

impl Segment {
    /// The name of the file, without its folder.
    pub fn file(&self) -> &[u8] {
        // SAFETY: a string of the loader's, which stays as long as the function runs.
        let path = unsafe { self.path.as_ref().map_or(c"", |_| CStr::from_ptr(self.path)) };
        let path = match path.to_bytes() {
            // SAFETY: a string that the C library has set when the program began.
            [] => unsafe { CStr::from_ptr(program_invocation_short_name) }.to_bytes(),
            path => path,
        };
        path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
    }

    /// The bytes from an address on, which is in this segment.
    pub fn bytes_from(&self, address: usize) -> &[u8] {
        if !self.addresses.contains(&address) {
            return &[];
        }
        // SAFETY: a part of what is mapped and can be read. It is the program's code or constants, or
        // data that only the loader has a name for.
        unsafe { std::slice::from_raw_parts(address as *const u8, self.addresses.end - address) }
    }
}

/// Calls a function with each segment that can be read. None is unmapped meanwhile, and none can be
/// loaded: so it must not wait, nor ask the loader for anything.
pub fn for_each_segment(mut function: impl FnMut(&Segment)) {
    unsafe extern "C" fn each<F: FnMut(&Segment)>(
        info: *mut libc::dl_phdr_info,
        _: usize,
        function: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader's answer, and what is passed below.
        let (info, function) = unsafe { (&*info, &mut *function.cast::<F>()) };
        for index in 0..usize::from(info.dlpi_phnum) {
            // SAFETY: as many headers as said.
            let header = unsafe { &*info.dlpi_phdr.add(index) };
            if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_R != 0 {
                let base = info.dlpi_addr as usize;
                let start = base.wrapping_add(header.p_vaddr as usize);
                function(&Segment {
                    addresses: start..start.saturating_add(header.p_memsz as usize),
                    is_code: header.p_flags & libc::PF_X != 0,
                    base,
                    path: info.dlpi_name,
                });
            }
        }
        0
    }
    fn call<F: FnMut(&Segment)>(function: &mut F) {
        // SAFETY: the callback is made for this argument, which lives longer than the call.
        unsafe { libc::dl_iterate_phdr(Some(each::<F>), from_mut(function).cast()) };
    }
    call(&mut function);
}

/// Where the name of the function is that has an address: of those that are exported; 0 if there is
/// none. Whoever follows it looks first whether it is still in a segment.
pub fn name_of_code(address: usize) -> usize {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: the address is good for the answer, which is there if the call succeeds.
    unsafe {
        match libc::dladdr(address as *const c_void, info.as_mut_ptr()) {
            0 => 0,
            _ => info.assume_init().dli_sname as usize,
        }
    }
}
