//! One stack: a slot of memory with a guard below it.
//!
//! ```text
//!   slot   | guard, no access | usable stack, grows down | color |
//!          lowest address                                             ^ top   next slot
//! ```

use std::ops::Range;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::switch;
use crate::engine::sys::{self, Error, Result};

/// The usable size unless set otherwise.
pub const DEFAULT_BYTES: usize = 256 * 1024;
const SMALLEST_BYTES: usize = 16 * 1024;
pub const LARGEST_BYTES: usize = 1 << 30;

/// The size of a guard unless set otherwise. C code compiled without stack probes may touch only the
/// far end of its frame, and steps over a guard that is smaller than the frame. A guard costs address
/// space and page tables, 8 bytes a page: twice this size would make a parked task a quarter larger.
pub const DEFAULT_GUARD_BYTES: usize = 256 * 1024;
const LARGEST_GUARD_BYTES: usize = 16 << 20;

/// Checks a size, and rounds it up to one of those that stacks come in: four between a power of two
/// and the next one, in whole pages. So there are few size classes, whatever a program asks for.
pub fn valid_size(bytes: usize) -> Result<usize> {
    if !(SMALLEST_BYTES..=LARGEST_BYTES).contains(&bytes) {
        return Err(Error::InvalidArgument);
    }
    Ok(bytes.next_multiple_of((bytes.next_power_of_two() / 8).max(sys::page_bytes())))
}

/// How many sizes there are at most.
pub(super) const SIZES: usize = size_number(LARGEST_BYTES) + 1;

/// The number of a size that [`valid_size`] has returned.
#[inline]
pub(super) const fn size_number(bytes: usize) -> usize {
    let doublings = (bytes - 1).ilog2();
    let quarter = (bytes - 1) >> (doublings - 2) & 3;
    4 * (doublings + 1 - SMALLEST_BYTES.ilog2()) as usize + quarter
}

/// Checks the size of a guard, and rounds it up to whole pages.
pub fn valid_guard_size(bytes: usize) -> Result<usize> {
    if (1..=LARGEST_GUARD_BYTES).contains(&bytes) {
        Ok(bytes.next_multiple_of(sys::page_bytes()))
    } else {
        Err(Error::InvalidArgument)
    }
}

/// The addresses of a stack's guard; nothing for [`Stack::NONE`].
pub fn guard_range(stack: Stack, usable_bytes: usize) -> Range<usize> {
    if stack == Stack::NONE {
        return 0..0;
    }
    let lowest = lowest(stack, usable_bytes) as usize;
    lowest - stack.guard_pages as usize * sys::page_bytes()..lowest
}

/// The lowest address of a stack's usable part.
pub fn lowest(stack: Stack, usable_bytes: usize) -> *mut u8 {
    slot_end(stack.top).wrapping_sub(usable_bytes)
}

/// The high-water mark of a stack since its memory was last decommitted, over all its tasks: down
/// to the lowest nonzero word.
pub fn high_water_bytes(stack: Stack, usable_bytes: usize) -> usize {
    if stack == Stack::NONE {
        return 0;
    }
    let lowest = lowest(stack, usable_bytes);
    // SAFETY: the usable part of a stack.
    let Some(page) = (unsafe { sys::first_resident_page(lowest, usable_bytes) }) else {
        return 0;
    };
    // The lowest word may hold Valgrind's stack id, so it does not count.
    let first = (page * sys::page_bytes()).max(size_of::<usize>());
    let mut word = lowest.wrapping_add(first).cast::<usize>();
    // Under Valgrind reading below a stack pointer is an error, so there the answer is in whole
    // pages.
    let exact = !switch::on_valgrind();
    // SAFETY: within the usable part, which is readable.
    while exact && word.cast() < stack.top && unsafe { ptr::read_volatile(word) } == 0 {
        word = word.wrapping_add(1);
    }
    stack.top as usize - word as usize
}

