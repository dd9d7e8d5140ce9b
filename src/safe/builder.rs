//! How a scheduler is made.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, from_ref};
use std::rc::Rc;
use std::time::Duration;

use super::hooks::{Hooks, call_clock, call_wait};
use super::scheduler::Scheduler;
use super::shared::Shared;
use super::time::to_ns;
use crate::engine::context::stack;
use crate::engine::sys::{Error, Result};
use crate::engine::{inspect, log, scheduler};

/// What a new scheduler is to have.
///
/// ```
/// let scheduler = majjen::Builder::new().name("front").stack_size(128 * 1024).build()?;
/// assert_eq!(scheduler.name().as_deref(), Some("front"));
/// # Ok::<(), majjen::Error>(())
/// ```
#[derive(Default)]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
    guard_size: Option<usize>,
    handle_signals: bool,
    report_overflow: Option<bool>,
    report_long_turns: Option<Duration>,
    daemon_limit: Option<Duration>,
    hooks: Hooks,
}

impl Builder {
    /// A scheduler that waits by epoll, follows the system's monotonic clock, and changes nothing in
    /// the process but what [`report_overflow`](Self::report_overflow) says.
    ///
    /// ```
    /// let scheduler = majjen::Builder::new().build()?;
    /// assert!(scheduler.name().is_none());
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the scheduler, for people: in log lines about it, and as the label `scheduler` of its metrics, also by
    /// handles to it: so those of several schedulers are told apart on one page. These two have the first 23
    /// bytes of it, or what fits of its characters.
    ///
    /// ```
    /// let scheduler = majjen::Builder::new().name("front").build()?;
    /// assert_eq!(scheduler.name().as_deref(), Some("front"));
    /// let labelled = "majjen_current_tasks{scheduler=\"front\"} 0";
    /// assert!(scheduler.metrics_prometheus().contains(labelled));
    /// assert!(scheduler.remote().metrics_prometheus()?.contains(labelled));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// The stack size, in bytes, of tasks that have none of their own; 256 KiB unless set. Rounded up
    /// by at most a quarter: there are four sizes between a power of two and the next one. A function in C
    /// whose variables are larger than the guard below a stack can step over it: see
    /// [`guard_size`](Self::guard_size).
    ///
    /// ```
    /// use majjen::{Builder, Error};
    ///
    /// assert!(Builder::new().stack_size(64 * 1024).build().is_ok());
    /// assert_eq!(Builder::new().stack_size(100).build().unwrap_err(), Error::InvalidArgument);
    /// ```
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// The size, in bytes, of the guard below each stack; 256 KiB unless set, at most 16 MiB. Rounded
    /// up to whole pages. Rust code touches each page of a stack in turn, and cannot step over a guard of
    /// any size: it is for C code that a task calls, where a function's variables can be larger than the
    /// guard, unless it is compiled with `-fstack-clash-protection`.
    ///
    /// ```
    /// use majjen::{Builder, Error};
    ///
    /// assert!(Builder::new().guard_size(1 << 20).build().is_ok());
    /// assert_eq!(Builder::new().guard_size(17 << 20).build().unwrap_err(), Error::InvalidArgument);
    /// ```
    pub fn guard_size(mut self, bytes: usize) -> Builder {
        self.guard_size = Some(bytes);
        self
    }

    /// How long a run waits for [daemons](crate::task::Builder::daemon) to end, when all other tasks have; a
    /// second unless set. [`Duration::MAX`] is for ever.
    ///
    /// ```
    /// use majjen::{Builder, Ended, task};
    /// use std::time::Duration;
    ///
    /// let scheduler = Builder::new().daemon_limit(Duration::from_millis(1)).build()?;
    /// let long = Duration::from_secs(3600);
    /// let daemon = task::Builder::new().daemon(true);
    /// let stays = daemon.spawn_on(&scheduler, move || task::shield(|| task::sleep(long)))?;
    /// scheduler.spawn(|| task::yield_now());
    /// assert_eq!(scheduler.run()?, Ended::Completed);
    /// assert!(!stays.is_finished()); // A line in the log says so.
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn daemon_limit(mut self, limit: Duration) -> Builder {
        self.daemon_limit = Some(limit);
        self
    }

