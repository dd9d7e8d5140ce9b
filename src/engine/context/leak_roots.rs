//! Memory that LeakSanitizer is to look at for pointers: the stacks of tasks and the task objects.
//! They are mappings of the library's own, which it does not know of, and without this it would report
//! all that parked tasks hold.
//!
//! Its functions are described in the compilers' header `sanitizer/lsan_interface.h`. A region must be
//! readable, so a stack's guard is none of it, and it must be taken back as it was given.

use std::mem::transmute;

use super::hook::Hook;

type Region = unsafe extern "C" fn(*const u8, usize);

static REGISTER: Hook = Hook::named(c"__lsan_register_root_region");
static UNREGISTER: Hook = Hook::named(c"__lsan_unregister_root_region");

/// Whether the program has LeakSanitizer, alone or as a part of AddressSanitizer.
pub fn are_wanted() -> bool {
    REGISTER.find().is_some()
}

/// Adds memory. It stays mapped and readable until it is taken back.
pub fn register(memory: *const u8, bytes: usize) {
    call(&REGISTER, memory, bytes);
}

/// Takes memory back that was added.
pub fn unregister(memory: *const u8, bytes: usize) {
    call(&UNREGISTER, memory, bytes);
}

fn call(hook: &Hook, memory: *const u8, bytes: usize) {
    if let Some(hook) = hook.find() {
        // SAFETY: one of the program's sanitizer, of this type; it only keeps the numbers.
        unsafe { transmute::<*mut std::ffi::c_void, Region>(hook)(memory, bytes) };
    }
}
