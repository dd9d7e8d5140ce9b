//! The one handle to a scheduler that outlives it.
//!
//! A block of memory that is made with the scheduler. What refers to a scheduler and may live longer
//! refers to this: stop handles of other threads, the table of the signal handlers, mutexes and
//! channels, handles to Rust tasks.
//!
//! | field | who may change it |
//! |---|---|
//! | `handles`, `references` | anybody who has one |
//! | `scheduler` | set once by whoever makes it; null from its destruction on. Only the owner follows it |
//! | `owner` | 0 to a thread's token: that thread, to run the scheduler; back to 0: the same |
//! | `process`, `wake_up_fd` | the owner, in a child of fork(), before its first run |
//! | `mailbox` | see there |
//!
//! There are two kinds of references, as there are of `Arc`: who has a [`Remote`] may wake the
//! scheduler, and keeps the descriptor open that does it; a [`WeakRemote`] only tells whether the
//! scheduler is still there.

use std::ffi::{c_int, c_void};
use std::ptr::{self, null_mut};
use std::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use super::identity::this_process;
use super::inbox::Batch;
use super::mailbox::Mailbox;
use crate::engine::context::{sanitizer, switch};
use crate::engine::sys::{self, Error, Result};

/// What the references refer to.
struct Block {
    /// How many [`Remote`]s there are.
    handles: AtomicUsize,
    /// How many [`WeakRemote`]s there are, and one for all `Remote`s together.
    references: AtomicUsize,
    scheduler: AtomicPtr<c_void>,
    /// The thread that runs the scheduler, by the address of its own variable; 0 for none.
    owner: AtomicUsize,
    /// The process whose loop the descriptor wakes: a child of fork() shares it with its parent, and
    /// must neither wake that nor take a wake-up from it.
    process: AtomicU32,
    /// An eventfd.
    wake_up_fd: c_int,
    mailbox: Mailbox,
}

/// A reference that may wake the scheduler.
pub struct Remote(ptr::NonNull<Block>);

/// A reference that keeps nothing but the block.
pub struct WeakRemote(ptr::NonNull<Block>);

// SAFETY: the block is made of atomics and constants, and counts its references.
unsafe impl Send for Remote {}
// SAFETY: as above.
unsafe impl Sync for Remote {}

/// This thread, as `owner` knows it.
fn this_thread() -> usize {
    switch::thread() as usize
}

impl Remote {
    /// The handle of a scheduler that is about to be made.
    pub fn new() -> Result<Remote> {
        let wake_up_fd = sys::eventfd()?;
        let memory = sys::allocate::<Block>(1);
        let Some(block) = ptr::NonNull::new(memory) else {
            sys::close(wake_up_fd);
            return Err(Error::OutOfMemory);
        };
        // SAFETY: fresh memory for one.
        unsafe {
            block.write(Block {
                handles: AtomicUsize::new(1),
                references: AtomicUsize::new(1),
                scheduler: AtomicPtr::new(null_mut()),
                owner: AtomicUsize::new(0),
                process: AtomicU32::new(this_process()),
                wake_up_fd,
                mailbox: Mailbox::new(),
            });
        }
        Ok(Remote(block))
    }

    #[inline(always)]
    fn block(&self) -> &Block {
        // SAFETY: alive while there is a reference.
        unsafe { self.0.as_ref() }
    }

    /// Bytes of memory that it takes.
    pub const BYTES: usize = size_of::<Block>();

    /// A reference that does not keep the descriptor open.
    pub fn downgrade(&self) -> WeakRemote {
        self.block().references.fetch_add(1, Relaxed);
        WeakRemote(self.0)
    }

    // ---- for all threads, and for signal handlers

    /// Asks the run that is under way, or else the next one, to end. An error if the scheduler is
    /// gone.
    pub fn stop(&self) -> Result<()> {
        sanitizer::release(self.block());
        self.block().mailbox.stop(|| self.notify()).map_err(|_| Error::Disconnected)?;
        // If it runs on this thread, which may be in a signal handler, it is to look soon.
        switch::yield_to_loop();
        Ok(())
    }

    fn notify(&self) {
        if self.is_of_this_process() {
            sys::eventfd_raise(self.block().wake_up_fd);
        }
    }

    /// Whether the run is to end.
    #[inline(always)]
    pub fn is_stopped(&self) -> bool {
        self.block().mailbox.is_stopped()
    }

    /// Whether a run is under way, on any thread.
    pub fn is_running(&self) -> bool {
        self.block().owner.load(Acquire) != 0
    }

    /// Whether a run is under way on another thread.
    pub fn runs_elsewhere(&self) -> bool {
        let owner = self.block().owner.load(Acquire);
        owner != 0 && owner != this_thread()
    }

    /// The descriptor that wakes the loop.
    pub fn wake_up_fd(&self) -> c_int {
        self.block().wake_up_fd
    }

    // ---- for the owner

