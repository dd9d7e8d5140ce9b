//! Listening on all cores.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::fmt::Display;
use std::io::{self, ErrorKind::AddrInUse};
use std::iter;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::handle::Cluster;
use super::kind::scheduler_of;
use super::work::Work;
use crate::engine::cluster::{Connection, Service};
use crate::engine::fd;
use crate::engine::scheduler::Scheduler;
use crate::engine::sys::{self, Result};
use crate::engine::task::to_name;
use crate::safe::net::{self, TcpStream, ToSocketAddrs, UnixStream};
use crate::safe::panics::drop_quietly;
use crate::safe::task::spawn::Options;

impl Cluster {
    /// Listens at an address on all cores, and calls the handler with each connection, in a task of its own on one of
    /// them. There is a socket for each core (SO_REUSEPORT), among which the kernel spreads the connections. A core
    /// that has more to do than others hands its connections over to the one with the least [`load`](Self::load),
    /// before anything has been read from them.
    ///
    /// It listens until the cluster is [stopped](Self::stop), and holds it; each connection does until the handler's
    /// task has ended. A handler that panics ends its task alone, and its connection. One that needs the cluster had
    /// better ask for [`Core::current`](super::Core::current) than own a handle, which would keep the cluster.
    ///
    /// ```
    /// use majjen::cluster::Builder;
    /// use majjen::net::TcpStream;
    /// use std::io::{Read, Write};
    /// use std::time::Duration;
    ///
    /// let cluster = Builder::new().cores(2).build()?;
    /// let address = cluster.listen("127.0.0.1:0", |mut stream| {
    ///     let _ = write!(stream, "hello {}", stream.peer_addr().unwrap());
    /// })?;
    /// let ends = cluster.clone();
    /// cluster.spawn(0, move || {
    ///     let stream = TcpStream::connect(address).unwrap();
    ///     let expected = format!("hello {}", stream.local_addr().unwrap());
    ///     assert_eq!(std::io::read_to_string(stream).unwrap(), expected);
    ///     ends.stop(Duration::from_secs(1));
    /// })?;
    /// cluster.run(Duration::ZERO)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`TcpListener::bind`](crate::net::TcpListener::bind); and
    /// [`Error::Disconnected`](crate::Error::Disconnected) if the cluster has ended,
    /// [`Error::OwnerDied`](crate::Error::OwnerDied) in a child of fork(),
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory). The handler is dropped then.
    pub fn listen(
        &self,
        addresses: impl ToSocketAddrs,
        handler: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> io::Result<SocketAddr> {
        self.listen_with(&net::Builder::new(), addresses, handler)
    }

    /// [`listen`](Self::listen) with the options that a [`net::Builder`] sets. Of sockets that the process was
    /// [given](net::Builder::inherited) it takes all that listen at this address, since connections may wait at each.
    ///
    /// ```
    /// use majjen::{cluster, net};
    ///
    /// let cluster = cluster::Builder::new().cores(2).build()?;
    /// let options = net::Builder::new().nodelay(true).backlog(100);
    /// let address = cluster.listen_with(&options, "127.0.0.1:0", |stream| {
    ///     assert!(stream.nodelay().unwrap());
    /// })?;
    /// assert_ne!(address.port(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`listen`](Self::listen).
    pub fn listen_with(
        &self,
        options: &net::Builder,
        addresses: impl ToSocketAddrs,
        handler: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> io::Result<SocketAddr> {
        let options =
            if self.size() > 1 { options.clone().reuse_port(true) } else { options.clone() };
        let mut listeners = vec![options.listen(addresses)?];
        let address = listeners[0].local_addr()?;
        for _ in 1..self.size() {
            match options.listen(address) {
                Ok(listener) => listeners.push(listener), // At the port that the kernel has chosen for the first.
                // The first one was made by another user, as systemd's are: nobody else may listen beside it.
                Err(error) if error.kind() == AddrInUse && options.takes_inherited() => break,
                Err(error) => return Err(error),
            }
        }
        let mut listeners: Vec<_> = listeners.into_iter().map(OwnedFd::from).collect();
        listeners.extend(iter::from_fn(|| options.take_another(&address)).map(OwnedFd::from));
        let handler = move |socket| handler(TcpStream::new(socket));
        self.serve(listeners, &address, Box::new(handler))?;
        Ok(address)
    }

    /// [`listen`](Self::listen) at a path, where nothing may be yet. There is one socket, at which the first core
    /// accepts; the others get their part from it.
    ///
    /// ```
    /// use majjen::cluster::Builder;
    /// use std::io::Write;
    ///
    /// let path = std::env::temp_dir().join(format!("majjen-doc-{}", std::process::id()));
    /// let cluster = Builder::new().build()?;
    /// cluster.listen_unix(&path, |mut stream| {
    ///     let _ = stream.write_all(b"hello");
    /// })?;
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`UnixListener::bind`](crate::net::UnixListener::bind); and as [`listen`](Self::listen).
    pub fn listen_unix(
        &self,
        path: impl AsRef<Path>,
        handler: impl Fn(UnixStream) + Send + Sync + 'static,
    ) -> io::Result<()> {
        self.listen_unix_with(&net::Builder::new(), path, handler)
    }

    /// [`listen_unix`](Self::listen_unix) with the options of [`net::Builder::listen_unix`].
    ///
    /// ```
    /// use majjen::{cluster, net};
    ///
    /// let path = std::env::temp_dir().join(format!("majjen-doc-{}", std::process::id()));
    /// let cluster = cluster::Builder::new().build()?;
    /// let options = net::Builder::new().backlog(16).inherited(true);
    /// cluster.listen_unix_with(&options, &path, |stream| drop(stream))?;
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`listen_unix`](Self::listen_unix).
    pub fn listen_unix_with(
        &self,
        options: &net::Builder,
        path: impl AsRef<Path>,
        handler: impl Fn(UnixStream) + Send + Sync + 'static,
    ) -> io::Result<()> {
        let path = path.as_ref();
        let mut listeners = vec![OwnedFd::from(options.listen_unix(path)?)];
        listeners.extend(iter::from_fn(|| options.take_another_unix(path)).map(OwnedFd::from));
        let handler = move |socket| handler(UnixStream::new(socket));
        Ok(self.serve(listeners, &path.display(), Box::new(handler))?)
    }

    /// Copies of the descriptors of the sockets at which it listens: to hand them to another process, which takes
    /// them as [inherited](net::Builder::inherited), before this cluster is stopped. So no connection is refused
    /// while one takes over from the other.
    ///
    /// ```
    /// let cluster = majjen::cluster::Builder::new().cores(2).build()?;
    /// cluster.listen("127.0.0.1:0", |stream| drop(stream))?;
    /// assert_eq!(cluster.listeners()?.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn listeners(&self) -> io::Result<Vec<OwnedFd>> {
        let mut copies = Vec::new();
        for listener in self.engine().services().flat_map(|service| &service.listeners) {
            let number = listener.fd.load(Relaxed);
            if number < 0 {
                continue;
            }
            // SAFETY: it is open, or has just been closed: then the copy is of nothing, or not kept.
            let copy = unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned();
            // Who closes it says so before.
            if listener.fd.load(Relaxed) == number {
                copies.push(copy?);
            }
        }
        Ok(copies)
    }

    fn serve(
        &self,
        listeners: Vec<OwnedFd>,
        place: &dyn Display,
        handler: Box<Handler>,
    ) -> Result<()> {
        let served = Arc::new(Served(UnsafeCell::new(Some(handler))));
        let own = Arc::into_raw(served.clone()).cast_mut().cast();
        let name = to_name(format!("accept {place}").as_bytes());
        // SAFETY: the functions are for this, which any thread may call and drop.
        let mut service = unsafe { Service::new(begin, release, own, name) };
        let mut listeners = listeners.into_iter().map(OwnedFd::into_raw_fd);
        let added = listeners.try_for_each(|listener| {
            fd::opened(listener, sys::is_plain_tcp(listener));
            service.add(listener)
        });
        let serves = match added {
            Ok(()) => self.engine().serve(service),
            Err(error) => {
                service.discard();
                Err(error)
            }
        };
        serves?; // With an error the service has been released: what is here is the last of it.
        // SAFETY: when all threads of the cluster have been joined.
        self.inner.call_at_end(move || unsafe { served.drop_handler() });
        Ok(())
    }
}

