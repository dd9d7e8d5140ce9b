//! The reactor: which tasks wait for which descriptors, and the epoll set that watches them.
//!
//! # From a wait to its event
//!
//! A descriptor that a task begins to wait for is *pending*: it is in a list, and not in the epoll
//! set yet. Before the loop waits, [`poll_pending`](Reactor::poll_pending) calls poll(2) once for
//! all of them. On a busy server many are ready by then, and never enter the epoll set. The others
//! are armed: at once if the loop is about to sleep or to call the program's wait function, else at
//! their second poll.
//!
//! # Why stale events wake no task
//!
//! A program may close a descriptor at any time, and reuse its number for another file. So the
//! table never relies on earlier registrations:
//! - A descriptor is armed for one event (`EPOLLONESHOT`), and re-armed for the next wait. Whether
//!   the kernel knows the number is only a guess (`registered`) that picks the call to try first:
//!   `MOD` and on ENOENT `ADD`, or `ADD` and on EEXIST `MOD`.
//! - Each arming has a new generation, which comes back in the event's data. An event of an older
//!   generation is dropped. Armed for one event, it cannot repeat.
//! - An event wakes only the tasks whose waits were armed with it. A wait that is still pending is
//!   for the file that has the number now, and the event may be of one that had it before, which a
//!   duplicate or a child of fork() keeps open.
//!
//! A task may be left behind in the wait for a file that was closed without [`close`](Reactor::close),
//! when another file gets its number. The kernel tells it if the wait was armed: `MOD` fails with
//! ENOENT. So that is asked before poll(2)'s answer for the number wakes such a task, which is then
//! woken with EBADF. A wait that was not armed yet is for whatever file the loop finds.
//!
//! # Waiters
//!
//! Each descriptor has a FIFO queue of waits, each with its events. An event fires all that are for
//! it; errors and hang-ups fire all. If waits remain, the descriptor is pending again. What has fired
//! is in a queue from which the scheduler wakes the tasks, once it has no borrow of the reactor
//! ([`take_fired`](Reactor::take_fired)): a task may wait for several descriptors, and leaves the
//! others then.
//!
//! All this is for *raw* descriptors, which the program may close by itself. Those that the library
//! owns are registered once, see [`owned`](super::owned).

use std::ffi::c_int;

use libc::EPOLL_CTL_ADD;

use super::entry::{Entry, Fired, READABLE, Stage, entry_of};
use super::owned::Checks;
use crate::engine::sys::{self, Error, Mark, Result, Table};
use crate::engine::task::WaitNode;

/// Events per call of epoll_wait(2) or poll(2).
pub(super) const BATCH: usize = 128;

/// From this many events at a time on, tasks are so many that what waking them needs has left the caches.
const MANY_EVENTS: usize = 16;

/// The event data of the wake-up descriptor; generations of others stay below `u32::MAX`.
const WAKE_UP: u64 = u64::MAX;

/// A scheduler's reactor.
pub struct Reactor {
    pub(super) epoll_fd: c_int,
    /// An eventfd in the epoll set that other threads raise.
    wake_up_fd: c_int,
    /// Indexed by descriptor.
    pub(super) table: Table<Entry>,
    /// The descriptors whose entries are not [`Stage::Idle`]. Has room for all of the table.
    pub(super) pending: Table<c_int>,
    pub(super) waiters: usize,
    /// The waits that have ended, whose tasks have not been woken yet.
    pub(super) fired: Fired,
    /// The waits for owned descriptors that are not known to be in the epoll set.
    pub(super) checks: Checks,
    /// How many there were when the table could shrink last.
    pub(super) waiters_at_shrink: usize,
    /// The generation of new entries: that of entries that are gone.
    pub(super) first_generation: u32,
    /// Whether the wake-up descriptor was readable. The loop clears it before it takes messages;
    /// the reactor must not, since a wait function may wait once more.
    woken_up: bool,
}

impl Reactor {
    /// Creates an epoll set with `wake_up_fd` in it, which the caller keeps owning.
    pub fn create(wake_up_fd: c_int) -> Result<Reactor> {
        Ok(Reactor {
            epoll_fd: new_set(wake_up_fd)?,
            wake_up_fd,
            table: Table::new(),
            pending: Table::new(),
            waiters: 0,
            fired: Fired::new(),
            checks: Checks::new(),
            waiters_at_shrink: 0,
            first_generation: 0,
            woken_up: false,
        })
    }

