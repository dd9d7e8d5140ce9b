//! The operating system and C library calls, each with a Rust result. No other file calls libc.
//!
//! All go through the C library's functions, never through raw system calls, so that sanitizers and
//! fault injection see them. (`epoll_pwait2` is looked up at run time: glibc has it since 2.35.)

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::mem::{MaybeUninit, zeroed};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::error::{Error, Result};

/// The size of a page of memory, cached.
pub fn page_bytes() -> usize {
    static CACHE: AtomicUsize = AtomicUsize::new(0);
    match CACHE.load(Relaxed) {
        0 => {
            // SAFETY: no preconditions.
            let bytes =
                usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
            CACHE.store(bytes, Relaxed);
            bytes
        }
        bytes => bytes,
    }
}

// ---- errno

/// The calling thread's errno: its address does not change while the thread lives.
pub fn errno_address() -> *mut c_int {
    // SAFETY: no preconditions.
    unsafe { libc::__errno_location() }
}

pub fn errno() -> c_int {
    // SAFETY: the address is this thread's errno.
    unsafe { *errno_address() }
}

pub fn set_errno(value: c_int) {
    // SAFETY: the address is this thread's errno.
    unsafe { *errno_address() = value }
}

fn last_error() -> Error {
    match errno() {
        libc::ENOMEM => Error::OutOfMemory,
        errno => Error::Os(errno),
    }
}

/// 0 or a positive number is a result, -1 means errno.
fn check(result: c_int) -> Result<c_int> {
    if result < 0 { Err(last_error()) } else { Ok(result) }
}

/// Writes strerror's text and the number.
pub fn describe_errno(errno: c_int, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0 as c_char; 128];
    // SAFETY: the buffer is as long as said; the XSI function ends what it writes with a NUL.
    let failed = unsafe { libc::strerror_r(errno, text.as_mut_ptr(), text.len()) } != 0;
    if failed {
        return write!(out, "errno {errno}");
    }
    // SAFETY: a NUL-terminated string in `text`, see above.
    let text = unsafe { CStr::from_ptr(text.as_ptr()) };
    write!(out, "{} (errno {errno})", text.to_string_lossy())
}

// ---- memory from C's allocator

/// Memory for `count` values, aligned as they want it; NULL when there is none. It is not
/// initialized.
pub fn allocate<T>(count: usize) -> *mut T {
    let Some(bytes) = count.checked_mul(size_of::<T>()) else {
        return null_mut();
    };
    let mut memory = null_mut();
    let alignment = align_of::<T>().max(size_of::<*mut c_void>());
    // SAFETY: the alignment is a power of two and a multiple of a pointer's size.
    unsafe { libc::posix_memalign(&mut memory, alignment, bytes) };
    memory.cast()
}

/// Releases memory of C's allocator.
///
/// # Safety
/// NULL, or from [`allocate`] or the program's malloc, and not used again.
pub unsafe fn free(memory: *mut c_void) {
    // SAFETY: as this function's contract says.
    unsafe { libc::free(memory) }
}

// ---- memory mappings

