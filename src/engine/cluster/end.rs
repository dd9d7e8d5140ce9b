//! How a cluster ends: what tells the cores, and what each does then.
//!
//! A core has two messages, each of which is under way once at most.
//!
//! | message | sent | what the loop does |
//! |---|---|---|
//! | `let_go` | once, by who gives up the last hold | lets the scheduler go, and wakes the task that ends the others |
//! | `urged` | by who raises the urge, or whose core is over, unless it is under way: the loop then sees that too | closes the listeners, and makes the task that ends the others; or cancels them |
//!
//! A core that is over before the others, with tasks left, does not give up what they and its mailbox hold before its
//! scheduler is destroyed, which is when no core runs any more. So where one is over, the others let themselves go.

use std::ffi::c_void;
use std::ptr::{NonNull, from_ref};
use std::sync::atomic::Ordering::Relaxed;

use super::messages::{ToCore, WORDS};
use super::object::{Cluster, Core, Stage};
use super::urge::{AT_ONCE, IN_ORDER, NOT, WITHOUT_TASKS};
use crate::engine::log;
use crate::engine::scheduler::{
    Limit, Scheduler, current, end_others, exit, set_cancelable, sleep,
};
use crate::engine::threads::{Message, Remote};
use crate::engine::time::Deadline;

// ---- for all threads

impl Cluster {
    /// Takes a hold; false if it is over.
    pub fn take_hold(&self) -> bool {
        self.urge.get() < AT_ONCE && self.holds.take()
    }

    /// Gives up a hold: with the last one the cores are let go.
    pub fn give_up_hold(&self) {
        if self.holds.give_up() {
            self.cores().iter().for_each(|core| core.send(&core.end.let_go));
        }
    }

    /// Asks for the end: in order, within a grace; at once, if it was asked for before, or there is no grace; and
    /// without waiting for tasks, if that was asked for too. Callable from any thread.
    pub fn stop(&self, grace_ns: u64) {
        let least = if grace_ns == 0 { AT_ONCE } else { IN_ORDER };
        self.urge_by(grace_ns, |urge| (urge + 1).clamp(least, WITHOUT_TASKS));
    }

    /// Asks for the end at once, also if that was asked for before.
    pub fn stop_at_once(&self) {
        self.urge_by(0, |urge| urge.max(AT_ONCE));
    }

    /// A core is over before the others, which were urged before: they would wait for what it has.
    pub(super) fn tell_of_lost_core(&self) {
        self.cores().iter().for_each(Core::send_urged);
    }

    fn urge_by(&self, grace_ns: u64, next: impl Fn(u8) -> u8) {
        self.grace_ns.fetch_min(grace_ns, Relaxed);
        let Some(urge) = self.urge.raise(next) else { return };
        for core in self.cores() {
            if urge == WITHOUT_TASKS {
                let _ = core.remote().and_then(Remote::stop); // It may be gone.
            } else {
                core.send_urged();
            }
        }
        self.give_up_makers_hold();
    }

    /// Whether a core is over, whose tasks and mailbox may hold the cluster until its scheduler is destroyed.
    fn has_lost_a_core(&self) -> bool {
        self.cores().iter().any(Core::is_over)
    }

    /// Whether its end was asked for, or nothing holds it.
    pub fn is_ending(&self) -> bool {
        self.urge.get() != NOT || self.holds.are_over()
    }
}

impl Core {
    fn send_urged(&self) {
        if self.end.notice.put_up() {
            self.send(&self.end.urged);
        }
    }

    /// Its run has ended, or will not return: waits until the others run no more.
    pub(super) fn end_run(&self, is_lost: bool) {
        let cluster = self.cluster();
        let has_others = cluster.is_of_this_process(); // And is no child of fork().
        let is_early = has_others && (is_lost || !cluster.holds.are_over());
        if is_early {
            cluster.stop_at_once(); // Before anybody is told of a call's end here, who would call again.
        }
        // SAFETY: on the core's thread, after `run`.
        unsafe { (cluster.kind.finish)(self) };
        self.stage.set(Stage::TearsDown);
        if has_others {
            self.is_over_now();
            if is_early {
                cluster.tell_of_lost_core();
            }
            cluster.wait_at_barrier();
        }
    }