/// The end of the slot of a stack: the top is less than a page below it, by its color.
pub(super) fn slot_end(top: *mut u8) -> *mut u8 {
    top.wrapping_add((top as usize).next_multiple_of(sys::page_bytes()) - top as usize)
}

/// A stack in use. The owner releases it with [`StackPool::release`](super::StackPool::release).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Where it begins to grow down; 16-byte aligned.
    pub top: *mut u8,
    /// Index of its size class in the pool.
    pub(super) class: u32,
    /// The size of its guard: here, since a signal handler asks for it.
    pub(super) guard_pages: u32,
}

impl Stack {
    pub const NONE: Stack = Stack { top: null_mut(), class: 0, guard_pages: 0 };
}

/// Set once the kernel has turned out to have no lightweight guard pages.
static BY_MAPPING: AtomicBool = AtomicBool::new(false);

/// [`guard`] for `count` slots, and populates the top page of each. Returns whether the kernel has
/// done all; a part is harmless.
pub(super) fn prepare(first: *mut u8, count: usize, slot_bytes: usize, guard_bytes: usize) -> bool {
    let page_bytes = sys::page_bytes();
    let slots = || (0..count).map(|index| first.wrapping_add(index * slot_bytes));
    let last_pages = slots().map(|slot| slot.wrapping_add(slot_bytes - page_bytes));
    // SAFETY: the first pages of slots that are not in use, and then the last one of each.
    let by_many = || unsafe {
        sys::install_guards(slots(), guard_bytes) && sys::populate(last_pages, page_bytes)
    };
    !BY_MAPPING.load(Relaxed) && by_many()
}

/// Makes the low end of a slot fault on access.
pub(super) fn guard(slot: *mut u8, guard_bytes: usize) -> Result<()> {
    if !BY_MAPPING.load(Relaxed) {
        // SAFETY: the first pages of a slot that is not in use.
        match unsafe { sys::install_guard(slot, guard_bytes) } {
            // An older kernel, or a sandbox that does not know this advice.
            Err(error) if sys::is_refusal(error) => {
                BY_MAPPING.store(true, Relaxed);
            }
            result => return result,
        }
    }
    // SAFETY: as above.
    unsafe { sys::protect(slot, guard_bytes) }.map_err(|error| match error {
        Error::OutOfMemory => Error::TooManyMappings,
        error => error,
    })
}

#[cfg(test)]
mod tests {
    use super::{LARGEST_BYTES, SIZES, SMALLEST_BYTES, size_number, valid_guard_size, valid_size};
    use crate::engine::sys::{Error, page_bytes};

    #[test]
    fn sizes_are_rounded_up_to_few() {
        let mut sizes = Vec::new();
        for bytes in (SMALLEST_BYTES..=LARGEST_BYTES).step_by(4093) {
            let size = valid_size(bytes).unwrap();
            assert!(size >= bytes && size.is_multiple_of(page_bytes()));
            assert!(size - bytes <= (bytes / 4).max(page_bytes()), "{bytes} bytes become {size}");
            assert_eq!(valid_size(size), Ok(size));
            if sizes.last() != Some(&size) {
                sizes.push(size);
            }
        }
        let numbers: Vec<usize> = sizes.iter().map(|size| size_number(*size)).collect();
        assert!(numbers.is_sorted_by(|number, next| number < next));
        assert!(numbers.iter().all(|number| *number < SIZES) && SIZES < 100);
        assert_eq!(valid_size(SMALLEST_BYTES - 1), Err(Error::InvalidArgument));
        assert_eq!(valid_size(usize::MAX), Err(Error::InvalidArgument));
    }

    #[test]
    fn guards_are_whole_pages() {
        assert_eq!(valid_guard_size(1), Ok(page_bytes()));
        assert_eq!(valid_guard_size(16 << 20), Ok(16 << 20));
        assert_eq!(valid_guard_size(0), Err(Error::InvalidArgument));
        assert_eq!(valid_guard_size((16 << 20) + 1), Err(Error::InvalidArgument));
    }
}
