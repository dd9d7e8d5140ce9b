//! Parties: who waits for something that other threads change, such as room in a ring, and how they are told.
//! Checked with loom: `make loom`.
//!
//! A party is one thread that waits, or one scheduler with any number of tasks that wait: its wait queue is its
//! thread's own, which nobody else touches. Here it has one entry, in the list of those that are to be told.
//!
//! # The states of a party
//!
//! | state | is | goes to | by whom |
//! |---|---|---|---|
//! | outside | in no list: it does not wait, or is about to look | listed | its owner: [`Parties::enlist`] |
//! | listed | it waits, and will be told | outside | its owner, which waits no longer: [`Parties::delist`] |
//! | | | told | who tells it, and takes it out of the list: [`Parties::notify`] |
//! | told | a note is on its way to it. It will look | outside | its owner, when the note has come, or who could not deliver it: [`Party::take_note`] |
//!
//! The list, and each change from and to *listed*, is guarded by the lock. It is taken only when somebody
//! waits; `count` says so without, so that a channel at which nobody waits costs no lock.
//!
//! The note of a scheduler is a message. That of a thread is its word, on which it sleeps:
//!
//! | word | is | goes to | by whom |
//! |---|---|---|---|
//! | `WAITS` | it sleeps, or is about to | `GOES_ON` | who takes its party out of the list, under the lock |
//! | `GOES_ON` | the note has come | `WAITS` | the thread, which is outside then, before it enters the list again |
//!
//! # The protocol
//!
//! *No lost wake-up.* Who changes something (publishes an element) first does that and then reads `count`; who
//! waits first enters the list and then looks. Each has a SeqCst fence between the two steps, so at least one
//! sees what the other has done: the one that waits finds the element, or is in the list and gets the note.
//!
//! *One note for one element.* Each element that is published tells one party, if one is listed. A party that
//! has been told looks until there is nothing left for it, and enters the list again if its own
//! waiters are still there: with that it is as if it had only begun to wait. If it has no waiters left while
//! there are elements, because the element was for more than one, or the waiter has given up, it *hands on* the
//! note: it tells another. So a note is never lost with the one who got it.
//!
//! An element may be taken by somebody who has not waited. Then the party that was told finds nothing, and waits
//! on.
//!
//! *Who is told.* First a party that sleeps, since it looks at once. One that is busy looks soon; if none else
//! is listed, that one. A scheduler that does not run ([`Rank::Away`]) may never look, so its note does not count,
//! and the next party is told too. If a run ends between the choice and the note, the note waits in the inbox,
//! until the scheduler runs again or is destroyed, which hands it on.
//!
//! *fork().* In a child the threads that were listed do not exist. The list there is empty at the first use,
//! and the lock is free: what another thread held is not looked at.

use std::cell::Cell;
use std::ptr::{NonNull, null};

use super::Lock;
use super::atomic::{
    AtomicU8, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};
use super::futex::Futex;
use super::identity::this_process;
#[cfg(not(loom))]
use crate::engine::sys;

/// The list of those that wait for one thing.
pub struct Parties {
    /// How many are in the list. Changed under the lock.
    count: AtomicU64,
    list: Lock<List>,
}

struct List {
    first: *const Party,
    last: *const Party,
    /// The process that the parties are of.
    process: u32,
}

// SAFETY: the list is guarded by the lock, and so are the links of the parties in it.
unsafe impl Send for List {}

/// One that may wait. It stays where it is while it is listed.
pub struct Party {
    /// Neighbours in the list.
    next: Cell<*const Party>,
    previous: Cell<*const Party>,
    state: AtomicU8,
    /// The process that it was listed in.
    process: Cell<u32>,
    kind: &'static PartyKind,
}

const OUTSIDE: u8 = 0;
const LISTED: u8 = 1;
const TOLD: u8 = 2;

/// How a kind of party is told.
pub struct PartyKind {
    /// How soon it would look. Under the lock.
    pub rank: unsafe fn(&Party) -> Rank,
    /// It has been taken out of the list. Under the lock.
    pub claim: unsafe fn(&Party),
    /// Sends the note, and returns whether it will be read soon. Not under the lock: a party that does not
    /// wait for its notes may be gone by then.
    pub deliver: unsafe fn(NonNull<Party>) -> bool,
}

/// How soon a party would look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// At once: it does nothing but wait.
    Asleep,
    /// When it comes round to it.
    Busy,
    /// Perhaps never.
    Away,
}

