//! The table of offsets by which this process is looked into from outside: by the program `majjen`, and by
//! `tools/majjen-gdb.py`.
//!
//! The installed library may have no symbols and no debug information, and Rust does not specify the layout of
//! structs. So the table is an ELF note, in memory: a program that looks finds it by the program headers, in a
//! stripped program too, a static one, one that is moved when it is loaded, and a core file. Each copy of the
//! library in a process has its own. A debugger finds it by its symbol as well.
//!
//! # The note
//!
//! Its name is "Majjen" and its type 1. It holds 8 bytes "majjen\0\0", the version and the number of fields in 4
//! bytes each, and the fields, in 4 bytes each, in the order below. Fields are added at the end, and the version
//! changes when one changes its meaning or goes away.
//!
//! # How it is read
//!
//! `living_head` is how far behind the table the pointer to the first [`Living`] is, the list of all schedulers;
//! `scheduler_living` is where in a scheduler its entry is. From there on everything is an offset in bytes, a
//! size, or a number of things. Names begin with what the offset is in.
//!
//! `task_wait` is [`Wait`]: the address of a [`WaitKind`], 0 for none, and the object in 8 bytes. A kind begins
//! with the address of its name, and 4 bytes that say what the object is: 0 an address, 1 that of a node with
//! the descriptor, 2 that of a task, 3 an internal one. By the name of the kind it is the address of
//!
//! | name | a |
//! |---|---|
//! | `mutex`, `condition`, `semaphore`, `wait group` | such an object |
//! | `group`, `place in group` | group |
//! | `fd` | node, of which `node_fd` and `node_events` are |
//! | `fds` | fat pointer to nodes: the address of the first one, and their number |
//! | `a channel`, `select` | thing with such a pointer to cases at `select_cases` |
//!
//! Whoever reads while the process runs has to expect anything: a task's count of turns, read before and behind
//! the rest, tells whether the task has run meanwhile.

use std::arch::global_asm;
use std::mem::{offset_of, transmute};
use std::ptr::slice_from_raw_parts;

use crate::engine::context::Stack;
use crate::engine::context::switch::Frame;
use crate::engine::measure::{Histogram, Metrics, Recorder, TurnTimes};
use crate::engine::scheduler::{Dispatch, LIVING, List, Living, Scheduler, Tasks, Time};
use crate::engine::sync::{Case, Channel, Condvar, Group, Mutex, SelectWait, Semaphore, WaitGroup};
use crate::engine::task::{Chunk, Chunks, INDEX_BITS, Name, Task, Wait, WaitKind, WaitNode};
use crate::engine::time::Clock;

/// Makes the note of the names and values of the fields behind `living_head`.
macro_rules! note {
    (version $version:literal; $($name:ident = $value:expr;)*) => {
        /// How many fields there are: these, and `living_head`, which is the first.
        const FIELDS: usize = [$(stringify!($name)),*].len() + 1;

        // Notes are kept by linkers that leave out what nobody refers to; "R" says so once more. No relocation
        // is left for the loader: the distance of the list is known when the object is linked.
        global_asm!(
            ".pushsection .note.majjen, \"aR\", @note",
            ".balign 4",
            ".long 7", // the name's bytes
            ".long {bytes}",
            ".long 1", // the type
            ".asciz \"Majjen\"",
            ".balign 4",
            ".globl majjen_debug_table",
            ".hidden majjen_debug_table",
            ".type majjen_debug_table, @object",
            "majjen_debug_table:",
            ".ascii \"majjen\\0\\0\"",
            concat!(".long ", $version),
            ".long {fields}",
            ".long {living_head} - majjen_debug_table",
            $(concat!(".long {", stringify!($name), "}"),)*
            ".size majjen_debug_table, . - majjen_debug_table",
            ".popsection",
            bytes = const 16 + FIELDS * 4,
            fields = const FIELDS,
            living_head = sym LIVING,
            $($name = const $value,)*
        );
    };
}

const CHUNKS: usize = offset_of!(Scheduler, tasks) + offset_of!(Tasks, chunks);
const TURNS: usize = offset_of!(Scheduler, dispatch) + offset_of!(Dispatch, turn_times);
const TIME: usize = offset_of!(Scheduler, time);
const CLOCK: usize = TIME + offset_of!(Time, clock);

