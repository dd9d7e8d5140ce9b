//! Threads of the library's own.

use std::ffi::{CStr, c_int, c_void};
use std::mem::{MaybeUninit, transmute, zeroed};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::cancellation::{own_call, uncancelable};
use super::errno::check;
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
        own_call(|| libc::pthread_sigmask(libc::SIG_SETMASK, &blocked, &mut before));
        let main = transmute::<ThreadMain, extern "C" fn(*mut c_void) -> *mut c_void>(main);
        let failed = libc::pthread_create(thread.as_mut_ptr(), attributes, main, argument);
        own_call(|| libc::pthread_sigmask(libc::SIG_SETMASK, &before, null_mut()));
        libc::pthread_attr_destroy(attributes);
        failed
    };
    if failed == 0 { Ok(()) } else { Err(error_of(failed)) }
}

fn error_of(errno: c_int) -> Error {
    if errno == libc::ENOMEM { Error::OutOfMemory } else { Error::Os(errno) }
}

/// A thread that is waited for.
pub struct Thread(libc::pthread_t);

// SAFETY: a number, which any thread may use.
unsafe impl Send for Thread {}

impl Thread {
    /// Starts a thread, with the signal mask of the one that calls this.
    pub fn start(main: ThreadMain, argument: *mut c_void) -> Result<Thread> {
        let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
        // SAFETY: the address is good, NULL is the default attributes, and the function is of this type.
        let failed = unsafe {
            let main = transmute::<ThreadMain, extern "C" fn(*mut c_void) -> *mut c_void>(main);
            libc::pthread_create(thread.as_mut_ptr(), null(), main, argument)
        };
        if failed != 0 {
            return Err(error_of(failed));
        }
        // SAFETY: filled in by the call.
        Ok(Thread(unsafe { thread.assume_init() }))
    }

    /// Waits for its end.
    pub fn join(self) {
        // SAFETY: a thread that is joined once, since this is consumed.
        uncancelable(|| unsafe { libc::pthread_join(self.0, null_mut()) });
    }
}

/// Binds the calling thread to one of the processors that it may run on: that with this index among them, counted
/// anew from the first one behind the last.
pub fn pin_thread(index: usize) -> Result<()> {
    // SAFETY: sets of processors are integers, for which zero is a value.
    let (mut may, mut one): (libc::cpu_set_t, libc::cpu_set_t) = unsafe { (zeroed(), zeroed()) };
    // SAFETY: the address is good for the size; 0 is this thread.
    check(unsafe { libc::sched_getaffinity(0, size_of_val(&may), &mut may) })?;
    // SAFETY: the set was filled in, and has so many bits.
    let is_in = |processor: &usize| unsafe { libc::CPU_ISSET(*processor, &may) };
    let among: usize = (0..8 * size_of_val(&may)).filter(is_in).count();
    let mut processors = (0..8 * size_of_val(&may)).filter(is_in);
    let processor = processors.nth(index % among.max(1)).ok_or(Error::InvalidArgument)?;
    // SAFETY: within the set.
    unsafe { libc::CPU_SET(processor, &mut one) };
    // SAFETY: as above.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&one), &one) }).map(drop)
}

/// Names a function that is called when a thread ends that has [asked](call_at_end) for it, and, unlike that
/// of [`at_thread_end`](super::at_thread_end), not when the thread calls exit(3). `None` if the process has
/// no key left. For ever.
pub fn thread_end_key(function: unsafe extern "C" fn(*mut c_void)) -> Option<u32> {
    let mut key = 0;
    // SAFETY: the address is good, and the function stays callable.
    let failed = unsafe { libc::pthread_key_create(&mut key, Some(function)) };
    (failed == 0).then_some(key)
}

/// Asks for the function of a key, for the calling thread, with an argument; or does not any more, with null.
pub fn call_at_end(key: u32, argument: *const c_void) {
    // SAFETY: a key that was made.
    unsafe { libc::pthread_setspecific(key, argument) };
}

/// What the name of a thread has room in, with a NUL behind it.
pub const THREAD_NAME_BYTES: usize = 16;

/// Names the calling thread, by at most 15 bytes.
pub fn name_thread(name: &CStr) {
    // SAFETY: a C string, and this thread.
    unsafe { libc::pthread_setname_np(libc::pthread_self(), name.as_ptr()) };
}

/// Lets another thread run that is ready on this processor.
pub fn yield_thread() {
    // SAFETY: no preconditions.
    unsafe { libc::sched_yield() };
}

/// Whether a thread of this process has ended, so that nothing of it is left.
pub fn has_thread_ended(id: c_int) -> bool {
    // SAFETY: signal 0 is not sent.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), id, 0) != 0 }
}

/// atexit(3): calls a function when the process ends by exit(3). Fails silently without memory.
pub fn at_exit(function: extern "C" fn()) {
    // SAFETY: a function that stays callable.
    unsafe { libc::atexit(function) };
}

/// Keeps what this library is linked into from being unmapped, by dlclose(3): a thread of the library
/// runs its code. For ever, and in children of fork().
///
/// Not while the caller holds a lock: it waits for the loader's own, and who holds that may be in the middle of
/// dlopen(3) or dlclose(3), in a constructor or destructor of the program that uses this library, and waits for
/// the caller's.
pub fn keep_loaded() {
    static IS_KEPT: AtomicBool = AtomicBool::new(false);
    if IS_KEPT.load(Relaxed) {
        return;
    }
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
    // Twice does no harm.
    IS_KEPT.store(true, Relaxed);
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
