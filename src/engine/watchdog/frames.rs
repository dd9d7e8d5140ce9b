//! The return addresses in a copied stack.
//!
//! Compilers leave out frame pointers, and a reader of unwind tables is a library of its own size. So
//! each word counts that is the address of an instruction behind a call, in code that the loader has
//! mapped. That finds every function that is active, and sometimes one that is not: a call that
//! has returned may have left its return address in memory that its caller has not used since.

use std::ops::Range;

use super::capture::{Capture, WORDS};
use crate::engine::sys::{self, Segment};

/// How many are looked for.
pub const MOST: usize = 24;

/// One of the functions that are active.
#[derive(Clone, Copy, Default)]
pub struct Frame {
    /// Where it goes on.
    pub address: usize,
    /// What that is in its file.
    pub offset: usize,
    /// An address in its code: the one of a return may be the first of the next function.
    within: usize,
}

/// A set of indices of words.
struct Marks([u64; WORDS / 64]);

impl Marks {
    fn set(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] & 1 << (index % 64) != 0
    }
}

/// Finds the first frames, and returns how many.
pub fn find(capture: &Capture, frames: &mut [Frame; MOST]) -> usize {
    let words = &capture.words[..capture.count];
    let mut marks = Marks([0; WORDS / 64]);
    let mut has_link = false;
    let link = address_of(capture.registers.link);
    sys::for_each_segment(|segment| {
        if segment.is_code {
            has_link |= is_return_to(segment, link);
            for (index, word) in words.iter().enumerate() {
                if is_return_to(segment, address_of(*word)) {
                    marks.set(index);
                }
            }
        }
    });
    let at = |address, within| Frame { address, offset: address, within };
    let returns = words.iter().enumerate().filter(|(index, _)| marks.has(*index));
    let found = [(capture.registers.code, 0), (link, 1)]
        .into_iter()
        .take(1 + usize::from(has_link))
        .chain(returns.map(|(_, word)| (address_of(*word), 1)))
        .map(|(address, back)| at(address, address.wrapping_sub(back)));
    let mut count = 0;
    for (place, frame) in frames.iter_mut().zip(found) {
        *place = frame;
        count += 1;
    }
    count
}

/// The function's name and its file's, as far as they are known, cut to the buffers. Sets the offset.
pub fn describe(frame: &mut Frame, function: &mut Text, file: &mut Text) {
    let name = sys::name_of_code(frame.within);
    (function.length, file.length) = (0, 0);
    sys::for_each_segment(|segment| {
        if segment.addresses.contains(&frame.within) {
            frame.offset = frame.address.wrapping_sub(segment.base);
            file.set(segment.file());
        }
        if name != 0 && segment.addresses.contains(&name) {
            let bytes = segment.bytes_from(name);
            let bytes = &bytes[..bytes.len().min(Text::BYTES)];
            function.set(sys::until_nul(bytes));
        }
    });
}

/// A short text.
pub struct Text {
    bytes: [u8; Text::BYTES],
    length: usize,
}

impl Text {
    const BYTES: usize = 80;
    pub const EMPTY: Text = Text { bytes: [0; Text::BYTES], length: 0 };

    fn set(&mut self, bytes: &[u8]) {
        self.length = bytes.len().min(Text::BYTES);
        self.bytes[..self.length].copy_from_slice(&bytes[..self.length]);
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The address that a word holds: on aarch64 a return address may be signed, in its upper bits.
fn address_of(word: usize) -> usize {
    if cfg!(target_arch = "aarch64") { word & ((1 << 48) - 1) } else { word }
}

/// Whether the instruction before an address is a call.
fn is_return_to(segment: &Segment, address: usize) -> bool {
    let Range { start, end } = segment.addresses;
    if address < start.saturating_add(LONGEST_CALL) || address >= end {
        return false;
    }
    let bytes = segment.bytes_from(address - LONGEST_CALL);
    bytes.first_chunk().is_some_and(ends_in_call)
}

const LONGEST_CALL: usize = 8;

/// Of the forms of `call`: E8 with a distance of four bytes, and FF /2 with an operand in a
/// register or in memory.
#[cfg(target_arch = "x86_64")]
fn ends_in_call(code: &[u8; LONGEST_CALL]) -> bool {
    let direct = code[3] == 0xE8;
    direct
        || [2, 3, 4, 6, 7].into_iter().any(|length| {
            let [opcode, operand, index] =
                [0, 1, 2].map(|at| code.get(LONGEST_CALL - length + at).copied().unwrap_or(0));
            let (mode, register, memory) = (operand >> 6, operand >> 3 & 7, operand & 7);
            let has_index = mode != 3 && memory == 4;
            let distance = match mode {
                0 if memory == 5 || has_index && index & 7 == 5 => 4,
                1 => 1,
                2 => 4,
                _ => 0,
            };
            opcode == 0xFF && register == 2 && length == 2 + usize::from(has_index) + distance
        })
}

/// BL, BLR, and BLR with an authenticated address.
#[cfg(target_arch = "aarch64")]
fn ends_in_call(code: &[u8; LONGEST_CALL]) -> bool {
    let instruction = u32::from_le_bytes([code[4], code[5], code[6], code[7]]);
    instruction & 0xFC00_0000 == 0x9400_0000
        || instruction & 0xFFFF_FC1F == 0xD63F_0000
        || instruction & 0xFEFF_F800 == 0xD63F_0800
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::{LONGEST_CALL, ends_in_call};

    fn ends(code: &[u8]) -> bool {
        let mut padded = [0x90; LONGEST_CALL];
        padded[LONGEST_CALL - code.len()..].copy_from_slice(code);
        ends_in_call(&padded)
    }

    #[test]
    fn calls_are_told_from_other_instructions() {
        for call in [
            &[0xE8, 1, 2, 3, 4][..],               // call distance
            &[0xFF, 0xD0],                         // call *%rax
            &[0x41, 0xFF, 0xD4],                   // call *%r12
            &[0xFF, 0x10],                         // call *(%rax)
            &[0xFF, 0x50, 0x18],                   // call *24(%rax)
            &[0xFF, 0x54, 0x24, 0x08],             // call *8(%rsp)
            &[0xFF, 0x15, 1, 2, 3, 4],             // call *distance(%rip)
            &[0xFF, 0x90, 0, 1, 0, 0],             // call *256(%rax)
            &[0xFF, 0x14, 0xC5, 1, 2, 3, 4],       // call *table(,%rax,8)
            &[0x41, 0xFF, 0x94, 0x24, 0, 1, 0, 0], // call *256(%r12)
        ] {
            assert!(ends(call), "{call:x?}");
        }
        for other in [
            &[0xE9, 1, 2, 3, 4][..], // jmp
            &[0xFF, 0xE0],           // jmp *%rax
            &[0xFF, 0xC0],           // inc %eax
            &[0x0F, 0x05],           // syscall
            &[0xFF, 0x10, 0x90],     // a call, and a nop
        ] {
            assert!(!ends(other), "{other:x?}");
        }
    }
}
