//! The server's process: how it is compiled, started, watched and stopped.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::transcript::{ACCEPTED, Report, TIME_ZONE, number};
use super::{REQUEST, assert_answer, send};
use crate::library::{self, TempDir};
use crate::program::{self, Link};
use crate::running::{self, PATIENCE, Running};

/// A server that runs, until it is stopped or dropped.
pub struct Server {
    running: Running,
    temp_dir: Arc<TempDir>,
    port: u16,
}

/// The resources that a process has used so far.
#[derive(Debug, PartialEq)]
pub struct Usage {
    cpu_ticks: u64,
    context_switches: u64,
}

/// The resources that a process holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Footprint {
    pub resident_kib: u64,
    pub descriptors: usize,
    pub mappings: usize,
}

impl Server {
    /// Compiles and starts the server, and returns when it accepts connections.
    pub fn start() -> Server {
        Server::start_under(&[])
    }

    /// Starts the server as the last argument of another command, with the temporary directory as
    /// its working directory.
    pub fn start_under(wrapper: &[&str]) -> Server {
        let (command, temp_dir) = compile(wrapper, &[]);
        Server::start_compiled(command, temp_dir)
    }

    /// Starts a compiled server in the temporary directory, and returns when it accepts
    /// connections.
    pub fn start_compiled(command: Command, temp_dir: Arc<TempDir>) -> Server {
        let server = Server::launch(command, temp_dir);
        server.running.wait_until("the start", |lines| {
            lines.iter().any(|line| line.contains("Scheduler starting with")).then_some(())
        });
        server
    }

