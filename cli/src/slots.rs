//! Reading the tasks in the slots of a chunk, twice each, with what they wait for in between.

use crate::memory::{Memory, Place, Read, u8_in, u32_in, u64_in};
use crate::snapshot::{ATTEMPTS, NO_TIMER, Snapshot, State, Task};
use crate::table::Table;
use crate::wait::{Details, Kind, Kinds, Wait};

/// Reads the tasks in some slots.
pub struct Pass<'p> {
    pub memory: &'p dyn Memory,
    pub kinds: &'p mut Kinds,
    pub table: &'p Table,
    pub scheduler: u64,
    pub buffers: &'p mut Buffers,
}

/// What slots are read into, kept from chunk to chunk: new memory costs as much as reading.
#[derive(Default)]
pub struct Buffers {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Pass<'_> {
    /// Those of a chunk, which are behind each other.
    pub fn read(mut self, mut left: Vec<u64>, tasks: &mut Vec<Task>, snapshot: &mut Snapshot) {
        let mut buffers = std::mem::take(self.buffers);
        for attempt in 0..=ATTEMPTS {
            let is_last = attempt == ATTEMPTS;
            let mut again = Vec::new();
            let see = |seen| match seen {
                Seen::Stable(task) => tasks.push(task),
                Seen::Same(mut task) if is_last => {
                    task.state = State::Busy;
                    task.wait = Wait::None;
                    tasks.push(task);
                }
                Seen::Other(_) if is_last => snapshot.dropped += 1,
                Seen::Same(Task { address, .. }) | Seen::Other(address) => again.push(address),
            };
            if self.look(&left, attempt == 0, &mut buffers, see).is_none() {
                snapshot.dropped += 1;
                break;
            }
            if again.is_empty() {
                break;
            }
            snapshot.read_again += again.len();
            left = again;
        }
        *self.buffers = buffers;
    }

    /// Reads slots twice, with what their tasks wait for in between.
    fn look(
        &mut self,
        addresses: &[u64],
        in_one: bool,
        buffers: &mut Buffers,
        mut see: impl FnMut(Seen),
    ) -> Option<()> {
        let bytes = self.table.task_bytes as usize;
        let current = self.current();
        let before = self.slots(addresses, in_one, &mut buffers.before)?;
        let slots: Vec<(u64, &[u8])> = addresses
            .iter()
            .copied()
            .zip(before.chunks_exact(bytes))
            .filter(|(_, slot)| u8_in(slot, self.table.task_alive) != 0)
            .collect();
        let details = self.details(&slots);
        // Free slots are not read again.
        let few = slots.len() * 4 < addresses.len();
        let after = if in_one && !few {
            self.slots(addresses, true, &mut buffers.after)?
        } else {
            let addresses: Vec<u64> = slots.iter().map(|(address, _)| *address).collect();
            self.slots(&addresses, false, &mut buffers.after)?
        };
        let later = |index: usize, address: u64| {
            let place = if in_one && !few {
                (address.wrapping_sub(addresses[0]) / bytes as u64) as usize
            } else {
                index
            };
            &after[place * bytes..][..bytes]
        };
        let current = [current, self.current()];
        for (index, ((address, slot), detail)) in slots.iter().zip(details).enumerate() {
            let later = later(index, *address);
            if u8_in(later, self.table.task_alive) == 0 {
                continue; // It has ended.
            }
            if !self.is_same_task(slot, later) {
                see(Seen::Other(*address));
                continue;
            }
            let task = self.parse(*address, slot, detail, current.contains(address));
            let is_same = self.is_same(slot, later);
            see(if is_same { Seen::Stable(task) } else { Seen::Same(task) });
        }
        Some(())
    }

    fn current(&self) -> u64 {
        let at = self.scheduler.wrapping_add(self.table.scheduler_current_task);
        self.memory.u64_at(at).unwrap_or(0)
    }

