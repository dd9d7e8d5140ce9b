//! The cluster: schedulers that run side by side, each on a thread of its own, so that a program uses all
//! processors. Tasks never move between them: errno, thread-local variables and the locks of other libraries stay
//! right. What crosses is work that has not begun, and connections that nobody has read from.
//!
//! # A core
//!
//! A core is a scheduler with its thread. All cores of a cluster are made together, and end together.
//!
//! | a core's thread | goes on when | by whom |
//! |---|---|---|
//! | makes its scheduler, and reports that or an error | | |
//! | waits at the gate | the gate opens: it runs. Or it is shut: it ends | who starts the cluster; who makes it and finds an error, or releases it unstarted |
//! | runs its scheduler, which is held | the run ends: see below | |
//! | waits at the barrier | no core runs any more | the last one |
//! | tears down, destroys its scheduler, ends | | |
//!
//! So no task of a cluster runs while a scheduler of it is being destroyed, and what a task has lent to one of another
//! core is not touched any more then.
//!
//! # The end
//!
//! | word | says | changes |
//! |---|---|---|
//! | `holds` | why the cluster goes on: who has made it, each task that was given to it, each listener and connection | up by who has one, down at the end of each; once it is 0 it stays so |
//! | `urge` | how the end is asked for: not, in order, at once, or without waiting for tasks | upwards only, by any thread |
//! | `error` | the first error of any core | from 0, once |
//!
//! When `holds` comes to 0, all cores are let go: each run ends when the tasks of its scheduler have. To stop in order
//! is to close the listeners, to give up the hold of who has made the cluster, and to cancel the tasks that are left
//! after the grace. A core whose run ends before that, because a task has stopped its scheduler, or for want of
//! anything, stops the others. They do not wait for what its tasks and its mailbox hold then: that is given up when its
//! scheduler is destroyed, behind the barrier.
//!
//! The words are sequences of their own: nothing is read by one of them that another guards, but what `holds` counts.
//! Messages wake the loops that are to see a change, and each is part of the core that it is for (`end.rs`).
//!
//! A core whose thread ends before it should, by pthread_exit(3), is over then, and stops the others too: `lost.rs`.
//!
//! # fork()
//!
//! A child has one thread, and of a cluster the core that runs on it, if any. It goes on as the only scheduler: it is
//! not held, and whoever asks for others is told that they are the parent's.

mod accept;
mod call;
mod call_block;
mod callee;
mod choose;
mod connection;
mod control;
mod end;
mod holds;
mod lost;
mod make;
mod messages;
mod object;
mod thread;
mod urge;

pub use accept::Place;
pub use call::{call, leave_lost_calls};
pub use call_block::Function;
pub use make::Options;
pub use object::{Cluster, Connection, Core, Kind, Service};
