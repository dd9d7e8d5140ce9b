//! `make bench`: Majjen and its peers, measured in one run with the same work.
//!
//! The driver builds one program for each contender (`contenders`) and runs them one at a time, pinned to one
//! processor, in alternation, so that a slow moment of the machine affects all alike (`process`). Each row of
//! the table is a file in `rows`: it has the tests to run, what they exclude, and the targets. The result is
//! printed, kept in `bench/results` (`kept`), and written to `docs/performance.md` (`report`, `plot`), unless the
//! run is a quick one.

mod contenders;
mod instructions;
mod kept;
mod load;
mod machine;
mod open_load;
mod plot;
mod postgres;
mod process;
mod report;
mod rows;
mod sample;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use kept::Kept;
use report::Report;

pub type Result<T> = std::result::Result<T, String>;

const USAGE: &str = "usage: majjen-bench [quick] [rows=N,N,...] | instructions [bless]";

/// What to measure, and how thoroughly.
pub struct Plan {
    /// Fewer repeats and smaller numbers: shows that everything works, not how fast.
    pub quick: bool,
    rows: Option<Vec<usize>>,
}

impl Plan {
    /// The first value for a full run, the second for a quick one.
    pub fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    fn includes(&self, row: usize) -> bool {
        self.rows.as_ref().is_none_or(|rows| rows.contains(&row))
    }
}

/// The directories.
pub struct Places {
    /// The project.
    pub root: PathBuf,
    /// `bench/`.
    pub bench: PathBuf,
    /// The directory with `libmajjen.so`.
    pub library: PathBuf,
    /// Where contenders are built.
    pub build: PathBuf,
}

impl Places {
    fn find() -> Result<Places> {
        let bench = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let root = bench.parent().ok_or("bench/ is in no directory")?.to_owned();
        let library = match std::env::var_os("MAJJEN_LIB_DIR") {
            Some(directory) => PathBuf::from(directory),
            None => root.join("target/release"),
        };
        let library = library
            .canonicalize()
            .ok()
            .filter(|directory| directory.join("libmajjen.so").exists())
            .ok_or_else(|| {
                format!("no libmajjen.so in {}; `make build` makes it", library.display())
            })?;
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let build = program.parent().ok_or("the driver is in no directory")?.join("contenders");
        std::fs::create_dir_all(&build).map_err(|error| format!("{}: {error}", build.display()))?;
        Ok(Places { root, bench, library, build })
    }

    pub fn contender(&self, source: &str) -> PathBuf {
        self.bench.join("contenders").join(source)
    }
}

fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        Some("instructions") => instructions::run(),
        _ => bench(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let mut plan = Plan { quick: false, rows: None };
    for argument in std::env::args().skip(1) {
        if argument == "quick" {
            plan.quick = true;
        } else if let Some(list) = argument.strip_prefix("rows=") {
            let rows: std::result::Result<Vec<usize>, _> =
                list.split(',').map(str::parse).collect();
            let is_one = |row: &usize| rows::ALL.iter().any(|(number, _)| number == row);
            let rows = rows.ok().filter(|rows| rows.iter().all(is_one));
            plan.rows = Some(rows.ok_or("rows are numbers of rows, with commas between")?);
        } else {
            return Err(USAGE.to_owned());
        }
    }
    let began = Instant::now();
    let places = Places::find()?;
    let field = contenders::build_all(&places)?;
    machine::raise_descriptor_limit();
    machine::enter_own_network();
    let processors = machine::Processors::choose();
    processors.pin_driver();

    let kept = Kept::below(&places)?;
    let measured = machine::day_and_commit();
    let mut report = Report::new(machine::describe(&processors), &field, plan.quick);
    for &(number, measure) in rows::ALL {
        if plan.includes(number) {
            eprintln!("row {number} ({} s)", began.elapsed().as_secs());
            let row =
                measure(&rows::Bench { plan: &plan, places: &places, field: &field, processors })
                    .map_err(|error| format!("row {number}: {error}"))?;
            print!("{}", row.in_words());
            let row = row.finish(measured.clone());
            if !plan.quick {
                kept.save(&row)?;
            }
            report.add(row);
        }
    }
    report.took_s = began.elapsed().as_secs();
    println!("{}", report.summary());
    if plan.quick {
        println!("docs/performance.md is left as it is: a quick run does not renew it.");
        return Ok(());
    }
    match kept.complete(&mut report)? {
        missing if missing.is_empty() => write_page(&places, &report),
        missing => {
            println!(
                "docs/performance.md is left as it is: rows {missing:?} have not been measured"
            );
            Ok(())
        }
    }
}

fn write_page(places: &Places, report: &Report) -> Result<()> {
    let save = |path: &Path, text: String| {
        println!("wrote {}", path.strip_prefix(&places.root).unwrap_or(path).display());
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    let template = places.bench.join("performance.template.md");
    let template = std::fs::read_to_string(&template)
        .map_err(|error| format!("{}: {error}", template.display()))?;
    save(&places.root.join("docs/performance.svg"), plot::draw(&report.plots()))?;
    save(&places.root.join("docs/performance.md"), report.page(&template)?)
}
