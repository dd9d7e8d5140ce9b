//! The report: tables and targets, as text for the terminal and as `docs/performance.md`.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::contenders::{Field, MAJJEN};
use crate::plot::Plot;
use crate::sample::{Spread, short};

/// The measurements of one row.
#[derive(Default)]
pub struct Row {
    pub number: usize,
    pub title: &'static str,
    /// The measured work.
    pub work: &'static str,
    /// What the numbers do not include.
    pub leaves_out: &'static str,
    pub tables: Vec<Table>,
    pub targets: Vec<Target>,
    /// The entries for the table of ratios.
    pub ratios: Vec<Ratio>,
    pub plots: Vec<Plot>,
}

pub struct Table {
    pub caption: String,
    pub head: Vec<String>,
    pub lines: Vec<Vec<String>>,
}

/// A target for Majjen.
#[derive(Clone, Serialize, Deserialize)]
pub struct Target {
    pub text: String,
    pub measured: String,
    pub met: bool,
}

/// Majjen compared with the best peer; less is better.
pub struct Ratio {
    pub what: String,
    pub unit: &'static str,
    pub majjen: f64,
    pub peer: &'static str,
    pub of_peer: f64,
}

impl Table {
    pub fn new<const N: usize>(caption: &str, head: [&str; N]) -> Table {
        Table {
            caption: caption.to_owned(),
            head: head.iter().map(|cell| (*cell).to_owned()).collect(),
            lines: Vec::new(),
        }
    }

    fn markdown(&self) -> String {
        let mut text = String::new();
        if !self.caption.is_empty() {
            let _ = writeln!(text, "{}\n", self.caption);
        }
        let _ = writeln!(text, "| {} |", self.head.join(" | "));
        let _ = writeln!(text, "|{}", "---|".repeat(self.head.len()));
        for line in &self.lines {
            let _ = writeln!(text, "| {} |", line.join(" | "));
        }
        text
    }
}

impl Target {
    /// A measurement with an upper limit.
    pub fn at_most(text: &str, measured: Option<f64>, limit: f64, unit: &str) -> Target {
        match measured {
            Some(measured) => Target {
                text: text.to_owned(),
                measured: format!("{} {unit}, limit {} {unit}", short(measured), short(limit)),
                met: measured <= limit,
            },
            None => {
                Target { text: text.to_owned(), measured: "not measured".to_owned(), met: false }
            }
        }
    }

    /// A measurement with a lower limit.
    pub fn at_least(text: &str, measured: Option<f64>, limit: f64, unit: &str) -> Target {
        let target = Target::at_most(text, measured, limit, unit);
        Target { met: measured.is_some_and(|measured| measured >= limit), ..target }
    }

    fn line(&self) -> String {
        format!(
            "- {} {}: {}",
            if self.met { "met" } else { "**missed**" },
            self.text,
            self.measured
        )
    }
}

impl Row {
    /// Fills it, or says why it was not measured.
    pub fn filled_by(mut self, measure: impl FnOnce(&mut Row) -> Result<()>) -> Row {
        match measure(&mut self) {
            Ok(()) => self,
            Err(reason) => self.not_measured(reason),
        }
    }

    /// Says why it was not.
    pub fn not_measured(mut self, reason: String) -> Row {
        let mut table = Table::new("not measured", ["reason"]);
        table.lines.push(vec![reason]);
        self.tables.push(table);
        self
    }

