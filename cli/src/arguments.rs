//! The arguments of the program.

use clap::{Parser, Subcommand, ValueHint};

use crate::ps::Sort;

/// Look into a running process that uses Majjen
///
/// Shows the tasks of a process, what they wait for, and where they are. The process is read from outside, and goes
/// on meanwhile: it is not stopped, nothing is written to it, and no code is run in it. It needs no symbols, no
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
    /// Write completions for a shell
    #[command(hide = true)]
    Completions { shell: clap_complete::Shell },
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let range = 0.1..=3600.0;
    if range.contains(&seconds) { Ok(seconds) } else { Err("from 0.1 to 3600".to_owned()) }
}
