//! The behaviour tests: C programs, the header, and the guide's server, each run against the built
//! libraries as a program of its own.
//!
//! `make test` runs those that take little time, `make test-long` the others, and `cargo suite NAME` those with NAME
//! in their names. These variables are for running them by hand.
//!
//! - `MAJJEN_LIB_DIR`: the directory with `libmajjen.so` and `libmajjen.a`. `target/release` unless
//!   set.
//! - `CC`, `CXX`: the compilers. `cc` and `c++` unless set.
//! - `MAJJEN_RUNNER`: a command that runs programs of another architecture; `CC` and the libraries are
//!   then for that one. The C programs are tested, and gdb's view of them.
//! - `MAJJEN_BLESS`: when set, a header that is out of date is regenerated instead of reported, and so
//!   are `tests/support/majjen_h.rs` and the files in `c-tests/abi/`.
//! - `MAJJEN_TESTS`: `short` or `long`, to leave out those of `LONG` or all others.
//! - `MAJJEN_TORTURE`: when set, the C programs run in their long forms, faults are tried with every errno
//!   value, loads take a minute, a million tasks are parked, 100,000 jobs are done by processes that are
//!   killed, mutants of the library are tested, and the source archive is built.
//!
//! A test whose tool is not installed is reported as ignored, with the reason.

mod abi;
mod architecture;
mod build_flags;
mod c_programs;
mod debian;
mod debugger;
mod declarations;
mod dist;
mod examples;
mod faults;
mod guide;
mod header;
mod hook;
mod install;
mod library;
mod log_names;
mod majjen_h;
mod mutants;
mod package;
mod parked;
mod platforms;
mod process;
mod program;
mod readme;
mod running;
mod rust_api;
mod sanitizers;
mod server;
mod simulation;
#[path = "../support/mutants.rs"]
mod sources;
mod stack_clash;
mod toolchain;

use std::process::ExitCode;
use std::thread;

use libtest_mimic::{Arguments, Trial};

/// What takes most of the time of all tests: parts of their names.
const LONG: &[&str] = &[
    "::valgrind",
    "_under_valgrind",
    "::fortified2",
    "build_flags::",
    "debian::packages_are_clean_and_work",
    "dist::",
    "faults::a_child_at_each_call",
    "faults::allocations",
    "faults::system_calls",
    "hook::clients::",
    "hook::servers::",
    "hook::worker::",
    "install::majjen_is_small",
    "package::has_documentation_without_warnings",
    "package::works_from_another_crate",
    "rust_api::shows_nothing_of_c",
    "sanitizers::",
    "server::clean_under_memcheck",
    "server::load::",
];

/// Leaves out what `MAJJEN_TESTS` does not ask for.
fn choose(trials: &mut Vec<Trial>) {
    let is_long = |trial: &Trial| LONG.iter().any(|part| trial.name().contains(part));
    match std::env::var("MAJJEN_TESTS").as_deref() {
        Ok("short") => trials.retain(|trial| !is_long(trial)),
        Ok("long") => trials.retain(is_long),
        _ => (),
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most tests wait for most of their time.
    let processors = thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(2 * processors);
    let mut trials = c_programs::trials();
    trials.extend(debugger::trials());
    trials.extend(examples::trials());
    trials.extend(guide::trials());
    trials.extend(readme::trials());
    trials.extend(simulation::trials());
    if toolchain::runner().is_none() {
        trials.extend(abi::trials());
        trials.extend(architecture::trials());
        trials.extend(build_flags::trials());
        trials.extend(debian::trials());
        trials.extend(dist::trials());
        trials.extend(faults::trials());
        trials.extend(header::trials());
        trials.extend(hook::trials());
        trials.extend(install::trials());
        trials.extend(log_names::trials());
        trials.extend(mutants::trials());
        trials.extend(package::trials());
        trials.extend(parked::trials());
        trials.extend(platforms::trials());
        trials.extend(rust_api::trials());
        trials.extend(sanitizers::trials());
        trials.extend(server::trials());
        trials.extend(stack_clash::trials());
    }
    choose(&mut trials);
    let conclusion = libtest_mimic::run(&arguments, trials);
    program::clean_up();
    conclusion.exit_code()
}
