//! The process: symbols, fork, the C++ runtime, the thread's stack.

use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::ptr::null_mut;

use super::error::{Error, Result};
use super::memory::{map, page_bytes, unmap};

/// A zeroed page that the kernel clears in children of this process (MADV_WIPEONFORK); `None` if it
/// cannot. Never unmapped.
pub fn map_wiped_by_fork() -> Option<*mut u8> {
    let bytes = page_bytes();
    let page = map(bytes).ok()?;
    // SAFETY: the mapping just made.
    let wiped = unsafe { libc::madvise(page.cast(), bytes, libc::MADV_WIPEONFORK) } == 0;
    if !wiped {
        // SAFETY: as above, and nobody has it.
        unsafe { unmap(page, bytes) };
    }
    wiped.then_some(page)
}

/// pthread_atfork(3) for the child. Fails silently without memory.
pub fn at_fork_in_child(function: extern "C" fn()) {
    // SAFETY: a function that stays callable as long as the library is loaded, which the C library
    // knows to forget it after.
    unsafe { libc::pthread_atfork(None, None, Some(function)) };
}

/// Runs `body` in a child, by fork() or by the raw system call, and returns its result.
#[cfg(test)]
pub fn in_a_child(by_the_c_library: bool, body: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the child calls nothing but `body` and _exit().
    let child = unsafe {
        match by_the_c_library {
            true => libc::fork(),
            false => libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as libc::pid_t,
        }
    };
    if child == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(body()) };
    }
    let mut status = 0;
    // SAFETY: the child just made.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    libc::WEXITSTATUS(status)
}

/// dlsym(3): a symbol of the program or its libraries.
pub fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if found.is_null() {
        // The C library keeps a message that says so; asked for a second time, it frees it.
        // SAFETY: no preconditions; the texts are not used.
        unsafe {
            libc::dlerror();
            libc::dlerror();
        }
        return None;
    }
    Some(found)
}

/// The lowest address and the size of the calling thread's own stack; nothing if they are unknown.
pub fn thread_stack() -> (*const u8, usize) {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut lowest, mut bytes) = (null_mut(), 0);
    // SAFETY: the attributes are filled in by the first call, read by the second, and released.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) == 0 {
            libc::pthread_attr_getstack(attributes.as_ptr(), &mut lowest, &mut bytes);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
        }
    }
    (lowest.cast(), bytes)
}

type CxaGetGlobals = unsafe extern "C" fn() -> *mut c_void;

unsafe extern "C" {
    fn majjen_shim_cxa_get_globals() -> Option<CxaGetGlobals>;
}

/// `__cxa_get_globals()` of the calling thread; null if the program has no C++ runtime so far. The
/// address does not change while the thread lives.
pub fn cxx_globals() -> *mut c_void {
    // SAFETY: no preconditions.
    let linked = unsafe { majjen_shim_cxa_get_globals() };
    let get_globals = linked.or_else(|| {
        // Opened later, for all to see.
        // SAFETY: a C string.
        let found = symbol(c"__cxa_get_globals")?;
        // SAFETY: what has this name is a function of this type: a name that the C++ ABI defines.
        Some(unsafe { std::mem::transmute::<*mut c_void, CxaGetGlobals>(found) })
    });
    // SAFETY: the ABI's function has no preconditions.
    get_globals.map_or(null_mut(), |get_globals| unsafe { get_globals() })
}

pub fn process_id() -> c_int {
    // SAFETY: no preconditions.
    unsafe { libc::getpid() }
}

unsafe extern "C" {
    fn __cxa_thread_atexit_impl(
        function: unsafe extern "C" fn(*mut c_void),
        data: *mut c_void,
        object: *const c_void,
    ) -> c_int;
    /// Names the program or library that this is linked into.
    static __dso_handle: c_void;
}

/// Whether the process has no other thread. `false` where that cannot be found out.
pub fn is_only_thread() -> bool {
    // A link for each thread, and the two of every directory.
    std::fs::metadata("/proc/self/task").is_ok_and(|directory| directory.nlink() == 3)
}

/// Calls a function when the calling thread ends: before those that were registered earlier, and
/// before the destructors of thread-locals that were used earlier.
pub fn at_thread_end(function: unsafe extern "C" fn(*mut c_void), data: *mut c_void) -> Result<()> {
    // SAFETY: the handle is only an address here.
    let failed = unsafe { __cxa_thread_atexit_impl(function, data, &raw const __dso_handle) } != 0;
    if failed { Err(Error::OutOfMemory) } else { Ok(()) }
}
