//! The rows of the table, one file each.

mod calls;
mod children;
mod clusters;
mod files;
mod idle;
mod key_values;
mod lateness;
mod log;
mod nginx;
mod parked;
mod pool;
mod proxies;
mod requests;
mod sleepers;
mod slow_clients;
mod spawning;
mod startup;
mod switching;
mod threads;
mod wrk_load;

use crate::contenders::{Built, Field};
use crate::machine::Processors;
use crate::process::{self, Case};
use crate::report::{Row, Table};
use crate::sample::{Samples, Spread};
use crate::{Places, Plan, Result};

/// What a row needs for its measurements.
pub struct Bench<'b> {
    pub plan: &'b Plan,
    pub places: &'b Places,
    pub field: &'b Field,
    pub processors: Processors,
}

/// What measures a row.
type Measure = fn(&Bench) -> Result<Row>;

/// The rows with their numbers.
pub const ALL: &[(usize, Measure)] = &[
    (1, switching::measure),
    (2, spawning::measure),
    (3, sleepers::measure),
    (4, lateness::measure),
    (5, parked::measure),
    (6, requests::measure_once),
    (7, requests::measure_kept),
    (8, idle::measure),
    (9, log::measure),
    (10, startup::measure),
    (11, threads::measure),
    (12, calls::measure),
    (13, children::measure),
    (14, clusters::measure),
    (15, key_values::measure),
    (16, files::measure),
    (17, pool::measure),
    (18, proxies::measure),
];

/// The measurements of one test: one entry for each contender that took part, in the order of the field.
pub struct Results {
    pub entries: Vec<(&'static str, Result<Samples>)>,
}

impl Bench<'_> {
    /// Runs a test with each of the named contenders that were built.
    pub fn compare(&self, names: &[&str], arguments: &str, work: u64, repeats: usize) -> Results {
        self.compare_on(Some(self.processors.contender), names, arguments, work, repeats)
    }

    /// The same on all processors.
    pub fn compare_unpinned(
        &self,
        names: &[&str],
        arguments: &str,
        work: u64,
        repeats: usize,
    ) -> Results {
        self.compare_on(None, names, arguments, work, repeats)
    }

    fn compare_on(
        &self,
        processor: Option<usize>,
        names: &[&str],
        arguments: &str,
        work: u64,
        repeats: usize,
    ) -> Results {
        let built: Vec<&Built> = names.iter().filter_map(|name| self.field.get(name)).collect();
        let cases: Vec<Case> = built.iter().map(|built| case(built, arguments, work)).collect();
        let samples = process::by_turns(&cases, repeats, processor);
        Results { entries: built.iter().map(|built| built.name).zip(samples).collect() }
    }
}

/// One test of one contender.
pub fn case(built: &Built, arguments: &str, work: u64) -> Case {
    Case {
        name: built.name.to_owned(),
        program: built.program.clone(),
        arguments: words(arguments),
        work: work as f64,
        output: None,
    }
}

pub fn words(arguments: &str) -> Vec<String> {
    arguments.split_whitespace().map(str::to_owned).collect()
}

impl Results {
    /// A value that a contender reported.
    pub fn get(&self, contender: &str, value: &str) -> Option<Spread> {
        self.samples(contender)?.get(value)
    }

    /// Majjen's value beside a peer's, turn by turn: what slows the machine down for longer than a turn is in both.
    pub fn of_peer(&self, peer: &str, value: &str) -> Option<Spread> {
        self.samples(crate::contenders::MAJJEN)?.of(self.samples(peer)?, value)
    }

    fn samples(&self, contender: &str) -> Option<&Samples> {
        self.entries.iter().find(|(name, _)| *name == contender)?.1.as_ref().ok()
    }

    pub fn median(&self, contender: &str, value: &str) -> Option<f64> {
        Some(self.get(contender, value)?.median)
    }

    /// The contenders other than Majjen, for [`Row::add_ratio`].
    pub fn peers(&self, value: &str) -> Vec<(&'static str, Option<Spread>)> {
        let peers = self.entries.iter().filter(|(name, _)| *name != crate::contenders::MAJJEN);
        peers.map(|(name, _)| (*name, self.get(name, value))).collect()
    }

    /// A table cell: the value, a dash, or why there is none.
    pub fn cell(&self, contender: &str, value: &str, factor: f64) -> String {
        match self.entries.iter().find(|(name, _)| *name == contender) {
            Some((_, Ok(samples))) => match samples.get(value) {
                Some(spread) => spread.scaled(factor).in_words(),
                None => "-".to_owned(),
            },
            Some((_, Err(reason))) => reason.clone(),
            None => "-".to_owned(),
        }
    }

    /// A table with a line for each contender, and in it each of the values, times `factor`. A value has
    /// the name that the programs report and the one at the table's head.
    pub fn table(
        &self,
        caption: &str,
        contenders: &[&str],
        values: &[(&str, &str)],
        factor: f64,
    ) -> Table {
        let mut table = Table::new(caption, ["contender"]);
        table.head.extend(values.iter().map(|(_, head)| (*head).to_owned()));
        for contender in contenders {
            let mut line = vec![(*contender).to_owned()];
            line.extend(values.iter().map(|(value, _)| self.cell(contender, value, factor)));
            table.lines.push(line);
        }
        table
    }
}

/// 1000 as `1 k`.
pub fn count_in_words(count: u64) -> String {
    match count {
        1_000_000.. => format!("{} M", count / 1_000_000),
        1000.. => format!("{} k", count / 1000),
        _ => count.to_string(),
    }
}
