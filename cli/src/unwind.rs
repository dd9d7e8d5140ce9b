//! The frames of a stack, from outside: by the tables for exceptions that each program has in memory.

use framehop::{
    CacheNative, ExplicitModuleSectionInfo, FrameAddress, MayAllocateDuringUnwind,
    Module as Tables, UnwindRegsNative, Unwinder as _, UnwinderNative,
};

use crate::elf::{Module, section_of_file};
use crate::guard::guarded;
use crate::memory::{Memory, Read, map_of, u8_in, u32_in, u64_in};
use crate::table::Table;

/// Where a computation is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers {
    pub pc: u64,
    pub sp: u64,
    /// 0 if it is not known.
    pub fp: u64,
    /// On processors that have one.
    pub lr: u64,
    /// Whether `pc` is where a call returns to, and not what runs next.
    pub is_return: bool,
}

/// A frame: where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub pc: u64,
    pub is_return: bool,
}

impl Frame {
    /// An address of the call, or of what runs.
    pub fn lookup(self) -> u64 {
        if self.is_return { self.pc.wrapping_sub(1) } else { self.pc }
    }
}

/// A stack that was read: its memory from the stack pointer on.
pub struct Stack {
    pub start: u64,
    pub bytes: Vec<u8>,
}

impl Stack {
    fn word(&self, address: u64) -> Option<u64> {
        let offset = usize::try_from(address.checked_sub(self.start)?).ok()?;
        let word = self.bytes.get(offset..offset.checked_add(8)?)?;
        Some(u64_in(word, 0))
    }
}

/// No stack is looked at that has more frames.
const MOST_FRAMES: usize = 256;
const MOST_HEADER_BYTES: u64 = 16 << 20;
const MOST_TABLE_BYTES: u64 = 64 << 20;

/// Unwinds stacks of one process.
pub struct Unwinder<'m> {
    memory: &'m dyn Memory,
    modules: &'m [Module],
    pid: Option<i32>,
    /// Which modules' tables were read.
    known: Vec<bool>,
    tables: UnwinderNative<Vec<u8>, MayAllocateDuringUnwind>,
    cache: CacheNative<MayAllocateDuringUnwind>,
}

impl<'m> Unwinder<'m> {
    pub fn new(memory: &'m dyn Memory, modules: &'m [Module], pid: Option<i32>) -> Unwinder<'m> {
        Unwinder {
            memory,
            modules,
            pid,
            known: vec![false; modules.len()],
            tables: UnwinderNative::new(),
            cache: CacheNative::new(),
        }
    }

    /// The registers of a saved context, which begins with the stack.
    pub fn of_context(table: &Table, stack: &Stack) -> Option<Registers> {
        let word = |offset: u64| stack.word(stack.start.checked_add(offset)?);
        let (pc, fp) = (word(table.context_pc)?, word(table.context_fp)?);
        let sp = stack.start.checked_add(table.context_caller)?;
        Some(Registers { pc, sp, fp, lr: pc, is_return: true })
    }

    /// The frames, the innermost first. What is not on the stack is read as it is now.
    pub fn frames(&mut self, registers: Registers, stack: &Stack) -> Vec<Frame> {
        let Registers { pc, sp, fp, lr, is_return } = registers;
        let mut frames = vec![Frame { pc, is_return }];
        let fp = if fp == 0 && !is_return { self.guess_frame(sp, stack) } else { fp };
        let mut state = registers_for_unwinding(pc, sp, fp, lr);
        let mut address = match FrameAddress::from_return_address(pc) {
            Some(address) if is_return => address,
            _ => FrameAddress::from_instruction_pointer(pc),
        };
        while frames.len() < MOST_FRAMES {
            self.learn(address.address_for_lookup());
            let memory = self.memory;
            let mut read = |address: u64| match stack.word(address) {
                Some(word) => Ok(word),
                None => memory.u64_at(address).ok_or(()),
            };
            let (tables, cache) = (&self.tables, &mut self.cache);
            let next = guarded(|| tables.unwind_frame(address, &mut state, cache, &mut read));
            let Some(Ok(Some(next))) = next else { break };
            let Some(caller) = FrameAddress::from_return_address(next) else { break };
            if !self.is_code(next) {
                break;
            }
            frames.push(Frame { pc: next, is_return: true });
            address = caller;
        }
        frames
    }

    /// Whether there is code at an address.
    fn is_code(&self, address: u64) -> bool {
        map_of(self.memory.maps(), address).is_some_and(|map| map.is_executable)
    }

    /// Reads the tables of the module with an address.
    fn learn(&mut self, address: u64) {
        let holds = |module: &Module| (module.start..module.end).contains(&address);
        let Some(at) = self.modules.iter().position(holds) else { return };
        if std::mem::replace(&mut self.known[at], true) {
            return;
        }
        let module = &self.modules[at];
        if let Some(tables) = guarded(|| tables(self.memory, module, self.pid)).flatten() {
            self.tables.add_module(tables);
        }
    }

    /// Of a thread in a system call the frame pointer is not told. Where a function needs it to find its frame,
    /// its value is probably just below the first address in code that follows on the stack.
    fn guess_frame(&self, sp: u64, stack: &Stack) -> u64 {
        const MOST_WORDS: u64 = 512;
        let words = (0..MOST_WORDS).map(|index| sp.wrapping_add(8 * index));
        words
            .filter_map(|address| {
                Some((address, stack.word(address)?, stack.word(address.wrapping_add(8))?))
            })
            .find(|(address, word, next)| {
                let is_frame = *word > *address && stack.word(*word).is_some();
                is_frame && self.is_code(*next) && self.follows_call(*next)
            })
            .map_or(0, |(address, ..)| address)
    }

    /// Whether the code before an address is a call.
    #[cfg(target_arch = "x86_64")]
    fn follows_call(&self, address: u64) -> bool {
        let Some(code) = self.memory.bytes_at(address.wrapping_sub(7), 7) else { return false };
        let is_direct = code[2] == 0xe8;
        // Through a register or memory: ff /2, in two, three, six or seven bytes.
        let is_indirect =
            [0, 1, 4, 5].iter().any(|at| code[*at] == 0xff && code[at + 1] & 0x38 == 0x10);
        is_direct || is_indirect
    }

    #[cfg(target_arch = "aarch64")]
    fn follows_call(&self, address: u64) -> bool {
        let Some(code) = self.memory.bytes_at(address.wrapping_sub(4), 4) else { return false };
        let word = u32_in(&code, 0);
        word & 0xfc00_0000 == 0x9400_0000 || word & 0xffff_fc1f == 0xd63f_0000
    }
}

