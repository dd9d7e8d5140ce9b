//! Rows 16 to 18: the load of wrk or h2load on a server, and what that takes of the server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::Result;
use crate::machine::cpu_ns_of;
use crate::process::Running;
use crate::sample::Spread;

/// What some turns of a server took: a value for each turn.
#[derive(Default)]
pub struct Taken {
    /// Its processor time for each request.
    pub us: Vec<f64>,
    /// Its memory in the middle of the load, and of it the part of its own (PSS): without page tables and the kernel's
    /// stacks of its threads.
    pub mib: Vec<f64>,
    pub pss_mib: Vec<f64>,
    /// The latency that 99 of 100 requests kept to, by wrk.
    pub p99_ms: Vec<f64>,
}

impl Taken {
    /// One turn: first a short load that does not count. Every answer must have status 200.
    pub fn add_turn(
        &mut self,
        server: &Running,
        port: u16,
        path: &str,
        clients: usize,
        seconds: u64,
    ) -> Result<()> {
        load(port, path, clients, 1)?;
        let before = clock_ns(server)?;
        let load = thread::scope(|scope| {
            let load = scope.spawn(|| load(port, path, clients, seconds));
            thread::sleep(Duration::from_millis(seconds * 500));
            if let Some((pss, besides)) = memory_mib(server.pid()) {
                self.pss_mib.push(pss);
                self.mib.push(pss + besides);
            }
            load.join().map_err(|_| "the load has failed".to_owned())?
        })?;
        self.us.push((clock_ns(server)? - before) as f64 / 1e3 / load.requests);
        self.p99_ms.push(load.p99_ms);
        Ok(())
    }

    pub fn cells(&self) -> [String; 4] {
        [&self.us, &self.mib, &self.pss_mib, &self.p99_ms]
            .map(|values| Spread::of(values).map_or("-".to_owned(), Spread::in_words))
    }
}

/// Its processor time for each request of h2load, which speaks HTTP/1.1 here. No request may fail.
pub fn us_by_h2load(server: &Running, port: u16, path: &str, clients: usize) -> Result<f64> {
    h2load(port, path, clients, 1)?;
    let before = clock_ns(server)?;
    let requests = h2load(port, path, clients, 2)?;
    Ok((clock_ns(server)? - before) as f64 / 1e3 / requests)
}

fn clock_ns(server: &Running) -> Result<u64> {
    cpu_ns_of(server.pid()).ok_or("the server has ended".to_owned())
}

/// Returns how many requests were answered.
fn h2load(port: u16, path: &str, clients: usize, seconds: u64) -> Result<f64> {
    let mut h2load = Command::new(H2LOAD);
    h2load.args(["--h1", "-t1", &format!("-c{clients}"), &format!("-D{seconds}")]);
    h2load.arg(format!("http://127.0.0.1:{port}{path}"));
    let output = h2load.output().map_err(|error| format!("{H2LOAD}: {error}"))?;
    answered_by_h2load(&String::from_utf8_lossy(&output.stdout))
}

fn answered_by_h2load(said: &str) -> Result<f64> {
    let line = said.lines().find(|line| line.starts_with("requests: "));
    let line = line.ok_or("h2load does not say what it has done")?;
    let number = |what: &str| {
        let part = line.split([':', ',']).find_map(|part| part.trim().strip_suffix(what));
        part.and_then(|number| number.trim().parse::<f64>().ok())
    };
    match ["failed", "errored", "timeout"].map(number) {
        [Some(0.0), Some(0.0), Some(0.0)] => number("succeeded").ok_or(format!("h2load: {line}")),
        _ => Err(format!("h2load: {line}")),
    }
}

struct Load {
    requests: f64,
    p99_ms: f64,
}

/// Fails where there is no load.
pub fn is_installed() -> Result<()> {
    match can_be_run("wrk", "-v") {
        true => Ok(()),
        false => Err("wrk is not installed (Debian: wrk)".to_owned()),
    }
}

