//! Row 16: clients that are slow on purpose, by slowhttptest, and whether a server answers others meanwhile.

use std::path::PathBuf;
use std::process::Command;

use super::wrk_load::can_be_run;
use crate::Result;
use crate::process::start_server;
use crate::report::{Table, Target};

const TOOL: &str = "slowhttptest";

/// How many there are, how many of them come in a second, and how long they stay, in seconds.
const CLIENTS: u32 = 1000;
const A_SECOND: u32 = 500;
const SECONDS: u32 = 20;

/// What they are slow with: in words, slowhttptest's mode, the file, and what else it is told.
const ATTACKS: [(&str, &str, &str, &[&str]); 3] = [
    ("a request's head", "-H", "small.html", &[]),
    ("a request's body", "-B", "small.html", &["-s", "8192"]),
    ("reading the answers", "-X", "large.bin", &["-w", "512", "-y", "1024", "-z", "32", "-k", "3"]),
];

/// A server: its name, its program, and the arguments of that.
pub type Served<'s> = (&'static str, &'s PathBuf, &'s [String]);

/// Without slowhttptest the table is empty, and says so.
pub fn measure(
    servers: &[Served<'_>; 2],
    port: u16,
    processor: usize,
) -> Result<(Table, Vec<Target>)> {
    let caption = format!(
        "{CLIENTS} clients of {TOOL} that are slow, {A_SECOND} more each second, for {SECONDS} s: how many of its \
         probes, every 5 s, are answered within 3 s, and how the test ends"
    );
    let mut table = Table::new(&caption, ["slow with", servers[0].0, servers[1].0]);
    let mut targets = Vec::new();
    if !can_be_run(TOOL, "-h") {
        table.lines.push(vec![
            format!("{TOOL} is not installed (Debian: {TOOL})"),
            "-".to_owned(),
            "-".to_owned(),
        ]);
        return Ok((table, targets));
    }
    for (slow, mode, file, more) in ATTACKS {
        let mut ends = Vec::new();
        for (_, program, arguments) in servers {
            let _running = start_server(program, arguments, Some(processor))?;
            ends.push(attack(mode, &format!("http://127.0.0.1:{port}/{file}"), more)?);
        }
        let text =
            format!("slow with {slow}: probes that are answered, at least {}'s", servers[1].0);
        let (own, peer) = (ends[0].answered(), ends[1].answered());
        targets.push(Target::at_least(&text, Some(own), peer, "%"));
        table
            .lines
            .push([vec![slow.to_owned()], ends.iter().map(End::in_words).collect()].concat());
    }
    Ok((table, targets))
}

fn attack(mode: &str, url: &str, more: &[&str]) -> Result<End> {
    let mut tool = Command::new(TOOL);
    tool.args([mode, "-u", url, "-i", "2", "-p", "3"]).args(more);
    tool.args(["-c", &CLIENTS.to_string(), "-r", &A_SECOND.to_string()]);
    tool.args(["-l", &SECONDS.to_string()]);
    let output = tool.output().map_err(|error| format!("{TOOL}: {error}"))?;
    End::of(&String::from_utf8_lossy(&output.stdout))
}

/// How a test has ended.
struct End {
    probes: u32,
    were_answered: u32,
    said: String,
}

impl End {
    fn of(output: &str) -> Result<End> {
        let mut end = End { probes: 0, were_answered: 0, said: String::new() };
        for line in output.lines().map(without_colours) {
            if let Some((_, available)) = line.split_once("service available:") {
                end.probes += 1;
                end.were_answered += u32::from(available.trim() == "YES");
            } else if let Some((_, said)) = line.split_once("Exit status:") {
                end.said = said.trim().to_lowercase();
            }
        }
        match end.probes {
            0 => Err(format!("{TOOL} does not say what it has done")),
            _ => Ok(end),
        }
    }

    /// Of 100 probes.
    fn answered(&self) -> f64 {
        f64::from(self.were_answered * 100 / self.probes)
    }

    fn in_words(&self) -> String {
        format!("{} of {}; {}", self.were_answered, self.probes, self.said)
    }
}

/// A line without its control sequences.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.trim_start_matches(|c: char| !c.is_alphabetic()).get(1..).unwrap_or("")
    })
}

#[cfg(test)]
mod tests {
    use super::End;

    #[test]
    fn slowhttptest_is_understood() {
        let said = "\x1b[1;32mservice available:\x1b[1;32m   \x1b[1;32mYES\x1b[0m\n\
                    service available:   NO\nExit status:\x1b[1;36m Hit test time limit\n";
        let end = End::of(said).unwrap();
        assert_eq!(end.in_words(), "1 of 2; hit test time limit");
        assert_eq!(end.answered(), 50.0);
        assert!(End::of("").is_err());
    }
}