#[cfg(target_arch = "x86_64")]
fn registers_for_unwinding(pc: u64, sp: u64, fp: u64, _: u64) -> UnwindRegsNative {
    UnwindRegsNative::new(pc, sp, fp)
}

#[cfg(target_arch = "aarch64")]
fn registers_for_unwinding(_: u64, sp: u64, fp: u64, lr: u64) -> UnwindRegsNative {
    UnwindRegsNative::new(lr, sp, fp)
}

/// The tables of a module, which are found by their header, or else by the file's sections.
fn tables(memory: &dyn Memory, module: &Module, pid: Option<i32>) -> Option<Tables<Vec<u8>>> {
    const RELATIVE: u8 = 0x1b; // To where it is, in 4 bytes with a sign: what all linkers write.
    let in_file = |address: u64| address.wrapping_sub(module.bias);
    let range =
        |start: u64, bytes: usize| in_file(start)..in_file(start).saturating_add(bytes as u64);
    let range_of_module = module.start..module.end;
    let Some((header_at, header_bytes)) = module.unwind_header else {
        let (address, bytes) = section_of_file(&module.file(pid)?, b".eh_frame")?;
        let frames_at = module.bias.wrapping_add(address);
        let frames = memory.bytes_at(frames_at, bytes.min(MOST_TABLE_BYTES) as usize)?;
        let sections = ExplicitModuleSectionInfo {
            eh_frame_svma: Some(range(frames_at, frames.len())),
            eh_frame: Some(frames),
            ..ExplicitModuleSectionInfo::default()
        };
        return Some(Tables::new(module.path.clone(), range_of_module, module.bias, sections));
    };
    let header = memory.bytes_at(header_at, header_bytes.min(MOST_HEADER_BYTES) as usize)?;
    if u8_in(&header, 0) != 1 || u8_in(&header, 1) != RELATIVE {
        return None;
    }
    let distance = i64::from(u32_in(&header, 4).cast_signed());
    let frames_at = header_at.wrapping_add(4).wrapping_add_signed(distance);
    // To the end of its segment, or of the module.
    let end = [module.unwind_end, module.end].into_iter().find(|end| *end > frames_at)?;
    let count = (end - frames_at).min(MOST_TABLE_BYTES);
    let frames = read_up_to(memory, frames_at, count)?;
    Some(Tables::new(
        module.path.clone(),
        range_of_module,
        module.bias,
        ExplicitModuleSectionInfo {
            base_svma: 0,
            eh_frame_hdr_svma: Some(range(header_at, header.len())),
            eh_frame_svma: Some(range(frames_at, frames.len())),
            eh_frame_hdr: Some(header),
            eh_frame: Some(frames),
            ..ExplicitModuleSectionInfo::default()
        },
    ))
}

/// As much as can be read, in pages.
fn read_up_to(memory: &dyn Memory, address: u64, count: u64) -> Option<Vec<u8>> {
    if let Some(bytes) = memory.bytes_at(address, count as usize) {
        return Some(bytes);
    }
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < count {
        let at = address.checked_add(bytes.len() as u64)?;
        let piece = (4096 - at % 4096).min(count - bytes.len() as u64);
        match memory.bytes_at(at, piece as usize) {
            Some(mut piece) => bytes.append(&mut piece),
            None => break,
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}
