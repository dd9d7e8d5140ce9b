//! Services, and the connections that cores serve.
//!
//! | a connection is | whose it is |
//! |---|---|
//! | accepted | the task's that accepts, on any core |
//! | on its way | the mailbox's of another core |
//! | begun | a task's of its core |
//! | abandoned | of who destroys the scheduler: closed |
//!
//! From its first state to the end of its task it counts in the load of its core, and holds the cluster.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use super::object::{Cluster, Connection, Core, Listener, Service};
use crate::engine::scheduler::{Post, Scheduler, close_fd, current};
use crate::engine::sys::{self, Error, Result};
use crate::engine::task::Name;
use crate::engine::threads::Message;

impl Service {
    /// # Safety
    /// `begin` and `release` are for what `own` points to, on any thread, until `release` was called.
    pub unsafe fn new(
        begin: unsafe fn(&Scheduler, Connection) -> Result<()>,
        release: unsafe fn(*mut c_void),
        own: *mut c_void,
        name: Name,
    ) -> Service {
        Service { begin, release, own, name, listeners: Vec::new(), before: null_mut() }
    }

    /// Puts it into memory of its own, of the cluster, which frees it. With an error it is discarded.
    pub(super) fn add_to(self, cluster: &Cluster) -> Result<&Service> {
        let memory = sys::allocate::<Service>(1);
        if memory.is_null() {
            self.discard();
            return Err(Error::OutOfMemory);
        }
        // SAFETY: fresh memory for one, and then there as long as the cluster.
        unsafe {
            memory.write(self);
            let mut before = cluster.services.load(Acquire);
            loop {
                (*memory).before = before;
                match cluster.services.compare_exchange(before, memory, AcqRel, Acquire) {
                    Ok(_) => return Ok(&*memory),
                    Err(newer) => before = newer,
                }
            }
        }
    }

    /// # Safety
    /// From [`add_to`](Self::add_to), and not used again.
    pub(super) unsafe fn free(service: NonNull<Service>) {
        // SAFETY: as this function's contract says.
        unsafe {
            service.as_ref().listeners.iter().for_each(Listener::close); // Of tasks that were destroyed.
            (service.as_ref().release)(service.as_ref().own);
            service.drop_in_place();
            sys::free(service.as_ptr().cast());
        }
    }
}

// ---- beginning and ending

/// A connection on its way to another core.
#[repr(C)]
struct Passed {
    post: Post,
    connection: Connection,
}

const _: () = assert!(offset_of!(Passed, post) == 0);

impl Core {
    /// A connection was accepted here: it is served here or on another core. Without memory for either it is closed.
    pub(super) fn admit(&self, fd: c_int, service: &Service) -> Result<()> {
        let scheduler = current().ok_or(Error::NotInTask)?;
        let core = self.least_loaded_or_self();
        if std::ptr::eq(core, self) || pass(core.count(fd, service)).is_err() {
            // As many are on the way as may be, or that core is gone.
            let connection = self.count(fd, service);
            // SAFETY: on the core's thread, with a connection that nobody has.
            unsafe { (service.begin)(scheduler, connection) }
                .inspect_err(|_| connection.abandon())?;
        }
        Ok(())
    }

    fn count(&self, fd: c_int, service: &Service) -> Connection {
        self.load.fetch_add(1, Relaxed);
        // Who accepts holds it, so it is not over: also at its end a connection that was accepted is served.
        self.cluster().holds.take();
        Connection { fd, service, core: self }
    }

    /// The core is to have something to do.
    pub fn take_work(&self) -> Result<()> {
        self.cluster().check_process()?;
        if !self.cluster().take_hold() {
            return Err(Error::Disconnected);
        }
        self.load.fetch_add(1, Relaxed);
        Ok(())
    }

    /// That has been done.
    pub fn end_work(&self) {
        self.load.fetch_sub(1, Relaxed);
        self.cluster().give_up_hold();
    }
}

/// Leaves a connection for its core. On an error it is nobody's, and not closed.
fn pass(connection: Connection) -> Result<()> {
    let remote = connection.core().remote()?;
    let passed = NonNull::new(sys::allocate::<Passed>(1)).ok_or(Error::OutOfMemory);
    let posted = passed.and_then(|passed| {
        // SAFETY: fresh memory for one, which begins with its message, and is freed by its functions.
        unsafe {
            passed.write(Passed { post: Post::new(begin_passed, abandon_passed), connection });
            remote.post_counted(passed.cast()).inspect_err(|_| sys::free(passed.as_ptr().cast()))
        }
    });
    posted.inspect_err(|_| connection.core().end_work())
}

/// # Safety
/// Called by the scheduler of the connection's core, with the post of a [`Passed`].
unsafe fn begin_passed(scheduler: &Scheduler, post: NonNull<Post>) -> Result<()> {
    let passed = post.cast::<Passed>();
    // SAFETY: as this function's contract says; it is not used after it was freed.
    unsafe {
        let connection = passed.as_ref().connection;
        (connection.service().begin)(scheduler, connection)?;
        sys::free(passed.as_ptr().cast());
    }
    Ok(())
}

/// # Safety
/// Called by who destroys the scheduler, with the message of a [`Passed`].
unsafe fn abandon_passed(message: NonNull<Message>) {
    // SAFETY: as this function's contract says.
    unsafe {
        message.cast::<Passed>().as_ref().connection.abandon();
        sys::free(message.as_ptr().cast());
    }
}

impl Connection {
    pub fn service(&self) -> &Service {
        // SAFETY: there as long as the cluster.
        unsafe { &*self.service }
    }

    pub fn core(&self) -> &Core {
        // SAFETY: as above.
        unsafe { &*self.core }
    }

    /// Nobody serves it.
    pub fn abandon(self) {
        let _ = close_fd(self.fd); // It is closed all the same.
        self.core().end_work();
    }
}
