//! The watchdog: reports a turn that is too long while it lasts.
//!
//! One thread for the process looks, at intervals, at each scheduler that runs and has asked for it. If
//! it sees the same turn for as long as the limit, it counts it, and sends a real-time signal to the
//! scheduler's thread, whose handler copies what is on the stack. The watchdog finds the return
//! addresses in that, and writes the lines.
//!
//! # The words, and who may change them
//!
//! | word | who may change it |
//! |---|---|
//! | `TurnTimes::turn`, `Scheduler::current_task`, `Task::id` | the scheduler's thread, as without a watchdog; the watchdog reads them, under the lock |
//! | `Entry::asleep` | the scheduler's thread, around each wait |
//! | `Entry::long_turns` | the watchdog, under the lock, which adds; to 0: the scheduler's thread |
//! | all else of `Registry` and `Entry` | who holds the lock |
//! | `BELL` | see below |
//! | `capture::STATE` and what it guards | see there |
//!
//! *Nothing dangles.* A scheduler is in the registry from the beginning of a run to its end, and its
//! words are read under the registry's lock only: when it has left, nobody looks at it any more. What a
//! report is made of is the watchdog's own. No lock is held while a line is written, nor while the
//! loader is asked.
//!
//! # The bell
//!
//! | state | is | set by |
//! |---|---|---|
//! | watching | the watchdog looks again within its interval | the watchdog |
//! | parked | it looks again when the bell is rung | the watchdog, before it looks for the last time |
//! | rung | it does not wait | who begins or ends a run; who wakes from a wait and finds it parked |
//!
//! *No missed turn.* A scheduler that wakes first clears `asleep` and then reads the bell; the watchdog
//! first sets the bell to parked and then reads `asleep`. Each has a SeqCst fence between the two steps,
//! so at least one sees the other's store. A bell that is not parked need not be rung: the interval is
//! that of the shortest limit of all that run, asleep or not. Checked with loom.
//!
//! A process in which all schedulers wait is not woken. A watchdog without schedulers ends after
//! [`LINGER_NS`](thread), and the next run makes another.
//!
//! # The signal
//!
//! Its handler is installed while a scheduler is in the registry, and only where the action was
//! the default one, which is put back: it would end the process. So who leaves takes back a signal that
//! was sent to it and that its mask holds off. A signal that nobody has asked for has no effect.
//!
//! # Children of fork()
//!
//! A child has no watchdog. Who locks its registry first finds the number of its parent's process there,
//! and empties it; the scheduler that goes on with its run enters it anew, which makes a thread.

mod bell;
mod capture;
mod frames;
mod registry;
mod report;
mod thread;
mod watch;

pub use watch::{Watch, set_signal};