    /// Its thread ends, with nothing left to do.
    pub(super) fn end_thread(&self) {
        self.is_on_no_thread_now();
        self.cluster().core_has_ended();
    }

    fn send(&self, message: &ToCore) {
        if let Ok(remote) = self.remote() {
            // SAFETY: a part of the core, which outlives its scheduler, and sent once at a time. If that is gone,
            // nothing is left to be told.
            let _ = unsafe { remote.post(NonNull::from(message).cast()) };
        }
    }
}

// ---- in the core

/// # Safety
/// The message of a core.
pub(super) unsafe fn let_go(message: NonNull<Message>) {
    // SAFETY: as this function's contract says; a core lives longer than its scheduler.
    let core = unsafe { &*ToCore::core_of(message).cast::<Core>() };
    if let Some(scheduler) = current() {
        scheduler.let_go();
        core.wake_end(scheduler);
    }
}

/// # Safety
/// As above.
pub(super) unsafe fn urged(message: NonNull<Message>) {
    // SAFETY: as above.
    let core = unsafe { &*ToCore::core_of(message).cast::<Core>() };
    core.end.notice.take_down();
    if let Some(scheduler) = current() {
        core.answer_urge(scheduler);
    }
}

impl Core {
    fn answer_urge(&self, scheduler: &Scheduler) {
        let mut urge = self.cluster().urge.get();
        if self.end.task.get() == 0 {
            self.close_listeners(scheduler);
            match scheduler.spawn_with(end_tasks, from_ref(self), &WORDS) {
                Ok((task, _)) => {
                    task.set_name(b"stop");
                    self.end.task.set(task.id.get());
                }
                Err(error) => {
                    log::error(format_args!(
                        "no task can be made that would give the others of core {} their time: {error}; they are \
                         canceled now",
                        self.index
                    ));
                    urge = AT_ONCE;
                    if self.cluster().has_lost_a_core() {
                        scheduler.let_go();
                    }
                }
            }
        }
        if urge >= AT_ONCE {
            self.cancel_others(scheduler);
            // SAFETY: on its thread, in its run.
            unsafe { (self.cluster().kind.leave_lost)(self, scheduler) };
            self.wake_end(scheduler);
        }
    }

    /// Cancels all tasks but the one that ends them.
    fn cancel_others(&self, scheduler: &Scheduler) {
        let others = scheduler.tasks.iter().filter(|task| task.id.get() != self.end.task.get());
        others.for_each(|task| scheduler.cancel(task));
    }

    fn wake_end(&self, scheduler: &Scheduler) {
        if let Some(task) = scheduler.tasks.find_id(self.end.task.get()) {
            scheduler.wake(task);
        }
    }

    fn is_urgent(&self) -> bool {
        self.cluster().urge.get() >= AT_ONCE
    }
}

/// The body of the task that ends the others of its scheduler: once the cluster is not held, since work may come from
/// other cores until then, or when the grace is over.
///
/// # Safety
/// Called by the core, with the address of a [`Core`].
unsafe extern "C-unwind" fn end_tasks(_scheduler: *mut c_void, state: *mut c_void) {
    /// Between two looks for tasks that other cores have given to this one after the grace.
    const LOOK_NS: u64 = 5_000_000;
    // SAFETY: as this function's contract says; it outlives its scheduler.
    let core = unsafe { &**state.cast::<*const Core>() };
    let Some(scheduler) = current() else { return };
    let mut grace = Deadline::after_ns(core.cluster().grace_ns.load(Relaxed));
    grace.resolve(&scheduler.time.clock);
    let _ = set_cancelable(false); // In a task.
    while scheduler.is_held() && !core.is_urgent() {
        if sleep(Limit::until(grace)).is_ok() {
            break; // It is over.
        }
    }
    loop {
        let is_over = scheduler.is_held() || core.is_urgent();
        if is_over {
            core.cancel_others(scheduler); // Daemons too, which hold the cluster if they were given to it.
        }
        let _ = end_others(if is_over { Deadline::In(0) } else { grace }); // An error: it is being destroyed.
        if !scheduler.is_held() || core.cluster().has_lost_a_core() {
            break;
        }
        let _ = sleep(Limit::until(Deadline::In(LOOK_NS)));
    }
    scheduler.let_go();
    let _ = exit();
}
