//! Threads of the library's own.

use std::ffi::{CStr, c_int, c_void};
use std::mem::{MaybeUninit, transmute, zeroed};
use std::ptr::null_mut;

use super::error::{Error, Result};

/// The function of a thread.
pub type ThreadMain = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// Starts a detached thread, in which all signals are blocked but those of faults, which the kernel
/// sends to the thread that has caused them, and a program may report.
pub fn start_thread(main: ThreadMain, argument: *mut c_void) -> Result<()> {
    const FAULTS: [c_int; 6] =
        [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: the attributes are filled in by the first call and released by the last; signal sets are
    // integers, for which zero is a value; all addresses are good. The function is of this type.
    let failed = unsafe {
        let failed = libc::pthread_attr_init(attributes.as_mut_ptr());
        if failed != 0 {
            return Err(error_of(failed));
        }
        let attributes = attributes.as_mut_ptr();
        libc::pthread_attr_setdetachstate(attributes, libc::PTHREAD_CREATE_DETACHED);
        let (mut blocked, mut before): (libc::sigset_t, libc::sigset_t) = (zeroed(), zeroed());
        libc::sigfillset(&mut blocked);
        for signal in FAULTS {
            libc::sigdelset(&mut blocked, signal);
        }
        // The thread begins with the mask of the one that makes it.
        libc::pthread_sigmask(libc::SIG_SETMASK, &blocked, &mut before);
        let main = transmute::<ThreadMain, extern "C" fn(*mut c_void) -> *mut c_void>(main);
        let failed = libc::pthread_create(thread.as_mut_ptr(), attributes, main, argument);
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, null_mut());
        libc::pthread_attr_destroy(attributes);
        failed
    };
    if failed == 0 { Ok(()) } else { Err(error_of(failed)) }
}

fn error_of(errno: c_int) -> Error {
    if errno == libc::ENOMEM { Error::OutOfMemory } else { Error::Os(errno) }
}

/// Names the calling thread, by at most 15 bytes.
pub fn name_thread(name: &CStr) {
    // SAFETY: a C string, and this thread.
    unsafe { libc::pthread_setname_np(libc::pthread_self(), name.as_ptr()) };
}

/// Keeps what this library is linked into from being unmapped, by dlclose(3): a thread of the library
/// runs its code.
pub fn keep_loaded() {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: the address is good for the answer; the name that is found is of a loaded object.
    unsafe {
        if libc::dladdr(keep_loaded as *const c_void, info.as_mut_ptr()) == 0 {
            return;
        }
        let name = info.assume_init().dli_fname;
        let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        if libc::dlopen(name, flags).is_null() {
            // The program itself, which stays. As in `symbol`.
            libc::dlerror();
            libc::dlerror();
        }
    }
}

/// The calling thread's number in the kernel.
pub fn thread_id() -> c_int {
    // SAFETY: no preconditions. By number, since gettid(3) came with glibc 2.30.
    unsafe { libc::syscall(libc::SYS_gettid) as c_int }
}

/// Sends a signal to a thread of this process. Whether it was sent: not to a thread that has ended,
/// and a real-time signal not beyond RLIMIT_SIGPENDING.
pub fn signal_thread(thread_id: c_int, signal: c_int) -> bool {
    // SAFETY: numbers; the signal is one that this process handles.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread_id, signal) == 0 }
}
