//! The arguments of the program.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand, ValueHint};

use crate::ps::Sort;

/// Look into a running process that uses Majjen
///
/// Shows the tasks of a process, what they wait for, and where they are. The process is read from outside, and goes
/// on meanwhile: it is not stopped, no code is run in it, and only `trace` writes to it. It needs no symbols, no
/// setting and no restart. Who looks needs the same right as for a debugger: the same user, or root. A core file
/// can be given instead of the number of a process.
#[derive(Parser, Debug)]
#[command(name = "majjen", version, about, long_about)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// List the tasks: what each does or waits for, since when, and its share of the processor
    Ps {
        /// The number of a process, or a core file
        #[arg(value_hint = ValueHint::AnyPath)]
        pid: String,
        /// Write JSON
        #[arg(long)]
        json: bool,
        /// Sort the tasks by this
        #[arg(long, value_enum, default_value_t)]
        sort: Sort,
        /// Show ids, as log lines have them
        #[arg(long)]
        ids: bool,
        /// Show only tasks with this text in their line
        #[arg(long, value_name = "TEXT")]
        filter: Option<String>,
        /// Look at so many moments at who runs, 2 ms apart, for the share of the processor; 0 for not at all
        #[arg(long, default_value_t = crate::look::SAMPLES, value_name = "NUMBER")]
        samples: usize,
    },
    /// Show tasks and schedulers on a screen that is renewed
    Top {
        /// The number of a process
        #[arg(value_hint = ValueHint::Other)]
        pid: String,
        /// Renew it so often, in seconds
        #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
        interval: f64,
    },
    /// Show where a task is: its backtrace
    ///
    /// Of a task that computes the place is not known from outside.
    Bt {
        /// The number of a process, or a core file
        #[arg(value_hint = ValueHint::AnyPath)]
        pid: String,
        /// The task: its number, as ps shows it, its id or its name
        task: String,
        /// Write JSON
        #[arg(long)]
        json: bool,
        /// Show all frames of the library, too
        #[arg(long)]
        full: bool,
    },
    /// Show where all tasks are, those together that are at the same place
    Stacks {
        /// The number of a process, or a core file
        #[arg(value_hint = ValueHint::AnyPath)]
        pid: String,
        /// Write JSON
        #[arg(long)]
        json: bool,
        /// Show all frames of the library, too
        #[arg(long)]
        full: bool,
    },
    /// Show which tasks wait for which, and which wait in a circle: a deadlock
    ///
    /// The exit status is 3 if there is a deadlock.
    Graph {
        /// The number of a process, or a core file
        #[arg(value_hint = ValueHint::AnyPath)]
        pid: String,
        /// Write JSON
        #[arg(long)]
        json: bool,
        /// Write a graph for Graphviz
        #[arg(long, conflicts_with = "json")]
        dot: bool,
    },
    /// Record what the tasks do for some time, and write it to a file
    ///
    /// Shown in a browser: as a page of its own (FILE.html), or as JSON for Perfetto or Chrome's trace viewer
    /// (any other name). This is the one command that writes to the process: one word, by which its schedulers
    /// begin to record, and which says when they stop.
    Trace {
        /// The number of a process
        #[arg(value_hint = ValueHint::Other)]
        pid: String,
        /// For how long
        #[arg(long = "for", default_value = "5s", value_name = "TIME", value_parser = time)]
        time: Duration,
        /// The file to write
        #[arg(short, long, default_value = "trace.html", value_hint = ValueHint::FilePath)]
        output: PathBuf,
        /// Keep the last so many events of each scheduler, rounded up to a power of two, 16 bytes each in the process
        #[arg(long, default_value_t = 1 << 18, value_name = "NUMBER",
              value_parser = clap::value_parser!(u32).range(1..=1 << 26))]
        events: u32,
    },
    /// Write completions for a shell
    #[command(hide = true)]
    Completions { shell: clap_complete::Shell },
}

/// A number with a unit, or of seconds.
fn time(text: &str) -> Result<Duration, String> {
    let end = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.trim().parse().map_err(|_| "not a time, such as 5s".to_owned())?;
    let unit_s = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "min" | "m" => 60.0,
        _ => return Err("the units are ms, s and min".to_owned()),
    };
    let range = 0.01..=3600.0;
    if range.contains(&(number * unit_s)) {
        Ok(Duration::from_secs_f64(number * unit_s))
    } else {
        Err("from 10ms to 60min".to_owned())
    }
}

impl Arguments {
    /// Those of this process, or an error for who has typed them. A process without a command gets a tip.
    pub fn or_tip() -> Result<Arguments, clap::Error> {
        Arguments::try_parse().map_err(|mut error| {
            if error.kind() == ErrorKind::InvalidSubcommand
                && let Some(ContextValue::String(whom)) = error.get(ContextKind::InvalidSubcommand)
                && (whom.bytes().all(|byte| byte.is_ascii_digit()) || Path::new(whom).is_file())
            {
                let tip = format!(
                    "`majjen ps {whom}` lists the tasks; other commands are top, bt, stacks, graph and trace"
                );
                error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
                error.remove(ContextKind::SuggestedSubcommand);
            }
            error
        })
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let range = 0.1..=3600.0;
    if range.contains(&seconds) { Ok(seconds) } else { Err("from 0.1 to 3600".to_owned()) }
}
