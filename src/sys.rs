//! The operating system and C library calls, each with a Rust result. No other file calls libc.
//!
//! All go through the C library's functions, never through raw system calls, so that sanitizers and
//! fault injection see them. (`epoll_pwait2` is looked up at run time: glibc has it since 2.35.)

use std::cell::UnsafeCell;
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

// ---- the C++ runtime

type CxaGetGlobals = unsafe extern "C" fn() -> *mut c_void;

unsafe extern "C" {
    fn majjen_shim_cxa_get_globals() -> Option<CxaGetGlobals>;
}

/// What the C++ runtime keeps for the calling thread; null if the program has none so far. Its
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

/// A copy of a string that is never freed.
pub fn copy_text(text: &CStr) -> Result<&'static CStr> {
    // SAFETY: a C string.
    let copy = unsafe { libc::strdup(text.as_ptr()) };
    if copy.is_null() {
        return Err(Error::OutOfMemory);
    }
    // SAFETY: a C string of our own, which nothing changes or frees.
    Ok(unsafe { CStr::from_ptr(copy) })
}

// ---- what else is in the process

/// The address of what has a name in the program or its libraries.
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

/// Which pages of a range hold memory: the index of the first one, none if there is none.
///
/// # Safety
/// The range is pages of a mapping.
pub unsafe fn first_resident_page(memory: *mut u8, bytes: usize) -> Option<usize> {
    const PAGES: usize = 256;
    let page_bytes = page_bytes();
    for start in (0..bytes).step_by(PAGES * page_bytes) {
        let mut resident = [0u8; PAGES];
        let part = (bytes - start).min(PAGES * page_bytes);
        // SAFETY: as this function's contract says; one byte for each page of the part.
        unsafe { libc::mincore(memory.add(start).cast(), part, resident.as_mut_ptr()) };
        if let Some(page) = resident.iter().position(|page| page & 1 != 0) {
            return Some(start / page_bytes + page);
        }
    }
    None
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

/// Schedulers are only made where the clock can be read. A failure that passes must not make a
/// timer early; one that stays stops the timers.
#[cold]
fn read_clock_again() -> u64 {
    (0..100).find_map(|_| read_clock().ok()).unwrap_or(0)
}

/// By how much the kernel may wake this thread late, to wake several at once: 50 us unless set.
/// Returns what it was before; `None`, with nothing changed, if it cannot be set.
pub fn set_timer_slack_ns(ns: libc::c_ulong) -> Option<libc::c_ulong> {
    // SAFETY: the requests take and give integers.
    let before = unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) };
    // SAFETY: as above.
    let done = before >= 0 && unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, ns) } == 0;
    done.then_some(before as libc::c_ulong)
}

/// Blocks the thread; returns early on a signal.
pub fn pause_ns(ns: u64) {
    // SAFETY: the address is good for the call.
    unsafe { libc::nanosleep(&timespec(ns), null_mut()) };
}

/// Seconds since 1970.
pub fn unix_time_s() -> i64 {
    // SAFETY: NULL is allowed.
    unsafe { libc::time(null_mut()) }
}

/// How many seconds the local time is ahead of UTC at a moment; 0 where that is not known.
pub fn utc_offset_s(unix_time_s: i64) -> i64 {
    let mut parts = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both addresses are good; localtime_r keeps neither.
    let known = unsafe { !libc::localtime_r(&unix_time_s, parts.as_mut_ptr()).is_null() };
    if !known {
        return 0;
    }
    // SAFETY: filled in, since the call succeeded.
    unsafe { parts.assume_init() }.tm_gmtoff
}

// ---- processes

pub fn process_id() -> c_int {
    // SAFETY: no preconditions.
    unsafe { libc::getpid() }
}

// ---- files

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

/// A file that is open for writing at its end.
pub struct Appending {
    pub fd: c_int,
    /// Whether a write can raise SIGPIPE.
    pub is_pipe: bool,
    pub is_empty: bool,
}

