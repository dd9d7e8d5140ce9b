//! The server's process: how it is compiled, started, watched and ended.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::transcript::{ACCEPTED, Report, TIME_ZONE, number};
use super::{PATIENCE, PORT, connect};

/// A server that runs, until it is stopped or dropped.
pub struct Server {
    child: Child,
    stdout: Stream,
    stderr: Stream,
    scratch: Scratch,
    // Last, so that the turn passes on when the process is gone and its port is free.
    _turn: MutexGuard<'static, ()>,
}

/// What a process used up to now.
#[derive(Debug, PartialEq)]
pub struct Usage {
    cpu_ticks: u64,
    context_switches: u64,
}

impl Server {
    /// Compiles and starts the server, and returns when it serves.
    pub fn start() -> Server {
        Server::start_under(&[])
    }

    /// Starts the server as the last argument of another command, with the scratch directory as its
    /// working directory.
    pub fn start_under(wrapper: &[&str]) -> Server {
        static TURN: Mutex<()> = Mutex::new(());
        // A trial that failed has given its port back like any other.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);

        let scratch = Scratch::new();
        let program = compile(&scratch.path);
        wait_for_the_port();

        let runner = std::env::var("MAJJEN_RUNNER").unwrap_or_default();
        let mut words: Vec<&OsStr> =
            runner.split_whitespace().chain(wrapper.iter().copied()).map(OsStr::new).collect();
        words.push(program.as_os_str());
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .current_dir(&scratch.path)
            .env("TZ", TIME_ZONE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // SAFETY: signal() is async-signal-safe, which is all that may be called between fork and
        // exec.
        unsafe {
            // Shells start background jobs with SIGINT ignored, and the library leaves a signal
            // alone that is not at its default. The result must not depend on how the suite was
            // started.
            command.pre_exec(|| {
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                libc::signal(libc::SIGTERM, libc::SIG_DFL);
                Ok(())
            });
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Stream::new(child.stdout.take().expect("a pipe"));
        let stderr = Stream::new(child.stderr.take().expect("a pipe"));
        let server = Server { child, stdout, stderr, scratch, _turn: turn };
        server.wait_until("the scheduler started", |lines| {
            lines.iter().any(|line| line.contains("Scheduler starting with"))
        });
        server
    }

    /// Opens the server's first connections, which send nothing, and returns when it has accepted
    /// them all.
    pub fn open_idle(&self, count: usize) -> Vec<TcpStream> {
        let streams = (0..count).map(|_| connect()).collect();
        self.wait_until("all connections are accepted", |lines| {
            lines.iter().filter(|line| line.contains(ACCEPTED)).count() == count
        });
        streams
    }

    fn wait_until(&self, what: &str, holds: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.stdout.lines()) {
            assert!(
                Instant::now() < deadline && !self.stdout.ended(),
                "waited in vain until {what}; the server's output:\n{}",
                self.output()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill() takes no pointers, and the process has not been waited for, so the
        // identifier is still its own.
        let result = unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert_eq!(result, 0, "kill: {}", io::Error::last_os_error());
    }

    /// Stops the process as a debugger would, and returns when it has stopped.
    pub fn suspend(&self) {
        self.signal(libc::SIGSTOP);
        let deadline = Instant::now() + PATIENCE;
        while self.stat()[0] != "T" {
            assert!(Instant::now() < deadline, "not stopped: {:?}", self.stat());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The fields of the process's `stat` file behind its name: the third, the state, is the first.
    fn stat(&self) -> Vec<String> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("stat");
        let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
        fields.split(' ').map(str::to_owned).collect()
    }

    /// What all threads of the process used up to now.
    pub fn usage(&self) -> Usage {
        // utime and stime, fields 14 and 15 of the file.
        let cpu_ticks = self.stat()[11..13].iter().map(|ticks| number(ticks)).sum();
        let mut context_switches = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("threads") {
            let status = thread.expect("a thread").path().join("status");
            let status = fs::read_to_string(status).expect("a thread's status");
            // Both kinds: voluntary and nonvoluntary.
            let counts =
                status.lines().filter_map(|line| line.split_once("voluntary_ctxt_switches:\t"));
            context_switches += counts.map(|(_, count)| number(count)).sum::<u64>();
        }
        assert!(context_switches > 0, "the counts are there");
        Usage { cpu_ticks, context_switches }
    }

    /// Ends the server with a signal, and checks its exit status and all it printed: `accepted`
    /// connections, of which it has closed `closed`.
    pub fn stop(&mut self, signal: libc::c_int, accepted: usize, closed: usize) -> Report {
        let status = self.end(signal);
        self.report(status, accepted, closed)
    }

    /// Ends the server with a signal and returns when it has ended.
    pub fn end(&mut self, signal: libc::c_int) -> ExitStatus {
        self.signal(signal);
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for the server") {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "still running after signal {signal}; its output:\n{}",
                self.output()
            );
            thread::sleep(Duration::from_millis(5));
        };
        // The pipes end with the process, so the readers do.
        self.stdout.finish();
        self.stderr.finish();
        status
    }

    /// Checks the exit status and all that the ended server printed, as `stop` does.
    pub fn report(&self, status: ExitStatus, accepted: usize, closed: usize) -> Report {
        assert_eq!(status.code(), Some(0), "{status}; the server's output:\n{}", self.output());
        assert_eq!(self.stderr.lines().join("\n"), "", "nothing on stderr");
        let report = Report::parse(&self.stdout.lines());
        report.assert_consistent(accepted as u64, closed as u64);
        report
    }

    /// The working directory of the process.
    pub fn directory(&self) -> &Path {
        &self.scratch.path
    }

    fn output(&self) -> String {
        [self.stdout.lines(), self.stderr.lines()].concat().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when the process has ended and been waited for, which is the usual case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines that a child has written to a pipe so far. They are read as they come, so that the
/// child never waits for a reader.
struct Stream {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn new(pipe: impl Read + Send + 'static) -> Stream {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                let line = line.expect("text from the server");
                sink.lock().expect("the lines").push(line);
            }
        });
        Stream { lines, reader: Some(reader) }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("the lines").clone()
    }

    fn ended(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("read to the end");
        }
    }
}

