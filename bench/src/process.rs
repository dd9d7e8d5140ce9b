//! Running contenders: one process for each measurement, pinned, with a time limit, and its work checked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::machine::pin;
use crate::sample::Samples;

/// No single measurement takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// One thing to measure.
pub struct Case {
    /// Its name in the table.
    pub name: String,
    pub program: std::path::PathBuf,
    pub arguments: Vec<String>,
    /// The `work` that it must report.
    pub work: f64,
    /// Where its standard output goes, if not to the driver; it then reports on standard error.
    pub output: Option<std::path::PathBuf>,
}

/// Measures each case `repeats` times, in alternation: A B C A B C. A case that fails is not run again, and
/// has the error as its result. They run on `processor`, or on all of them.
pub fn by_turns(cases: &[Case], repeats: usize, processor: Option<usize>) -> Vec<Result<Samples>> {
    let mut results: Vec<Result<Samples>> = cases.iter().map(|_| Ok(Samples::default())).collect();
    for _ in 0..repeats {
        for (case, result) in cases.iter().zip(&mut results) {
            let Ok(samples) = result else { continue };
            match measure(case, processor) {
                Ok(reported) => samples.add(reported),
                Err(error) => *result = Err(error),
            }
        }
    }
    results
}

fn measure(case: &Case, processor: Option<usize>) -> Result<BTreeMap<String, f64>> {
    let mut command = Command::new(&case.program);
    command
        .args(&case.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(path) = &case.output {
        command.stdout(File::create(path).map_err(|error| format!("{}: {error}", path.display()))?);
    }
    let mut running = Running::start(command, processor)?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = running.0.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        if Instant::now() >= deadline {
            return Err(format!("not done in {} s", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let (mut out, mut err) = (String::new(), String::new());
    if let Some(mut stdout) = running.0.stdout.take() {
        let _ = stdout.read_to_string(&mut out);
    }
    if let Some(mut stderr) = running.0.stderr.take() {
        let _ = stderr.read_to_string(&mut err);
    }
    let text = if case.output.is_some() { &err } else { &out };
    if !status.success() {
        let line = err.lines().find(|line| !line.is_empty()).unwrap_or("no message");
        let line = line.rsplit_once(": ").map_or(line, |(_, reason)| reason);
        return Err(format!("{line} ({status})"));
    }
    let reported = parse(text);
    match reported.get("work") {
        Some(work) if *work == case.work => Ok(reported),
        Some(work) => Err(format!("did {work} of {}", case.work)),
        None => Err("did not say what it has done".to_owned()),
    }
}

/// The `name=number` lines.
fn parse(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

/// A process that is killed when this value is dropped.
pub struct Running(Child);

impl Running {
    pub fn start(mut command: Command, processor: Option<usize>) -> Result<Running> {
        let program = command.get_program().to_string_lossy().into_owned();
        // SAFETY: pinning is one system call, and allowed between fork and exec.
        unsafe {
            command.pre_exec(move || {
                pin(processor);
                Ok(())
            });
        }
        command.spawn().map(Running).map_err(|error| format!("{program}: {error}"))
    }

    pub fn pid(&self) -> libc::pid_t {
        self.0.id() as libc::pid_t
    }

    /// Sends a signal, and waits for the end, but no longer than this.
    pub fn end(&mut self, signal: libc::c_int, limit: Duration) {
        // SAFETY: the process has not been waited for, so its number cannot have been reused.
        unsafe { libc::kill(self.pid(), signal) };
        let deadline = Instant::now() + limit;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // Fails if it has ended.
        let _ = self.0.wait();
    }
}

/// Starts a server on port 8080, on one processor or on all, and waits until it accepts connections. Its log goes
/// to /dev/null.
pub fn start_server(
    program: &Path,
    arguments: &[String],
    processor: Option<usize>,
) -> Result<Running> {
    start_server_at(program, arguments, processor, crate::load::PORT)
}

/// The same on another port.
pub fn start_server_at(
    program: &Path,
    arguments: &[String],
    processor: Option<usize>,
    port: u16,
) -> Result<Running> {
    let deadline = Instant::now() + Duration::from_secs(10);
    // The previous server's socket may take a moment to disappear.
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        if Instant::now() >= deadline {
            return Err(format!("something else serves port {port}"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = Running::start(command, processor)?;
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(_) => return Ok(running),
            Err(error) if error.kind() != ErrorKind::ConnectionRefused => {
                return Err(error.to_string());
            }
            Err(_) => {}
        }
        if running.0.try_wait().is_ok_and(|status| status.is_some()) || Instant::now() >= deadline {
            let mut said = String::new();
            let _ = running.0.kill();
            if let Some(mut stderr) = running.0.stderr.take() {
                let _ = stderr.read_to_string(&mut said);
            }
            return Err(format!(
                "the server does not serve: {}",
                said.lines().next().unwrap_or("")
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
