//! The page of a recording, in a real browser. The pages stay in the directory of the tests, to be looked at.
//!
//! `MAJJEN_BLESS` makes the picture in `docs/` anew.

mod browser;
mod hostile;
mod million;
mod reading;
mod traces;
mod using;

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};
use majjen_cli::page::{self, Recorded};

use crate::browser::{Browser, Tab};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = [hostile::trials(), million::trials(), reading::trials(), using::trials()];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}

/// A test, which is ignored where there is no browser.
fn trial(name: &'static str, test: fn()) -> Trial {
    Trial::ignorable_test(name, move || {
        if let Some(reason) = browser::missing() {
            return Ok(Completion::ignored_with(reason));
        }
        test();
        Ok(Completion::Completed)
    })
}

/// Writes a page, and returns its address.
fn write(name: &str, title: &str, schedulers: &[Recorded]) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.html"));
    let mut file = BufWriter::new(File::create(&path).expect("a file"));
    page::write(&mut file, title, schedulers).expect("room for it");
    format!("file://{}", path.display())
}

/// Opens a page in a window of 1200 times 700 pixels.
fn open(name: &str, schedulers: &[Recorded]) -> Tab {
    let url = write(name, "process 4242 (server)", schedulers);
    Browser::start(name).open(&url, 1200, 700)
}

/// What is recorded of one scheduler.
fn recorded(entries: Vec<[u64; 2]>, names: &[(u32, &str)]) -> Recorded {
    Recorded {
        name: "1".to_owned(),
        kinds: traces::KINDS.map(str::to_owned).to_vec(),
        names: names.iter().map(|(slot, name)| (*slot, (*name).to_owned())).collect(),
        entries,
        lost: 0,
    }
}
