//! Running a cluster from one thread, which waits for signals meanwhile.
//!
//! That thread runs a scheduler of its own, which no core's work keeps from answering. It is held until the last core
//! has ended, whose thread sends it a message.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{NonNull, null};
use std::sync::atomic::Ordering::Relaxed;

use super::messages::{Control, WORDS, forget};
use super::object::Cluster;
use crate::engine::scheduler::{
    self, HookCalls, Limit, Scheduler, SignalSet, current, exit, wait_for_signal,
};
use crate::engine::sys::{Error, Result};
use crate::engine::threads::Message;
use crate::engine::time::Deadline;

/// The task that waits for signals.
struct Waiter {
    cluster: *const Cluster,
    set: SignalSet,
    grace_ns: u64,
    /// Whether it has started the cluster.
    started: *const Cell<Result<()>>,
}

/// Destroys a scheduler.
struct Owned(*mut Scheduler);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: from `create`, and it does not run.
        let _ = unsafe { Scheduler::destroy(self.0) };
    }
}

impl Cluster {
    /// Starts it, and waits for its end, as [`join`](Self::join). SIGINT and SIGTERM [stop](Self::stop) it, with this
    /// grace: a second one at once, and a third without waiting for tasks.
    pub fn run(&self, calls: HookCalls, grace_ns: u64) -> Result<()> {
        self.check_process()?;
        if current().is_some() || self.has_this_thread() {
            return Err(Error::Busy);
        }
        let message = Message::new(let_go, forget); // There longer than the scheduler that it is for.
        let owned = Owned(Scheduler::create(false)?);
        // SAFETY: created just now, and destroyed by `owned`.
        let scheduler = unsafe { &*owned.0 };
        scheduler.set_name(b"cluster");
        scheduler.hold(null());
        let started = Cell::new(Err(Error::Disconnected));
        let set = SignalSet::of([libc::SIGINT, libc::SIGTERM])?;
        let waiter = Waiter { cluster: self, set, grace_ns, started: &started };
        let (task, _) = scheduler.spawn_with(wait_for_signals, waiter, &WORDS)?;
        task.set_name(b"signals");
        scheduler.set_daemon(task, true);
        let control =
            Control { remote: scheduler.remote.clone(), message: NonNull::from(&message) };
        {
            let mut told = self.control.lock();
            if self.is_started() || told.is_some() {
                return Err(Error::Busy);
            }
            *told = Some(control);
        }
        // It ends when the message has come. One that is stopped or fails has nothing else to wait for.
        let mut ran = Ok(());
        while scheduler.is_held() && ran.is_ok() {
            ran = scheduler::run(scheduler, calls, None).map(drop);
        }
        if started.get().and(ran).is_err() {
            self.control.lock().take(); // Its message is not there any more.
        }
        started.get()?;
        if let Err(error) = ran {
            self.fail(error);
        }
        self.join()
    }

    /// A core has ended.
    pub(super) fn core_has_ended(&self) {
        if self.living.fetch_sub(1, Relaxed) > 1 {
            return;
        }
        if let Some(control) = self.control.lock().take() {
            // SAFETY: its scheduler is held until it has come. If that is gone, nobody waits.
            let _ = unsafe { control.remote.post(control.message) };
        }
    }
}

/// # Safety
/// The message of a [`Control`].
unsafe fn let_go(_: NonNull<Message>) {
    if let Some(scheduler) = current() {
        scheduler.let_go();
    }
}

/// # Safety
/// Called by the core, with a [`Waiter`], whose cluster is there while its thread runs it.
unsafe extern "C-unwind" fn wait_for_signals(_scheduler: *mut c_void, state: *mut c_void) {
    // SAFETY: as this function's contract says.
    let Waiter { cluster, set, grace_ns, started } = unsafe { &*state.cast::<Waiter>() };
    // SAFETY: as above; the cell is that of the call that runs this.
    let (cluster, started) = unsafe { (&**cluster, &**started) };
    let Some(scheduler) = current() else { return };
    let unlimited = Limit::uninterrupted(Deadline::Never);
    // From here on they do not end the process: before the cluster begins.
    let mut come = wait_for_signal(*set, Limit::uninterrupted(Deadline::In(0)));
    let can_wait = come.map_or_else(|error| error == Error::TimedOut, |_| true);
    started.set(match come {
        Err(error) if !can_wait => Err(error),
        _ => cluster.start(),
    });
    match started.get() {
        Ok(()) => cluster.give_up_makers_hold(),
        Err(_) => scheduler.let_go(),
    }
    loop {
        match come {
            Ok(signal) => {
                let _ = cluster.signal.compare_exchange(0, signal.number, Relaxed, Relaxed);
                cluster.stop(*grace_ns);
            }
            Err(Error::TimedOut) => {}
            Err(_) => break, // It is canceled: all cores have ended.
        }
        come = wait_for_signal(*set, unlimited);
    }
    let _ = exit(); // In a task.
}
