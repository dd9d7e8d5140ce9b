//! The handle that outlives the scheduler.
//!
//! A reference-counted block that is allocated with the scheduler. Everything that may outlive the
//! scheduler refers to it by this block: stop handles of other threads, the table of the signal
//! handlers, mutexes and channels, handles to Rust tasks.
//!
//! [`Block`](super::remote_block::Block) has the fields, and who may change them.
//!
//! There are two kinds of references, like `Arc` and `Weak`: a [`Remote`] can wake the scheduler,
//! and keeps the wake-up descriptor open; a [`WeakRemote`] only tells whether the scheduler still
//! exists.

use std::ffi::{c_int, c_void};
use std::ptr::{self, null_mut};
use std::sync::atomic::{
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    fence,
};

use super::identity::this_process;
use super::inbox::{Batch, Message};
use super::parties::Rank;
use super::remote_block::{Block, COUNTERS, ShortName};
use super::spare_blocks::BLOCK_BYTES;
use crate::engine::context::{sanitizer, switch};
use crate::engine::sys::{self, Error, Mark, Result};

/// A strong reference, which can wake the scheduler.
pub struct Remote(ptr::NonNull<Block>);

/// A weak reference, which keeps only the block alive.
pub struct WeakRemote(ptr::NonNull<Block>);

// SAFETY: the block is made of atomics and constants, and counts its references.
unsafe impl Send for Remote {}
// SAFETY: as above.
unsafe impl Sync for Remote {}

/// This thread's token for `owner`.
fn this_thread() -> usize {
    switch::thread() as usize
}

impl Remote {
    /// The handle of a new scheduler.
    pub fn new() -> Result<Remote> {
        let wake_up_fd = sys::eventfd(Mark::of_process(this_process()))?;
        let memory = sys::allocate::<Block>(1);
        let Some(block) = ptr::NonNull::new(memory) else {
            sys::close(wake_up_fd);
            return Err(Error::OutOfMemory);
        };
        // SAFETY: fresh memory for one.
        unsafe { block.write(Block::new(wake_up_fd)) };
        Ok(Remote(block))
    }

    #[inline(always)]
    fn block(&self) -> &Block {
        // SAFETY: alive while there is a reference.
        unsafe { self.0.as_ref() }
    }

    /// Bytes of memory that the block takes.
    pub const BYTES: usize = size_of::<Block>();

    /// A weak reference.
    pub fn downgrade(&self) -> WeakRemote {
        self.block().references.fetch_add(1, Relaxed);
        WeakRemote(self.0)
    }

    // ---- for all threads, and for signal handlers

    /// Stops the current run, or else the next one. An error if the scheduler has been destroyed.
    pub fn stop(&self) -> Result<()> {
        sanitizer::release(self.block());
        self.block().mailbox.stop(|| _ = self.notify()).map_err(|_| Error::Disconnected)?;
        // If the scheduler runs on this thread, which may be in a signal handler, its task switches
        // to the loop when it suspends next.
        switch::yield_to_loop();
        Ok(())
    }

    /// Leaves a message, which the loop runs or `close` abandons, on the scheduler's thread. An error, and
    /// nothing is left, if the scheduler has been destroyed.
    ///
    /// # Safety
    /// The message keeps its address, and nobody touches it, until one of its functions is called. Both
    /// may be called on any thread that runs or destroys the scheduler.
    pub unsafe fn post(&self, message: ptr::NonNull<Message>) -> Result<()> {
        sanitizer::release(self.block());
        let posted = self.block().mailbox.post(message, || self.notify());
        posted.map_err(|_| self.gives_back(Error::Disconnected))
    }

    /// [`post`](Self::post) for what waits until the scheduler has room for it. [`Error::WouldBlock`]
    /// if as many wait as may.
    ///
    /// # Safety
    /// As [`post`](Self::post); and the receiver calls [`count_begun`](Self::count_begun).
    pub unsafe fn post_counted(&self, message: ptr::NonNull<Message>) -> Result<()> {
        let block = self.block();
        if !block.quota.take() {
            let is_closed = block.mailbox.is_closed();
            let error = if is_closed { Error::Disconnected } else { Error::WouldBlock };
            return Err(self.gives_back(error));
        }
        // SAFETY: as this function's contract says.
        unsafe { self.post(message) }.inspect_err(|_| block.quota.give_back())
    }