/// Opens a file for writing at its end; creates it, writable for its owner, if it is missing. Does
/// not wait for the other end of a pipe: without one it fails with ENXIO.
pub fn open_appending(path: &CStr) -> Result<Appending> {
    let flags = libc::O_WRONLY
        | libc::O_APPEND
        | libc::O_CREAT
        | libc::O_CLOEXEC
        | libc::O_NOCTTY
        | libc::O_NONBLOCK;
    // SAFETY: a C string.
    let fd = check(unsafe { libc::open(path.as_ptr(), flags, 0o644) })?;
    // SAFETY: a stat is integers, for which zero is a value.
    let mut status: libc::stat = unsafe { zeroed() };
    // SAFETY: the address is good for a stat; the descriptor was opened above. Only opening should
    // not wait.
    let failed = unsafe {
        libc::fstat(fd, &mut status) < 0
            || libc::fcntl(fd, libc::F_SETFL, flags & !libc::O_NONBLOCK) < 0
    };
    if failed {
        let error = last_error();
        close(fd);
        return Err(error);
    }
    Ok(Appending {
        fd,
        is_pipe: status.st_mode & libc::S_IFMT == libc::S_IFIFO,
        is_empty: status.st_size == 0,
    })
}

/// Writes all bytes. When that is not possible, says how many it has written before.
pub fn write_all(fd: c_int, bytes: &[u8]) -> std::result::Result<(), (usize, Error)> {
    let mut written = 0;
    while written < bytes.len() {
        let rest = &bytes[written..];
        // SAFETY: the bytes are good for the call.
        let count = unsafe { libc::write(fd, rest.as_ptr().cast(), rest.len()) };
        match count {
            1.. => written += count as usize,
            // No file does that. Not to try again for ever.
            0 => return Err((written, Error::Os(libc::EIO))),
            _ if errno() == libc::EINTR => {}
            _ => return Err((written, last_error())),
        }
    }
    Ok(())
}

// ---- datagrams

/// A socket that sends datagrams to the one at a path. A send waits 100 ms at most.
pub fn datagram_socket(path: &CStr) -> Result<c_int> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: no preconditions.
    let fd = check(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    let patience = libc::timeval { tv_sec: 0, tv_usec: 100_000 };
    // SAFETY: the address is good for the call and as long as said.
    let limited = check(unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_SNDTIMEO,
            (&raw const patience).cast(),
            size_of_val(&patience) as libc::socklen_t,
        )
    });
    match limited.and_then(|_| connect(fd, path)) {
        Ok(()) => Ok(fd),
        Err(error) => {
            close(fd);
            Err(error)
        }
    }
}

/// Lets a socket send to the one at a path from now on.
pub fn connect(fd: c_int, path: &CStr) -> Result<()> {
    // SAFETY: an address is integers, for which zero is a value.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let path = path.to_bytes_with_nul();
    if path.len() > address.sun_path.len() {
        return Err(Error::Os(libc::ENAMETOOLONG));
    }
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = *from as c_char;
    }
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is good for the call and as long as said.
    check(unsafe { libc::connect(fd, (&raw const address).cast(), length) }).map(drop)
}

/// Sends one datagram, without SIGPIPE.
pub fn send(fd: c_int, bytes: &[u8], may_wait: bool) -> Result<()> {
    let flags = libc::MSG_NOSIGNAL | if may_wait { 0 } else { libc::MSG_DONTWAIT };
    loop {
        // SAFETY: the bytes are good for the call.
        let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
        match sent {
            0.. => return Ok(()),
            _ if errno() == libc::EINTR => {}
            _ => return Err(last_error()),
        }
    }
}

// ---- descriptors

pub fn close(fd: c_int) {
    // SAFETY: only called with descriptors that this library opened. The kernel closes even on
    // EINTR.
    unsafe { libc::close(fd) };
}

/// Lets the number `number` refer to what `fd` refers to, in one step, and closes what it referred
/// to before.
pub fn duplicate_over(fd: c_int, number: c_int) -> Result<()> {
    loop {
        // SAFETY: only called with numbers that this library got from the system.
        match check(unsafe { libc::dup3(fd, number, libc::O_CLOEXEC) }) {
            Err(Error::Os(libc::EINTR)) => {}
            result => return result.map(drop),
        }
    }
}

/// The descriptor, or in its place one that is not 0, 1 or 2: a program that has closed one of
/// those would find it to be its standard input or output.
pub fn above_standard_streams(fd: c_int) -> Result<c_int> {
    if fd > 2 {
        return Ok(fd);
    }
    // SAFETY: no preconditions.
    let higher = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) });
    close(fd);
    higher
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
    if fd < 0 {
        return Err(Error::Os(libc::EBADF)); // poll(2) passes over these.
    }
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
            address = symbol(c"epoll_pwait2").map_or(MISSING, |found| found as usize);
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

/// What the kernel says of a fault.
pub use libc::siginfo_t as FaultInfo;

/// Where a fault happened.
///
/// # Safety
/// The information is of a SIGSEGV that the kernel has raised.
pub unsafe fn fault_address(info: *const FaultInfo) -> usize {
    // SAFETY: as this function's contract says.
    unsafe { (*info).si_addr() as usize }
}

