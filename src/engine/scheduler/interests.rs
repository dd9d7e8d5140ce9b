//! What tasks want of signals: the scheduler's part. `signals.rs` has the calls.
//!
//! A task that waits for signals has an *interest* in them from its first wait on, and keeps it between its waits:
//! what comes meanwhile is kept for the next one, so a task that waits in a loop misses none. As long as anybody
//! has an interest in a signal, it is handled (`process/catch.rs`), and what it did before it does not do.
//!
//! | an interest | when | by whom |
//! |---|---|---|
//! | is made | at the first wait of a task | the task |
//! | has other signals | at a wait for others | the task: a new one takes its place |
//! | gets a signal, unless it has one of that number | when the loop, or a task in a wait, takes what has arrived | the scheduler's thread |
//! | gives a signal to its task | in a wait | the task |
//! | ends | when the task gives it back, or ends; or with the scheduler | the scheduler's thread |
//!
//! All of this is of the scheduler's thread alone. What crosses threads is in `threads/arrivals.rs` and in
//! `process/places.rs`.
//!
//! *No signal is lost with an interest.* One that has come for an interest that ends, and after which no task has
//! taken one of its number, is sent to the process again: to others that wait for it, or to what it did before.
//! Of those that coalesce in an interest, what is known is that of the first, and the ordinal that of the last.
//!
//! *How an interest ends with its task.* It is in the task's list of joiners, by a node whose task is one that
//! never runs: when its turn comes to be woken, the interest ends. So a task without interests knows nothing of
//! them.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{NonNull, from_ref, null_mut};

use super::signal_set::{SignalSet, bit, numbers};
use crate::engine::process::catch::{Catcher, take_left};
use crate::engine::sys::{self, Error, LAST_SIGNAL, Result, Signal};
use crate::engine::task::{Links, SchedulerRef, Task, Wait, WaitKind, WaitNode, WaitQueue, Waiter};
use crate::engine::threads::{Arrival, Arrivals, Message, Remote, this_process};

const NONE: Arrival = Arrival { signal: Signal::NONE, ordinal: 0 };

/// The scheduler's part for signals.
pub struct Signals(Cell<*mut Caught>);

/// Where handlers leave signals for a scheduler.
#[repr(C)]
pub struct Inlet {
    /// First, by which the message is found.
    arrivals: Arrivals,
    caught: *const Caught,
    /// That of the process which this one is a child of, if its message may be in the mailbox.
    former: *mut Inlet,
}

impl Inlet {
    /// NULL without memory.
    fn allocate(message: Message, caught: *const Caught, former: *mut Inlet) -> *mut Inlet {
        let memory = sys::allocate::<Inlet>(1);
        if !memory.is_null() {
            // SAFETY: fresh memory for one.
            unsafe { memory.write(Inlet { arrivals: Arrivals::new(message), caught, former }) };
        }
        memory
    }

    /// # Safety
    /// From `allocate`, with all former ones, and not used again.
    unsafe fn free(mut inlet: *mut Inlet) {
        // SAFETY: as this function's contract says.
        while let Some(Inlet { former, .. }) = unsafe { inlet.as_ref() } {
            let gone = std::mem::replace(&mut inlet, *former);
            // SAFETY: as above.
            unsafe { sys::free(gone.cast()) };
        }
    }

    /// The loop has the message out of the mailbox.
    pub fn arrive(&self, told: &dyn Told) {
        self.arrivals.begin_take();
        self.caught().deliver(told);
    }

    pub fn caught(&self) -> &Caught {
        // SAFETY: it outlives its inlets.
        unsafe { &*self.caught }
    }
}

/// What it has once a task has waited for a signal.
pub struct Caught {
    inlet: Cell<*mut Inlet>,
    catcher: Catcher,
    interests: WaitQueue<Interest>,
    /// For each signal, how many have an interest in it.
    counts: [Cell<usize>; LAST_SIGNAL as usize],
    /// The signals of which one is to end the run.
    of_run: Cell<u64>,
    /// The signal that something is to be done at, by the loop, as a set; and which has come, 0 for none.
    of_loop: Cell<u64>,
    for_loop: Cell<i32>,
    /// How many tasks wait.
    waiting: Cell<usize>,
    /// One that has ended, and is to be freed.
    ended: Cell<*mut Interest>,
}

