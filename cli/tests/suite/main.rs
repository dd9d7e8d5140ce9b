//! `majjen`, run as a user would, on programs that hang in known ways.
//!
//! A test that needs what this system does not allow is reported as ignored, with the reason.

mod core_files;
mod forged;
mod graph;
mod hostile;
mod manual;
mod problems;
mod ps;
mod recorders;
mod stacks;
mod storm;
mod support;
mod table;
mod top;
mod trace;

use std::process::ExitCode;

fn main() -> ExitCode {
    let trials = [
        core_files::trials(),
        forged::trials(),
        graph::trials(),
        hostile::trials(),
        manual::trials(),
        problems::trials(),
        ps::trials(),
        recorders::trials(),
        stacks::trials(),
        storm::trials(),
        table::trials(),
        top::trials(),
        trace::trials(),
    ];
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}
