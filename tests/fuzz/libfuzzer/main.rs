//! libFuzzer as the driver of the interpreter: it has the `main` function, and mutates programs to
//! reach new code. A program that fails is kept in a file, which the other driver replays;
//! `../main.rs` says how.
#![no_main]

#[path = "../interpreter/mod.rs"]
mod interpreter;

use std::ffi::c_int;

use majjen as _; // The library under test.

/// Above the descriptors that programs open.
const LOWEST_OF_REPORTS: c_int = 64;

/// Called once, before any program, and before libFuzzer closes standard error, for the lines of programs.
#[unsafe(no_mangle)]
extern "C" fn LLVMFuzzerInitialize(_argc: *mut c_int, _argv: *mut *mut *mut u8) -> c_int {
    // SAFETY: no pointers.
    let reports = unsafe { libc::fcntl(2, libc::F_DUPFD_CLOEXEC, LOWEST_OF_REPORTS) };
    std::panic::set_hook(Box::new(move |failure| {
        // SAFETY: no pointers. What the hook says comes out again.
        unsafe { libc::dup2(reports, 2) };
        interpreter::write_out(&format!("FAILED: {}\n", interpreter::describe(failure)));
        std::process::abort(); // libFuzzer then saves the program.
    }));
    0
}

/// Runs one program.
#[unsafe(no_mangle)]
extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> c_int {
    let bytes = match size {
        0 => &[],
        // SAFETY: libFuzzer passes the number of bytes.
        _ => unsafe { std::slice::from_raw_parts(data, size) },
    };
    interpreter::run(bytes, false);
    0
}