impl Party {
    pub fn new(kind: &'static PartyKind) -> Party {
        Party {
            next: Cell::new(null()),
            previous: Cell::new(null()),
            state: AtomicU8::new(OUTSIDE),
            process: Cell::new(0),
            kind,
        }
    }

    /// The note has come. For its owner, or who could not deliver it: afterwards the party may be used again.
    pub fn take_note(&self) {
        self.state.store(OUTSIDE, Release);
    }

    /// Whether it is in no list, and no note is on its way.
    pub fn is_outside(&self) -> bool {
        self.state.load(Acquire) == OUTSIDE
    }
}

impl Parties {
    pub fn new() -> Parties {
        let list = List { first: null(), last: null(), process: this_process() };
        Parties { count: AtomicU64::new(0), list: Lock::new(list) }
    }

    // ---- for those who wait

    /// Enters a party into the list, if it is outside. What others do is seen after this, or they see the party.
    ///
    /// # Safety
    /// It stays where it is until it is outside again.
    pub unsafe fn enlist(&self, party: &Party) {
        self.locked(|list| {
            if party.state.load(Relaxed) == OUTSIDE {
                list.push(party);
                party.process.set(list.process);
                party.state.store(LISTED, Relaxed);
                self.count.store(self.count.load(Relaxed) + 1, Relaxed);
            }
        });
        fence(SeqCst);
    }

    /// Takes a party out of the list. Returns whether it was in there; if not, it may have been told.
    pub fn delist(&self, party: &Party) -> bool {
        self.locked(|list| {
            if party.state.load(Relaxed) != LISTED {
                return false;
            }
            party.state.store(OUTSIDE, Relaxed);
            if party.process.get() != list.process {
                return false; // In a child of fork(), which has emptied the list.
            }
            list.remove(party);
            self.count.store(self.count.load(Relaxed) - 1, Relaxed);
            true
        })
    }

    /// [`delist`](Self::delist) for an owner that need not know whether it was told: without the lock if it
    /// was.
    pub fn leave(&self, party: &Party) {
        if party.state.load(Relaxed) == LISTED {
            self.delist(party);
        }
    }

    /// Blocks the calling thread until `attempt` returns something, or the moment has come, by the
    /// monotonic clock. `is_ready` tells whether an attempt would succeed.
    pub fn wait<R>(
        &self,
        until_ns: Option<u64>,
        attempt: impl Fn() -> Option<R>,
        is_ready: impl Fn() -> bool,
    ) -> Option<R> {
        if let Some(result) = spin(&attempt) {
            return Some(result);
        }
        let thread = Thread { party: Party::new(&THREAD), word: Futex::new(WAITS) };
        loop {
            // SAFETY: this returns only when the party is outside.
            unsafe { self.enlist(&thread.party) };
            if let Some(result) = attempt() {
                if !self.delist(&thread.party) {
                    self.hand_on(is_ready);
                }
                return Some(result);
            }
            if !thread.word.wait_while(WAITS, until_ns) && self.delist(&thread.party) {
                return attempt(); // The time is over.
            }
            thread.party.take_note();
            thread.word.store(WAITS, Relaxed);
            if let Some(result) = attempt() {
                self.hand_on(is_ready);
                return Some(result);
            }
        }
    }

    /// A party that is no thread begins to wait: enters the list, and looks. If there is something, it is as if it
    /// had come now: one of those who are listed is told.
    ///
    /// # Safety
    /// As [`enlist`](Self::enlist).
    pub unsafe fn begin(&self, party: &Party, is_ready: impl Fn() -> bool) {
        // SAFETY: as this function's contract says.
        unsafe { self.enlist(party) };
        if is_ready() {
            self.notify();
        }
    }

    /// What a party does that has been told, if it is no thread but serves waiters of its own. `serve` gives
    /// them what there is, and returns whether any are left. `is_ready` tells whether there is more.
    ///
    /// # Safety
    /// As [`enlist`](Self::enlist).
    pub unsafe fn serve(
        &self,
        party: &Party,
        serve: impl Fn() -> bool,
        is_ready: impl Fn() -> bool,
    ) {
        party.take_note();
        loop {
            if !serve() {
                return self.hand_on(is_ready);
            }
            // SAFETY: as this function's contract says.
            unsafe { self.enlist(party) };
            if !is_ready() || !self.delist(party) {
                return;
            }
        }
    }

    /// Tells another party, if there is something for it.
    pub fn hand_on(&self, is_ready: impl Fn() -> bool) {
        fence(SeqCst);
        if self.count.load(Relaxed) > 0 && is_ready() {
            self.notify_one();
        }
    }

    // ---- for those who change something

