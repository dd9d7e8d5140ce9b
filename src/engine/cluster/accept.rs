//! Listening on all cores: each accepts at a socket of its own, where the kernel spreads the connections
//! (SO_REUSEPORT), and hands those over of which it has too many. The kernel goes by a hash of the addresses: that is
//! even for many connections, and not at all for few.
//!
//! At a path there is one socket, and one core that accepts.

use std::ffi::{CStr, c_int, c_void};
use std::fmt::Write;
use std::mem::offset_of;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{
    AtomicI32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use super::messages::WORDS;
use super::object::{Cluster, Core, Listener, Service};
use crate::engine::fd::{self, ListenFlags};
use crate::engine::log;
use crate::engine::names;
use crate::engine::scheduler::{Limit, Scheduler, close_fd, current, exit, set_cancelable, sleep};
use crate::engine::sys::{self, Error, Result, TruncatingWriter};
use crate::engine::threads::{Message, Remote};
use crate::engine::time::Deadline;

/// The task of a core that accepts; at first the message that makes it.
#[repr(C)]
struct Acceptor {
    message: Message,
    core: *const Core,
    service: *const Service,
    /// Which of the service's.
    listener: usize,
}

const _: () = assert!(offset_of!(Acceptor, message) == 0);

/// What is listened at: an address, a port or nothing, and how many may wait.
pub struct Place<'p> {
    pub address: &'p CStr,
    pub port: &'p [u8],
    pub backlog: c_int,
    pub flags: ListenFlags,
}

/// A port, with a NUL behind it.
type PortText = [u8; 8];

impl Cluster {
    /// Listens at a place, as by [`names::listen`], and serves what comes. Returns the port, 0 of a path. The service
    /// is the cluster's, and released with an error.
    pub fn listen(&self, place: &Place<'_>, mut service: Service) -> Result<u16> {
        if let Err(error) =
            self.check_process().and_then(|()| self.open_listeners(place, &mut service))
        {
            service.discard();
            return Err(error);
        }
        let port = sys::local_port(service.listeners[0].fd.load(Relaxed));
        self.serve(service).map(|()| port)
    }

    /// Serves what comes at the sockets of a service, which is the cluster's. With an error it is released, and they
    /// are closed.
    pub fn serve(&self, service: Service) -> Result<()> {
        let held = self.check_process().and_then(|()| match self.take_hold() {
            true => Ok(()),
            false => Err(Error::Disconnected),
        });
        if let Err(error) = held {
            service.discard();
            return Err(error);
        }
        let added = service.add_to(self);
        if let Ok(service) = added {
            let cores = self.cores().iter().cycle();
            cores
                .zip(0..service.listeners.len())
                .for_each(|(core, which)| core.accept_at(which, service));
        }
        self.give_up_hold(); // The acceptors have theirs.
        added.map(drop)
    }

    /// A socket for each core, of a path one alone; and what else the process was given for the same address, which
    /// connections may wait at.
    fn open_listeners(&self, place: &Place<'_>, service: &mut Service) -> Result<()> {
        let Place { address, mut port, backlog, flags } = *place;
        let is_path = address.to_bytes().starts_with(b"unix:");
        let count = if is_path { 1 } else { self.cores().len() };
        let flags = ListenFlags { reuse_port: flags.reuse_port || count > 1, ..flags };
        let mut chosen = PortText::default();
        while service.listeners.len() < count {
            match names::listen(address, port, backlog, flags) {
                Ok(fd) => service.add(fd)?,
                // The first one was made by another user, as systemd's are: nobody else may listen beside it.
                Err(Error::Os(libc::EADDRINUSE))
                    if flags.inherited && !service.listeners.is_empty() =>
                {
                    break;
                }
                Err(error) => return Err(error),
            }
            let first = service.listeners[0].fd.load(Relaxed);
            if service.listeners.len() == 1 && !is_path {
                // The others listen at the one that the kernel has chosen.
                let _ = write!(TruncatingWriter::new(&mut chosen), "{}", sys::local_port(first)); // It fits.
                port = sys::until_nul(&chosen);
            }
        }
        let first = service.listeners[0].fd.load(Relaxed);
        while let Some(another) = fd::take_another(first, flags) {
            service.add(another)?;
        }
        Ok(())
    }
}