type FaultHandler = extern "C" fn(c_int, *mut FaultInfo, *mut c_void);

/// What a process does about SIGSEGV, while a handler of ours is there in its place.
pub struct FaultAction(UnsafeCell<MaybeUninit<libc::sigaction>>);

// SAFETY: written while the handler is not installed, under the caller's lock, and read by
// handlers.
unsafe impl Sync for FaultAction {}

impl FaultAction {
    pub const fn new() -> FaultAction {
        FaultAction(UnsafeCell::new(MaybeUninit::zeroed()))
    }

    /// Installs a handler, which runs on the alternate stack, and remembers what was there. Not
    /// while it is installed.
    pub fn replace_with(&self, handler: FaultHandler) {
        // SAFETY: see has_default_action.
        let mut action: libc::sigaction = unsafe { zeroed() };
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: the handler's type is the one for these flags. What was there is stored before
        // the new action is in place, so no handler reads it half written.
        unsafe {
            libc::sigaction(libc::SIGSEGV, null(), (*self.0.get()).as_mut_ptr());
            libc::sigaction(libc::SIGSEGV, &action, null_mut());
        }
    }

    /// Puts back what was there, unless someone else has set it in between.
    pub fn restore(&self, handler: FaultHandler) {
        // SAFETY: see has_default_action. The stored action came from sigaction.
        unsafe {
            let mut now: libc::sigaction = zeroed();
            libc::sigaction(libc::SIGSEGV, null(), &mut now);
            if now.sa_sigaction == handler as *const () as usize {
                libc::sigaction(libc::SIGSEGV, (*self.0.get()).as_ptr(), null_mut());
            }
        }
    }

    /// Does about a fault what would have been done without the handler.
    ///
    /// # Safety
    /// Called by the handler, with its arguments.
    pub unsafe fn hand_on(&self, signal: c_int, info: *mut FaultInfo, context: *mut c_void) {
        // SAFETY: the handler is installed, so what was there before is stored.
        let before = unsafe { (*self.0.get()).assume_init_ref() };
        match before.sa_sigaction {
            libc::SIG_DFL | libc::SIG_IGN => {
                // SAFETY: see has_default_action. The instruction is tried again when the handler
                // returns, and then the fault has its default effect: the kernel ignores no fault.
                unsafe {
                    let default: libc::sigaction = zeroed();
                    libc::sigaction(signal, &default, null_mut());
                }
            }
            handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
                // SAFETY: the flag says that the handler has this type.
                let handler = unsafe { std::mem::transmute::<usize, FaultHandler>(handler) };
                handler(signal, info, context);
            }
            handler => {
                // SAFETY: without the flag a handler has this type.
                let handler =
                    unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(handler) };
                handler(signal);
            }
        }
    }
}

/// A stack for this thread's signal handlers.
pub struct AlternateStack {
    memory: *mut u8,
}

impl AlternateStack {
    const BYTES: usize = 64 * 1024;

    /// Gives the thread a stack, if it has none yet and there is memory.
    pub fn install() -> Option<AlternateStack> {
        // SAFETY: a stack_t is integers and a pointer, for which zero is a value.
        let mut now: libc::stack_t = unsafe { zeroed() };
        // SAFETY: NULL changes nothing; the address is good for the answer.
        let known = unsafe { libc::sigaltstack(null(), &mut now) } == 0;
        if !known || now.ss_flags & libc::SS_DISABLE == 0 {
            return None;
        }
        let memory = map(AlternateStack::BYTES).ok()?;
        let stack =
            libc::stack_t { ss_sp: memory.cast(), ss_flags: 0, ss_size: AlternateStack::BYTES };
        // SAFETY: the memory is ours until `drop`, which takes it away from the thread first.
        unsafe { libc::sigaltstack(&stack, null_mut()) };
        Some(AlternateStack { memory })
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        // SAFETY: as in `install`. No handler runs on the stack, since this thread is here.
        unsafe {
            let mut now: libc::stack_t = zeroed();
            libc::sigaltstack(null(), &mut now);
            if now.ss_sp == self.memory.cast() {
                let none =
                    libc::stack_t { ss_sp: null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
                libc::sigaltstack(&none, null_mut());
            }
            unmap(self.memory, AlternateStack::BYTES);
        }
    }
}

/// Writes past all buffers. Safe in a signal handler.
pub fn write_to_stderr(text: &[u8]) {
    // SAFETY: the text is as long as said. If it fails there is no other place to write to.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
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