    /// Compares Majjen with the best peer.
    pub fn add_ratio(
        &mut self,
        what: &str,
        unit: &'static str,
        majjen: Option<Spread>,
        peers: impl IntoIterator<Item = (&'static str, Option<Spread>)>,
    ) {
        let best = peers
            .into_iter()
            .filter_map(|(name, spread)| Some((name, spread?.median)))
            .min_by(|left, right| left.1.total_cmp(&right.1));
        if let (Some(majjen), Some((peer, of_peer))) = (majjen, best) {
            self.ratios.push(Ratio {
                what: what.to_owned(),
                unit,
                majjen: majjen.median,
                peer,
                of_peer,
            });
        }
    }

    pub fn in_words(&self) -> String {
        let mut text = format!("\n{}. {}\n", self.number, self.title);
        for table in &self.tables {
            let _ = writeln!(text, "\n{}", aligned(table));
        }
        for target in &self.targets {
            let _ = writeln!(text, "{}", target.line().replace("**", ""));
        }
        text
    }

    fn markdown(&self) -> String {
        let mut text = format!("{}\n\nNot included: {}\n", self.work, self.leaves_out);
        for table in &self.tables {
            let _ = write!(text, "\n{}", table.markdown());
        }
        if !self.targets.is_empty() {
            text.push('\n');
        }
        for target in &self.targets {
            let _ = writeln!(text, "{}", target.line());
        }
        text
    }
}

/// A row as the page has it: what is kept of it for later runs.
#[derive(Serialize, Deserialize)]
pub struct Finished {
    pub number: usize,
    /// When it was measured, and what.
    pub measured: String,
    title: String,
    text: String,
    targets: Vec<Target>,
    /// Lines of the table of ratios.
    ratios: Vec<Vec<String>>,
    plots: Vec<Plot>,
}

impl Row {
    /// `measured`: when, and what.
    pub fn finish(self, measured: String) -> Finished {
        Finished {
            number: self.number,
            measured,
            title: self.title.to_owned(),
            text: self.markdown(),
            ratios: self.ratios.iter().map(|ratio| ratio.cells(self.number)).collect(),
            targets: self.targets,
            plots: self.plots,
        }
    }
}

impl Finished {
    fn in_page(&self) -> String {
        format!("{}\nMeasured {}.\n", self.text, self.measured)
    }
}

impl Ratio {
    fn cells(&self, row: usize) -> Vec<String> {
        vec![
            row.to_string(),
            self.what.clone(),
            format!("{} {}", short(self.majjen), self.unit),
            self.peer.to_owned(),
            format!("{} {}", short(self.of_peer), self.unit),
            format!("{:.2}", self.majjen / self.of_peer),
        ]
    }
}

fn aligned(table: &Table) -> String {
    let columns = table.head.len();
    let width = |column: usize| {
        let cells = table.lines.iter().chain([&table.head]);
        cells.filter_map(|line| Some(line.get(column)?.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = format!("{}\n", table.caption);
    for line in [&table.head].into_iter().chain(&table.lines) {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "  {cell:width$}");
        }
        text.push('\n');
    }
    text
}

/// The whole report.
pub struct Report {
    machine: Vec<(&'static str, String)>,
    /// Name, version, what it is.
    versions: Vec<[String; 3]>,
    missing: Vec<String>,
    quick: bool,
    rows: Vec<Finished>,
    pub took_s: u64,
}

impl Report {
    pub fn new(machine: Vec<(&'static str, String)>, field: &Field, quick: bool) -> Report {
        let versions = field
            .built
            .iter()
            .map(|built| [built.name.to_owned(), built.version.clone(), built.what.to_owned()]);
        let missing = field.missing.iter().map(|(name, reason)| format!("{name}: {reason}"));
        Report {
            machine,
            versions: versions.collect(),
            missing: missing.collect(),
            quick,
            rows: Vec::new(),
            took_s: 0,
        }
    }

    pub fn add(&mut self, row: Finished) {
        self.rows.push(row);
        self.rows.sort_by_key(|row| row.number);
    }

    pub fn rows(&self) -> &[Finished] {
        &self.rows
    }

    pub fn plots(&self) -> Vec<&Plot> {
        self.rows.iter().flat_map(|row| &row.plots).collect()
    }

    /// The table of ratios.
    fn ratios(&self) -> Table {
        let mut table = Table::new("", ["row", "work", MAJJEN, "best peer", "", "ratio"]);
        table.lines = self.rows.iter().flat_map(|row| row.ratios.clone()).collect();
        table
    }

    fn missed(&self) -> usize {
        self.rows.iter().flat_map(|row| &row.targets).filter(|target| !target.met).count()
    }

    /// The text at the end of the terminal output.
    pub fn summary(&self) -> String {
        let mut text = String::from("\nMajjen and the best of its peers; less is better\n");
        text.push_str(&aligned(&self.ratios()));
        for missing in &self.missing {
            let _ = writeln!(text, "not measured: {missing}");
        }
        let targets = self.rows.iter().map(|row| row.targets.len()).sum::<usize>();
        let _ = write!(
            text,
            "{} of {targets} targets met, in {} s",
            targets - self.missed(),
            self.took_s
        );
        if self.quick {
            text.push_str(". A quick run shows that all works, not how fast it is.");
        }
        text
    }

    /// Fills the template: `{{machine}}`, `{{versions}}`, `{{ratios}}`, `{{targets}}`, and for each row
    /// `{{row N}}`. `{{limits N}}` remains for a person to explain what limits a row that misses a target.
    pub fn page(&self, template: &str) -> Result<String> {
        let mut page = template.replace("{{machine}}", &self.machine_lines());
        page = page.replace("{{versions}}", &self.version_lines());
        page = page.replace("{{ratios}}\n", &self.ratios().markdown());
        page = page.replace("{{targets}}", &self.target_lines());
        for row in &self.rows {
            page = page.replace(&format!("{{{{title {}}}}}", row.number), &row.title);
            page = page.replace(&format!("{{{{row {}}}}}\n", row.number), &row.in_page());
            let unwritten = if row.targets.iter().all(|target| target.met) {
                ""
            } else {
                "> **To be written:** what limits this, and what was tried.\n"
            };
            page = page.replace(&format!("{{{{limits {}}}}}\n", row.number), unwritten);
        }
        match page.find("{{") {
            None => Ok(page.trim_end().to_owned() + "\n"),
            Some(place) => {
                let rest: String = page[place..].chars().take(30).collect();
                Err(format!("the template has a place that nothing fills: {rest}"))
            }
        }
    }

    fn machine_lines(&self) -> String {
        let lines = self.machine.iter().map(|(name, value)| format!("| {name} | {value} |\n"));
        format!("| | |\n|---|---|\n{}", lines.collect::<String>()).trim_end().to_owned()
    }

    fn version_lines(&self) -> String {
        let lines = self.versions.iter().map(|cells| format!("| {} |\n", cells.join(" | ")));
        let mut text =
            format!("| contender | version | is |\n|---|---|---|\n{}", lines.collect::<String>());
        for missing in &self.missing {
            let _ = write!(text, "\nNot measured: {missing}\n");
        }
        text.trim_end().to_owned()
    }

    fn target_lines(&self) -> String {
        let total: usize = self.rows.iter().map(|row| row.targets.len()).sum();
        let mut text = format!("{} of {total} targets are met.", total - self.missed());
        for row in &self.rows {
            for target in row.targets.iter().filter(|target| !target.met) {
                let _ = write!(
                    text,
                    "\n- row {}, missed: {}: {}",
                    row.number, target.text, target.measured
                );
            }
        }
        text
    }
}