    /// Sets what the scheduler calls when no task is ready: it waits until something may have happened,
    /// and returns the number of events. It is given the longest that it may wait, `None` for ever, and
    /// zero to look and return at once, which is asked every so often while tasks are ready; and a
    /// descriptor that can be read when those that tasks wait for are ready, or
    /// [`StopHandle::stop`](crate::StopHandle::stop) was called. It must return then.
    ///
    /// It runs on the thread's own stack, where it may block, but not suspend. It may return early for no
    /// reason, and may wake tasks. An error that it returns, and a panic, is an ERROR line in the log, and
    /// ends nothing.
    ///
    /// ```
    /// use majjen::{Builder, task};
    /// use std::{cell::Cell, rc::Rc, time::Duration};
    ///
    /// // Simulated time: waiting moves the clock, and takes no time.
    /// let now = Rc::new(Cell::new(Duration::ZERO));
    /// let (read, advance) = (now.clone(), now.clone());
    /// let scheduler = Builder::new()
    ///     .clock(move || read.get())
    ///     .wait(move |timeout, _backend| {
    ///         advance.set(advance.get() + timeout.unwrap_or_default());
    ///         Ok(0)
    ///     })
    ///     .build()?;
    /// scheduler.spawn(|| task::sleep(Duration::from_secs(3600)));
    /// scheduler.run()?;
    /// assert_eq!(now.get(), Duration::from_secs(3600));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn wait(
        self,
        wait: impl FnMut(Option<Duration>, BorrowedFd<'_>) -> io::Result<usize> + 'static,
    ) -> Builder {
        self.hooks.wait.set(Some(Box::new(wait)));
        self
    }

