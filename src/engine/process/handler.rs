//! The handler of signals, and what each signal did before it was installed.
//!
//! There is one handler, for the runs that signals stop and for the tasks that wait for signals. It is there as
//! long as anybody *uses* a signal. The last one puts back what was there before, unless the program has set
//! something else meanwhile.
//!
//! A signal that nobody has a use for does what it would have done without the handler: one that comes while
//! the last user leaves; one in a child of fork() that has not gone on with the run; one that is handed to this
//! handler by another one, which was set over it and has outlived its uses.
//!
//! Another handler that *covers* this one, having been set over it, may know it as the one before, and hand it what
//! it gets: also when this one was set over the other once more, and hands on what nobody has a use for. That would
//! go in circles. So it is kept what was *beneath* both. What nobody has a use for is handed to that while nobody
//! uses the signal, and when it comes back; and to nobody when it comes back from there.
//!
//! | word | who may change it |
//! |---|---|
//! | `USES`, `FORMER`, `BENEATH` | who begins or ends a use, under the lock; handlers read the latter two |
//! | `Thread::passed`, of each thread | a handler on it: what it hands on, while it does; and back |
//!
//! | a handler finds in `passed` | and hands on to | with `passed` set to |
//! |---|---|---|
//! | another signal, another delivery, or nothing | what was there before (`FORMER`) | this delivery |
//! | this delivery, by a call farther out on the stack | what was beneath | this delivery, beneath |
//! | this delivery, beneath, by a call farther out | nobody | |
//!
//! A delivery is known by its number and by where the kernel has put what it says of it. One that the program has left
//! by siglongjmp(3) stays in `passed`: the next one may come to the same place, but it is no farther in than that was.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

use super::places;
use crate::engine::context::switch::{self, Passed};
use crate::engine::sys::{self, Action, Error, FaultInfo, LAST_SIGNAL, Result, Signal};
use crate::engine::threads::Lock;

/// For each signal, by its number.
const COUNT: usize = LAST_SIGNAL as usize + 1;

static USES: Lock<[Use; COUNT]> = Lock::in_static([const { Use::NONE }; COUNT]);
static FORMER: [Former; COUNT] = [const { Former::none() }; COUNT];
static BENEATH: [Former; COUNT] = [const { Former::none() }; COUNT];

/// Who uses the handler of a signal.
struct Use {
    users: usize,
    /// What was there before.
    before: Option<Action>,
    /// The function that was set over ours last.
    cover: Option<usize>,
}

impl Use {
    const NONE: Use = Use { users: 0, before: None, cover: None };
}

/// What a signal does that nobody has a use for: the parts of an action, which the handler reads.
struct Former {
    function: AtomicUsize,
    flags: AtomicI32,
}

impl Former {
    const fn none() -> Former {
        Former { function: AtomicUsize::new(0), flags: AtomicI32::new(0) }
    }

    fn set(&self, (function, flags): (usize, c_int)) {
        self.flags.store(flags, Relaxed);
        self.function.store(function, Relaxed);
    }

    fn parts(&self) -> (usize, c_int) {
        (self.function.load(Relaxed), self.flags.load(Relaxed))
    }
}

/// What a use is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// A run, which only takes a signal that has its default effect. Calls that it interrupts return, as they do
    /// without the library.
    Run,
    /// Tasks, which it has to reach. Calls of threads that are not concerned go on.
    Tasks,
}

/// Begins a use of a signal's handler. Returns false if the signal is left to the program, and an error if it
/// can have no handler.
pub fn begin_use(signal: c_int, why: For) -> Result<bool> {
    let index = usize::try_from(signal).unwrap_or(COUNT);
    let mut uses = USES.lock();
    let this = uses.get_mut(index).ok_or(Error::InvalidArgument)?;
    let now = Action::now(signal).ok_or(Error::InvalidArgument)?;
    // Looked at each time: a child of fork() may have put the default actions back itself.
    let is_ours = now.is(on_signal);
    let before = this.before.filter(|_| is_ours).unwrap_or(now);
    if why == For::Run && !before.is_default() {
        return Ok(false);
    }
    if !is_ours {
        if this.users > 0 {
            this.cover = Some(now.parts().0);
        }
        if this.cover != Some(now.parts().0) {
            BENEATH[index].set(now.parts());
        }
        FORMER[index].set(now.parts());
        if !Action::catching(on_signal, why == For::Tasks, &now).set(signal) {
            return Err(Error::InvalidArgument);
        }
        this.before = Some(now);
    } else if why == For::Tasks {
        // That of a run does not have calls go on.
        Action::catching(on_signal, true, &before).set(signal);
    }
    this.users += 1;
    Ok(true)
}

/// Ends a use that has begun.
pub fn end_use(signal: c_int) {
    let index = usize::try_from(signal).unwrap_or(COUNT);
    let mut uses = USES.lock();
    let Some(this) = uses.get_mut(index) else { return };
    this.users -= 1;
    if this.users > 0 {
        return;
    }
    match (Action::now(signal), this.before) {
        (Some(now), Some(before)) if now.is(on_signal) => _ = before.set(signal),
        (now, _) => this.cover = now.map(|now| now.parts().0),
    }
    if this.cover == Some(FORMER[index].parts().0) {
        FORMER[index].set(BENEATH[index].parts());
    }
}

extern "C" fn on_signal(number: c_int, info: *mut FaultInfo, context: *mut c_void) {
    let errno = sys::errno();
    // SAFETY: what the kernel gave to this handler.
    let signal = unsafe { Signal::read(number, info) };
    if !places::offer(&signal)
        && let Some(index) = usize::try_from(number).ok().filter(|index| *index < COUNT)
    {
        hand_on(index, number, info, context);
    }
    sys::set_errno(errno);
}

/// Of a delivery: the lowest bit says that it is handed on to what is beneath, and the next ones are the signal. An
/// address leaves room for them.
const BENEATH_BIT: usize = 1;
const NUMBER_BITS: u32 = 8;
const _: () = assert!((COUNT - 1) << 1 < 1 << NUMBER_BITS);

/// Does what was there before.
#[inline(never)]
fn hand_on(index: usize, number: c_int, info: *mut FaultInfo, context: *mut c_void) {
    // SAFETY: the thread's own variable, which lives as long as the thread.
    let place = unsafe { &(*switch::thread()).passed };
    let outer = place.get();
    let here = switch::stack_pointer();
    // Without what the kernel says, from a handler that tells nothing, the number is what there is.
    let delivery = (info as usize) << NUMBER_BITS | index << 1;
    let is_in_it = outer.delivery & !BENEATH_BIT == delivery && here < outer.by;
    let (former, delivery) = match is_in_it {
        true if outer.delivery & BENEATH_BIT != 0 => return,
        true => (&BENEATH, delivery | BENEATH_BIT),
        false => (&FORMER, delivery),
    };
    place.set(Passed { delivery, by: here });
    // SAFETY: the arguments of this handler, and what was there before it.
    unsafe { sys::act(former[index].parts(), number, info, context) };
    place.set(outer);
}