/// Reserves zeroed memory, without committing any.
pub fn map(bytes: usize) -> Result<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    // SAFETY: a fresh mapping at an address that the kernel chooses touches nothing that exists.
    let memory =
        unsafe { libc::mmap(null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if memory == libc::MAP_FAILED { Err(last_error()) } else { Ok(memory.cast()) }
}

/// Gives a mapping back.
///
/// # Safety
/// The range is a whole mapping from [`map`], and not used again.
pub unsafe fn unmap(memory: *mut u8, bytes: usize) {
    // SAFETY: as this function's contract says.
    if unsafe { libc::munmap(memory.cast(), bytes) } != 0 {
        // The kernel has merged it with its neighbours, and the process has no mapping left to split
        // it off: it stays, without memory.
        // SAFETY: as above.
        unsafe { discard(memory, bytes) };
    }
}

/// Linux 6.13's lightweight guard pages; not in the libc crate yet. From linux/mman.h.
const MADV_GUARD_INSTALL: c_int = 102;

/// Makes pages fault on access without a mapping of their own. `Os(EINVAL)` on older kernels.
///
/// # Safety
/// The range is pages of a mapping from [`map`], and holds nothing in use.
pub unsafe fn install_guard(memory: *mut u8, bytes: usize) -> Result<()> {
    // SAFETY: as this function's contract says.
    check(unsafe { libc::madvise(memory.cast(), bytes, MADV_GUARD_INSTALL) }).map(drop)
}

/// Makes pages fault on access by a mapping of their own. Out of memory here means that the
/// process has reached `vm.max_map_count`.
///
/// # Safety
/// As [`install_guard`].
pub unsafe fn protect(memory: *mut u8, bytes: usize) -> Result<()> {
    // SAFETY: as this function's contract says.
    check(unsafe { libc::mprotect(memory.cast(), bytes, libc::PROT_NONE) }).map(drop)
}

/// Asks for small pages only. Advice: a kernel without huge pages refuses it, which is as good.
///
/// # Safety
/// The range is a mapping from [`map`].
pub unsafe fn advise_small_pages(memory: *mut u8, bytes: usize) {
    // SAFETY: as this function's contract says.
    unsafe { libc::madvise(memory.cast(), bytes, libc::MADV_NOHUGEPAGE) };
}

/// Gives the memory of pages back; they read as zeros when touched again.
///
/// # Safety
/// The range is pages of a mapping from [`map`], and what they hold is not needed.
pub unsafe fn discard(memory: *mut u8, bytes: usize) {
    // SAFETY: as this function's contract says. When it fails the memory merely stays.
    unsafe { libc::madvise(memory.cast(), bytes, libc::MADV_DONTNEED) };
}

// ---- time

/// CLOCK_MONOTONIC in nanoseconds; 0 when it cannot be read, see [`check_clock`].
pub fn monotonic_ns() -> u64 {
    read_clock().unwrap_or_else(|_| read_clock_again())
}

/// An error when the clock cannot be read at all, as under a seccomp filter without a vDSO.
pub fn check_clock() -> Result<()> {
    read_clock().or_else(|error| if read_clock_again() > 0 { Ok(0) } else { Err(error) }).map(drop)
}

fn read_clock() -> Result<u64> {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the address is good for a timespec.
    check(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) })?;
    // SAFETY: filled in, since the call succeeded.
    let now = unsafe { now.assume_init() };
    Ok(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

/// Schedulers are only made where the clock can be read. A failure that passes must not make a timer
/// early; one that stays stops the timers.
#[cold]
fn read_clock_again() -> u64 {
    (0..100).find_map(|_| read_clock().ok()).unwrap_or(0)
}

/// Blocks the thread; returns early on a signal.
pub fn pause_ns(ns: u64) {
    // SAFETY: the address is good for the call.
    unsafe { libc::nanosleep(&timespec(ns), null_mut()) };
}

/// Seconds since 1970.
pub fn unix_time_s() -> libc::time_t {
    // SAFETY: NULL is allowed.
    unsafe { libc::time(null_mut()) }
}

/// Writes `YYYY-MM-DD HH:MM:SS` in the local time zone; zeros where the year has no four digits.
pub fn format_local_time(time: libc::time_t, text: &mut [u8; 19]) {
    let mut parts = MaybeUninit::<libc::tm>::uninit();
    let mut buffer = [0u8; 20];
    // SAFETY: both addresses are good; localtime_r keeps neither.
    let known = unsafe { !libc::localtime_r(&time, parts.as_mut_ptr()).is_null() };
    if known {
        // SAFETY: the buffer is as long as said, the format is a C string, `parts` is filled in.
        let length = unsafe {
            libc::strftime(
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                c"%Y-%m-%d %H:%M:%S".as_ptr(),
                parts.as_ptr(),
            )
        };
        if length == text.len() {
            text.copy_from_slice(&buffer[..19]);
            return;
        }
    }
    text.copy_from_slice(b"0000-00-00 00:00:00");
}

/// Whether the file's first line is `word`. False when it cannot be read.
#[cfg(target_arch = "x86_64")] // Only there is it a question whether the counter is steady.
pub fn file_says(path: &CStr, word: &[u8]) -> bool {
    // SAFETY: a C string.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if fd < 0 {
        return false;
    }
    let mut text = [0u8; 32];
    // SAFETY: the buffer is as long as said.
    let length = unsafe { libc::read(fd, text.as_mut_ptr().cast(), text.len()) };
    close(fd);
    let length = usize::try_from(length).unwrap_or(0);
    text[..length].strip_suffix(b"\n").unwrap_or(&text[..length]) == word
}

// ---- descriptors

