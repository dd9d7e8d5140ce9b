//! The scheduler: its parts, the loop, the switch between tasks, and the calls that suspend them.
//!
//! `object.rs` composes the parts, each of which has a file with its fields; the other files are
//! the scheduler's operations.

mod block;
mod budget;
mod daemon_end;
mod daemons;
mod deadline;
mod descriptor;
mod dispatch;
mod drain;
mod ending;
mod graph;
mod hold;
mod hook_library;
mod idle;
mod interests;
mod io;
mod join;
mod latency;
mod living;
mod long_turns;
mod lost;
mod messages;
mod name;
mod object;
mod on_thread;
mod orderly;
mod park;
mod post_queue;
mod posts;
mod random;
mod ready_delay;
mod recording;
mod round;
mod run;
mod shortage;
mod signal_set;
mod signals;
mod spare;
mod spend;
mod starved;
mod tasks;
mod time;
mod trim;
mod turns;
mod values;
mod wait_function;
mod wait_regardless;

pub use crate::engine::io::{READABLE, WRITABLE};
pub use block::{
    Limit, Running, exit, is_cancellation_due, park_until_woken, running, set_cancelable, sleep,
    suspend_parked, wait, wait_for_begun, yield_now,
};
pub use deadline::{is_past_deadline, now_ns, set_deadline};
pub use descriptor::{
    close_fd, close_private_fd, node_outcome, wait_fd, wait_fd_later, wait_for_any, wait_to_retry,
};
pub use dispatch::Dispatch;
pub use drain::Drain;
pub use ending::defer;
pub use graph::{Circles, Text};
pub use hook_library::HookCalls;
pub use interests::AtSignal;
pub use io::{Builtin, WaitFunction};
pub use join::join;
pub use living::{LIVING, List, Living};
pub use lost::leave_all_runs;
pub use messages::{Action, act_on, free_message, post_allocated};
pub use object::{Scheduler, current, running_task};
pub use orderly::end_others;
pub use park::own_task;
pub use posts::Post;
pub use run::{Ended, run};
pub use signal_set::SignalSet;
pub use signals::{forgo_signals, wait_for_signal};
#[cfg(not(loom))] // Whose jobs are larger.
pub use spare::SPARE_BYTES;
pub use spend::{spend, spend_in_task, yield_spent};
pub use tasks::Tasks;
pub use time::Time;
pub use values::{set_value, value};
pub use wait_regardless::{regardless, wait_regardless};
