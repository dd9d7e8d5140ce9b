//! The debugger's table of offsets, which `tools/majjen-gdb.py` reads.
//!
//! The installed library may have no debug information, and Rust does not specify the layout of
//! structs. The script finds this table by its symbol, in a process or a core file. All structs in
//! it are `repr(C)`.

use std::mem::offset_of;

use crate::engine::scheduler::{Scheduler, Tasks};
use crate::engine::task::{Chunk, Chunks, Task, Wait, WaitKind, WaitNode};

/// Offsets and sizes, in bytes. Fields are added at the end; the version changes when one changes
/// its meaning or goes away.
#[repr(C)]
pub struct Table {
    magic: [u8; 8],
    version: u32,
    /// The number of fields below.
    count: u32,
    scheduler_current_task: u32,
    scheduler_chunks_first: u32,
    scheduler_chunks_count: u32,
    chunk_bytes: u32,
    chunk_memory: u32,
    chunk_slots: u32,
    task_bytes: u32,
    task_state: u32,
    task_wake_time_ns: u32,
    task_heap_index: u32,
    task_context: u32,
    task_queued: u32,
    task_alive: u32,
    task_turns: u32,
    /// `Task::wait`: the address of the `WaitKind`, 0 for none, then the object in 8 bytes. The
    /// kind begins with the address of its name, then 4 bytes that say what the object is: 0 an
    /// address, 1 the address of a node with the descriptor, 2 a task's address, 3 internal.
    task_wait: u32,
    task_id: u32,
    task_name: u32,
    name_bytes: u32,
    /// In a node of a wait for a descriptor: its number.
    node_fd: u32,
}

const HEAD_BYTES: usize = offset_of!(Table, scheduler_current_task);

const CHUNKS: usize = offset_of!(Scheduler, tasks) + offset_of!(Tasks, chunks);

/// Not exported: the name is found in the full symbol table only.
#[used]
#[unsafe(no_mangle)]
static majjen_debug_table: Table = Table {
    magic: *b"majjen\0\0",
    version: 3,
    count: ((size_of::<Table>() - HEAD_BYTES) / size_of::<u32>()) as u32,
    scheduler_current_task: offset_of!(Scheduler, current_task) as u32,
    scheduler_chunks_first: (CHUNKS + offset_of!(Chunks, first)) as u32,
    scheduler_chunks_count: (CHUNKS + offset_of!(Chunks, count)) as u32,
    chunk_bytes: size_of::<Chunk>() as u32,
    chunk_memory: offset_of!(Chunk, memory) as u32,
    chunk_slots: offset_of!(Chunk, count) as u32,
    task_bytes: size_of::<Task>() as u32,
    task_state: offset_of!(Task, state) as u32,
    task_wake_time_ns: offset_of!(Task, wake_time_ns) as u32,
    task_heap_index: offset_of!(Task, heap_index) as u32,
    task_context: offset_of!(Task, context) as u32,
    task_queued: offset_of!(Task, queued) as u32,
    task_alive: offset_of!(Task, alive) as u32,
    task_turns: offset_of!(Task, turns) as u32,
    task_wait: offset_of!(Task, wait) as u32,
    task_id: offset_of!(Task, id) as u32,
    task_name: offset_of!(Task, name) as u32,
    name_bytes: size_of::<crate::engine::task::Name>() as u32,
    node_fd: WaitNode::FD_OFFSET as u32,
};
std::arch::global_asm!(".hidden majjen_debug_table");

const _: () = assert!(size_of::<Wait>() == 16 && align_of::<Wait>() == 8);
const _: () = assert!(WaitKind::NAME_OFFSET == 0 && WaitKind::OBJECT_OFFSET == 8);

// Where the thread's part of the library is, from the thread pointer: gdb cannot find a
// thread-local variable in a core file. No data can say it, since rust-lld takes no such relocation
// outside the global offset table; but one instruction can, which the script reads: a load from the
// table, or of the number itself, if the program is linked statically. The linker keeps it ("R").
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
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