impl Service {
    /// Adds a socket that listens and does not block, which the library owns: it is the service's, also with an error.
    pub fn add(&mut self, fd: c_int) -> Result<()> {
        if self.listeners.try_reserve(1).is_err() {
            let _ = close_fd(fd);
            return Err(Error::OutOfMemory);
        }
        self.listeners.push(Listener { fd: AtomicI32::new(fd), task: AtomicU64::new(0) });
        Ok(())
    }

    /// It is of no cluster.
    pub fn discard(self) {
        self.listeners.iter().for_each(Listener::close);
        // SAFETY: nobody else has it.
        unsafe { (self.release)(self.own) };
    }
}

impl Listener {
    pub(super) fn close(&self) {
        let fd = self.fd.swap(-1, Relaxed);
        if fd >= 0 {
            let _ = close_fd(fd); // It is closed all the same.
        }
    }
}

impl Core {
    /// Has the core accept at one of the service's sockets. A cluster that is not held any more does not.
    fn accept_at(&self, listener: usize, service: &Service) {
        let message = Message::new(begin, abandon);
        let acceptor = Acceptor { message, core: self, service, listener };
        let memory = sys::allocate::<Acceptor>(1);
        let is_held = !memory.is_null() && self.cluster().take_hold();
        let is_sent = is_held && {
            // SAFETY: fresh memory for one, which begins with its message, and is freed by its functions.
            let sent = unsafe {
                memory.write(acceptor);
                let post = |remote: &Remote| remote.post(NonNull::new_unchecked(memory).cast());
                self.remote().and_then(post)
            };
            sent.inspect_err(|_| self.cluster().give_up_hold()).is_ok()
        };
        if !is_sent {
            log::error(format_args!(
                "core {} does not accept: it has ended, or has no memory",
                self.index
            ));
            service.listeners[listener].close();
            // SAFETY: null, or from above, and not sent.
            unsafe { sys::free(memory.cast()) };
        }
    }

    /// Ends the tasks that accept, when they have taken what waits in the queues.
    pub(super) fn close_listeners(&self, scheduler: &Scheduler) {
        let count = self.cluster().cores().len();
        for service in self.cluster().services() {
            for listener in service.listeners.iter().skip(self.index).step_by(count) {
                if let Some(task) = scheduler.tasks.find_id(listener.task.load(Acquire)) {
                    scheduler.cancel(task);
                }
            }
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
            service.listeners[acceptor.listener].task.store(task.id.get(), Release);
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
    let (core, service) = acceptor.parts();
    service.listeners[acceptor.listener].close();
    core.cluster().give_up_hold();
    // SAFETY: as above.
    unsafe { sys::free(memory.as_ptr().cast()) };
}

impl Acceptor {
    fn parts(&self) -> (&Core, &Service) {
        // SAFETY: there as long as the cluster, which is longer than a task of it.
        unsafe { (&*self.core, &*self.service) }
    }
}

/// How long it waits when there is no memory to wait with.
const PAUSE_NS: u64 = 100_000_000;

/// The body of the task that accepts.
///
/// # Safety
/// Called by the core, with an [`Acceptor`], which is freed when the task has ended.
unsafe extern "C-unwind" fn accept(_scheduler: *mut c_void, state: *mut c_void) {
    // SAFETY: as this function's contract says.
    let acceptor = unsafe { &*state.cast::<Acceptor>() };
    let (core, service) = acceptor.parts();
    let listener = &service.listeners[acceptor.listener];
    let fd = listener.fd.load(Relaxed);
    let name = sys::until_nul(&service.name).escape_ascii();
    let (mut left, mut is_told) = (usize::MAX, false);
    let mut limit = Limit::uninterrupted(Deadline::Never);
    while left > 0 {
        // SAFETY: no address is asked for.
        match unsafe { fd::accept(fd, null_mut(), null_mut(), limit) } {
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
            // As when the user's epoll sets are full: others may give some back.
            Err(error @ (Error::OutOfMemory | Error::Os(libc::ENOSPC))) if left == usize::MAX => {
                if !std::mem::replace(&mut is_told, true) {
                    log::error(format_args!(
                        "{name}: core {} cannot wait for connections: {error}; tried again every 100 ms",
                        core.index
                    ));
                }
                let _ = sleep(Limit::uninterrupted(Deadline::In(PAUSE_NS))); // A cancel is seen by the next accept.
            }
            Err(error) => {
                log::error(format_args!("{name}: core {} accepts no more: {error}", core.index));
                break;
            }
        }
    }
    listener.task.store(0, Release);
    listener.close();
    core.cluster().give_up_hold();
    let _ = exit(); // In a task.
}