type Handler = dyn Fn(sys::OwnedFd) + Send + Sync;

/// What serves connections: the program's handler, until the cluster has ended. It may own a handle to the cluster,
/// which would never be released if the handler lived as long.
struct Served(UnsafeCell<Option<Box<Handler>>>);

// SAFETY: the handler is, and it is taken out when no other thread uses it.
unsafe impl Sync for Served {}
// SAFETY: as above.
unsafe impl Send for Served {}

impl Served {
    /// # Safety
    /// Once, when no core serves connections by it any more.
    unsafe fn drop_handler(&self) {
        // SAFETY: as this function's contract says.
        drop_quietly(unsafe { (*self.0.get()).take() });
    }

    /// # Safety
    /// In a task of the cluster.
    unsafe fn handler(&self) -> Option<&Handler> {
        // SAFETY: as this function's contract says: it is taken out when the cluster's threads have ended.
        unsafe { (*self.0.get()).as_deref() }
    }
}

/// # Safety
/// With a [`Served`] from `Arc::into_raw`, which is not used again.
unsafe fn release(served: *mut c_void) {
    // SAFETY: as this function's contract says.
    drop_quietly(unsafe { Arc::from_raw(served.cast::<Served>().cast_const()) });
}

/// A connection that a task is to serve. If it does not, it is closed.
struct Arrived(Cell<Option<Connection>>);

impl Drop for Arrived {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.abandon();
        }
    }
}

/// # Safety
/// Called by the core of the connection, in its run, for a service of this kind.
unsafe fn begin(_: &Scheduler, connection: Connection) -> Result<()> {
    // SAFETY: on the core's thread, in its run.
    let shared = unsafe { scheduler_of(connection.core()) }.shared().clone();
    let arrived = Rc::new(Arrived(Cell::new(Some(connection))));
    let of_task = arrived.clone();
    match Options::default().spawn(&shared, move || serve(&of_task)) {
        Ok(handle) => drop(handle), // The task goes on.
        Err(error) => {
            arrived.0.take(); // The caller's.
            return Err(error);
        }
    }
    Ok(())
}

/// In the task of a connection.
fn serve(arrived: &Arrived) {
    let Some(connection) = arrived.0.take() else { return };
    let _work = Work::of(connection.core()); // Dropped last, however the handler ends.
    let socket = take_socket(connection.fd);
    // SAFETY: the service's own is a `Served`, which is there as long as the cluster.
    let served = unsafe { &*connection.service().own.cast::<Served>() };
    // SAFETY: in a task of the cluster.
    if let Some(handler) = unsafe { served.handler() } {
        handler(socket);
    }
}

/// The descriptor of a connection, which nobody else has from now on.
fn take_socket(number: c_int) -> sys::OwnedFd {
    fd::forget(number);
    // SAFETY: the connection's, which this task has.
    unsafe { sys::OwnedFd::from_raw_fd(number) }
}