    /// Tells one party, if one waits. To be called after each change that one may wait for.
    #[inline]
    pub fn notify(&self) {
        fence(SeqCst);
        if self.count.load(Relaxed) > 0 {
            self.notify_one();
        }
    }

    #[cold]
    #[inline(never)]
    fn notify_one(&self) {
        while let Some(party) = self.claim_one() {
            if deliver(party) {
                return;
            }
        }
    }

    /// Tells all that wait.
    pub fn notify_all(&self) {
        fence(SeqCst);
        for _ in 0..self.count.load(Relaxed) {
            let Some(party) = self.claim_one() else { return };
            deliver(party);
        }
    }

    /// Takes the one out of the list that looks soonest.
    fn claim_one(&self) -> Option<(NonNull<Party>, &'static PartyKind)> {
        /// So many are looked at.
        const CHOICE: usize = 16;
        self.locked(|list| {
            let mut best: Option<(Rank, &Party)> = None;
            for party in list.iter().take(CHOICE) {
                // SAFETY: it is listed.
                let rank = unsafe { (party.kind.rank)(party) };
                if best.is_none_or(|(other, _)| rank < other) {
                    best = Some((rank, party));
                }
                if rank == Rank::Asleep {
                    break;
                }
            }
            let (_, party) = best?;
            list.remove(party);
            self.count.store(self.count.load(Relaxed) - 1, Relaxed);
            party.state.store(TOLD, Relaxed);
            let claimed = (NonNull::from(party), party.kind);
            // SAFETY: as above. A thread may leave with its party from then on.
            unsafe { (party.kind.claim)(party) };
            Some(claimed)
        })
    }

    fn locked<R>(&self, with: impl FnOnce(&mut List) -> R) -> R {
        let mut list = self.list.lock();
        if list.process != this_process() {
            *list = List { first: null(), last: null(), process: this_process() };
            self.count.store(0, Relaxed);
        }
        with(&mut list)
    }
}

fn deliver((party, kind): (NonNull<Party>, &'static PartyKind)) -> bool {
    // SAFETY: taken out of the list, and claimed.
    unsafe { (kind.deliver)(party) }
}

impl List {
    fn push(&mut self, party: &Party) {
        party.next.set(null());
        party.previous.set(self.last);
        // SAFETY: a listed party is alive.
        match unsafe { self.last.as_ref() } {
            Some(last) => last.next.set(party),
            None => self.first = party,
        }
        self.last = party;
    }

    fn remove(&mut self, party: &Party) {
        let (previous, next) = (party.previous.get(), party.next.get());
        // SAFETY: as above.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => self.first = next,
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(next) => next.previous.set(previous),
            None => self.last = previous,
        }
    }

    fn iter<'p>(&self) -> impl Iterator<Item = &'p Party> + use<'p> {
        let mut next = self.first;
        std::iter::from_fn(move || {
            // SAFETY: as above.
            let party = unsafe { next.as_ref() }?;
            next = party.next.get();
            Some(party)
        })
    }
}

/// Tries for about as long as it takes to wake a thread: while the other side is at work, it costs less on
/// both. The pauses grow, so that there is more than one element or place then.
#[cfg(not(loom))]
fn spin<R>(attempt: impl Fn() -> Option<R>) -> Option<R> {
    const PAUSES: [u32; 4] = [8, 16, 32, 64];
    if sys::processors() == 1 {
        return None;
    }
    PAUSES.into_iter().find_map(|pauses| {
        (0..pauses).for_each(|_| std::hint::spin_loop());
        attempt()
    })
}

#[cfg(loom)]
fn spin<R>(_: impl Fn() -> Option<R>) -> Option<R> {
    None
}

/// A thread that waits, in its own frame.
#[repr(C)]
struct Thread {
    party: Party,
    word: Futex,
}

const WAITS: u32 = 0;
const GOES_ON: u32 = 1;

static THREAD: PartyKind =
    PartyKind { rank: |_| Rank::Asleep, claim: claim_thread, deliver: wake_thread };

/// # Safety
/// A [`Thread`].
unsafe fn claim_thread(party: &Party) {
    let thread = std::ptr::from_ref(party).cast::<Thread>();
    // SAFETY: listed until now, so it is there.
    unsafe { &(*thread).word }.store(GOES_ON, Release);
}

/// # Safety
/// The address of a [`Thread`], which may be gone.
unsafe fn wake_thread(party: NonNull<Party>) -> bool {
    // SAFETY: only an address is computed.
    Futex::wake(unsafe { &raw const (*party.as_ptr().cast::<Thread>()).word });
    true
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/parties.rs"]
mod models;