/// A task's interest in signals.
pub struct Interest {
    links: Links<Interest>,
    set: u64,
    /// The signals that have come and are not taken yet, in the process that they came to.
    pending: Cell<u64>,
    process: Cell<u32>,
    arrivals: [Cell<Arrival>; LAST_SIGNAL as usize],
    task: *const Task,
    caught: *const Caught,
    is_waiting: Cell<bool>,
    /// In the task's list of joiners; it is of the one below.
    node: WaitNode,
    /// It is no task of the scheduler, and never runs.
    stand_in: Task,
}

/// What is done when a signal is to end a run in order.
#[derive(Clone, Copy)]
pub struct AtSignal {
    /// Makes a task that calls `end_others`, see `orderly.rs`. The scheduler is the one that runs.
    pub begin: unsafe fn(SchedulerRef, *mut c_void) -> Result<()>,
    /// For `begin`.
    pub data: *mut c_void,
}

/// What the loop calls at a signal, with its number.
///
/// # Safety
/// The scheduler is the one that runs on this thread.
pub type AtCall = unsafe fn(SchedulerRef, i32);

/// Who is told of signals: the scheduler, or what is left of it when it is destroyed.
pub trait Told {
    /// A task's wait has ended.
    fn ready(&self, task: &Task);
    /// The run is to end.
    fn end_run(&self, signal: i32);
}

/// There is nobody any more.
pub(super) struct Nobody;

impl Told for Nobody {
    fn ready(&self, _: &Task) {}
    fn end_run(&self, _: i32) {}
}

impl Waiter for Interest {
    fn links(&self) -> &Links<Interest> {
        &self.links
    }
}

impl Interest {
    /// The interest of a task. `end_of_task` is what stand-ins wait for.
    pub fn of<'i>(task: &'i Task, end_of_task: &'static WaitKind) -> Option<&'i Interest> {
        let of_interest = |node: &&WaitNode| node.task().wait.get().is(end_of_task);
        let node = task.joiners.iter().find(of_interest)?;
        // SAFETY: what a wait of this kind is for, alive while its node is in the list.
        Some(unsafe { &*(node.task().wait.get().object() as *const Interest) })
    }

    /// Gets a signal, if it is one of its. Returns whether.
    fn add(&self, arrival: &Arrival) -> bool {
        let Arrival { signal, ordinal } = *arrival;
        let bit = self.set & bit(signal.number);
        if bit == 0 {
            return false;
        }
        let place = &self.arrivals[signal.number as usize - 1];
        if self.pending() & bit == 0 {
            self.pending.set(self.pending() | bit);
            place.set(*arrival);
        } else {
            let there = place.get();
            place.set(Arrival { ordinal: ordinal.max(there.ordinal), ..there });
        }
        true
    }

    fn pending(&self) -> u64 {
        // A child of fork() has no pending signals at first.
        if self.process.replace(this_process()) != this_process() {
            self.pending.set(0);
        }
        self.pending.get()
    }

    pub fn has_signals(&self) -> bool {
        self.pending() != 0
    }

    /// Gives up a signal.
    pub fn take(&self) -> Option<Arrival> {
        let number = numbers(self.pending()).next()?;
        self.pending.set(self.pending() & !bit(number));
        Some(self.arrivals[number as usize - 1].get())
    }

    fn caught(&self) -> &Caught {
        // SAFETY: it outlives its interests.
        unsafe { &*self.caught }
    }

    pub fn begin_to_wait(&self) {
        self.is_waiting.set(true);
        let waiting = &self.caught().waiting;
        waiting.set(waiting.get() + 1);
    }

    /// Returns whether its task has waited.
    pub fn stop_waiting(&self) -> bool {
        let has_waited = self.is_waiting.replace(false);
        if has_waited {
            let waiting = &self.caught().waiting;
            waiting.set(waiting.get() - 1);
        }
        has_waited
    }

    /// Takes its node out of the list of the task, which does not end.
    pub fn leave_task(&self, task: &Task) {
        self.node.leave(&task.joiners);
    }
}

impl Signals {
    pub const fn new() -> Signals {
        Signals(Cell::new(null_mut()))
    }

    pub fn caught(&self) -> Option<&Caught> {
        // SAFETY: null, or made by `prepare`, and there until the scheduler is destroyed.
        unsafe { self.0.get().as_ref() }
    }

    /// Whether a signal could make a task ready.
    pub fn are_awaited(&self) -> bool {
        self.caught().is_some_and(|caught| caught.waiting.get() > 0)
    }

