//! Memory: from C's allocator, and mappings.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::errno::{check, last_error};
use super::error::{Error, Result};

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

/// What huge pages mostly are. A guess: where they are not, they are not used.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Memory for `count` values, aligned as they want it, in huge pages if it is enough for them; NULL
/// when there is none. It is not initialized.
pub fn allocate<T>(count: usize) -> *mut T {
    let Some(bytes) = count.checked_mul(size_of::<T>()) else {
        return null_mut();
    };
    let mut memory = null_mut();
    let huge = bytes >= HUGE_PAGE_BYTES;
    let least = if huge { HUGE_PAGE_BYTES } else { size_of::<*mut c_void>() };
    // SAFETY: the alignment is a power of two and a multiple of a pointer's size.
    unsafe { libc::posix_memalign(&mut memory, align_of::<T>().max(least), bytes) };
    if huge && !memory.is_null() {
        // SAFETY: whole pages of what was just allocated. Advice: a kernel without huge pages
        // refuses it, which is as good.
        unsafe { libc::madvise(memory, bytes - bytes % HUGE_PAGE_BYTES, libc::MADV_HUGEPAGE) };
    }
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
        // The kernel has merged it with its neighbours, and the process has no mapping left to
        // split it off: it stays, without memory. SAFETY: as above.
        unsafe { decommit(memory, bytes) };
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

/// [`install_guard`] for `bytes` from each of `starts` on, [`MAX_RANGES`] of them at most, by one
/// call. Returns whether all was done; else it was for some of them, or none.
///
/// # Safety
/// As [`install_guard`].
pub unsafe fn install_guards(starts: impl Iterator<Item = *mut u8>, bytes: usize) -> bool {
    // SAFETY: as this function's contract says.
    unsafe { advise_each(starts, bytes, MADV_GUARD_INSTALL) }
}

/// Gives memory to `bytes` from each of `starts` on, [`MAX_RANGES`] of them at most, by one call:
/// faster than by a fault for each. Returns whether all was done; else the others' comes by faults.
///
/// # Safety
/// The ranges are pages of mappings from [`map`].
pub unsafe fn populate(starts: impl Iterator<Item = *mut u8>, bytes: usize) -> bool {
    // SAFETY: as this function's contract says.
    unsafe { advise_each(starts, bytes, libc::MADV_POPULATE_WRITE) }
}

/// How many ranges one call takes: few enough that their list needs no other page of the stack that
/// it is on. Four times as many are no faster.
pub const MAX_RANGES: usize = 16;

/// By process_madvise(2), which takes all kinds of advice, and the process itself without a
/// descriptor for it, since Linux 6.15.
unsafe fn advise_each(starts: impl Iterator<Item = *mut u8>, bytes: usize, advice: c_int) -> bool {
    /// From linux/pidfd.h; not in the libc crate yet.
    const PIDFD_SELF: c_int = -10_000;
    let mut ranges = [libc::iovec { iov_base: null_mut(), iov_len: bytes }; MAX_RANGES];
    let mut count = 0;
    for (range, start) in ranges.iter_mut().zip(starts) {
        range.iov_base = start.cast();
        count += 1;
    }
    // SAFETY: as the callers' contracts say; `count` ranges that were filled in above.
    let advised = unsafe {
        libc::syscall(libc::SYS_process_madvise, PIDFD_SELF, ranges.as_ptr(), count, advice, 0)
    };
    usize::try_from(advised) == Ok(count * bytes)
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
pub unsafe fn decommit(memory: *mut u8, bytes: usize) {
    // SAFETY: as this function's contract says. When it fails the memory merely stays.
    unsafe { libc::madvise(memory.cast(), bytes, libc::MADV_DONTNEED) };
}

/// [`decommit`] for `bytes` from each of `starts` on, [`MAX_RANGES`] of them at most: by one call
/// where the kernel can do that.
///
/// # Safety
/// As [`decommit`].
pub unsafe fn decommit_each(starts: impl Iterator<Item = *mut u8> + Clone, bytes: usize) {
    // SAFETY: as this function's contract says; to decommit a range twice is as good.
    unsafe {
        if !advise_each(starts.clone(), bytes, libc::MADV_DONTNEED) {
            starts.for_each(|start| decommit(start, bytes));
        }
    }
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