note! {
    version "5";

    // In a `Living`, whose word is `living_word` mixed with its address by exclusive or.
    living_next = offset_of!(Living, next);
    living_word = offset_of!(Living, word);
    living_thread = offset_of!(Living, thread);
    living_has_own_clock = offset_of!(Living, has_own_clock);

    scheduler_bytes = size_of::<Scheduler>();
    scheduler_living = offset_of!(Scheduler, living);
    scheduler_current_task = offset_of!(Scheduler, current_task);
    scheduler_chunks_first = CHUNKS + offset_of!(Chunks, first);
    scheduler_chunks_count = CHUNKS + offset_of!(Chunks, count);
    // The public counters, in 8 bytes each, in the order of `mj_metrics`.
    scheduler_metrics = offset_of!(Scheduler, metrics);
    metrics_bytes = size_of::<Metrics>();
    // When the current turn began, by the counter, which differs from turn to turn; how long turns have taken
    // by it, and how late timers were served, in nanoseconds.
    scheduler_turn_began = TURNS + TurnTimes::BEGAN_OFFSET;
    scheduler_turn_times = TURNS + TurnTimes::HISTOGRAM_OFFSET;
    scheduler_lateness = TIME + offset_of!(Time, lateness) + Histogram::COUNTS_OFFSET;
    // The counts of a histogram's buckets, in 8 bytes each, and how many of them there are for a power of two.
    histogram_buckets = Histogram::COUNTS;
    histogram_parts = Histogram::PARTS;
    chunk_bytes = size_of::<Chunk>();
    chunk_memory = offset_of!(Chunk, memory);
    chunk_slots = offset_of!(Chunk, count);

    task_bytes = size_of::<Task>();
    task_body = offset_of!(Task, body);
    task_group = offset_of!(Task, group);
    task_state = offset_of!(Task, state);
    task_wake_time_ns = offset_of!(Task, wake_time_ns);
    task_heap_index = offset_of!(Task, heap_index);
    task_context = offset_of!(Task, context);
    task_queued = offset_of!(Task, queued);
    task_alive = offset_of!(Task, alive);
    task_canceled = offset_of!(Task, canceled);
    task_daemon = offset_of!(Task, daemon);
    task_turns = offset_of!(Task, turns);
    task_wait = offset_of!(Task, wait);
    task_interest = offset_of!(Task, interest);
    task_stack_top = offset_of!(Task, stack) + offset_of!(Stack, top);
    task_locks = offset_of!(Task, locks);
    // Of an id the low bits are a number that no other living task of the scheduler has.
    task_id = offset_of!(Task, id);
    id_number_bits = INDEX_BITS as usize;
    task_name = offset_of!(Task, name);
    name_bytes = size_of::<Name>();

    // In what `task_context` points to: the caller's frame, and its frame pointer and where it goes on.
    context_caller = Frame::CALLER_OFFSET;
    context_fp = Frame::FP_OFFSET;
    context_pc = Frame::PC_OFFSET;

    node_bytes = size_of::<WaitNode>();
    node_fd = WaitNode::FD_OFFSET;
    node_events = WaitNode::EVENTS_OFFSET;

    mutex_owner = Mutex::OWNER_OFFSET;
    condition_mutex = Condvar::MUTEX_OFFSET;
    semaphore_available = Semaphore::AVAILABLE_OFFSET;
    wait_group_left = WaitGroup::LEFT_OFFSET;
    group_taken = Group::TAKEN_OFFSET;

    select_cases = SelectWait::CASES_OFFSET;
    case_bytes = size_of::<Case>();
    case_operation = offset_of!(Case, operation);
    case_channel = offset_of!(Case, channel);
    case_fd = offset_of!(Case, fd);
    case_events = offset_of!(Case, events);
    case_task = offset_of!(Case, task);
    case_deadline_ns = offset_of!(Case, deadline_ns);
    case_remote = offset_of!(Case, remote);
    channel_capacity = Channel::CAPACITY_OFFSET;
    channel_length = Channel::LENGTH_OFFSET;

    // Both clocks at a moment that is not long ago, in 8 bytes each: the counter and CLOCK_MONOTONIC in
    // nanoseconds. And how many ticks of the counter a nanosecond has, as a double.
    scheduler_latest_instant = CLOCK + Clock::LATEST_OFFSET;
    scheduler_ticks_per_ns = CLOCK + Clock::TICKS_PER_NS_OFFSET;
    // Of a task that waits: since when, by the counter.
    task_waits_since_ticks = offset_of!(Task, waits_since_ticks);
    // In as many bytes as a task's.
    scheduler_name = offset_of!(Scheduler, name);
    // The recorder: in 8 bytes each whether it is on, the address of the ring, the number of its entries, how many
    // bytes of them have been written, how often it has begun, and so many addresses of kinds of waits.
    scheduler_recorder = offset_of!(Scheduler, recorder) + Recorder::HEAD_OFFSET;
    recorder_kinds = Recorder::KINDS;
    // How far behind `living_head` the word for requests is, the only one that is written from outside.
    living_request = offset_of!(List, request);
}

const _: () = assert!(size_of::<Wait>() == 16 && align_of::<Wait>() == 8);
const _: () = assert!(WaitKind::NAME_OFFSET == 0 && WaitKind::OBJECT_OFFSET == 8);
const _: () = {
    // SAFETY: both are two words, of which the one is null here, and any number is a value.
    let fat: [usize; 2] = unsafe { transmute(slice_from_raw_parts(std::ptr::null::<u8>(), 5)) };
    assert!(fat[0] == 0 && fat[1] == 5);
};

/// A program in Rust takes from the library what it refers to, and what is marked like this: so the note is
/// linked into each.
#[used]
static KEPT: u8 = 0;

// Where the thread's part of the library is, from the thread pointer: gdb cannot find a
// thread-local variable in a core file. No data can say it, since rust-lld takes no such relocation
// outside the global offset table; but one instruction can, which the script reads: a load from the
// table, or of the number itself, if the program is linked statically. The linker keeps it ("R").
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .text.majjen_debug_thread, \"axR\", @progbits",
    ".globl majjen_debug_thread",
    ".hidden majjen_debug_thread",
    ".type majjen_debug_thread, @function",
    "majjen_debug_thread:",
    "mov rax, qword ptr [rip + {thread}@GOTTPOFF]",
    "ret",
    ".size majjen_debug_thread, . - majjen_debug_thread",
    ".popsection",
    thread = sym crate::engine::context::switch::THREAD,
);
