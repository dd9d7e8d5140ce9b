//! The driver for libFuzzer, which has the `main` function: see `main.rs` for the other driver, and
//! the Makefile for how it is built and run.
#![no_main]

mod interpreter;

use std::ffi::c_int;

use majjen as _; // The library that the calls go to.

/// Runs one program.
#[unsafe(no_mangle)]
extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> c_int {
    std::panic::set_hook(Box::new(|failure| {
        interpreter::write_out(&format!("FAILED: {}\n", interpreter::describe(failure)));
        std::process::abort(); // libFuzzer then keeps the program.
    }));
    let bytes: &[u8] = match size {
        0 => &[],
        // SAFETY: as many bytes as libFuzzer says.
        _ => unsafe { std::slice::from_raw_parts(data, size) },
    };
    interpreter::run(bytes, false);
    0
}