    /// Makes what is needed, if it is not there. The `message` is for the scheduler of the handle, and calls
    /// [`Inlet::arrive`].
    pub fn prepare(&self, remote: &Remote, message: Message) -> Result<&Caught> {
        if let Some(caught) = self.caught() {
            return Ok(caught);
        }
        let memory = sys::allocate::<Caught>(1);
        let inlet = Inlet::allocate(message, memory, null_mut());
        let catcher = match memory.is_null() || inlet.is_null() {
            true => Err(Error::OutOfMemory),
            // SAFETY: the arrivals are there until `Drop` has dropped the catcher.
            false => unsafe { Catcher::new(remote, inlet.cast()) },
        };
        // SAFETY: from above, and nobody uses them.
        let catcher = catcher.inspect_err(|_| unsafe {
            Inlet::free(inlet);
            sys::free(memory.cast());
        })?;
        let caught = Caught {
            inlet: Cell::new(inlet),
            catcher,
            interests: WaitQueue::new(),
            counts: [const { Cell::new(0) }; LAST_SIGNAL as usize],
            of_run: Cell::new(0),
            of_loop: Cell::new(0),
            for_loop: Cell::new(0),
            waiting: Cell::new(0),
            ended: Cell::new(null_mut()),
        };
        // SAFETY: fresh memory for one.
        unsafe { memory.write(caught) };
        self.0.set(memory);
        self.caught().ok_or(Error::OutOfMemory)
    }