/// A directory of its own for one server, removed when it ends.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new() -> Scratch {
        let name = format!("server-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // One that is there is left over from a process that was killed and had the same number.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("create a scratch directory");
        Scratch { path }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Compiles the guide's server into `directory` and returns the program's path.
fn compile(directory: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library_dir = std::env::var_os("MAJJEN_LIB_DIR")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("../release"), PathBuf::from);
    let library = library_dir
        .join("libmajjen.so")
        .canonicalize()
        .unwrap_or_else(|_| panic!("no libmajjen.so in {library_dir:?}; `make build` makes it"));
    // The loader looks for the SONAME, and finds it beside the program.
    symlink(library, directory.join("libmajjen.so.0")).expect("link the library");

    let program = directory.join("http_server");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let mut words = compiler.split_whitespace();
    let Output { status, stderr, .. } = Command::new(words.next().expect("CC names a compiler"))
        .args(words)
        .args(["-std=c99", "-O2", "-o"])
        .arg(&program)
        .arg(root.join("examples-c/http_server.c"))
        .arg("-I")
        .arg(root.join("include"))
        .arg("-L")
        .arg(&library_dir)
        .arg("-lmajjen")
        .arg(format!("-Wl,-rpath,{}", directory.display()))
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    let complaints = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{compiler}: {status}\n{complaints}");
    // Older compilers only warn of a function that no header declares.
    assert!(!complaints.contains("implicit declaration"), "{complaints}");
    program
}

fn wait_for_the_port() {
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)) {
        assert_eq!(error.kind(), ErrorKind::AddrInUse, "port {PORT}: {error}");
        assert!(
            Instant::now() < deadline,
            "another program has been using port {PORT} for 30 s; the guide's server has that port \
             built in, so its tests need it free"
        );
        thread::sleep(Duration::from_millis(200));
    }
}