    /// Sets the clock that sleeps and time limits follow: the time since any fixed moment. It is
    /// called often, and must not suspend. If it goes back, time stands still until it has caught
    /// up; if it panics, until it does not, and the first panic is an ERROR line in the log.
    ///
    /// ```
    /// use majjen::{Builder, Instant, task};
    /// use std::time::Duration;
    ///
    /// let began = std::time::Instant::now();
    /// let scheduler = Builder::new().clock(move || began.elapsed()).build()?;
    /// let slept = scheduler.spawn(|| {
    ///     let before = Instant::now();
    ///     task::sleep(Duration::from_millis(1)).map(|()| before.elapsed())
    /// });
    /// scheduler.run()?;
    /// assert!(slept.join()?? >= Duration::from_millis(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock(self, clock: impl Fn() -> Duration + 'static) -> Builder {
        self.hooks.clock.set(Some(Box::new(clock)));
        self
    }

    /// Lets SIGINT and SIGTERM end the run, as the first of them does in an application: the second
    /// one kills. Only while it runs, and only where the signals have their default effect. By
    /// handlers: no signal is blocked, and programs that a task starts have the default actions, as
    /// has a child of fork() that does not go on with the run. SIGPIPE, where it is not ignored as
    /// Rust programs do, has no effect on the thread of the run.
    ///
    /// ```
    /// let scheduler = majjen::Builder::new().handle_signals(true).build()?;
    /// scheduler.spawn(|| println!("Ctrl+C would let the run return"));
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn handle_signals(mut self, handle: bool) -> Builder {
        self.handle_signals = handle;
        self
    }

    /// Whether a stack overflow is reported by a line on stderr that names the task, before it ends
    /// the process; it is unless this says otherwise. The standard library does the same for threads.
    /// While the scheduler runs, this takes a handler for SIGSEGV, which hands on what is no overflow
    /// of a task, and an alternate stack for signals.
    ///
    /// ```
    /// let scheduler = majjen::Builder::new().report_overflow(false).build()?;
    /// scheduler.spawn(|| println!("an endless recursion would end the process without a word"));
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn report_overflow(mut self, report: bool) -> Builder {
        self.report_overflow = Some(report);
        self
    }

    /// Has each turn reported that lasts longer, while it lasts, and once: by WARN lines with the
    /// task's number and name, how long it has lasted so far, and the thread's stack at that moment. They
    /// are counted in [`Metrics::long_turns`](crate::Metrics::long_turns).
    ///
    /// A thread of its own looks at the scheduler twice in that time, but at most once a millisecond, while
    /// it does not wait; on it a logger is called. The stack is seen by a real-time signal whose
    /// disposition is the default one; see [`set_long_turn_signal`](crate::set_long_turn_signal). Few system
    /// calls return early because of it, with EINTR: signal(7) has a list, and the standard library repeats
    /// most of them.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let scheduler =
    ///     majjen::Builder::new().report_long_turns(Duration::from_millis(10)).build()?;
    /// scheduler.spawn(|| std::thread::sleep(Duration::from_millis(50))); // A WARN line.
    /// scheduler.run()?;
    /// assert!(scheduler.metrics().long_turns <= 1);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn report_long_turns(mut self, longer_than: Duration) -> Builder {
        self.report_long_turns = Some(longer_than);
        self
    }

    /// Makes the scheduler.
    ///
    /// ```
    /// let scheduler = majjen::Builder::new().build()?;
    /// scheduler.run()?; // There is nothing to do.
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for a stack size under 16 KiB or
    /// over 1 GiB, or a guard size of 0 or over 16 MiB; [`Error::OutOfMemory`](crate::Error::OutOfMemory)
    /// without address space for a stack with that guard; and those of [`Scheduler::new`].
    pub fn build(mut self) -> Result<Scheduler> {
        log::begin_for_rust();
        let stack_size = self.stack_size.map(stack::valid_size).transpose()?;
        let core = scheduler::Scheduler::create(self.handle_signals)?;
        let core = NonNull::new(core).ok_or(Error::OutOfMemory)?;
        let (has_wait, has_clock) = self.hooks.are_set();
        if let Some(name) = &self.name {
            // SAFETY: made just now.
            unsafe { core.as_ref() }.set_name(name.as_bytes());
        }
        // SAFETY: made just now.
        inspect::trace_if_asked(unsafe { core.as_ref() });
        let name = self.name.map(Rc::from);
        // SAFETY: made just now.
        let shared = Shared::new(unsafe { core.as_ref() }, name, self.hooks);
        // From here on, an early return drops it.
        // SAFETY: made just now, and nobody else has it.
        let scheduler = unsafe { Scheduler::own(core, Rc::new(shared)) };
        let hooks = from_ref(&scheduler.shared().hooks).cast_mut().cast();
        let core = scheduler.core();
        if let Some(bytes) = stack_size {
            core.tasks.set_stack_size(bytes)?;
        }
        if let Some(bytes) = self.guard_size {
            core.tasks.set_guard_size(bytes)?;
        }
        core.report_overflow(self.report_overflow.unwrap_or(true))?;
        if let Some(limit) = self.daemon_limit {
            core.set_daemon_limit(to_ns(limit));
        }
        scheduler.report_long_turns(self.report_long_turns);
        if has_wait {
            core.set_wait_function(Some(call_wait), hooks, None);
        }
        if has_clock {
            core.set_clock(Some(call_clock), hooks)?;
        }
        Ok(scheduler)
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Builder")
            .field("name", &self.name)
            .field("stack_size", &self.stack_size)
            .finish_non_exhaustive()
    }
}

/// Making one.
impl Scheduler {
    /// A scheduler without tasks, as [`Builder::new`] describes it.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// assert_eq!(scheduler.metrics().current_tasks, 0);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], and [`Error::Os`] when its two descriptors cannot be had.
    pub fn new() -> Result<Scheduler> {
        Builder::new().build()
    }

    /// The same as [`Builder::new`].
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::builder().name("front").build()?;
    /// assert_eq!(scheduler.name().as_deref(), Some("front"));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::new()
    }
}
