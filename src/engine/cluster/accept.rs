//! Listening on all cores: each accepts at a socket of its own, where the kernel spreads the connections
//! (SO_REUSEPORT), and hands those over of which it has too many. The kernel goes by a hash of the addresses: that is
//! even for many connections, and not at all for few.
//!
//! At a path there is one socket, and one core that accepts.

use std::ffi::{CStr, c_int, c_void};
use std::fmt::Write;
use std::mem::offset_of;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::Ordering::{Acquire, Release};

use super::messages::WORDS;
use super::object::{Cluster, Core, Service};
use crate::engine::fd::{self, ListenFlags};
use crate::engine::log;
use crate::engine::names;
use crate::engine::scheduler::{Limit, Scheduler, close_fd, current, exit, set_cancelable};
use crate::engine::sys::{self, Error, Result, TruncatingWriter};
use crate::engine::threads::Message;
use crate::engine::time::Deadline;

/// The task of a core that accepts; at first the message that makes it.
#[repr(C)]
struct Acceptor {
    message: Message,
    core: *const Core,
    service: *const Service,
    listener: c_int,
}

const _: () = assert!(offset_of!(Acceptor, message) == 0);

impl Cluster {
    /// Listens at an address, as by [`names::listen`], and serves what comes. Returns the port, 0 of a path. The
    /// service is the cluster's, and released with an error.
    pub fn listen(
        &self,
        address: &CStr,
        port: &[u8],
        backlog: c_int,
        flags: ListenFlags,
        service: Service,
    ) -> Result<u16> {
        let service = service.add_to(self)?;
        self.check_process()?;
        let is_path = address.to_bytes().starts_with(b"unix:");
        let cores = if is_path { &self.cores()[..1] } else { self.cores() };
        let flags = ListenFlags { reuse_port: cores.len() > 1, ..flags };
        let mut listeners = Vec::new();
        listeners.try_reserve_exact(cores.len()).map_err(|_| Error::OutOfMemory)?;
        let mut chosen = PortText::default();
        for _ in cores {
            // The others listen at the port that the kernel has chosen for the first.
            let port = if listeners.is_empty() || is_path { port } else { sys::until_nul(&chosen) };
            match names::listen(address, port, backlog, flags) {
                Ok(fd) => listeners.push(fd),
                Err(error) => {
                    listeners.into_iter().for_each(close);
                    return Err(error);
                }
            }
            let _ = write!(TruncatingWriter::new(&mut chosen), "{}", sys::local_port(listeners[0])); // It fits.
        }
        let port = sys::local_port(listeners[0]);
        if !self.take_hold() {
            listeners.into_iter().for_each(close);
            return Err(Error::Disconnected);
        }
        cores.iter().zip(listeners).for_each(|(core, listener)| core.accept_at(listener, service));
        self.give_up_hold();
        Ok(port)
    }
}

/// A port, with a NUL behind it.
type PortText = [u8; 8];

fn close(listener: c_int) {
    let _ = close_fd(listener); // It is closed all the same.
}

impl Core {
    /// Has the core accept at a socket, which is its own. A cluster that is not held any more does not.
    fn accept_at(&self, listener: c_int, service: &Service) {
        let acceptor =
            Acceptor { message: Message::new(begin, abandon), core: self, service, listener };
        let memory = sys::allocate::<Acceptor>(1);
        let is_sent =
            NonNull::new(memory).filter(|_| self.cluster().take_hold()).is_some_and(|memory| {
                // SAFETY: fresh memory for one, which begins with its message, and is freed by its functions.
                let sent = unsafe {
                    memory.write(acceptor);
                    self.remote().and_then(|remote| remote.post(memory.cast()))
                };
                if sent.is_err() {
                    self.cluster().give_up_hold();
                }
                sent.is_ok()
            });
        if !is_sent {
            log::error(format_args!(
                "core {} does not accept: it has ended, or has no memory",
                self.index
            ));
            close(listener);
            // SAFETY: null, or from above, and not sent.
            unsafe { sys::free(memory.cast()) };
        }
    }

    /// Ends the tasks that accept, when they have taken what waits in the queues.
    pub(super) fn close_listeners(&self, scheduler: &Scheduler) {
        let mut next = self.cluster().services.load(Acquire);
        // SAFETY: services are there as long as the cluster.
        while let Some(service) = unsafe { next.as_ref() } {
            let id = service.acceptors[self.index].load(Acquire);
            if let Some(task) = scheduler.tasks.find_id(id) {
                scheduler.cancel(task);
            }
            next = service.before;
        }
    }
}

/// # Safety
/// The message of an [`Acceptor`].
unsafe fn begin(message: NonNull<Message>) {
    let memory = message.cast::<Acceptor>();
    // SAFETY: as this function's contract says.
    let acceptor = unsafe { memory.as_ref() };
    let (core, service) = acceptor.parts();
    let Some(scheduler) = current() else { return };
    match scheduler.spawn(accept, memory.as_ptr().cast(), &WORDS) {
        Ok(task) => {
            task.set_name(sys::until_nul(&service.name));
            service.acceptors[core.index].store(task.id.get(), Release);
            if core.cluster().is_ending() {
                scheduler.cancel(task); // Who closes the listeners has been here.
            }
        }
        Err(error) => {
            log::error(format_args!("core {} does not accept: {error}", core.index));
            // SAFETY: as above, and the message is not used again.
            unsafe { abandon(message) };
        }
    }
}

/// # Safety
/// The message of an [`Acceptor`], which is not used again.
unsafe fn abandon(message: NonNull<Message>) {
    let memory = message.cast::<Acceptor>();
    // SAFETY: as this function's contract says.
    let acceptor = unsafe { memory.as_ref() };
    close(acceptor.listener);
    acceptor.parts().0.cluster().give_up_hold();
    // SAFETY: as above.
    unsafe { sys::free(memory.as_ptr().cast()) };
}

impl Acceptor {
    fn parts(&self) -> (&Core, &Service) {
        // SAFETY: there as long as the cluster, which is longer than a task of it.
        unsafe { (&*self.core, &*self.service) }
    }
}

/// The body of the task that accepts.
///
/// # Safety
/// Called by the core, with an [`Acceptor`], which is freed when the task has ended.
unsafe extern "C-unwind" fn accept(_scheduler: *mut c_void, state: *mut c_void) {
    // SAFETY: as this function's contract says.
    let acceptor = unsafe { &*state.cast::<Acceptor>() };
    let (core, service) = acceptor.parts();
    let name = sys::until_nul(&service.name).escape_ascii();
    let mut left = usize::MAX;
    let mut limit = Limit::uninterrupted(Deadline::Never);
    while left > 0 {
        // SAFETY: no address is asked for.
        match unsafe { fd::accept(acceptor.listener, null_mut(), null_mut(), limit) } {
            Ok(fd) => {
                if let Err(error) = core.admit(fd, service) {
                    log::error(format_args!("{name}: a connection is closed: {error}"));
                }
                left -= 1;
            }
            // The end: what is in the queue would be reset. Not more than fits there, since others may come all the
            // time.
            Err(Error::Canceled) if left > fd::BACKLOG as usize => {
                let _ = set_cancelable(false); // In a task.
                (left, limit) = (fd::BACKLOG as usize, Limit::uninterrupted(Deadline::In(0)));
            }
            Err(Error::TimedOut) => break,
            Err(error) => {
                log::error(format_args!("{name}: core {} accepts no more: {error}", core.index));
                break;
            }
        }
    }
    service.acceptors[core.index].store(0, Release);
    close(acceptor.listener);
    core.cluster().give_up_hold();
    let _ = exit(); // In a task.
}