    /// As `start_under`, with more sources in the program, and without reading its output. Returns
    /// when it has answered.
    pub fn start_unwatched(wrapper: &[&str], sources: &[&str]) -> Server {
        let (command, temp_dir) = compile(wrapper, sources);
        let server = Server::launch(command, temp_dir);
        let deadline = Instant::now() + PATIENCE;
        let first = loop {
            if let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)) {
                break stream;
            }
            let output = server.running.output();
            assert!(Instant::now() < deadline, "the server does not listen; it says\n{output}");
            thread::sleep(Duration::from_millis(5));
        };
        // The server closes the connection when it has answered, so no task has to wait for that.
        send(&first, REQUEST);
        assert_answer(&first);
        server
    }

    /// Starts it with a preloaded library that gives it a port which the kernel chooses, and
    /// returns when it has the port.
    fn launch(mut command: Command, temp_dir: Arc<TempDir>) -> Server {
        let shim = program::compile_preload(&library::root().join("c-tests/server/port.c"))
            .unwrap_or_else(|failed| panic!("{}", failed.message().unwrap_or("not compiled")));
        // The long tests may preload another library into all programs.
        let others = env::var_os("LD_PRELOAD").unwrap_or_default();
        let mut preloaded = shim.into_os_string();
        preloaded.push(":");
        preloaded.push(others);
        let file = temp_dir.path().join("port");
        command.current_dir(temp_dir.path()).env("TZ", TIME_ZONE);
        command.env("LD_PRELOAD", preloaded).env("MAJJEN_TEST_PORT", &file);
        let running = Running::start(command, libc::SIGKILL, Arc::clone(&temp_dir));
        let deadline = Instant::now() + PATIENCE;
        let port = loop {
            let written = fs::read_to_string(&file).unwrap_or_default();
            if let Some(port) = written.strip_suffix('\n') {
                break port.parse().expect("a port");
            }
            let output = running.output();
            assert!(Instant::now() < deadline, "the server has no port; it says\n{output}");
            thread::sleep(Duration::from_millis(1));
        };
        Server { running, temp_dir, port }
    }

    /// A new connection to the server.
    pub fn connect(&self) -> TcpStream {
        running::connect(self.port)
    }

    /// Makes one request, and checks the answer.
    pub fn request(&self) {
        let stream = self.connect();
        send(&stream, REQUEST);
        assert_answer(&stream);
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The address for programs that make requests.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address())
    }

    /// Opens the server's first connections, which send nothing, and returns when it has accepted
    /// them all.
    pub fn open_idle(&self, count: usize) -> Vec<TcpStream> {
        let streams = (0..count).map(|_| self.connect()).collect();
        self.running.wait_until("all connections", |lines| {
            let accepted = lines.iter().filter(|line| line.contains(ACCEPTED)).count();
            (accepted == count).then_some(())
        });
        streams
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: libc::c_int) {
        self.running.signal(signal);
    }

    /// Stops the process as a debugger would, and returns when it is stopped.
    pub fn suspend(&self) {
        self.signal(libc::SIGSTOP);
        let deadline = Instant::now() + PATIENCE;
        while self.stat()[0] != "T" {
            assert!(Instant::now() < deadline, "not stopped: {:?}", self.stat());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The fields of the process's `stat` file after its name: the first is field 3, the state.
    fn stat(&self) -> Vec<String> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.running.id())).expect("stat");
        let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
        fields.split(' ').map(str::to_owned).collect()
    }

    /// The resources that the process holds now.
    pub fn footprint(&self) -> Footprint {
        let directory = PathBuf::from(format!("/proc/{}", self.running.id()));
        let read = |file| fs::read_to_string(directory.join(file)).expect(file);
        // Not `statm`, which may be wrong by some hundred KiB: each processor counts separately.
        let rollup = read("smaps_rollup");
        let resident = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).expect("Rss");
        let resident = resident.trim().strip_suffix(" kB").expect("a unit");
        Footprint {
            resident_kib: number(resident.trim()),
            descriptors: fs::read_dir(directory.join("fd")).expect("descriptors").count(),
            mappings: read("maps").lines().count(),
        }
    }

    /// The resources that all threads of the process have used so far.
    pub fn usage(&self) -> Usage {
        // utime and stime, fields 14 and 15 of the file.
        let cpu_ticks = self.stat()[11..13].iter().map(|ticks| number(ticks)).sum();
        let mut context_switches = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.running.id())).expect("threads") {
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

    /// Ends the server with a signal, and checks its exit status and its output: it has accepted
    /// `accepted` connections and closed `closed`.
    pub fn stop(&mut self, signal: libc::c_int, accepted: usize, closed: usize) -> Report {
        let status = self.end(signal);
        self.report(status, accepted, closed)
    }

    /// Ends the server with a signal and returns when it has ended.
    pub fn end(&mut self, signal: libc::c_int) -> ExitStatus {
        self.signal(signal);
        self.running.wait()
    }

    /// Checks the exit status and the output of the server, which has ended, as `stop` does.
    pub fn report(&self, status: ExitStatus, accepted: usize, closed: usize) -> Report {
        assert_eq!(status.code(), Some(0), "{status}; the output:\n{}", self.running.output());
        assert_eq!(self.running.stderr().join("\n"), "", "nothing on stderr");
        let report = Report::parse(&self.running.stdout());
        report.assert_consistent(accepted as u64, closed as u64);
        report
    }

    /// Its output on stderr so far.
    pub fn stderr(&self) -> Vec<String> {
        self.running.stderr()
    }

    /// A file in the working directory of the process, also on a file system that only it has
    /// mounted.
    pub fn inside(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/cwd", self.running.id())).join(file)
    }

    /// The working directory of the process.
    pub fn directory(&self) -> &Path {
        self.temp_dir.path()
    }
}

/// Compiles the server, with more sources in the program: the command that starts it, and its
/// directory.
fn compile(wrapper: &[&str], sources: &[&str]) -> (Command, Arc<TempDir>) {
    let temp_dir = Arc::new(TempDir::new().expect("a directory"));
    let source = library::root().join("examples-c/http_server.c");
    // The guide's flags. Older compilers only warn about a function without a declaration.
    let flags = ["-std=c99", "-O2", "-Werror=implicit-function-declaration"];
    let program = program::compile(&source, &flags, Link::Shared, sources, &temp_dir)
        .unwrap_or_else(|failed| panic!("{}", failed.message().unwrap_or("not compiled")));
    let command = match wrapper {
        [] => program::command(&program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(&program);
            command
        }
    };
    (command, temp_dir)
}
