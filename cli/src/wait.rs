//! What tasks wait for, as the memory has it.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::memory::{Memory, Place, Read, u16_in, u32_in, u64_in};
use crate::table::Table;

/// What a task waits for. Addresses are in the process.
#[derive(Clone, Debug, PartialEq)]
pub enum Wait {
    None,
    Descriptor {
        fd: i32,
        events: u16,
    },
    Descriptors(Box<[(i32, u16)]>),
    /// The end of the task at an address.
    Task(u64),
    Mutex(Mutex),
    /// A condition; and the mutex that it is used with.
    Condition {
        address: u64,
        mutex: u64,
    },
    Semaphore {
        address: u64,
        wanted: u32,
        available: u32,
    },
    WaitGroup {
        address: u64,
        left: u64,
    },
    /// The end of the tasks in a group.
    Group {
        address: u64,
        taken: u64,
    },
    PlaceInGroup {
        address: u64,
        taken: u64,
    },
    /// A channel's own call, or a select.
    Cases(Box<[Case]>),
    /// Something else, by the name that the library has for it.
    Other(Arc<str>),
    /// It could not be read.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mutex {
    pub address: u64,
    /// The id of the task that holds it.
    pub owner: u64,
}

/// A case of a select.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Case {
    Send(u64),
    Receive(u64),
    Descriptor {
        fd: i32,
        events: u16,
    },
    /// The end of the task with an id.
    Task(u64),
    Deadline(u64),
    /// Of a channel between threads.
    SendOut(u64),
    ReceiveFromOutside(u64),
    Nothing,
}

/// What the library has for a kind of wait.
#[derive(Clone, Debug)]
pub struct Kind {
    pub name: Arc<str>,
    class: Class,
}

#[derive(Clone, Copy, Debug)]
enum Class {
    Descriptor,
    Descriptors,
    Task,
    Mutex,
    Condition,
    Semaphore,
    WaitGroup,
    Group,
    PlaceInGroup,
    Cases,
    Other,
    Unknown,
}

/// A name is no longer, and there are no more kinds.
const NAME_BYTES: usize = 16;
const MOST_KINDS: usize = 1024;
/// What the kinds say that an object is.
const IS_DESCRIPTOR: u32 = 1;
const IS_TASK: u32 = 2;
/// Of these no more are read.
const MOST_NODES: u64 = 1024;
const MOST_CASES: u64 = 256;
const MOST_LISTED: u64 = 1 << 24;

/// The kinds that were seen, by their addresses.
pub struct Kinds {
    known: HashMap<u64, Kind>,
    /// For those that cannot be read.
    unknown: Kind,
    /// How many more things in lists may be kept for this snapshot: many tasks could refer to one long list.
    list_left: Cell<u64>,
}

impl Default for Kinds {
    fn default() -> Kinds {
        let unknown = Kind { name: "".into(), class: Class::Unknown };
        Kinds { known: HashMap::new(), unknown, list_left: Cell::new(0) }
    }
}

impl Kinds {
    /// Begins a snapshot.
    pub fn begin(&self) {
        self.list_left.set(MOST_LISTED);
    }

    /// Takes so many things of what is left; or nothing, if it is not enough.
    fn take(&self, count: u64) -> Option<u64> {
        self.list_left.set(self.list_left.get().checked_sub(count)?);
        Some(count)
    }

    /// Reads those that are not known yet.
    pub fn learn(&mut self, memory: &dyn Memory, addresses: impl Iterator<Item = u64>) {
        let mut last = 0;
        for address in addresses.filter(|address| *address != 0) {
            // Many that are behind each other wait for the same.
            if std::mem::replace(&mut last, address) == address
                || self.known.contains_key(&address)
                || self.known.len() >= MOST_KINDS
            {
                continue;
            }
            let Some(kind) = memory.bytes_at(address, 16) else { continue };
            let at = u64_in(&kind, 0);
            let name = (0..NAME_BYTES as u64)
                .map_while(|index| memory.bytes_at(at.wrapping_add(index), 1))
                .map(|byte| byte[0])
                .take_while(|byte| *byte != 0)
                .collect::<Vec<u8>>();
            if name.is_empty() {
                continue; // It cannot be read.
            }
            let name = crate::words::printable(&name);
            let class = match (name.as_str(), u32_in(&kind, 8)) {
                ("fd", IS_DESCRIPTOR) => Class::Descriptor,
                ("task", IS_TASK) => Class::Task,
                ("fds", _) => Class::Descriptors,
                ("mutex", _) => Class::Mutex,
                ("condition", _) => Class::Condition,
                ("semaphore", _) => Class::Semaphore,
                ("wait group", _) => Class::WaitGroup,
                ("group", _) => Class::Group,
                ("place in group", _) => Class::PlaceInGroup,
                ("a channel" | "select", _) => Class::Cases,
                _ => Class::Other,
            };
            self.known.insert(address, Kind { name: name.into(), class });
        }
    }

    pub fn get(&self, address: u64) -> Option<&Kind> {
        if address == 0 {
            return None;
        }
        Some(self.known.get(&address).unwrap_or(&self.unknown))
    }
}

/// Reads the objects.
pub struct Details<'d> {
    pub memory: &'d dyn Memory,
    pub table: &'d Table,
    pub kinds: &'d Kinds,
}