    /// The caller keeps its message, whose memory may be a spare block of another thread.
    #[cold]
    fn gives_back(&self, error: Error) -> Error {
        sanitizer::acquire(self.block());
        error
    }

    /// Memory for a counted message, of [`BLOCK_BYTES`]; NULL if there is none.
    #[inline]
    pub fn allocate_block(&self) -> *mut c_void {
        let Block { spare, quota, .. } = self.block();
        match spare.take(quota.next_number()) {
            Some(block) => block.as_ptr(),
            None => sys::allocate::<[u64; BLOCK_BYTES / 8]>(1).cast(),
        }
    }

    /// Takes such memory back. Only for the owner.
    ///
    /// # Safety
    /// From [`allocate_block`](Self::allocate_block), of any scheduler, and not used again.
    #[inline]
    pub unsafe fn release_block(&self, block: ptr::NonNull<c_void>) {
        let Block { spare, quota, .. } = self.block();
        if !spare.give(quota.begun(), block) {
            // SAFETY: as this function's contract says.
            unsafe { sys::free(block.as_ptr()) };
        }
    }

    /// A counted message does not wait any more. Only for the owner.
    pub fn count_begun(&self) {
        self.block().quota.count_begun();
    }

    /// Sets how many counted messages may wait.
    pub fn set_most_posts(&self, most: usize) {
        self.block().quota.set_most(most);
    }

    /// From now on somebody may wake a task of the scheduler, and a run does not end by deadlock.
    pub fn add_waker(&self) {
        self.block().owner.add_waker();
    }

    /// Undoes [`add_waker`](Self::add_waker). The loop looks again whether anybody is left.
    pub fn remove_waker(&self) {
        if self.block().owner.remove_waker(this_thread()) {
            self.notify();
        }
    }

    /// Whether anybody may wake a task, who is not a timer or a descriptor.
    pub fn has_wakers(&self) -> bool {
        self.block().owner.has_wakers()
    }

    /// How soon the scheduler would run a message.
    pub fn rank(&self) -> Rank {
        self.block().rank()
    }

    /// Lets another thread post one message, without a reference: the scheduler is not destroyed before that
    /// or [`uncount_poster`](Self::uncount_poster). For the owner.
    pub fn poster(&self) -> Poster {
        self.block().posters.fetch_add(1, Relaxed);
        Poster(self.0)
    }

    /// A poster will not be used, wherever it is. For the owner.
    pub fn uncount_poster(&self) {
        self.block().posters.fetch_sub(1, Relaxed);
    }

    /// Makes the wake-up descriptor readable. In a child of fork() that has none of its own yet
    /// [`adopt`](Self::adopt) does it: either this call sees that it has, or `adopt` sees what the
    /// caller has left in the mailbox. Returns whether it has.
    fn notify(&self) -> bool {
        fence(SeqCst);
        let is_here = self.is_of_this_process();
        if is_here {
            sys::eventfd_raise(self.wake_up_fd());
        }
        is_here
    }

    /// The counters that were [`shared`](Self::share_counters) last. An error if the scheduler has been
    /// destroyed.
    pub fn counters(&self) -> Result<[u64; COUNTERS]> {
        if self.block().mailbox.is_closed() {
            return Err(Error::Disconnected);
        }
        Ok(std::array::from_fn(|which| self.block().counters[which].load(Relaxed)))
    }

    /// The scheduler's name.
    pub fn name(&self) -> ShortName {
        *self.block().name.lock()
    }

    /// Whether a stop was requested.
    #[inline(always)]
    pub fn is_stopped(&self) -> bool {
        self.block().mailbox.is_stopped()
    }

    /// Whether both are of one scheduler.
    pub fn is(&self, other: &Remote) -> bool {
        self.0 == other.0
    }

