//! What a task waits for, and how it leaves.
//!
//! A waiting task is in the wait queue of an object: a mutex, a descriptor, another task; or it has
//! yielded in the middle of a call that uses the object. [`Task::wait`] names it, as an object and a
//! [`WaitKind`]. The scheduler knows only the kind, so
//! a new kind of waitable object is one new file.
//!
//! A wait ends in one of these ways:
//!
//! - *The object ends it*: it unlinks the task, and hands over the mutex, the permits or the
//!   element. `Task::wait` is [`Wait::NONE`] before the task becomes ready.
//! - *It is interrupted* (a cancel, a wake-up): the scheduler unlinks the task by
//!   [`WaitKind::leave`], and makes it ready.
//! - *The deadline passes*: the task becomes ready, and stays in the wait queue until it runs, so
//!   that the object can still end the wait. Then it leaves, by [`WaitKind::leave`].

use std::ffi::{CStr, c_char, c_void};
use std::fmt::{self, Write};
use std::mem::{offset_of, replace};
use std::ptr::null;

use super::object::Task;
use super::wait_node::WaitNode;
use crate::engine::sys::Error;

/// An opaque reference to a `Scheduler`, for modules below `engine::scheduler`, which converts it.
#[derive(Clone, Copy)]
pub struct SchedulerRef(pub *const c_void);

/// What a task waits for: 16 bytes, and no allocation.
#[derive(Clone, Copy)]
#[repr(C)] // For debuggers.
pub struct Wait {
    kind: *const WaitKind,
    object: usize,
}

impl Wait {
    /// For those who look from outside.
    pub const KIND_OFFSET: usize = offset_of!(Wait, kind);
    pub const OBJECT_OFFSET: usize = offset_of!(Wait, object);

    /// The task is in no wait queue.
    pub const NONE: Wait = Wait { kind: null(), object: 0 };

    /// A wait for an object at an address.
    pub fn on<O>(kind: &'static WaitKind, object: *const O) -> Wait {
        Wait { kind, object: object as usize }
    }

    /// The kind, if there is a wait.
    pub fn kind(self) -> Option<&'static WaitKind> {
        // SAFETY: null, or from a reference to a static.
        unsafe { self.kind.as_ref() }
    }

    /// The object's address or number.
    pub fn object(self) -> usize {
        self.object
    }

    pub fn is(self, kind: &'static WaitKind) -> bool {
        std::ptr::eq(self.kind, kind)
    }

    /// Whether a wake-up or a cancel may end the wait.
    pub fn is_interruptible(self) -> bool {
        self.kind().is_none_or(|kind| kind.interruptible)
    }

    /// Whether a wake-up may end the wait.
    pub fn is_ended_by_wake(self) -> bool {
        self.is_interruptible() && !self.kind().is_some_and(|kind| kind.only_by_cancel)
    }

    /// Whether what is waited for does not come in a child of fork().
    pub fn is_lost_in_child(self) -> bool {
        self.kind().is_some_and(|kind| kind.lost_in_child)
    }

    /// Whether the task leaves the wait queue as soon as its deadline has passed.
    pub fn expires_at_once(self) -> bool {
        self.kind().is_some_and(|kind| kind.expires_at_once)
    }

    /// Whether the wait is for the object at an address, or needs it afterwards.
    ///
    /// # Safety
    /// The task waits, so that the object is alive.
    pub unsafe fn concerns(self, object: *const c_void) -> bool {
        // SAFETY: as this function's contract says.
        self.kind().is_some_and(|kind| unsafe { (kind.concerns)(self.object, object) })
    }
}

/// A kind of wait: a static beside the object's type, made by `WaitKind { .., ..WaitKind::new(name,
/// unlink) }`.
#[repr(C)]
pub struct WaitKind {
    /// A short name, NUL-terminated. Debuggers read it here.
    pub name: *const c_char,
    /// What `Wait::object` is.
    pub object: ObjectKind,
    /// Whether a wake-up or a cancel may end the wait. If not, the task must have no timer.
    pub interruptible: bool,
    /// Whether of these only a cancel may.
    pub only_by_cancel: bool,
    /// Whether what is waited for does not come in a child of fork(), where the wait ends therefore.
    pub lost_in_child: bool,
    /// Whether the task leaves when its deadline passes, and not only when it runs: for an object
    /// without state that could still serve it.
    pub expires_at_once: bool,
    /// Whether the task is in no wait queue, but has yielded in the middle of a call, which it goes
    /// on with when it runs: whatever interrupts the wait makes it ready, and `Task::wait` stays.
    pub is_yield: bool,
    /// Unlinks a task, without effects on other waiters. Its `Task::wait` is [`Wait::NONE`]
    /// already.
    pub unlink: Unlink,
    /// Called instead of `unlink` on a timeout or an interruption: unlinks the task, and also
    /// serves later waiters, or begins another wait of the task.
    pub leave: Option<Leave>,
    /// Whether the wait is for the object at an address, or needs it afterwards.
    pub concerns: unsafe fn(usize, *const c_void) -> bool,
    /// Formats the wait for people, if the name and the object are not enough.
    pub describe: Option<Describe>,
    /// Which tasks can end the wait, where that is known.
    pub holders: Option<&'static Holders>,
}