/// Whether there is such a program, also if what it is asked for is no success for it.
pub fn can_be_run(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

pub const H2LOAD: &str = "h2load";

fn load(port: u16, path: &str, clients: usize, seconds: u64) -> Result<Load> {
    let mut wrk = Command::new("wrk");
    // An answer that takes longer would be an error, after 2 s as wrk has it.
    wrk.args(["-t1", "--latency", "--timeout", "10s"]);
    wrk.args([format!("-c{clients}"), format!("-d{seconds}s")]);
    wrk.arg(format!("http://127.0.0.1:{port}{path}"));
    let output = wrk.output().map_err(|error| format!("wrk: {error}"))?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn parse(said: &str) -> Result<Load> {
    if let Some(line) =
        said.lines().find(|line| line.contains("errors") || line.contains("Non-2xx"))
    {
        return Err(format!("wrk: {}", line.trim()));
    }
    let words = |mark: &str| {
        let line = said.lines().find(|line| line.contains(mark))?;
        Some(line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let requests = words(" requests in ").and_then(|words| words[0].parse().ok());
    let p99_ms = words(" 99%").and_then(|words| ms(words.get(1)?));
    match (requests, p99_ms) {
        (Some(requests), Some(p99_ms)) => Ok(Load { requests, p99_ms }),
        _ => Err("wrk does not say what it has done".to_owned()),
    }
}

/// A time as wrk writes it: 635.00us, 1.50ms, 2.01s.
fn ms(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let factor = match &text[digits.len()..] {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}

/// A process's share of its pages, and what the kernel holds for it besides: page tables, and a stack for each thread.
fn memory_mib(pid: libc::pid_t) -> Option<(f64, f64)> {
    const KERNEL_STACK_KIB: f64 = 16.0; // On x86-64 and aarch64.
    let number = |file: &str, name: &str| -> Option<f64> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let pss = number("smaps_rollup", "Pss:")?;
    let besides = number("status", "VmPTE:")? + number("status", "Threads:")? * KERNEL_STACK_KIB;
    Some((pss / 1024.0, besides / 1024.0))
}

/// The body of an answer, which wrk does not look at.
pub fn body_of(port: u16, path: &str) -> Result<Vec<u8>> {
    let said = |error: std::io::Error| format!("a request: {error}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(said)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(said)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").map_err(said)?;
    let mut answer = Vec::new();
    let mut part = [0; 16384];
    loop {
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|it| it.trim().parse().ok()).ok_or("no length")?;
            if answer.len() >= end + 4 + length {
                return Ok(answer.split_off(end + 4));
            }
        }
        match stream.read(&mut part).map_err(said)? {
            0 => return Err("an answer is cut off".to_owned()),
            bytes => answer.extend_from_slice(&part[..bytes]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{answered_by_h2load, ms, parse};

    #[test]
    fn h2load_is_understood() {
        let said = "finished in 2.00s\nrequests: 14 total, 15 started, 14 done, 14 succeeded, \
                    0 failed, 0 errored, 0 timeout\n";
        assert_eq!(answered_by_h2load(said), Ok(14.0));
        assert!(answered_by_h2load(&said.replace("0 failed", "1 failed")).is_err());
        assert!(answered_by_h2load("").is_err());
    }

    #[test]
    fn wrk_is_understood() {
        let said = "  Latency Distribution\n     50%  635.00us\n     99%    1.50ms\n  \
                    22464 requests in 2.10s, 17.76MB read\n";
        let load = parse(said).unwrap();
        assert_eq!((load.requests, load.p99_ms), (22464.0, 1.5));
        assert!(parse(&format!("{said}  Non-2xx or 3xx responses: 3\n")).is_err());
        assert!(parse("").is_err());
        assert_eq!([ms("500.00us"), ms("2.00s"), ms("1.00m")], [Some(0.5), Some(2000.0), None]);
    }
}
