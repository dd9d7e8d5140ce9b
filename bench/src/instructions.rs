//! `make bench-instructions`: how many instructions rows 1, 2 and 3, and channels, execute, against a committed
//! baseline. Times differ between machines and from minute to minute; instruction counts do not, so a change
//! that makes a path longer fails the build.
//!
//! Each test runs twice under callgrind, with a number of operations and with twice as many. The difference
//! does not include startup and shutdown. What other threads do is not counted.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::contenders::{C_FLAGS, compile};
use crate::{Places, Result};

/// How much longer a path may become, and how much shorter before the baseline is out of date.
const SLACK: f64 = 0.05;

struct Test {
    name: &'static str,
    /// `{n}` is the number of operations, `{n/100}` a hundredth of it.
    arguments: &'static str,
    operations: u64,
}

const TESTS: &[Test] = &[
    Test {
        name: "yield, 2 tasks",
        arguments: "yield tasks=2 bodies=1 rounds={n/2}",
        operations: 20_000,
    },
    Test {
        name: "yield, 100 tasks",
        arguments: "yield tasks=100 bodies=16 rounds={n/100}",
        operations: 20_000,
    },
    // With the flight recorder on: an event for each yield.
    Test {
        name: "yield, recorded",
        arguments: "yield tasks=2 bodies=1 rounds={n/2} trace=65536",
        operations: 20_000,
    },
    Test { name: "create, run, end", arguments: "spawn count={n}", operations: 10_000 },
    Test {
        name: "sleep and expire",
        arguments: "timers count=1000 rounds={n/1000} cancel=0 least_ns=2000000 spread_ns=1000000",
        operations: 4000,
    },
    Test {
        name: "sleep and cancel",
        arguments: "timers count=1000 rounds={n/1000} cancel=1 least_ns=2000000 spread_ns=1000000",
        operations: 4000,
    },
    Test {
        name: "send and receive",
        arguments: "channel count={n} capacity=4",
        operations: 10_000,
    },
    // With its call.
    Test { name: "defer", arguments: "defer count={n}", operations: 10_000 },
    Test { name: "hand over", arguments: "channel count={n} capacity=0", operations: 10_000 },
    // What the library's calls take beyond the system's is the difference to the first of these.
    Test {
        name: "recv and send",
        arguments: "transfer count={n} bare=1 owned=0",
        operations: 12_800,
    },
    Test {
        name: "read and write",
        arguments: "transfer count={n} bare=0 owned=0",
        operations: 12_800,
    },
    Test {
        name: "the same, owned",
        arguments: "transfer count={n} bare=0 owned=1",
        operations: 12_800,
    },
];

/// Turns of a scheduler whose long turns are reported, and the same without: what the watchdog costs its thread.
const WATCHED: Test = Test {
    name: "a watchdog adds",
    arguments: "yield tasks=2 bodies=1 rounds={n/2} watch=10000000",
    operations: 20_000,
};
const UNWATCHED: Test = Test { arguments: "yield tasks=2 bodies=1 rounds={n/2}", ..WATCHED };

/// Compares with the baseline, or with `bless` updates it.
pub fn run() -> Result<()> {
    let bless = match std::env::args().nth(2).as_deref() {
        None => false,
        Some("bless") => true,
        Some(_) => return Err("usage: majjen-bench instructions [bless]".to_owned()),
    };
    let places = Places::find()?;
    let path = places.bench.join(format!("instructions.{}.baseline", std::env::consts::ARCH));
    let source = places.contender("instructions.c");
    let program = compile(&places, &source, "instructions", C_FLAGS, &["-lmajjen"])?;
    let mut measured = Vec::new();
    for test in TESTS {
        measured.push((test.name, measure(&program, test)?));
    }
    if bless {
        return write_baseline(&path, &measured);
    }
    let baseline = read_baseline(&path)?;
    let mut wrong = Vec::new();
    let flags = [C_FLAGS, &["-DWITH_WATCHDOG"]].concat();
    let program = compile(&places, &source, "instructions-watched", &flags, &["-lmajjen"])?;
    let added = measure(&program, &WATCHED)? - measure(&program, &UNWATCHED)?;
    println!("{:<20} {:>10} {:>10}", "instructions for", "measured", "baseline");
    for (name, now) in measured {
        let Some((_, before)) = baseline.iter().find(|(known, _)| *known == name) else {
            wrong.push(format!("{name} is not in the baseline"));
            continue;
        };
        println!("{name:<20} {now:>10.1} {before:>10.1}  {:+.1}%", (now / before - 1.0) * 100.0);
        if now > before * (1.0 + SLACK) {
            wrong.push(format!("{name} takes {now:.1} instructions, {before:.1} before"));
        } else if now < before * (1.0 - SLACK) {
            wrong.push(format!(
                "{name} takes only {now:.1} instructions, {before:.1} before: keep it"
            ));
        }
    }
    println!("{:<20} {added:>10.1}", WATCHED.name);
    // The beginning of a run, by how far the round is when it ends.
    if added.abs() > 0.1 {
        wrong.push(format!("a watchdog adds {added:.1} instructions to a turn"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}\nIf this is as it should be, `make bench-instructions BLESS=1` renews the baseline.",
        wrong.join("\n")
    ))
}