    /// Who has the scheduler at this address.
    pub fn open(&self, scheduler: *const c_void) {
        self.block().scheduler.store(scheduler.cast_mut(), Release);
    }

    /// This thread runs the scheduler from now on, if no other one does.
    pub fn enter(&self) -> Result<()> {
        let owner = &self.block().owner;
        owner
            .compare_exchange(0, this_thread(), AcqRel, Relaxed)
            .map_err(|_| Error::WrongThread)?;
        self.block().mailbox.set_awake();
        Ok(())
    }

    /// It does not after all: what was asked for is for the next run.
    pub fn undo_enter(&self) {
        self.block().mailbox.undo_enter();
        self.block().owner.store(0, Release);
    }

    /// Whether there is nothing to be done, as far as other threads are concerned.
    pub fn is_idle(&self) -> bool {
        self.block().mailbox.is_idle()
    }

    /// And not any more. A request to stop was for the run that ends.
    pub fn leave(&self) {
        self.block().mailbox.end_run(|| self.clear_wake_up_fd(), || self.notify());
        sanitizer::acquire(self.block());
        self.block().owner.store(0, Release);
    }

    /// Empties the descriptor. To be followed by a look at the mailbox.
    pub fn clear_wake_up_fd(&self) {
        if self.is_of_this_process() {
            sys::eventfd_clear(self.block().wake_up_fd);
        }
    }

    /// See [`Mailbox::prepare_to_sleep`].
    pub fn prepare_to_sleep(&self) -> bool {
        self.block().mailbox.prepare_to_sleep()
    }

    /// See [`Mailbox::set_awake`].
    pub fn set_awake(&self) {
        self.block().mailbox.set_awake();
    }

    /// Runs what other threads have left.
    pub fn run_messages(&self) {
        for message in self.block().mailbox.take() {
            // SAFETY: as the poster has said.
            unsafe { (message.as_ref().run)(message) };
        }
    }

    pub fn is_of_this_process(&self) -> bool {
        self.block().process.load(Relaxed) == this_process()
    }

    /// In a child of fork(): a descriptor of its own, under the same number.
    pub fn renew_wake_up_fd(&self) -> Result<()> {
        sys::dup_onto(sys::eventfd()?, self.block().wake_up_fd)
    }

    /// The descriptors are this process's own.
    pub fn adopt(&self) {
        self.block().process.store(this_process(), Relaxed);
    }

    /// The scheduler is gone. Messages that are left are abandoned.
    pub fn close(&self) {
        self.block().scheduler.store(null_mut(), Release);
        let left: Batch = self.block().mailbox.close();
        for message in left {
            // SAFETY: as the poster has said.
            unsafe { (message.as_ref().abandon)(message) };
        }
    }

    /// Its address, for C, which has a handle from then on.
    pub fn into_raw(self) -> *mut c_void {
        std::mem::ManuallyDrop::new(self).as_raw()
    }

    /// Takes a handle back; nothing for null.
    ///
    /// # Safety
    /// Null, or from [`into_raw`](Self::into_raw), and not used again.
    pub unsafe fn from_raw(address: *mut c_void) -> Option<Remote> {
        ptr::NonNull::new(address.cast::<Block>()).map(Remote)
    }

    /// The address that signal handlers find it by, while this is alive.
    pub fn as_raw(&self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    /// Borrows what [`as_raw`](Self::as_raw) has returned.
    ///
    /// # Safety
    /// The `Remote` that it is of is alive during the call of `with`.
    pub unsafe fn borrow_raw<R>(
        address: *mut c_void,
        with: impl FnOnce(&Remote) -> R,
    ) -> Option<R> {
        let block = ptr::NonNull::new(address.cast::<Block>())?;
        Some(with(&std::mem::ManuallyDrop::new(Remote(block))))
    }
}

impl Clone for Remote {
    fn clone(&self) -> Remote {
        self.block().handles.fetch_add(1, Relaxed);
        Remote(self.0)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if self.block().handles.fetch_sub(1, AcqRel) == 1 {
            sys::close(self.block().wake_up_fd);
            drop(WeakRemote(self.0)); // The one of all handles together.
        }
    }
}

impl WeakRemote {
    fn block(&self) -> &Block {
        // SAFETY: alive while there is a reference.
        unsafe { self.0.as_ref() }
    }

    /// The scheduler; null once it is gone. Only its owner may follow it.
    #[inline]
    pub fn scheduler(&self) -> *const c_void {
        self.block().scheduler.load(Acquire)
    }
}

impl Clone for WeakRemote {
    fn clone(&self) -> WeakRemote {
        self.block().references.fetch_add(1, Relaxed);
        WeakRemote(self.0)
    }
}

impl Drop for WeakRemote {
    fn drop(&mut self) {
        if self.block().references.fetch_sub(1, AcqRel) == 1 {
            // SAFETY: from `Remote::new`, and nobody else refers to it. It needs no drop.
            unsafe { sys::free(self.0.as_ptr().cast()) };
        }
    }
}