    /// Whether the scheduler runs, on any thread.
    pub fn is_running(&self) -> bool {
        self.block().owner.is_there()
    }

    /// Whether the scheduler runs on another thread.
    pub fn runs_elsewhere(&self) -> bool {
        self.block().owner.is_elsewhere(this_thread())
    }

    /// The descriptor that wakes the loop.
    pub fn wake_up_fd(&self) -> c_int {
        self.block().wake_up_fd.load(Relaxed)
    }

    // ---- for the owner

    /// Sets the scheduler's address.
    pub fn open(&self, scheduler: *const c_void) {
        self.block().scheduler.store(scheduler.cast_mut(), Release);
    }

    /// Makes this thread the owner, which runs the scheduler; an error if there is another owner.
    pub fn enter(&self) -> Result<()> {
        if !self.block().owner.enter(this_thread()) {
            return Err(Error::WrongThread);
        }
        self.block().mailbox.set_awake();
        Ok(())
    }

    /// Undoes [`enter`](Self::enter): requests are left for the next run.
    pub fn undo_enter(&self) {
        self.block().mailbox.undo_enter();
        self.block().owner.leave();
    }

    /// Whether other threads have left no message and no stop request.
    pub fn is_idle(&self) -> bool {
        self.block().mailbox.is_idle()
    }

    /// Whether other threads have left a message.
    #[inline(always)]
    pub fn has_messages(&self) -> bool {
        !self.block().mailbox.is_empty()
    }

    /// Ends a run, and the ownership. Clears a stop request.
    pub fn leave(&self) {
        self.block().mailbox.end_run(|| self.clear_wake_up_fd(), || _ = self.notify());
        sanitizer::acquire(self.block());
        self.block().owner.leave();
    }