/// The instruction count of an operation.
fn measure(program: &Path, test: &Test) -> Result<f64> {
    let once = count(program, test, test.operations)?;
    let twice = count(program, test, 2 * test.operations)?;
    Ok((twice as f64 - once as f64) / test.operations as f64)
}

/// The instruction count of a whole run's first thread.
fn count(program: &Path, test: &Test, operations: u64) -> Result<u64> {
    let mut arguments = test.arguments.to_owned();
    for divisor in [2, 100, 1000] {
        let fraction = (operations / divisor).to_string();
        arguments = arguments.replace(&format!("{{n/{divisor}}}"), &fraction);
    }
    let arguments = arguments.replace("{n}", &operations.to_string());
    // A directory, since callgrind writes a file for each thread.
    let directory = std::env::temp_dir().join(format!("majjen-counts-{}", std::process::id()));
    let told = |error: std::io::Error| format!("{}: {error}", directory.display());
    fs::create_dir(&directory).map_err(told)?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--separate-threads=yes"])
        .arg(format!("--callgrind-out-file={}", directory.join("counts").display()))
        .arg(program)
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .output();
    let counted = fs::read_to_string(directory.join("counts-01"));
    fs::remove_dir_all(&directory).map_err(told)?;
    let output = output.map_err(|error| {
        format!("valgrind, which counts the instructions: {error} (Debian: valgrind)")
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let out = String::from_utf8_lossy(&output.stdout);
    let work = format!("work={operations}");
    if !output.status.success() || !out.lines().any(|line| line == work) {
        return Err(format!("{}: {}\n{out}{said}", test.name, output.status));
    }
    let counted = counted.map_err(told)?;
    let total = counted.lines().find_map(|line| line.strip_prefix("totals: "));
    total
        .and_then(|total| total.trim().parse().ok())
        .ok_or(format!("callgrind does not say how many instructions it counted:\n{said}"))
}

fn read_baseline(path: &Path) -> Result<Vec<(String, f64)>> {
    let text = fs::read_to_string(path).map_err(|error| {
        format!("{}: {error}; `make bench-instructions BLESS=1` makes it", path.display())
    })?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (name, value) =
                line.split_once(": ").ok_or("a line of the baseline has no colon")?;
            let value = value.parse().map_err(|_| format!("{name}: {value} is no number"))?;
            Ok((name.to_owned(), value))
        })
        .collect()
}

fn write_baseline(path: &Path, measured: &[(&str, f64)]) -> Result<()> {
    let version =
        |program: &str| crate::machine::first_line_of(program, &["--version"]).unwrap_or_default();
    let mut text = format!(
        "# Instructions for one operation on {}, with a clock that costs a few of them. `make bench-instructions` compares, with BLESS=1 it renews this.\n\
         # {}; {}; {}\n",
        std::env::consts::ARCH,
        version("rustc"),
        version("cc"),
        version("valgrind"),
    );
    for (name, value) in measured {
        let _ = writeln!(text, "{name}: {value:.1}");
    }
    fs::write(path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
    print!("{text}");
    Ok(())
}
