//! Programs built with AddressSanitizer, ThreadSanitizer and UndefinedBehaviorSanitizer, or run under
//! valgrind, against the ordinary library: nothing is reported of what is right, and what is wrong is,
//! with its place. And the library's own C under UndefinedBehaviorSanitizer.

mod shim;

use std::fs;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use crate::library::{self, Workplace};
use crate::program::{self, Link};
use crate::{process, toolchain};

/// What looks for bugs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    /// One of the compiler's: the word for `-fsanitize=`.
    Compiler(&'static str),
    Valgrind,
}

const ADDRESS: Tool = Tool::Compiler("address");
const THREAD: Tool = Tool::Compiler("thread");
const UNDEFINED: Tool = Tool::Compiler("undefined");

/// A program, and the tool that looks at it.
struct Case {
    /// In `c-tests/sanitizers/`, or in `c-tests/`.
    program: &'static str,
    tool: Tool,
    /// What the report says; nothing if there must be none.
    said: &'static [&'static str],
    /// What would show that the tool does not know the tasks' stacks.
    not_said: &'static [&'static str],
}

impl Case {
    /// One that is correct.
    const fn clean(program: &'static str, tool: Tool) -> Case {
        const NOTHING: &[&str] = &["WARNING", "ERROR", "Warning", "runtime error"];
        Case { program, tool, said: &[], not_said: NOTHING }
    }
}

const CASES: [Case; 12] = [
    Case::clean("clean", ADDRESS),
    Case::clean("clean", THREAD),
    Case::clean("clean", UNDEFINED),
    Case { not_said: &["Warning"], ..Case::clean("clean", Tool::Valgrind) },
    Case::clean("stops", THREAD),
    Case::clean("callback", THREAD),
    Case::clean("log_threads", THREAD),
    Case {
        program: "overrun",
        tool: ADDRESS,
        said: &["stack-buffer-overflow", "writes_past_the_end", "in works"],
        not_said: &[],
    },
    Case {
        program: "race",
        tool: THREAD,
        said: &["data race", "writes_without_a_lock", "works"],
        not_said: &["yields_in_a_call", "is_elsewhere"],
    },
    Case {
        program: "undefined",
        tool: UNDEFINED,
        said: &["signed integer overflow", "in overflows", "in works"],
        not_said: &[],
    },
    Case {
        program: "freed",
        tool: Tool::Valgrind,
        said: &["Invalid read", ": reads (", ": works_later (", ": frees (", ": works ("],
        not_said: &["yields_in_a_call", "is_elsewhere", "client switching stacks"],
    },
    Case {
        program: "unset",
        tool: Tool::Valgrind,
        said: &["depends on uninitialised", ": decides (", ": works ("],
        not_said: &[": fills (", "client switching stacks"],
    },
];

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let trial = |case: Case| {
        let tool = match case.tool {
            Tool::Compiler(sanitizer) => sanitizer,
            Tool::Valgrind => "valgrind",
        };
        let name = format!("sanitizers::{}::{tool}", case.program);
        Trial::ignorable_test(name, move || run(&case))
    };
    CASES.into_iter().map(trial).chain(shim::trials()).collect()
}

const LIMIT: Duration = Duration::from_secs(120);

/// The flags that switch a sanitizer on, if the compiler has its runtime: that shows with a program
/// that has nothing else.
fn flags(sanitizer: &'static str, workplace: &Workplace) -> Result<Option<Vec<String>>, Failed> {
    let mut flags = vec![format!("-fsanitize={sanitizer}")];
    if Tool::Compiler(sanitizer) == UNDEFINED {
        flags.push("-fno-sanitize-recover=undefined".to_owned());
    }
    let probe = workplace.path().join("probe.c");
    fs::write(&probe, "int main(void) { return 0; }\n")?;
    let mut compiler = toolchain::c_compiler();
    compiler.args(&flags).arg(&probe).arg("-o").arg(workplace.path().join("probe"));
    let has_it = process::run(&mut compiler, LIMIT, workplace.path())?.succeeded();
    Ok(has_it.then_some(flags))
}

fn run(case: &Case) -> Result<Completion, Failed> {
    let workplace = Workplace::new()?;
    let mut flags_of_tool = Vec::new();
    match case.tool {
        Tool::Valgrind => {
            if let Some(ignored) = toolchain::missing("valgrind") {
                return Ok(ignored);
            }
        }
        Tool::Compiler(sanitizer) => match flags(sanitizer, &workplace)? {
            Some(flags) => flags_of_tool = flags,
            None => return Ok(ignored(sanitizer)),
        },
    }
    let mut flags = vec!["-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-Werror"];
    flags.extend(flags_of_tool.iter().map(String::as_str));
    let source = ["c-tests/sanitizers", "c-tests"]
        .map(|directory| library::root().join(format!("{directory}/{}.c", case.program)))
        .into_iter()
        .find(|source| source.exists())
        .ok_or_else(|| format!("there is no program {}", case.program))?;
    let program = program::compile(&source, &flags, Link::Shared, &[], &workplace)?;
    let mut command = match case.tool {
        Tool::Compiler(sanitizer) => {
            let mut command = program::command(&program);
            command.env("MAJJEN_SANITIZER", sanitizer);
            command
        }
        Tool::Valgrind => {
            let mut valgrind = Command::new("valgrind");
            valgrind.args(["--error-exitcode=99", "--leak-check=full", "--fair-sched=try"]);
            valgrind.arg(&program);
            valgrind
        }
    };
    // With the stack of what it reports.
    command.env("UBSAN_OPTIONS", "print_stacktrace=1");
    if toolchain::on_fallbacks() {
        // It would have its runtime be the first library, which would matter if the one before it
        // replaced what the runtime does.
        command.env("ASAN_OPTIONS", "verify_asan_link_order=0");
    }
    let finished = process::run(&mut command, LIMIT, workplace.path())?;
    let output = &finished.output;
    let missing: Vec<_> = case.said.iter().filter(|part| !output.contains(**part)).collect();
    let surplus: Vec<_> = case.not_said.iter().filter(|part| output.contains(**part)).collect();
    if finished.succeeded() == case.said.is_empty() && missing.is_empty() && surplus.is_empty() {
        return Ok(Completion::Completed);
    }
    let end = finished.describe();
    Err(format!("the program {end}\nmissing: {missing:?}, too much: {surplus:?}").into())
}

fn ignored(sanitizer: &str) -> Completion {
    Completion::ignored_with(format!("the compiler has no -fsanitize={sanitizer}"))
}
