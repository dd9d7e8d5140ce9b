//! Many parked tasks: a million of them, and more than are possible where each guard page needs a
//! mapping. `c-tests/parked.c` itself parks a number that suits every run.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use crate::library::{self, TempDir};
use crate::program::{self, Link, STRICT};
use crate::toolchain::torture;

const LIMIT: Duration = Duration::from_secs(300);

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![Trial::test("parked::beyond_the_limit_of_mappings", || {
        let temp_dir = TempDir::new()?;
        let source = library::root().join("c-tests/faults/fallbacks.c");
        let preload = program::compile_preload(&source)?;
        park("40000", Some(&preload), &temp_dir)
    })];
    if torture() {
        trials.push(Trial::ignorable_test("parked::a_million", || {
            let temp_dir = TempDir::new()?;
            match available_gib()? {
                0..6 => Ok(Completion::ignored_with("there are no 6 GiB of memory for it")),
                _ => park("1000000", None, &temp_dir).map(|()| Completion::Completed),
            }
        }));
    }
    trials
}

/// Parks this many tasks, without lightweight guards if a library is preloaded that removes them.
fn park(count: &str, preload: Option<&Path>, temp_dir: &TempDir) -> Result<(), Failed> {
    let source = library::root().join("c-tests/parked.c");
    let program = program::compile(&source, &STRICT, Link::Shared, &[], temp_dir)?;
    let mut command = Command::new(program);
    command.arg(count);
    if let Some(preload) = preload {
        command.env("LD_PRELOAD", preload).env("MAJJEN_FALLBACKS", "guards");
    }
    let output = program::run_command(&mut command, LIMIT, temp_dir)?;
    println!("{}", output.lines().last().unwrap_or_default());
    Ok(())
}

fn available_gib() -> Result<u64, Failed> {
    let info = fs::read_to_string("/proc/meminfo")?;
    let available = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib =
        available.and_then(|rest| rest.trim().strip_suffix(" kB")).ok_or("no MemAvailable")?;
    Ok(kib.parse::<u64>()? >> 20)
}