    /// Replaces the epoll set that a child of fork() shares with its parent, and the wake-up
    /// descriptor. All descriptors with waiters become pending.
    pub fn reinit_after_fork(&mut self, wake_up_fd: c_int) -> Result<()> {
        self.wake_up_fd = wake_up_fd;
        // Nothing fails once it has the old one's place: another attempt would take it for another's.
        self.epoll_fd = sys::take_over(new_set(wake_up_fd)?, self.epoll_fd)?;
        for (fd, entry) in self.table.iter_mut().enumerate() {
            entry.registered = false;
            entry.ownership = 0; // Until the next wait registers it here.
            if !entry.waiters.is_empty() {
                entry.mark_pending(fd as c_int, &mut self.pending);
            }
        }
        Ok(())
    }

    /// The epoll set.
    pub fn fd(&self) -> c_int {
        self.epoll_fd
    }

    /// Whether a descriptor is the epoll set or the wake-up eventfd. If a task armed the eventfd,
    /// stops would go unnoticed.
    pub fn is_internal(&self, fd: c_int) -> bool {
        fd == self.epoll_fd || fd == self.wake_up_fd
    }

    /// Whether the wake-up descriptor was readable since the last call.
    pub fn take_wake_up(&mut self) -> bool {
        std::mem::take(&mut self.woken_up)
    }

    /// Whether any task waits for a descriptor.
    pub fn has_waiters(&self) -> bool {
        self.waiters > 0
    }

    /// The place of a descriptor in the table, which grows if need be.
    pub(super) fn index_of(&mut self, fd: c_int) -> Result<usize> {
        if self.is_internal(fd) {
            return Err(Error::InvalidArgument);
        }
        let index = usize::try_from(fd).map_err(|_| Error::Os(libc::EBADF))?;
        if index >= self.table.len() {
            self.grow(fd, index)?;
        }
        Ok(index)
    }

    /// The entry of a descriptor, if it has one.
    pub(super) fn entry(&mut self, fd: c_int) -> Option<&mut Entry> {
        entry_of(&mut self.table, fd)
    }

    /// Whether any descriptor is pending.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Polls the pending descriptors, and fires the waits for ready ones. Returns the number of these.
    /// Arms the others: with `arm_now` at once, without it those that are polled for the second time.
    #[inline(never)]
    pub fn poll_pending(&mut self, arm_now: bool) -> usize {
        let mut useful = 0;
        let mut kept = 0;
        let mut polls = [sys::pollfd { fd: -1, events: 0, revents: 0 }; BATCH];
        for start in (0..self.pending.len()).step_by(BATCH) {
            let end = (start + BATCH).min(self.pending.len());
            let polls = &mut polls[..end - start];
            for (poll, &fd) in polls.iter_mut().zip(&self.pending[start..end]) {
                let wanted = self.table[fd as usize].wanted();
                *poll = sys::pollfd { fd, events: wanted as i16, revents: 0 };
            }
            // A single descriptor that is registered, or was not ready a moment ago, is rarely ready, so
            // skip poll(2): the epoll set reports it. If poll(2) fails, nothing counts as ready.
            let alone =
                self.pending.len() == 1 && self.table[polls[0].fd as usize].is_rarely_ready();
            if !(alone && arm_now) {
                sys::poll_all(polls);
            }
            for poll in &*polls {
                let entry = &mut self.table[poll.fd as usize];
                let ended = entry.apply_poll(self.epoll_fd, poll, arm_now, &self.fired);
                useful += usize::from(ended > 0);
                self.waiters -= ended;
                if entry.stage != Stage::Idle {
                    self.pending[kept] = poll.fd;
                    kept += 1;
                }
            }
        }
        self.pending.truncate(kept);
        useful
    }

    /// Arms all pending descriptors, so that the epoll set watches every descriptor with waiters.
    pub fn arm_all(&mut self) {
        for &fd in self.pending.iter() {
            self.waiters -= self.table[fd as usize].arm(self.epoll_fd, fd, &self.fired);
        }
        self.pending.truncate(0);
    }

