//! `majjen`: looks into a running process that uses Majjen.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory;
use majjen_cli::arguments::{Arguments, Command};
use majjen_cli::graph::{self, Form};
use majjen_cli::look::Subject;
use majjen_cli::problem::{Problem, tell};
use majjen_cli::style::Style;
use majjen_cli::{json, ps, stacks, top, trace};

/// The exit status for a deadlock that was found.
const DEADLOCK: u8 = 3;

fn main() -> ExitCode {
    majjen_cli::guard::install();
    let arguments = Arguments::or_tip().unwrap_or_else(|error| error.exit());
    match run(arguments.command) {
        Ok(code) => code,
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let text = match failure {
                Failure::Output(error) => format!("the output cannot be written: {error}"),
                Failure::Problem(problem) => problem.to_string(),
            };
            tell(&text);
            ExitCode::FAILURE
        }
    }
}

enum Failure {
    Problem(Problem),
    Output(io::Error),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        Failure::Problem(problem)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    let style = Style::of_stdout();
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut code = ExitCode::SUCCESS;
    match command {
        Command::Ps { pid, json, sort, ids, filter, samples } => {
            let subject = Subject::open(&pid)?;
            let look = subject.look(&mut subject.reader(), samples);
            if json {
                json::write(&mut out, &subject, &look)?;
            } else {
                ps::write(&mut out, style, &subject, &look, &ps::Wanted { sort, ids, filter })?;
            }
            tell_what_is_missing(&subject, false);
        }
        Command::Graph { pid, json, dot } => {
            let subject = Subject::open(&pid)?;
            let form = match (json, dot) {
                (true, _) => Form::Json,
                (_, true) => Form::Dot,
                _ => Form::Text,
            };
            if graph::run(&mut out, style, &subject, form)? {
                code = ExitCode::from(DEADLOCK);
            }
            tell_what_is_missing(&subject, false);
        }
        Command::Bt { pid, task, json, full } => {
            let form = stacks::Form { is_json: json, is_full: full };
            let subject = Subject::open(&pid)?;
            stacks::backtrace(&mut out, style, &subject, &task, form)??;
            tell_what_is_missing(&subject, true);
        }
        Command::Stacks { pid, json, full } => {
            let form = stacks::Form { is_json: json, is_full: full };
            let subject = Subject::open(&pid)?;
            stacks::all(&mut out, style, &subject, form)?;
            tell_what_is_missing(&subject, true);
        }
        Command::Top { pid, interval } => {
            top::run(&Subject::open(&pid)?, Duration::from_secs_f64(interval))?;
        }
        Command::Trace { pid, time, output, events } => {
            let wanted = trace::Wanted { time, output, events };
            trace::run(&mut out, &Subject::open(&pid)?, &wanted)??;
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "majjen", &mut out);
        }
    }
    out.flush()?;
    Ok(code)
}

/// Of a core file that has not all that was wanted of it: what there is was shown.
fn tell_what_is_missing(subject: &Subject, with_files: bool) {
    for sentence in subject.target.missing(with_files) {
        tell(sentence);
    }
}
