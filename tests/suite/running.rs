//! Processes that the tests communicate with while they run.

use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::library::TempDir;

/// How long a test waits for something that must happen: many times what it takes, also on a busy
/// machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a server on this machine, which fails rather than wait for longer than a test does.
pub fn connect(port: u16) -> TcpStream {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("connect to the server");
    stream.set_read_timeout(Some(PATIENCE)).expect("set the read timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("set the write timeout");
    stream
}

/// A running process, until it has ended or is dropped.
pub struct Running {
    child: Child,
    stdout: Stream,
    stderr: Stream,
    _workplace: Arc<TempDir>,
}

impl Running {
    /// Starts a process. It gets the signal `orphaned` if the test ends without ending it, in
    /// whatever way.
    pub fn start(mut command: Command, orphaned: libc::c_int, temp_dir: Arc<TempDir>) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // In its own process group, for `drop`.
        command.process_group(0);
        // SAFETY: signal() and prctl() are safe between fork and exec.
        unsafe {
            command.pre_exec(move || {
                // Shells start background jobs with SIGINT ignored, and the library does not handle
                // a signal that is not at its default. The result must not depend on how the suite
                // was started.
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                libc::signal(libc::SIGTERM, libc::SIG_DFL);
                libc::prctl(libc::PR_SET_PDEATHSIG, orphaned);
                Ok(())
            });
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Stream::new(child.stdout.take().expect("a pipe"));
        let stderr = Stream::new(child.stderr.take().expect("a pipe"));
        Running { child, stdout, stderr, _workplace: temp_dir }
    }

    /// The process's identifier.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line on stdout with this prefix, and returns it.
    pub fn wait_for_line(&self, start: &str) -> String {
        let is_it = |line: &String| line.starts_with(start);
        self.wait_until(start, |lines| lines.iter().find(|line| is_it(line)).cloned())
    }

    /// Waits until `look` finds something in the lines of stdout, and returns that.
    pub fn wait_until<T>(&self, what: &str, look: impl Fn(&[String]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // In this order: the last lines are there before the end.
            let ended = self.stdout.ended();
            if let Some(found) = look(&self.stdout.lines()) {
                return found;
            }
            assert!(
                Instant::now() < deadline && !ended,
                "waited in vain for {what:?}; the output:\n{}",
                self.output()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its output on stdout so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.lines()
    }

    /// Its output on stderr so far.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.lines()
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill() takes no pointers, and the process has not been waited for, so its number
        // cannot have been reused.
        let result = unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert_eq!(result, 0, "kill: {}", io::Error::last_os_error());
    }

    /// Whether the process ends before `limit` is over.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.child.try_wait().expect("wait for the process").is_none() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Waits for the end, and for the last output.
    pub fn wait(&mut self) -> ExitStatus {
        assert!(self.ends_within(PATIENCE), "still running; the output:\n{}", self.output());
        let status = self.child.wait().expect("the status of the process");
        // The pipes are closed when the process ends, so the readers finish.
        self.stdout.finish();
        self.stderr.finish();
        status
    }

    /// Waits for the end, checks that it was successful and that stderr is empty, and returns the
    /// lines of stdout.
    pub fn succeed(mut self) -> Vec<String> {
        let status = self.wait();
        assert!(status.success(), "{status}; the output:\n{}", self.output());
        assert_eq!(self.stderr.lines(), [""; 0], "nothing on stderr");
        self.stdout.lines()
    }

    /// All its output so far.
    pub fn output(&self) -> String {
        [self.stdout.lines(), self.stderr.lines()].concat().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // The processes that it started are in its group. SAFETY: kill() takes no pointers, and
            // the process has not been waited for, so its number cannot have been reused.
            unsafe { libc::kill(-(self.child.id() as libc::pid_t), libc::SIGKILL) };
            let _ = self.child.wait();
        }
    }
}

/// The lines that a child has written to a pipe so far. They are read as they arrive, so that the
/// child never blocks on the pipe.
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
                let line = line.expect("text from the process");
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
