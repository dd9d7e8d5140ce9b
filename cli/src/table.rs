//! The table of offsets that each copy of the library has in memory: src/engine/inspect/debugger.rs describes it.

use crate::elf::Module;
use crate::memory::{Memory, u32_in};
use crate::problem::{Problem, Result, tell};

/// The version that this program knows.
pub const VERSION: u32 = 5;
const NOTE_NAME: &[u8] = b"Majjen";
const NOTE_KIND: u32 = 1;
const HEAD_BYTES: usize = 16;
/// How many fields the first library had that had a table of this version: those behind them are 0 if they are
/// missing.
const LEAST_FIELDS: usize = FIELDS.len();

macro_rules! fields {
    ($($name:ident)*) => {
        /// The fields, in bytes or numbers of things.
        #[derive(Clone, Debug, Default)]
        pub struct Table {
            /// Where it is.
            pub address: u64,
            $(pub $name: u64,)*
        }

        /// Their names, in their order.
        pub const FIELDS: &[&str] = &[$(stringify!($name)),*];

        impl Table {
            fn of(address: u64, fields: &[u8]) -> Table {
                let mut at = 0;
                let mut next = || {
                    at += 4;
                    u64::from(u32_in(fields, at - 4))
                };
                Table { address, $($name: next(),)* }
            }
        }
    };
}

fields! {
    living_head
    living_next living_word living_thread living_has_own_clock
    scheduler_bytes scheduler_living scheduler_current_task
    scheduler_chunks_first scheduler_chunks_count
    scheduler_metrics metrics_bytes
    scheduler_turn_began scheduler_turn_times scheduler_lateness
    histogram_buckets histogram_parts
    chunk_bytes chunk_memory chunk_slots
    task_bytes task_body task_group task_state task_wake_time_ns task_heap_index task_context task_queued task_alive
    task_canceled task_daemon task_turns task_wait task_interest task_stack_top task_locks
    task_id id_number_bits task_name name_bytes
    context_caller context_fp context_pc
    node_bytes node_fd node_events
    mutex_owner condition_mutex semaphore_available wait_group_left
    group_taken
    select_cases case_bytes case_operation case_channel case_fd case_events case_task case_deadline_ns case_remote
    channel_capacity channel_length
    scheduler_latest_instant scheduler_ticks_per_ns task_waits_since_ticks
    scheduler_name
    scheduler_recorder recorder_kinds living_request
}

impl Table {
    /// The tables of all copies of the library among the modules.
    pub fn find(memory: &dyn Memory, modules: &[Module], whom: &str) -> Result<Vec<Table>> {
        let mut tables: Vec<Table> = Vec::new();
        let mut refused = None;
        for module in modules {
            for (address, content) in module.notes(memory, NOTE_NAME, NOTE_KIND) {
                match Table::parse(address, &content) {
                    Ok(table) => tables.push(table),
                    Err(why) => refused = Some(why),
                }
            }
        }
        if let (Some(why), false) = (&refused, tables.is_empty()) {
            // Each copy of the library has its own.
            let why = match why {
                Refused::Version(version) => {
                    format!("its table has version {version}, not {VERSION}")
                }
                Refused::Content => "its table cannot be right".to_owned(),
            };
            tell(format!("{whom} has another copy of Majjen, which is left out: {why}"));
        }
        match refused {
            _ if !tables.is_empty() => Ok(tables),
            Some(Refused::Version(version)) => Err(Problem::new(format!(
                "{whom} uses a Majjen that this program does not know: its table has version {version}, and \
                 this is {} for version {VERSION}: install the majjen of that Majjen",
                concat!("majjen ", env!("CARGO_PKG_VERSION")),
            ))),
            Some(Refused::Content) => Err(Problem::new(format!(
                "{whom} has a table of Majjen that cannot be right: its memory has been overwritten"
            ))),
            None => Err(Problem::new(format!(
                "{whom} does not use Majjen, or one from before this program (no library or program in it \
                 has Majjen's note)"
            ))),
        }
    }

    fn parse(address: u64, content: &[u8]) -> std::result::Result<Table, Refused> {
        if content.get(..8) != Some(b"majjen\0\0") {
            return Err(Refused::Content);
        }
        let (version, count) = (u32_in(content, 8), u32_in(content, 12) as usize);
        if version != VERSION {
            return Err(Refused::Version(version));
        }
        if count < LEAST_FIELDS || content.len() < HEAD_BYTES + LEAST_FIELDS * 4 {
            return Err(Refused::Content);
        }
        let fields = &content[HEAD_BYTES..];
        let table = Table::of(address, &fields[..fields.len().min(count.saturating_mul(4))]);
        if table.is_sane() { Ok(table) } else { Err(Refused::Content) }
    }

    /// Whether its numbers are of a size that the reader can have memory for. An offset that is wrong besides
    /// gives wrong answers, and no more.
    fn is_sane(&self) -> bool {
        let in_scheduler =
            |at: u64| at.saturating_add(8 * self.histogram_buckets) <= self.scheduler_bytes;
        self.scheduler_bytes <= 1 << 20
            && in_scheduler(self.scheduler_turn_times)
            && in_scheduler(self.scheduler_lateness)
            && (16..=4096).contains(&self.chunk_bytes)
            && (64..=4096).contains(&self.task_bytes)
            && self.name_bytes <= 256
            && (1..=32).contains(&self.id_number_bits)
            && (16..=4096).contains(&self.node_bytes)
            && (16..=4096).contains(&self.case_bytes)
            && self.histogram_buckets <= 1024
            && self.histogram_parts.is_power_of_two()
            && self.histogram_parts <= 256
            && self.metrics_bytes <= 4096
            && self.recorder_kinds <= 4096
    }

    /// Where the first entry of the list of schedulers is pointed to from.
    pub fn head(&self) -> u64 {
        self.address.wrapping_add_signed(i64::from(self.living_head as u32 as i32))
    }
}

enum Refused {
    Version(u32),
    Content,
}