    /// Clears the wake-up descriptor. The caller must check the mailbox afterwards.
    pub fn clear_wake_up_fd(&self) {
        if self.is_of_this_process() {
            sys::eventfd_clear(self.wake_up_fd());
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

    /// Runs the messages of other threads.
    pub fn run_messages(&self) {
        if !self.has_messages() {
            return;
        }
        let messages = self.block().mailbox.take();
        sanitizer::acquire(self.block());
        for message in messages {
            // SAFETY: as the poster has said.
            unsafe { (message.as_ref().run)(message) };
        }
    }

    /// Lets other threads read the counters.
    pub fn share_counters(&self, counters: impl IntoIterator<Item = u64>) {
        let places = self.block().counters.iter();
        places.zip(counters).for_each(|(place, count)| place.store(count, Relaxed));
    }

    /// Lets other threads read the name.
    pub fn share_name(&self, name: ShortName) {
        *self.block().name.lock() = name;
    }

    /// Whether the descriptors are this process's own, and not shared with the parent.
    #[inline]
    pub fn is_of_this_process(&self) -> bool {
        self.block().process.load(Acquire) == this_process()
    }

    /// In a child of fork(): replaces the wake-up descriptor by a new one, unless an earlier attempt has,
    /// after which something else failed.
    pub fn renew_wake_up_fd(&self) -> Result<()> {
        let (process, block) = (this_process(), self.block());
        let mark = Mark::of_process(process);
        if block.opened_by.load(Relaxed) != process || !sys::is_marked(self.wake_up_fd(), mark) {
            let fd = sys::take_over(sys::eventfd(mark)?, self.wake_up_fd())?;
            block.wake_up_fd.store(fd, Relaxed);
            block.opened_by.store(process, Relaxed);
        }
        Ok(())
    }

    /// Marks the descriptors as owned by this process, and makes up for the wake-ups that were
    /// left out before.
    pub fn adopt(&self) {
        self.block().process.store(this_process(), Release);
        fence(SeqCst);
        if !self.is_idle() {
            self.notify();
        }
    }

    /// In a child of fork(), when it has no posters of its own yet: those of the parent's threads, which may
    /// have been about to post, are not there.
    pub fn forget_posters(&self) {
        self.block().posters.store(0, Relaxed);
    }

    /// The scheduler is destroyed. Abandons the remaining messages.
    pub fn close(&self) {
        self.block().scheduler.store(null_mut(), Release);
        self.await_posters();
        let left: Batch = self.block().mailbox.close();
        sanitizer::acquire(self.block());
        for message in left {
            // SAFETY: as the poster has said.
            unsafe { (message.as_ref().abandon)(message) };
        }
    }

    /// Waits for threads that are about to post, which takes them some instructions. A child of fork() that
    /// could not adopt the scheduler has none.
    fn await_posters(&self) {
        while self.block().posters.load(Acquire) > 0 && self.is_of_this_process() {
            sys::sleep_ns(50_000);
        }
        sanitizer::acquire(&self.block().posters);
    }

    /// Turns the handle into a pointer for C, which owns it.
    pub fn into_raw(self) -> *mut c_void {
        std::mem::ManuallyDrop::new(self).as_raw()
    }

    /// Takes a handle back from C; `None` for null.
    ///
    /// # Safety
    /// Null, or from [`into_raw`](Self::into_raw), and not used again.
    pub unsafe fn from_raw(address: *mut c_void) -> Option<Remote> {
        ptr::NonNull::new(address.cast::<Block>()).map(Remote)
    }

    /// The block's address for signal handlers, valid while this is alive.
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

/// What lets a thread post one message: see [`Remote::poster`].
pub struct Poster(ptr::NonNull<Block>);

// SAFETY: as a `Remote`.
unsafe impl Send for Poster {}

impl Poster {
    /// [`Remote::post`].
    ///
    /// # Safety
    /// As there.
    pub unsafe fn post(self, message: ptr::NonNull<Message>) {
        // SAFETY: alive while the poster is out. Borrowed, and not counted.
        let remote = std::mem::ManuallyDrop::new(Remote(self.0));
        // SAFETY: as this function's contract says. It is not closed while the poster is out.
        let _ = unsafe { remote.post(message) };
    }

    /// The owner has [uncounted](Remote::uncount_poster) it, and the block may be gone.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Poster {
    fn drop(&mut self) {
        // SAFETY: alive while the poster is out.
        let posters = unsafe { &self.0.as_ref().posters };
        sanitizer::release(posters);
        // The block may be gone right after that.
        posters.fetch_sub(1, Release);
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
        let handles = &self.block().handles;
        // What other handles have written to the descriptor comes before it is closed.
        sanitizer::release(handles);
        if handles.fetch_sub(1, AcqRel) == 1 {
            sanitizer::acquire(handles);
            sys::close_marked(self.wake_up_fd());
            drop(WeakRemote(self.0)); // The one of all handles together.
        }
    }
}

impl WeakRemote {
    fn block(&self) -> &Block {
        // SAFETY: alive while there is a reference.
        unsafe { self.0.as_ref() }
    }

    /// The scheduler; null once it is destroyed. Only its owner may dereference it.
    #[inline]
    pub fn scheduler(&self) -> *const c_void {
        self.block().scheduler.load(Acquire)
    }

    /// Whether it is of the same scheduler.
    pub fn is_of(&self, remote: &Remote) -> bool {
        self.0 == remote.0
    }

    /// How soon the scheduler would run a message.
    pub fn rank(&self) -> Rank {
        self.block().rank()
    }

    /// A strong reference, while there is one.
    pub fn upgrade(&self) -> Option<Remote> {
        let handles = &self.block().handles;
        let more = |count| if count == 0 { None } else { Some(count + 1) };
        handles.fetch_update(Relaxed, Relaxed, more).ok().map(|_| Remote(self.0))
    }
}

impl Drop for WeakRemote {
    fn drop(&mut self) {
        if self.block().references.fetch_sub(1, AcqRel) == 1 {
            // SAFETY: left there by `release_block`, and nobody else refers to the block.
            self.block().spare.drain().for_each(|spare| unsafe { sys::free(spare.as_ptr()) });
            // SAFETY: from `Remote::new`, and as above. It needs no drop.
            unsafe { sys::free(self.0.as_ptr().cast()) };
        }
    }
}