    /// Nobody waits for any: the last in the process for whom a signal was caught gives back the action that was
    /// there before.
    pub fn give_up(&self) {
        let Some(caught) = self.caught() else { return };
        // The tasks are gone, or will not run, and so are their lists.
        while let Some(interest) = caught.interests.first() {
            caught.end(interest, &Nobody);
        }
        caught.free_ended();
        caught.uncount(caught.of_loop.take(), 0);
        let inlet = caught.inlet.get();
        let memory = self.0.replace(null_mut());
        // SAFETY: from `prepare`; the mailbox is closed, and no handler finds the arrivals once the catcher is
        // dropped.
        unsafe {
            memory.drop_in_place();
            sys::free(memory.cast());
            Inlet::free(inlet);
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Caught {
    pub(super) fn arrivals(&self) -> &Arrivals {
        // SAFETY: there from the beginning on, until this is dropped.
        unsafe { &(*self.inlet.get()).arrivals }
    }

    /// In a child of fork() that goes on with the run, before the handler finds the scheduler: it has no signals yet.
    /// `message` is as for [`prepare`](Signals::prepare).
    pub fn begin_in_child(&self, message: Message) -> Result<()> {
        if self.arrivals().begin_in_child() {
            return Ok(());
        }
        let inlet = Inlet::allocate(message, self, self.inlet.get());
        if inlet.is_null() {
            return Err(Error::OutOfMemory);
        }
        self.inlet.set(inlet);
        // SAFETY: as in `prepare`.
        unsafe { self.catcher.set_arrivals(inlet.cast()) };
        Ok(())
    }

    /// The interest of a task in a set of signals, which takes the place of the one that it had.
    pub fn interest_of<'i>(
        &'i self,
        task: &'i Task,
        SignalSet(set): SignalSet,
        end_of_task: &'static WaitKind,
        told: &dyn Told,
    ) -> Result<&'i Interest> {
        let known = Interest::of(task, end_of_task);
        if let Some(known) = known.filter(|interest| interest.set == set) {
            return Ok(known);
        }
        self.free_ended();
        let memory = sys::allocate::<Interest>(1);
        let memory = NonNull::new(memory).ok_or(Error::OutOfMemory)?;
        let interest = Interest {
            links: Links::default(),
            set,
            pending: Cell::new(0),
            process: Cell::new(this_process()),
            arrivals: [const { Cell::new(NONE) }; LAST_SIGNAL as usize],
            task,
            caught: self,
            is_waiting: Cell::new(false),
            node: WaitNode::default(),
            stand_in: Task::default(),
        };
        // SAFETY: fresh memory for one.
        let interest = unsafe {
            memory.write(interest);
            memory.as_ref()
        };
        // SAFETY: nobody else knows it.
        self.count(set).inspect_err(|_| unsafe { sys::free(memory.as_ptr().cast()) })?;
        self.interests.push(interest);
        interest.stand_in.wait.set(Wait::on(end_of_task, interest));
        interest.node.begin(&interest.stand_in, &task.joiners, 0);
        if let Some(known) = known {
            self.deliver(told);
            for number in numbers(known.pending() & set) {
                interest.add(&known.arrivals[number as usize - 1].get());
            }
            known.pending.set(known.pending() & !set);
            known.leave_task(task);
            self.end(known, told);
        }
        Ok(interest)
    }

    /// Counts an interest in signals. An error, and nothing has changed, if one of them cannot be handled.
    fn count(&self, set: u64) -> Result<()> {
        for number in numbers(set) {
            if let Err(error) = self.catcher.add(number) {
                self.uncount(set & (bit(number) - 1), bit(number));
                return Err(error);
            }
            let count = &self.counts[number as usize - 1];
            count.set(count.get() + 1);
        }
        Ok(())
    }

    /// Undoes [`count`](Self::count). Others are gone, too, if nobody else has an interest in them.
    fn uncount(&self, set: u64, others: u64) {
        let count = |number: i32| &self.counts[number as usize - 1];
        numbers(set).for_each(|number| count(number).set(count(number).get() - 1));
        let is_gone = |number: &i32| count(*number).get() == 0;
        let gone = numbers(set | others).filter(is_gone).map(bit).sum();
        self.catcher.remove(set, gone);
    }

    /// The next signal of a set is to end the run, which has just begun.
    pub fn begin_run(&self, set: u64) -> Result<()> {
        self.count(set)?;
        self.of_run.set(set);
        Ok(())
    }

    /// The run ends, or is being ended: what signals do to it is not our affair any more.
    pub fn end_run(&self, told: &dyn Told) {
        self.forgo_run();
        self.deliver(told);
    }

    fn forgo_run(&self) {
        self.uncount(self.of_run.replace(0), 0);
    }

    /// From now on the loop is told of these signals, and not of those that it was told of before. An error, and
    /// nothing has changed, if one of them cannot be handled.
    pub fn tell_loop(&self, signals: Option<SignalSet>) -> Result<()> {
        let set = signals.map_or(0, |SignalSet(set)| set);
        self.count(set)?;
        self.uncount(self.of_loop.replace(set), 0);
        Ok(())
    }

    /// The signal that has come for the loop, if one has.
    pub fn take_for_loop(&self) -> Option<i32> {
        Some(self.for_loop.take()).filter(|signal| *signal != 0)
    }

    /// Gives what has arrived to those that have an interest in it, and readies those that wait.
    pub fn deliver(&self, told: &dyn Told) {
        self.arrivals().take(|arrival| {
            let number = arrival.signal.number;
            if self.counts[number as usize - 1].get() == 0 {
                return send_if_left(&arrival); // The interest ended while it was on its way.
            }
            if self.of_run.get() & bit(number) != 0 {
                self.forgo_run();
                take_left(&arrival);
                told.end_run(number);
            }
            if self.of_loop.get() & bit(number) != 0 {
                take_left(&arrival);
                self.for_loop.set(number);
            }
            for interest in self.interests.iter() {
                if interest.add(&arrival) && interest.stop_waiting() {
                    // SAFETY: a task that waits is alive.
                    let task = unsafe { &*interest.task };
                    task.wait.set(Wait::NONE);
                    told.ready(task);
                }
            }
        });
    }

    /// Ends an interest, whose node is in no list.
    pub fn end(&self, interest: &Interest, told: &dyn Told) {
        self.deliver(told); // To the others, which are to be told when it is.
        self.interests.remove(interest);
        self.uncount(interest.set, 0);
        while let Some(arrival) = interest.take() {
            // Others that have it are yet to take it.
            let has_it = |other: &Interest| other.pending() & bit(arrival.signal.number) != 0;
            if !self.interests.iter().any(has_it) {
                send_if_left(&arrival);
            }
        }
        self.deliver(told);
        self.free_ended();
        self.ended.set(from_ref(interest).cast_mut());
    }

    /// Frees the interest that has ended: not at once, since its node was in use.
    fn free_ended(&self) {
        let ended = self.ended.replace(null_mut());
        if !ended.is_null() {
            // SAFETY: from `interest_of`, and in no list.
            unsafe { sys::free(ended.cast()) };
        }
    }
}

/// Sends a signal that an interest has not taken to the process again, unless a task has.
fn send_if_left(arrival: &Arrival) {
    if take_left(arrival) {
        arrival.signal.send_again();
    }
}