    /// Waits at most `timeout_ns` for events of the epoll set, and fires the waits for them. Returns
    /// the number of events that fired any. An interruption counts as none.
    pub fn poll(&mut self, timeout_ns: u64) -> Result<usize> {
        Ok(self.poll_batch(timeout_ns)?.1)
    }

    /// The same for all that has happened already.
    pub(super) fn take_all(&mut self) {
        while self.poll_batch(0).is_ok_and(|(count, _)| count == BATCH) {}
    }

    /// Returns how many events there were, too.
    fn poll_batch(&mut self, timeout_ns: u64) -> Result<(usize, usize)> {
        let mut events = [sys::epoll_event { events: 0, u64: 0 }; BATCH];
        let count = match sys::epoll_wait(self.epoll_fd, &mut events, timeout_ns) {
            Ok(count) => count,
            Err(Error::Os(libc::EINTR)) => 0,
            Err(error) => return Err(error),
        };
        if count >= MANY_EVENTS {
            self.first_nodes(&events[..count]).for_each(WaitNode::prefetch);
            self.first_nodes(&events[..count]).for_each(WaitNode::prefetch_task);
        }
        let mut useful = 0;
        for event in &events[..count] {
            let (happened, data) = (event.events, event.u64);
            if data == WAKE_UP {
                self.woken_up = true;
            } else if self.dispatch(data as u32 as c_int, (data >> 32) as u32, happened) {
                useful += 1;
            }
        }
        Ok((count, useful))
    }

    fn first_nodes<'w>(&self, events: &[sys::epoll_event]) -> impl Iterator<Item = &'w WaitNode> {
        let fds = events.iter().map(|event| event.u64 as u32 as usize);
        fds.filter_map(|fd| self.table.get(fd)?.waiters.first())
    }

    /// Fires the waits of one event. Returns whether there were any.
    fn dispatch(&mut self, fd: c_int, generation: u32, happened: u32) -> bool {
        let Some(entry) = entry_of(&mut self.table, fd) else { return false };
        if entry.generation != generation {
            return false; // Of an earlier file with this number, or armed again since.
        }
        let ended = entry.fire_armed_for(happened, &self.fired);
        if entry.ownership != 0 {
            entry.owned.happened(happened);
        } else if !entry.waiters.is_empty() {
            entry.mark_pending(fd, &mut self.pending);
        }
        self.waiters -= ended;
        ended > 0
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.table.bytes() + self.pending.bytes() + self.checks.bytes()
    }
}

/// An epoll set with the wake-up descriptor in it.
fn new_set(wake_up_fd: c_int) -> Result<c_int> {
    let set = sys::epoll_create(Mark::of(wake_up_fd))?;
    sys::epoll_ctl(set, EPOLL_CTL_ADD, wake_up_fd, READABLE, WAKE_UP)
        .map(|()| set)
        .inspect_err(|_| sys::close(set))
}

impl Drop for Reactor {
    fn drop(&mut self) {
        sys::close_marked(self.epoll_fd);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::ptr::from_ref;

    use super::super::entry::{READABLE, WRITABLE};
    use super::Reactor;
    use crate::engine::sys;
    use crate::engine::task::{Task, WaitNode};

    /// The waits that have ended, and with what.
    type Woken = Vec<(*const WaitNode, i32)>;

    fn woken(reactor: &Reactor) -> Woken {
        let fired = std::iter::from_fn(|| reactor.take_fired());
        fired.map(|node| (from_ref(node), node.result())).collect()
    }

    fn poll(reactor: &mut Reactor) -> Woken {
        reactor.poll(0).unwrap();
        woken(reactor)
    }

    fn poll_pending(reactor: &mut Reactor, arm_now: bool) -> Woken {
        reactor.poll_pending(arm_now);
        woken(reactor)
    }

    fn arm_all(reactor: &mut Reactor) {
        reactor.arm_all();
        assert_eq!(woken(reactor), []);
    }

    fn readable(node: &WaitNode) -> (*const WaitNode, i32) {
        (from_ref(node), READABLE as i32)
    }

    /// A task that waits.
    fn task() -> &'static Task {
        Box::leak(Box::default())
    }

    /// A reactor, and what must outlive it.
    fn new_reactor() -> (Reactor, EventFd) {
        let wake_up_fd = sys::eventfd(sys::Mark::of_process(1)).unwrap();
        (Reactor::create(wake_up_fd).unwrap(), EventFd(wake_up_fd))
    }