/// Of an object no more is read at first.
const OBJECT_BYTES: usize = 16;

impl Details<'_> {
    /// For each task: the kind of its wait, the object, and a number beside it.
    pub fn read(&self, waits: &[(Option<&Kind>, u64, u32)]) -> Vec<Wait> {
        let table = self.table;
        // A place in each object that is known.
        let wanted: Vec<Option<(u64, usize)>> = waits
            .iter()
            .map(|(kind, object, _)| {
                let (offset, bytes) = match kind.as_ref()?.class {
                    Class::Descriptor => (table.node_fd, 8),
                    Class::Descriptors => (0, 16),
                    Class::Mutex => (table.mutex_owner, 8),
                    Class::Condition => (table.condition_mutex, 8),
                    Class::Semaphore => (table.semaphore_available, 4),
                    Class::WaitGroup => (table.wait_group_left, 8),
                    Class::Group | Class::PlaceInGroup => (table.group_taken, 8),
                    Class::Cases => (table.select_cases, 16),
                    Class::Task | Class::Other | Class::Unknown => return None,
                };
                Some((object.wrapping_add(offset), bytes))
            })
            .collect();
        let mut contents = vec![[0u8; OBJECT_BYTES]; waits.len()];
        let mut places = Vec::new();
        let mut of = Vec::new();
        for (index, (wanted, into)) in wanted.iter().zip(&mut contents).enumerate() {
            if let Some((address, bytes)) = *wanted {
                places.push(Place { address, into: &mut into[..bytes], is_read: false });
                of.push(index);
            }
        }
        self.memory.read_many(&mut places);
        let mut is_read = vec![true; waits.len()];
        for (place, index) in places.iter().zip(of) {
            is_read[index] = place.is_read;
        }
        waits
            .iter()
            .zip(&contents)
            .zip(is_read)
            .map(|(((kind, object, interest), content), is_read)| match kind {
                None => Wait::None,
                Some(_) if !is_read => Wait::Unknown,
                Some(kind) => self.wait(kind, *object, *interest, content),
            })
            .collect()
    }

    fn wait(&self, kind: &Kind, address: u64, interest: u32, content: &[u8]) -> Wait {
        let table = self.table;
        let number = u64_in(content, 0);
        match kind.class {
            Class::Descriptor => Wait::Descriptor {
                fd: u32_in(content, 0).cast_signed(),
                events: u16_in(content, table.node_events.wrapping_sub(table.node_fd)),
            },
            Class::Descriptors => self.descriptors(number, u64_in(content, 8)),
            Class::Task => Wait::Task(address),
            Class::Mutex => Wait::Mutex(Mutex { address, owner: number }),
            Class::Condition => Wait::Condition { address, mutex: number },
            Class::Semaphore => {
                Wait::Semaphore { address, wanted: interest, available: u32_in(content, 0) }
            }
            Class::WaitGroup => Wait::WaitGroup { address, left: number },
            Class::Group => Wait::Group { address, taken: number },
            Class::PlaceInGroup => Wait::PlaceInGroup { address, taken: number },
            Class::Cases => self.cases(number, u64_in(content, 8)),
            Class::Other => Wait::Other(kind.name.clone()),
            Class::Unknown => Wait::Unknown,
        }
    }

    fn descriptors(&self, first: u64, count: u64) -> Wait {
        let table = self.table;
        let Some(count) = self.kinds.take(count.min(MOST_NODES)) else { return Wait::Unknown };
        let bytes = count * table.node_bytes;
        let Some(nodes) = self.memory.bytes_at(first, bytes as usize) else { return Wait::Unknown };
        let node = |node: &[u8]| {
            (u32_in(node, table.node_fd).cast_signed(), u16_in(node, table.node_events))
        };
        let nodes = nodes.chunks_exact(table.node_bytes as usize).map(node);
        // Those that are not waited for have none.
        Wait::Descriptors(nodes.filter(|(fd, _)| *fd >= 0).collect())
    }

    fn cases(&self, first: u64, count: u64) -> Wait {
        let table = self.table;
        let Some(count) = self.kinds.take(count.min(MOST_CASES)) else { return Wait::Unknown };
        let bytes = count * table.case_bytes;
        let Some(cases) = self.memory.bytes_at(first, bytes as usize) else { return Wait::Unknown };
        let case = |case: &[u8]| {
            let channel = u64_in(case, table.case_channel);
            let remote = u64_in(case, table.case_remote);
            match u32_in(case, table.case_operation) {
                0 | 1 if channel == 0 => Case::Nothing,
                0 => Case::Send(channel),
                1 => Case::Receive(channel),
                2 => Case::Descriptor {
                    fd: u32_in(case, table.case_fd).cast_signed(),
                    events: u16_in(case, table.case_events),
                },
                3 => Case::Task(u64_in(case, table.case_task)),
                4 => Case::Deadline(u64_in(case, table.case_deadline_ns)),
                5 | 6 if remote == 0 => Case::Nothing,
                5 => Case::SendOut(remote),
                6 => Case::ReceiveFromOutside(remote),
                _ => Case::Nothing,
            }
        };
        Wait::Cases(cases.chunks_exact(table.case_bytes as usize).map(case).collect())
    }
}
