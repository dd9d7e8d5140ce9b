//! Memory: from C's allocator, and mappings.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::errno::{check, last_error};
use super::error::Result;

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

/// The usual size of huge pages. Where it is another, they are not used.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Uninitialized memory for `count` values; NULL if it cannot be allocated.
pub fn allocate<T>(count: usize) -> *mut T {
    let Some(bytes) = count.checked_mul(size_of::<T>()) else {
        return null_mut();
    };
    // What malloc() aligns all memory to, if it is large enough. It takes half of the instructions.
    if align_of::<T>() <= align_of::<libc::max_align_t>() && align_of::<T>() <= bytes {
        // SAFETY: no preconditions.
        return unsafe { libc::malloc(bytes) }.cast();
    }
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

/// Where a byte is first.
pub fn find_byte(bytes: &[u8], byte: u8) -> Option<usize> {
    // SAFETY: the bytes are as many as said.
    let found = unsafe { libc::memchr(bytes.as_ptr().cast(), byte.into(), bytes.len()) };
    (!found.is_null()).then(|| found as usize - bytes.as_ptr() as usize)
}

/// Reserves zeroed memory, without committing any.
pub fn map(bytes: usize) -> Result<*mut u8> {
    map_with(libc::MAP_NORESERVE | libc::MAP_STACK, bytes)
}

fn map_with(flags: c_int, bytes: usize) -> Result<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: a fresh mapping at an address that the kernel chooses touches nothing that exists.
    let memory =
        unsafe { libc::mmap(null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if memory == libc::MAP_FAILED { Err(last_error()) } else { Ok(memory.cast()) }
}

/// Maps zeroed memory for a table. If it fills a huge page, it is aligned to one and asks for them.
pub fn map_table(bytes: usize) -> Option<*mut u8> {
    let memory = map_with(0, bytes).ok()?;
    if bytes < HUGE_PAGE_BYTES {
        return Some(memory);
    }
    // Aligned as it is on Linux 6.7 and later; else the part of a larger mapping that is.
    let memory = if (memory as usize).is_multiple_of(HUGE_PAGE_BYTES) {
        memory
    } else {
        // SAFETY: made just now, and not used.
        unsafe { unmap(memory, bytes) };
        let wider = map_with(0, bytes.checked_add(HUGE_PAGE_BYTES)?).ok()?;
        let before = (wider as usize).next_multiple_of(HUGE_PAGE_BYTES) - wider as usize;
        for (start, part) in [(0, before), (before + bytes, HUGE_PAGE_BYTES - before)] {
            if part > 0 {
                // SAFETY: within the mapping made just now, and outside of what is used.
                unsafe { unmap(wider.wrapping_add(start), part) };
            }
        }
        wider.wrapping_add(before)
    };
    // SAFETY: the mapping just made. Advice: a kernel without huge pages refuses it.
    unsafe { libc::madvise(memory.cast(), bytes - bytes % HUGE_PAGE_BYTES, libc::MADV_HUGEPAGE) };
    Some(memory)
}

/// Memory for a table: whole pages are mapped, anything else is of C's allocator. NULL if there is none.
pub fn allocate_table(bytes: usize) -> *mut u8 {
    if bytes.is_multiple_of(page_bytes()) {
        map_table(bytes).unwrap_or(null_mut())
    } else {
        allocate::<[usize; 2]>(bytes.div_ceil(16)).cast()
    }
}

/// Releases memory of [`allocate_table`].
///
/// # Safety
/// From there, with this size, and not used again.
pub unsafe fn free_table(memory: *mut u8, bytes: usize) {
    // SAFETY: as this function's contract says.
    unsafe {
        if bytes.is_multiple_of(page_bytes()) { unmap(memory, bytes) } else { free(memory.cast()) }
    }
}

/// Unmaps a whole mapping.
///
/// # Safety
/// The range is a whole mapping from [`map`] or [`map_table`], and not used again.
pub unsafe fn unmap(memory: *mut u8, bytes: usize) {
    // SAFETY: as this function's contract says.
    if unsafe { libc::munmap(memory.cast(), bytes) } != 0 {
        // The kernel has merged the mapping with its neighbours, and splitting it would exceed the
        // process's limit of mappings: keep the addresses, and free the memory. SAFETY: as above.
        unsafe { decommit(memory, bytes) };
    }
}

/// Linux 6.13's lightweight guard pages; not in the libc crate yet. From linux/mman.h.
pub(super) const MADV_GUARD_INSTALL: c_int = 102;

/// Makes pages fault on access without a mapping of their own. `Os(EINVAL)` on older kernels.
///
/// # Safety
/// The range is pages of a mapping from [`map`], and holds nothing in use.
pub unsafe fn install_guard(memory: *mut u8, bytes: usize) -> Result<()> {
    // SAFETY: as this function's contract says.
    check(unsafe { libc::madvise(memory.cast(), bytes, MADV_GUARD_INSTALL) }).map(drop)
}

/// [`install_guard`] for `bytes` from each of `starts` on, [`MAX_RANGES`] of them at most, by one
/// call. Returns whether all were installed; if not, some may be.
///
/// # Safety
/// As [`install_guard`].
pub unsafe fn install_guards(starts: impl Iterator<Item = *mut u8>, bytes: usize) -> bool {
    // SAFETY: as this function's contract says.
    unsafe { advise_each(starts, bytes, MADV_GUARD_INSTALL) }
}

/// Populates `bytes` from each of `starts` on, [`MAX_RANGES`] of them at most, by one call: faster
/// than a page fault for each. Returns whether all were populated; the others will fault.
///
/// # Safety
/// The ranges are pages of mappings from [`map`].
pub unsafe fn populate(starts: impl Iterator<Item = *mut u8>, bytes: usize) -> bool {
    // SAFETY: as this function's contract says.
    unsafe { advise_each(starts, bytes, libc::MADV_POPULATE_WRITE) }
}

/// Ranges per call: few enough that the list fits in the stack page in use. Four times as many are
/// no faster.
pub const MAX_RANGES: usize = 16;

/// process_madvise(2), which accepts these kinds of advice, and PIDFD_SELF, since Linux 6.15.
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

/// Whether madvise(2) knows a kind of advice.
pub(super) fn knows_advice(advice: c_int) -> bool {
    // SAFETY: of no memory.
    unsafe { libc::madvise(null_mut(), 0, advice) == 0 }
}

/// Whether [`install_guards`] and its siblings do many ranges by one call.
pub(super) fn advises_many() -> bool {
    // SAFETY: of no memory.
    unsafe { advise_each(std::iter::empty(), 0, libc::MADV_DONTNEED) }
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

/// Returns the memory of pages to the kernel; they read as zeros afterwards.
///
/// # Safety
/// The range is pages of a mapping from [`map`] or [`map_table`], and what they hold is not needed.
pub unsafe fn decommit(memory: *mut u8, bytes: usize) {
    // SAFETY: as this function's contract says. When it fails the memory merely stays.
    unsafe { libc::madvise(memory.cast(), bytes, libc::MADV_DONTNEED) };
}

/// [`decommit`] for `bytes` from each of `starts` on, [`MAX_RANGES`] of them at most: one call
/// where the kernel supports it.
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

/// The index of the first resident page of a range.
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
