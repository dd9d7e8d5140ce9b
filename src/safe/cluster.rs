//! All processors: schedulers on threads of their own, which are given work and connections.
//!
//! A [`Cluster`] has a scheduler for each core. Tasks stay on the core where they began, with all that they use:
//! `Rc`, `Cell` and thread-local variables are right in them. What crosses is what has not begun: closures that are
//! `Send`, by [`Cluster::spawn`] and [`Cluster::call`], and connections, by [`Cluster::listen`].
//!
//! ```
//! use majjen::cluster::Builder;
//! use majjen::net::TcpStream;
//! use std::io::{Read, Write};
//! use std::time::Duration;
//!
//! let cluster = Builder::new().cores(2).build()?;
//! let address = cluster.listen("127.0.0.1:0", |mut stream| {
//!     let _ = stream.write_all(b"hello"); // In a task of one of the cores.
//! })?;
//! let client = cluster.clone();
//! cluster.spawn(0, move || {
//!     let mut text = String::new();
//!     TcpStream::connect(address).unwrap().read_to_string(&mut text).unwrap();
//!     assert_eq!(text, "hello");
//!     client.stop(Duration::from_secs(1));
//! })?;
//! cluster.run(Duration::from_secs(1))?; // Until it is stopped: by the task, SIGINT or SIGTERM.
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it ends
//!
//! A cluster ends when nothing holds it: who has made it does, until [`Cluster::join`] or [`Cluster::run`]; each
//! closure that it was given and each connection, until its task has ended; and each listener, until the cluster is
//! [stopped](Cluster::stop). Then each core's run ends as [`Scheduler::run`](crate::Scheduler::run) does, when its
//! own tasks have ended; and when all runs have, the schedulers are dropped, each on its thread.
//!
//! *Dropping the last handle* stops a cluster at once, and waits for its end, as dropping a
//! [`Scheduler`](crate::Scheduler) ends its tasks. In a task, and on a thread of the cluster, it does not wait: a
//! thread that is made for it does. A task or a listener's handler that owns a [`Cluster`] keeps it from that; it can
//! have a [`Core`] instead, which does not.
//!
//! # Panics
//!
//! A panic ends its task alone, as everywhere: a line in the log tells of it, and the cluster goes on. One of a
//! function that sets a core up, or of [`run_on_all_cores`], stops the cluster, and is what [`Cluster::join`]
//! returns.

mod all_cores;
mod builder;
mod call;
mod handle;
mod kind;
mod listen;
mod pending_calls;
mod work;

pub use all_cores::run_on_all_cores;
pub use builder::Builder;
pub use handle::{Cluster, Core};