    struct EventFd(i32);

    impl Drop for EventFd {
        fn drop(&mut self) {
            sys::close(self.0);
        }
    }

    #[test]
    fn what_is_ready_is_never_armed() {
        let (mut reactor, _wake_up) = new_reactor();
        let (reader, mut writer) = UnixStream::pair().unwrap();
        let fd = reader.as_raw_fd();
        let node = WaitNode::default();
        reactor.wait(task(), &node, fd, READABLE).unwrap();
        writer.write_all(b"x").unwrap();
        assert_eq!(poll(&mut reactor), []);
        assert_eq!(poll_pending(&mut reactor, true), [readable(&node)]);
        assert!(!reactor.table[fd as usize].registered);
        assert!(!reactor.has_pending() && !reactor.has_waiters());
    }

    #[test]
    fn what_is_not_ready_is_armed_at_the_second_look_or_before_a_sleep() {
        for arm_now in [false, true] {
            let (mut reactor, _wake_up) = new_reactor();
            let (reader, mut writer) = UnixStream::pair().unwrap();
            let node = WaitNode::default();
            reactor.wait(task(), &node, reader.as_raw_fd(), READABLE).unwrap();
            assert_eq!(poll_pending(&mut reactor, arm_now), []);
            assert_eq!(reactor.has_pending(), !arm_now);
            assert_eq!(poll_pending(&mut reactor, false), []);
            assert!(!reactor.has_pending());
            writer.write_all(b"x").unwrap();
            assert_eq!(poll_pending(&mut reactor, true), []);
            assert_eq!(poll(&mut reactor), [readable(&node)]);
        }
    }

    #[test]
    fn what_was_not_ready_is_armed_without_another_look() {
        let (mut reactor, _wake_up) = new_reactor();
        let (reader, mut writer) = UnixStream::pair().unwrap();
        let node = WaitNode::default();
        reactor.wait(task(), &node, reader.as_raw_fd(), READABLE).unwrap();
        reactor.is_not_ready(reader.as_raw_fd());
        writer.write_all(b"x").unwrap(); // So that a look would find it ready.
        assert_eq!(poll_pending(&mut reactor, true), []);
        assert_eq!(poll(&mut reactor), [readable(&node)]);
    }

    #[test]
    fn many_fresh_descriptors_are_looked_at_in_batches() {
        let (mut reactor, _wake_up) = new_reactor();
        let pairs: Vec<_> = (0..300).map(|_| UnixStream::pair().unwrap()).collect();
        let nodes: Vec<WaitNode> = pairs.iter().map(|_| WaitNode::default()).collect();
        for (node, (reader, _)) in nodes.iter().zip(&pairs) {
            reactor.wait(task(), node, reader.as_raw_fd(), READABLE).unwrap();
        }
        let (early, late): (Vec<_>, Vec<_>) = (0..300).partition(|index| index % 3 == 0);
        let write = |index: &usize| (&pairs[*index].1).write_all(b"x").unwrap();
        early.iter().for_each(write);
        let expected: Woken = early.iter().map(|index| readable(&nodes[*index])).collect();
        assert_eq!(poll_pending(&mut reactor, false), expected);
        assert_eq!(reactor.pending.len(), late.len());
        assert_eq!(poll_pending(&mut reactor, true), []);
        late.iter().for_each(write);
        let mut woken = Vec::new();
        while woken.len() < late.len() {
            woken.extend(poll(&mut reactor));
        }
        assert!(late.iter().all(|index| woken.contains(&readable(&nodes[*index]))));
    }

    #[test]
    fn an_event_of_an_earlier_arming_is_dropped() {
        let (mut reactor, _wake_up) = new_reactor();
        let (reader, mut writer) = UnixStream::pair().unwrap();
        let fd = reader.as_raw_fd();
        let (early, late) = (WaitNode::default(), WaitNode::default());
        reactor.wait(task(), &early, fd, READABLE).unwrap();
        arm_all(&mut reactor);
        let earlier = reactor.table[fd as usize].generation;
        reactor.remove_waiter(&early);
        reactor.wait(task(), &late, fd, READABLE).unwrap();
        arm_all(&mut reactor);
        assert!(!reactor.dispatch(fd, earlier, READABLE));
        assert_eq!(poll(&mut reactor), []);
        writer.write_all(b"x").unwrap();
        assert_eq!(poll(&mut reactor), [readable(&late)]);
        assert!(!reactor.has_waiters());
    }