/// The tasks that can end a wait.
pub struct Holders {
    /// What they are to the object, in front of one of them: "held by". Empty if the description of the wait
    /// is that of the task.
    pub words: &'static str,
    /// Whether it is enough that one of them does something; else each has to.
    pub one_suffices: bool,
    /// The next of them; null behind the last one. The number is 0 at first, and then what the function has
    /// made of it, which holds until anything runs.
    pub next: NextHolder,
}

impl Holders {
    /// What [`next`](Self::next) does where there is one at most, which a function finds.
    pub fn only(latest: &mut usize, find: impl FnOnce() -> *const Task) -> *const Task {
        if replace(latest, 1) == 0 { find() } else { null() }
    }
}

/// # Safety
/// As [`Unlink`], of an object that a task waits for.
pub type NextHolder = unsafe fn(SchedulerRef, usize, &mut usize) -> *const Task;

/// # Safety
/// The scheduler is that of the task; the object is alive and the task in its list.
pub type Unlink = unsafe fn(SchedulerRef, usize, &Task);
/// # Safety
/// As [`Unlink`].
pub type Leave = unsafe fn(SchedulerRef, usize, &Task) -> Left;
/// # Safety
/// The object is alive, since a task waits for it.
pub type Describe = unsafe fn(usize, &mut dyn Write) -> fmt::Result;

// SAFETY: `name` points to a static string, and the rest are functions.
unsafe impl Sync for WaitKind {}

/// What `Wait::object` is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)] // For debuggers.
pub enum ObjectKind {
    Address = 0,
    /// The address of a [`WaitNode`] with a descriptor.
    Descriptor = 1,
    Task = 2,
    /// An internal address, which is not shown.
    Hidden = 3,
}

/// Whether a task has left its wait queue for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It is in no wait queue, and can be made ready.
    Now,
    /// It waits for something else first, which `Task::wait` names by now. `Task::outcome` stays
    /// the outcome of the first wait.
    Later,
}

impl WaitKind {
    /// For debuggers.
    pub const NAME_OFFSET: usize = offset_of!(WaitKind, name);
    pub const OBJECT_OFFSET: usize = offset_of!(WaitKind, object);

    /// A kind of wait for objects with addresses, which is interruptible.
    pub const fn new(name: &'static CStr, unlink: Unlink) -> WaitKind {
        assert!(name.count_bytes() < 16, "longer than debuggers read");
        WaitKind {
            name: name.as_ptr(),
            object: ObjectKind::Address,
            interruptible: true,
            only_by_cancel: false,
            lost_in_child: false,
            expires_at_once: false,
            is_yield: false,
            unlink,
            leave: None,
            concerns: is_at,
            describe: None,
            holders: None,
        }
    }

    pub fn name(&self) -> &'static CStr {
        // SAFETY: from a static string, see `new`.
        unsafe { CStr::from_ptr(self.name) }
    }

    /// See [`Unlink`].
    ///
    /// # Safety
    /// As there.
    pub unsafe fn unlink(&self, scheduler: SchedulerRef, object: usize, task: &Task) {
        // SAFETY: as this function's contract says.
        unsafe { (self.unlink)(scheduler, object, task) }
    }

    /// See [`Leave`].
    ///
    /// # Safety
    /// As [`Unlink`].
    pub unsafe fn leave(&self, scheduler: SchedulerRef, object: usize, task: &Task) -> Left {
        match self.leave {
            // SAFETY: as this function's contract says.
            Some(leave) => unsafe { leave(scheduler, object, task) },
            None => {
                // SAFETY: as above.
                unsafe { (self.unlink)(scheduler, object, task) };
                Left::Now
            }
        }
    }

    /// Formats the wait for people.
    ///
    /// # Safety
    /// The object is alive, since a task waits for it.
    pub unsafe fn describe(&self, object: usize, out: &mut dyn Write) -> fmt::Result {
        let name = self.name().to_string_lossy();
        match (self.describe, self.object) {
            // SAFETY: as this function's contract says.
            (Some(describe), _) => unsafe { describe(object, out) },
            (None, ObjectKind::Descriptor) => {
                // SAFETY: the address of a node of the task that waits.
                let fd = unsafe { (*(object as *const WaitNode)).fd.get() };
                write!(out, "{name} {fd}")
            }
            (None, ObjectKind::Task) => {
                // SAFETY: the address of a task, which is alive.
                let id = unsafe { (*(object as *const Task)).id.get() };
                write!(out, "{name} {id:#x}")
            }
            (None, ObjectKind::Hidden) => write!(out, "{name}"),
            (None, ObjectKind::Address) => write!(out, "{name} {object:#x}"),
        }
    }
}

/// The object is the one at an address.
fn is_at(object: usize, address: *const c_void) -> bool {
    object == address as usize
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The object ended the wait, with a number that says what the call has got, or 0.
    Ready(u32),
    /// The deadline has passed.
    TimedOut,
    /// A wake-up ended the wait.
    Interrupted,
    /// The task was canceled.
    Canceled,
    /// There is no memory for the timer.
    Failed(Error),
    /// The mutex was left locked by a task that has ended.
    OwnerDied,
}

impl Outcome {
    /// The result of the call.
    pub fn result(self) -> Result<u32, Error> {
        match self {
            Outcome::Ready(events) => Ok(events),
            Outcome::TimedOut => Err(Error::TimedOut),
            Outcome::Interrupted => Err(Error::Interrupted),
            Outcome::Canceled => Err(Error::Canceled),
            Outcome::Failed(error) => Err(error),
            Outcome::OwnerDied => Err(Error::OwnerDied),
        }
    }
}
