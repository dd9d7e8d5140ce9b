//! Programs built with AddressSanitizer and ThreadSanitizer, against the ordinary library: nothing
//! is reported of what is right, and what is wrong is, with its place.

use std::fs;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use crate::library::{self, Workplace};
use crate::program::{self, Link};
use crate::{process, toolchain};

/// A program, and the sanitizer it is built with.
struct Case {
    program: &'static str,
    sanitizer: &'static str,
    /// What the report says; nothing if there must be none.
    said: &'static [&'static str],
    /// What would show that the sanitizer does not know the tasks' stacks.
    not_said: &'static [&'static str],
}

const CASES: [Case; 5] = [
    Case { program: "clean", sanitizer: "address", said: &[], not_said: &["WARNING", "ERROR"] },
    Case { program: "clean", sanitizer: "thread", said: &[], not_said: &["WARNING", "ERROR"] },
    Case { program: "stops", sanitizer: "thread", said: &[], not_said: &["WARNING", "ERROR"] },
    Case {
        program: "overrun",
        sanitizer: "address",
        said: &["stack-buffer-overflow", "writes_past_the_end", "in works"],
        not_said: &[],
    },
    Case {
        program: "race",
        sanitizer: "thread",
        said: &["data race", "writes_without_a_lock", "works"],
        not_said: &["yields_in_a_call", "is_elsewhere"],
    },
];

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let trial = |case: Case| {
        let name = format!("sanitizers::{}::{}", case.program, case.sanitizer);
        Trial::ignorable_test(name, move || run(&case))
    };
    CASES.map(trial).into()
}

fn run(case: &Case) -> Result<Completion, Failed> {
    let workplace = Workplace::new()?;
    let flag = format!("-fsanitize={}", case.sanitizer);
    let flags = ["-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-Werror", &flag];
    // Whether the compiler has the sanitizer's runtime shows with a program that has nothing else.
    let probe = workplace.path().join("probe.c");
    fs::write(&probe, "int main(void) { return 0; }\n")?;
    let mut compiler = toolchain::c_compiler();
    compiler.arg(&flag).arg(&probe).arg("-o").arg(workplace.path().join("probe"));
    let limit = Duration::from_secs(120);
    if !process::run(&mut compiler, limit, workplace.path())?.succeeded() {
        return Ok(Completion::ignored_with(format!("the compiler has no {flag}")));
    }

    let source = library::root().join(format!("c-tests/sanitizers/{}.c", case.program));
    let program = program::compile(&source, &flags, Link::Shared, &[], &workplace)?;
    let finished = process::run(&mut program::command(&program), limit, workplace.path())?;
    let output = &finished.output;
    let missing: Vec<_> = case.said.iter().filter(|part| !output.contains(**part)).collect();
    let surplus: Vec<_> = case.not_said.iter().filter(|part| output.contains(**part)).collect();
    if finished.succeeded() == case.said.is_empty() && missing.is_empty() && surplus.is_empty() {
        return Ok(Completion::Completed);
    }
    let end = finished.describe();
    Err(format!("the program {end}\nmissing: {missing:?}, too much: {surplus:?}").into())
}