    #[test]
    fn a_number_used_again_is_registered_again() {
        let (mut reactor, _wake_up) = new_reactor();
        let node = WaitNode::default();
        for _ in 0..3 {
            // Most likely the same number each time; the table must not care.
            let (reader, mut writer) = UnixStream::pair().unwrap();
            reactor.wait(task(), &node, reader.as_raw_fd(), READABLE).unwrap();
            arm_all(&mut reactor);
            writer.write_all(b"x").unwrap();
            assert_eq!(poll(&mut reactor), [readable(&node)]);
        }
    }

    #[test]
    fn all_waiters_are_woken_in_order() {
        let (mut reactor, _wake_up) = new_reactor();
        let (reader, mut writer) = UnixStream::pair().unwrap();
        let nodes: [WaitNode; 3] = Default::default();
        for node in &nodes {
            reactor.wait(task(), node, reader.as_raw_fd(), READABLE).unwrap();
        }
        reactor.remove_waiter(&nodes[1]);
        arm_all(&mut reactor);
        writer.write_all(b"x").unwrap();
        assert_eq!(poll(&mut reactor), [readable(&nodes[0]), readable(&nodes[2])]);
        assert_eq!(poll(&mut reactor), []);
        assert!(!reactor.has_waiters());
    }

    #[test]
    fn one_direction_does_not_end_the_wait_for_the_other() {
        let (mut reactor, _wake_up) = new_reactor();
        let (left, mut right) = UnixStream::pair().unwrap();
        let (reading, writing) = (WaitNode::default(), WaitNode::default());
        let writable = (from_ref(&writing), WRITABLE as i32);
        reactor.wait(task(), &reading, left.as_raw_fd(), READABLE).unwrap();
        reactor.wait(task(), &writing, left.as_raw_fd(), WRITABLE).unwrap();
        assert_eq!(poll_pending(&mut reactor, true), [writable]);
        reactor.wait(task(), &writing, left.as_raw_fd(), WRITABLE).unwrap();
        arm_all(&mut reactor);
        assert_eq!(poll(&mut reactor), [writable]);
        right.write_all(b"x").unwrap();
        // It is alone and known to the kernel by now, so only the epoll set is asked.
        assert_eq!(poll_pending(&mut reactor, true), []);
        assert_eq!(poll(&mut reactor), [readable(&reading)]);
    }

    #[test]
    fn what_cannot_be_waited_for_is_told() {
        let (mut reactor, _wake_up) = new_reactor();
        let node = WaitNode::default();
        assert!(reactor.wait(task(), &node, -1, READABLE).is_err());
        assert!(reactor.wait(task(), &node, 1_000_000, READABLE).is_err());
        let directory = env!("CARGO_MANIFEST_DIR").to_owned();
        let file = std::fs::File::open(directory + "/Cargo.toml").unwrap();
        let fd = file.as_raw_fd();
        // epoll does not support a regular file, so its answers come from poll(2).
        reactor.wait(task(), &node, fd, READABLE).unwrap();
        assert_eq!(poll_pending(&mut reactor, true), [readable(&node)]);
        let both = (from_ref(&node), (READABLE | WRITABLE) as i32);
        reactor.wait(task(), &node, fd, READABLE).unwrap();
        reactor.arm_all();
        assert_eq!(woken(&reactor), [both]);
        // A wait for an event that it never has only ends by a timeout.
        let other = WaitNode::default();
        reactor.wait(task(), &node, fd, libc::EPOLLPRI as u32).unwrap();
        reactor.wait(task(), &other, fd, READABLE).unwrap();
        let ready = (from_ref(&other), (READABLE | WRITABLE) as i32);
        reactor.arm_all();
        assert_eq!(woken(&reactor), [ready]);
        assert!(!reactor.has_pending() && reactor.has_waiters());
        reactor.remove_waiter(&node);
        // Closed behind the reactor's back.
        reactor.wait(task(), &node, fd, READABLE).unwrap();
        drop(file);
        let failed = (from_ref(&node), -libc::EBADF);
        assert_eq!(poll_pending(&mut reactor, true), [failed]);
        assert!(!reactor.has_waiters());
    }
}
