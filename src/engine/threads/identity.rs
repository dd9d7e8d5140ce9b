//! The identity of the process, reliable across fork().
//!
//! A child of fork() has a copy of its parent's memory, and part of that is not valid in the child:
//! a lock that another thread holds, a descriptor that wakes the parent. Process ids cannot tell,
//! since they are reused, and repeat across namespaces. So each process has a number in a page that
//! the kernel clears in children (MADV_WIPEONFORK, Linux 4.14), however they are created. A process
//! that finds 0 takes the next number of a counter. The counter is copied by fork(), so numbers
//! grow from parent to child, and no process has the number of one of its ancestors. On older
//! kernels a pthread_atfork(3) handler clears the number, and children that are created without the
//! C library go unnoticed.

use std::ptr::null_mut;
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed},
};

use crate::engine::sys;

/// The page's content: all zero in a child whose kernel has cleared it.
#[repr(C)]
struct Page {
    number: AtomicU32,
    /// Whether the kernel has not cleared the page.
    kept: AtomicBool,
}

/// Null before the first call of [`this_process`].
static PAGE: AtomicPtr<Page> = AtomicPtr::new(null_mut());

/// Used where the kernel has no MADV_WIPEONFORK.
static FALLBACK: Page = Page { number: AtomicU32::new(0), kept: AtomicBool::new(true) };

/// The latest number that was taken, in this process or an ancestor.
static LATEST: AtomicU32 = AtomicU32::new(0);

/// This process's number, which is not 0. Safe in a signal handler, but for
/// the first call in a program.
pub fn this_process() -> u32 {
    // SAFETY: a page that is never unmapped, or a static.
    let page = match unsafe { PAGE.load(Acquire).as_ref() } {
        Some(page) => page,
        None => make_page(),
    };
    match page.number.load(Relaxed) {
        0 => take_number(&page.number),
        known => known,
    }
}

#[cold]
fn take_number(number: &AtomicU32) -> u32 {
    let next = LATEST.fetch_add(1, Relaxed) + 1;
    // Another thread of this process may have been faster.
    number.compare_exchange(0, next, Relaxed, Relaxed).map_or_else(|known| known, |_| next)
}

#[cold]
fn make_page() -> &'static Page {
    // Also with the page: an emulator may accept the advice and ignore it.
    sys::at_fork_in_child(clear);
    let made = match sys::map_wiped_by_fork() {
        Some(page) => {
            let page = page.cast::<Page>();
            // SAFETY: the page just made, which is large enough and zero.
            unsafe { &*page }.kept.store(true, Relaxed);
            page
        }
        None => (&raw const FALLBACK).cast_mut(),
    };
    let page = match PAGE.compare_exchange(null_mut(), made, AcqRel, Acquire) {
        Ok(_) => made,
        Err(others) => others, // The one made here stays unused.
    };
    // SAFETY: as above.
    unsafe { &*page }
}

/// Runs in a child of fork(), before anything else of the program.
extern "C" fn clear() {
    // SAFETY: as above.
    // Where the kernel has cleared the page, the child may have its number already.
    if let Some(page) = unsafe { PAGE.load(Relaxed).as_ref() }
        && page.kept.load(Relaxed)
    {
        page.number.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Acquire;

    use super::{FALLBACK, PAGE, this_process};
    use crate::engine::sys;

    #[test]
    fn a_child_has_another_number_than_those_that_it_comes_from() {
        let here = this_process();
        assert_eq!(std::thread::spawn(this_process).join().unwrap(), here);
        // Where the kernel does not clear the page, other children go unnoticed.
        let clears = PAGE.load(Acquire).cast_const() != &raw const FALLBACK;
        for by_the_c_library in [true, false].into_iter().filter(|libc| *libc || clears) {
            // The grandchild says whether it was right, by way of the child.
            let code = sys::in_a_child(by_the_c_library, || {
                let child = this_process();
                let grandchild = sys::in_a_child(by_the_c_library, || {
                    let grandchild = this_process();
                    i32::from(grandchild != child && grandchild != here)
                });
                i32::from(child != here && this_process() == child && grandchild == 1)
            });
            assert_eq!(code, 1, "by the C library: {by_the_c_library}");
            assert_eq!(this_process(), here);
        }
    }
}
