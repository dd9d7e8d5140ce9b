//! What the program `majjen` is made of: see docs/debugging.md for what it does.

pub mod arguments;
mod calls;
mod columns;
pub mod core_file;
pub mod descriptors;
pub mod elf;
/// What a recorder has recorded, as the library has it: one file for both.
#[path = "../../src/engine/measure/entry.rs"]
pub mod entry;
pub mod graph;
pub mod guard;
mod histogram;
pub mod json;
pub mod look;
pub mod memory;
pub mod page;
pub mod problem;
pub mod process;
pub mod ps;
pub mod recorded;
pub mod sample;
mod signals;
mod slots;
pub mod snapshot;
pub mod stacks;
pub mod style;
pub mod symbols;
pub mod table;
pub mod target;
pub mod top;
pub mod trace;
pub mod unwind;
pub mod wait;
pub mod words;