pub fn close(fd: c_int) {
    // SAFETY: only called with descriptors that this library opened. The kernel closes even on
    // EINTR.
    unsafe { libc::close(fd) };
}

/// An error unless the descriptor is open.
pub fn check_open(fd: c_int) -> Result<()> {
    // SAFETY: the request reads a flag.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) }).map(drop)
}

/// Closes a program's descriptor.
pub fn close_checked(fd: c_int) -> Result<()> {
    // SAFETY: the program asked for it, as it could ask close(2) itself.
    match check(unsafe { libc::close(fd) }) {
        // On Linux the descriptor is closed all the same, and must not be closed again.
        Ok(_) | Err(Error::Os(libc::EINTR)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The events of poll(2) that have happened on a descriptor, without waiting.
pub fn poll_now(fd: c_int, events: u32) -> Result<u32> {
    let happened = poll_one(fd, events, 0)?;
    if happened & libc::POLLNVAL as u32 != 0 { Err(Error::Os(libc::EBADF)) } else { Ok(happened) }
}

/// Waits by poll(2) at most `timeout_ns` (u64::MAX: without limit) for events of one descriptor. An
/// interruption counts as none.
pub fn poll_one(fd: c_int, events: u32, timeout_ns: u64) -> Result<u32> {
    let mut poll = libc::pollfd { fd, events: events as libc::c_short, revents: 0 };
    let limit = timespec(timeout_ns);
    let limit = if timeout_ns == u64::MAX { null() } else { &raw const limit };
    // SAFETY: one pollfd, and a timeout that is good for the call or NULL; NULL leaves the signal
    // mask.
    match check(unsafe { libc::ppoll(&mut poll, 1, limit, null()) }) {
        Ok(_) => Ok(u32::from(poll.revents as u16)),
        Err(Error::Os(libc::EINTR)) => Ok(0),
        Err(error) => Err(error),
    }
}

pub fn epoll_create() -> Result<c_int> {
    // SAFETY: no preconditions.
    check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// `operation` is one of libc's EPOLL_CTL constants.
pub fn epoll_ctl(
    epoll_fd: c_int,
    operation: c_int,
    fd: c_int,
    events: u32,
    data: u64,
) -> Result<()> {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: the event is good for the call, which keeps no address.
    check(unsafe { libc::epoll_ctl(epoll_fd, operation, fd, &mut event) }).map(drop)
}

pub use libc::epoll_event;

type EpollPwait2 = unsafe extern "C" fn(
    c_int,
    *mut epoll_event,
    c_int,
    *const libc::timespec,
    *const libc::sigset_t,
) -> c_int;

/// Waits for events at most `timeout_ns` (u64::MAX: without limit), and returns how many were
/// filled in.
pub fn epoll_wait(epoll_fd: c_int, events: &mut [epoll_event], timeout_ns: u64) -> Result<usize> {
    const UNKNOWN: usize = 0;
    const MISSING: usize = 1;
    /// The address of `epoll_pwait2`, or one of the above.
    static PRECISE: AtomicUsize = AtomicUsize::new(UNKNOWN);

    let capacity = c_int::try_from(events.len()).unwrap_or(c_int::MAX);
    // The plain call is exact for the two common timeouts, and cheaper.
    if timeout_ns != 0 && timeout_ns != u64::MAX {
        let mut address = PRECISE.load(Relaxed);
        if address == UNKNOWN {
            // SAFETY: a C string.
            let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"epoll_pwait2".as_ptr()) };
            address = if found.is_null() { MISSING } else { found as usize };
            PRECISE.store(address, Relaxed);
        }
        if address != MISSING {
            // SAFETY: the address is glibc's function of this type.
            let epoll_pwait2 = unsafe { std::mem::transmute::<usize, EpollPwait2>(address) };
            let timeout = timespec(timeout_ns);
            // SAFETY: the events are good for `capacity` entries, the timeout for the call.
            let count =
                unsafe { epoll_pwait2(epoll_fd, events.as_mut_ptr(), capacity, &timeout, null()) };
            match check(count) {
                Err(Error::Os(libc::ENOSYS | libc::EPERM)) => PRECISE.store(MISSING, Relaxed),
                result => return result.map(|count| count as usize),
            }
        }
    }
    let timeout_ms = match timeout_ns {
        u64::MAX => -1,
        // Rounded up: waking early would mean waking twice.
        ns => c_int::try_from(ns.div_ceil(1_000_000)).unwrap_or(c_int::MAX),
    };
    // SAFETY: the events are good for `capacity` entries.
    let count = unsafe { libc::epoll_wait(epoll_fd, events.as_mut_ptr(), capacity, timeout_ms) };
    check(count).map(|count| count as usize)
}

fn timespec(ns: u64) -> libc::timespec {
    // SAFETY: a timespec is integers, for which zero is a value.
    let mut time: libc::timespec = unsafe { zeroed() };
    time.tv_sec = (ns / 1_000_000_000) as libc::time_t;
    time.tv_nsec = (ns % 1_000_000_000) as libc::c_long;
    time
}

/// A descriptor that is readable from [`eventfd_raise`] to [`eventfd_clear`].
pub fn eventfd() -> Result<c_int> {
    // SAFETY: no preconditions.
    check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

/// Safe in a signal handler, but for errno, which the handler keeps.
pub fn eventfd_raise(fd: c_int) {
    let one = 1u64.to_ne_bytes();
    // Only a tracer or a sandbox can interrupt it; one that always does must not keep a signal
    // handler for ever.
    for _ in 0..100 {
        // SAFETY: the bytes are good for the call. It fails only when the counter is full: then the
        // descriptor is readable, as wanted.
        let written = unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
        if written >= 0 || errno() != libc::EINTR {
            return;
        }
    }
}

pub fn eventfd_clear(fd: c_int) {
    let mut count = [0u8; 8];
    // SAFETY: the buffer is good for the call. It fails only when the counter is 0 already.
    unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) };
}

// ---- signals

pub use libc::{SIGINT, SIGPIPE, SIGTERM};

/// What a signal did before [`handle_signal`].
pub struct SavedAction {
    signal: c_int,
    action: libc::sigaction,
}

/// Whether the signal has its default effect.
pub fn has_default_action(signal: c_int) -> bool {
    // SAFETY: a sigaction is integers and an optional pointer, for which zero is a value.
    let mut action: libc::sigaction = unsafe { zeroed() };
    // SAFETY: NULL changes nothing; the address is good for the answer.
    let known = unsafe { libc::sigaction(signal, null(), &mut action) } == 0;
    known && action.sa_sigaction == libc::SIG_DFL
}

/// Calls `handler` the first time that the signal comes; the second time it has its default effect.
/// The handler must be safe in a signal handler.
pub fn handle_signal(signal: c_int, handler: extern "C" fn(c_int)) -> Option<SavedAction> {
    // SAFETY: see has_default_action.
    let (mut action, mut saved): (libc::sigaction, libc::sigaction) =
        unsafe { (zeroed(), zeroed()) };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_RESETHAND;
    // SAFETY: both addresses are good; the handler is a function of the type for these flags.
    let done = unsafe { libc::sigaction(signal, &action, &mut saved) } == 0;
    done.then_some(SavedAction { signal, action: saved })
}

/// Puts back what the signal did before, unless someone else has set it in between.
pub fn restore_signal(saved: &SavedAction, handler: extern "C" fn(c_int)) {
    // SAFETY: see has_default_action.
    let mut now: libc::sigaction = unsafe { zeroed() };
    // SAFETY: NULL changes nothing; the address is good for the answer.
    let known = unsafe { libc::sigaction(saved.signal, null(), &mut now) } == 0;
    if known
        && (now.sa_sigaction == handler as *const () as usize || now.sa_sigaction == libc::SIG_DFL)
    {
        // SAFETY: the action came from sigaction.
        unsafe { libc::sigaction(saved.signal, &saved.action, null_mut()) };
    }
}

fn only(signal: c_int) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset fills in the whole set; the signal is a valid one.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        set.assume_init()
    }
}

/// Holds a signal off this thread. Returns whether it was not held off before.
pub fn block_signal(signal: c_int) -> bool {
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are good; the call fills in the old one when it succeeds.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &only(signal), before.as_mut_ptr()) == 0
            && libc::sigismember(before.as_ptr(), signal) == 0
    }
}

/// Ends [`block_signal`]; signals that came meanwhile are dropped.
pub fn drop_and_unblock_signal(signal: c_int) {
    let set = only(signal);
    let now = timespec(0);
    // SAFETY: the sets and the time are good for the calls.
    unsafe {
        while libc::sigtimedwait(&set, null_mut(), &now) > 0 {}
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, null_mut());
    }
}
