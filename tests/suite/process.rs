//! Processes: run to the end or to a time limit, whichever comes first, and their output.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How a process ended.
pub struct Finished {
    /// `None` when it was killed at the time limit.
    pub status: Option<ExitStatus>,
    /// Its output on stdout and stderr, interleaved as written.
    pub output: String,
}

impl Finished {
    /// Whether it ended with exit code 0.
    pub fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Describes how it ended, and the end of its output.
    pub fn describe(&self) -> String {
        let end = match self.status {
            None => "was killed at the time limit".to_owned(),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("ended with exit code {code}"),
                (None, Some(signal)) => format!("was killed by signal {signal}"),
                (None, None) => format!("ended with {status}"),
            },
        };
        const LINES: usize = 60;
        let lines: Vec<&str> = self.output.lines().collect();
        let start = lines.len().saturating_sub(LINES);
        format!("{end}; its last lines:\n{}", lines[start..].join("\n"))
    }
}

/// Runs a command, and kills it and its children at the time limit. Its input is empty; its output
/// goes to a file in `directory`, so that neither side blocks on the other.
pub fn run(command: &mut Command, limit: Duration, directory: &Path) -> io::Result<Finished> {
    let path = directory.join("output");
    let file = File::create(&path)?;
    drop(file);
    // Appending: the two descriptors share no position.
    let open = || File::options().append(true).open(&path);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(open()?)
        .stderr(open()?)
        // In its own process group, so that its children can be killed with it.
        .process_group(0)
        .spawn()?;
    let status = wait(&mut child, Instant::now() + limit)?;
    let output = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
    fs::remove_file(&path)?;
    Ok(Finished { status, output })
}

/// Waits for a child that leads a process group; kills the group at the deadline.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            let group = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
            // SAFETY: the child has not been waited for, so its number, and that of its group,
            // cannot have been reused.
            unsafe { libc::kill(-group, libc::SIGKILL) };
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
