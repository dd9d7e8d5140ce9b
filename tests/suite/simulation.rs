//! A failing seed of the simulation is only useful if it fails again in another process, with other
//! addresses and at another time.

use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::library::{self, TempDir};
use crate::program::{self, Link, STRICT};

const LIMIT: Duration = Duration::from_secs(60);

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    vec![Trial::test("simulation::a_seed_replays_in_another_process", || {
        let temp_dir = TempDir::new()?;
        let source = library::root().join("c-tests/simulation.c");
        let program = program::compile(&source, &STRICT, Link::Shared, &[], &temp_dir)?;
        let run = |seed: u32| {
            let mut command = program::command(&program);
            program::run_command(command.arg(seed.to_string()), LIMIT, &temp_dir)
        };
        // Each prints a hash of all its events.
        let first = (1..=20).map(run).collect::<Result<Vec<_>, Failed>>()?;
        let again = (1..=20).map(run).collect::<Result<Vec<_>, Failed>>()?;
        if first != again {
            return Err(format!("20 seeds gave {first:?}, and then {again:?}").into());
        }
        if first.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(format!("different seeds gave the same: {first:?}").into());
        }
        Ok(())
    })]
}