    /// The bytes of slots, which may be behind each other.
    fn slots<'b>(
        &self,
        addresses: &[u64],
        in_one: bool,
        buffer: &'b mut Vec<u8>,
    ) -> Option<&'b [u8]> {
        let bytes = self.table.task_bytes as usize;
        let count = addresses.len() * bytes;
        if buffer.len() < count {
            buffer.resize(count, 0);
        }
        let slots = &mut buffer[..count];
        let Some(first) = addresses.first() else { return Some(slots) };
        if in_one {
            return self.memory.read(*first, slots).then_some(slots);
        }
        let mut places: Vec<Place> = addresses
            .iter()
            .zip(slots.chunks_exact_mut(bytes))
            .map(|(address, into)| Place { address: *address, into, is_read: false })
            .collect();
        self.memory.read_many(&mut places);
        places.iter().all(|place| place.is_read).then_some(slots)
    }

    fn details(&mut self, slots: &[(u64, &[u8])]) -> Vec<Wait> {
        let waits: Vec<(u64, u64, u32)> = slots
            .iter()
            .map(|(_, slot)| {
                let wait = self.table.task_wait;
                let interest = u32_in(slot, self.table.task_interest);
                (u64_in(slot, wait), u64_in(slot, wait + 8), interest)
            })
            .collect();
        let memory = self.memory;
        self.kinds.learn(memory, waits.iter().map(|(kind, ..)| *kind));
        let known: Vec<(Option<&Kind>, u64, u32)> = waits
            .into_iter()
            .map(|(kind, object, interest)| (self.kinds.get(kind), object, interest))
            .collect();
        Details { memory, table: self.table, kinds: self.kinds }.read(&known)
    }

    fn parse(&self, address: u64, slot: &[u8], wait: Wait, is_running: bool) -> Task {
        const SLEEPING: u32 = 1;
        let table = self.table;
        let has_timer = u64_in(slot, table.task_heap_index) != NO_TIMER;
        let wakes_at = u64_in(slot, table.task_wake_time_ns);
        let state = if is_running {
            State::Running
        } else if u8_in(slot, table.task_queued) != 0 {
            State::Ready
        } else if !matches!(wait, Wait::None) {
            State::Waiting
        } else if has_timer && u32_in(slot, table.task_state) == SLEEPING {
            State::Sleeping
        } else {
            State::Parked
        };
        let mut name = [0; 24];
        let bytes = slot.get(table.task_name as usize..).unwrap_or(&[]);
        let count = bytes.len().min(name.len()).min(table.name_bytes as usize);
        name[..count].copy_from_slice(&bytes[..count]);
        let is_waiting = matches!(state, State::Waiting);
        let id = u64_in(slot, table.task_id);
        Task {
            address,
            number: (id & ((1 << table.id_number_bits) - 1)) as u32,
            id,
            name,
            state,
            is_canceled: u8_in(slot, table.task_canceled) != 0,
            is_daemon: u8_in(slot, table.task_daemon) != 0,
            turns: u32_in(slot, table.task_turns),
            locks: u32_in(slot, table.task_locks),
            wait: if is_waiting { wait } else { Wait::None },
            wake_time_ns: (has_timer && !is_running && wakes_at != NO_TIMER).then_some(wakes_at),
            since_ticks: u64_in(slot, table.task_waits_since_ticks),
            body: u64_in(slot, table.task_body),
            group: u64_in(slot, table.task_group),
            context: u64_in(slot, table.task_context),
            stack_top: u64_in(slot, table.task_stack_top),
        }
    }

    /// Whether a task is as it was, as far as anything is said of it.
    fn is_same(&self, before: &[u8], after: &[u8]) -> bool {
        let table = self.table;
        let same = |at: u64, count: u64| {
            let range = at as usize..(at + count) as usize;
            before.get(range.clone()) == after.get(range)
        };
        let has_timer = |slot| u64_in(slot, table.task_heap_index) != NO_TIMER;
        [table.task_state, table.task_turns, table.task_locks].iter().all(|at| same(*at, 4))
            && [table.task_queued, table.task_canceled].iter().all(|at| same(*at, 1))
            && [table.task_wake_time_ns, table.task_context, table.task_stack_top]
                .iter()
                .all(|at| same(*at, 8))
            && same(table.task_wait, 16)
            && same(table.task_name, table.name_bytes)
            && has_timer(before) == has_timer(after)
    }

    fn is_same_task(&self, before: &[u8], after: &[u8]) -> bool {
        let id = |slot| u64_in(slot, self.table.task_id);
        let alive = |slot| u8_in(slot, self.table.task_alive) != 0;
        id(before) == id(after) && alive(before) && alive(after)
    }
}

/// What two readings of a slot have shown, unless there is no task in it.
enum Seen {
    Stable(Task),
    /// The task is the same, and has done something.
    Same(Task),
    /// There is another task at this address.
    Other(u64),
}
