//! The program of docs/scaling.md, with a broker of librdkafka's own.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed, Trial};

use super::blocks_of_c;
use crate::hook::servers::{not_installed, pkg_config};
use crate::library::{self, TempDir};
use crate::program::{self, Link, STRICT};
use crate::running::{PATIENCE, Running};
use crate::toolchain;

pub fn trials() -> Vec<Trial> {
    [
        ("kafka_wakes_a_task", wakes_a_task as fn(&Kafka) -> Result<(), Failed>),
        ("kafka_ends_among_messages", ends_among_messages),
    ]
    .map(|(name, test)| {
        Trial::ignorable_test(format!("readme::scaling::{name}"), move || kafka(test))
    })
    .into()
}

/// A process, which ends with this.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The page's program and the broker, compiled.
struct Kafka {
    program: PathBuf,
    mock: PathBuf,
    temp_dir: Arc<TempDir>,
    _mock_dir: TempDir,
}

fn kafka(test: fn(&Kafka) -> Result<(), Failed>) -> Result<Completion, Failed> {
    if toolchain::runner().is_some() {
        return Ok(Completion::ignored_with("librdkafka is built for another machine"));
    }
    let Some(flags) = pkg_config("rdkafka") else { return not_installed("librdkafka-dev") };
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let page = fs::read_to_string(library::root().join("docs/scaling.md"))?;
    let [code] = blocks_of_c(&page)[..] else { return Err("it is not one program".into()) };
    let temp_dir = Arc::new(TempDir::new()?);
    let source = temp_dir.path().join("kafka.c");
    fs::write(&source, code)?;
    let program = program::compile(&source, &STRICT, Link::Shared, &flags, &temp_dir)?;

    let mock_dir = TempDir::new()?;
    let mock = library::root().join("c-tests/hook/servers/kafka_mock.c");
    let mock = program::compile(&mock, &["-std=gnu99", "-Wall"], Link::Shared, &flags, &mock_dir)?;
    test(&Kafka { program, mock, temp_dir, _mock_dir: mock_dir })?;
    Ok(Completion::Completed)
}

impl Kafka {
    /// A broker with these arguments, and a command for a reader of it.
    fn start(&self, arguments: &[&str]) -> Result<(Started, Command), Failed> {
        let mut command = program::command(&self.mock);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut broker = Started(command.spawn()?);
        let mut address = String::new();
        let said = broker.0.stdout.take().ok_or("a pipe")?;
        BufReader::new(said).read_line(&mut address)?;
        let mut reader = program::command(&self.program);
        reader.args([address.trim(), "news"]);
        Ok((broker, reader))
    }
}

/// Each message arrives once, though they come in parts, between which the task waits.
fn wakes_a_task(kafka: &Kafka) -> Result<(), Failed> {
    const COUNT: usize = 50;
    let (_broker, command) = kafka.start(&[&COUNT.to_string()])?;
    let reader = Running::start(command, libc::SIGKILL, Arc::clone(&kafka.temp_dir));
    let heard =
        reader.wait_until("all messages", |lines| (lines.len() >= COUNT).then(|| lines.to_vec()));
    let expected: BTreeSet<String> = (0..COUNT).map(|number| format!("message {number}")).collect();
    assert_eq!(heard.iter().cloned().collect::<BTreeSet<_>>(), expected);
    assert_eq!(heard.len(), COUNT);
    reader.signal(libc::SIGTERM);
    reader.succeed();
    Ok(())
}

/// A reader that is told to end does so while there are messages. It is in the midst of them: it
/// writes to a pipe that is full, and has most of them in its memory by then.
fn ends_among_messages(kafka: &Kafka) -> Result<(), Failed> {
    const COUNT: usize = 50_000; // Ten times what a pipe takes.
    let (_broker, mut command) = kafka.start(&[&COUNT.to_string(), "full"])?;
    let mut reader = Started(command.stdout(Stdio::piped()).spawn()?);
    let said = reader.0.stdout.take().ok_or("a pipe")?;
    let deadline = Instant::now() + PATIENCE;
    let mut filled_bytes: libc::c_int = 0;
    while filled_bytes < 60_000 {
        assert!(Instant::now() < deadline, "{filled_bytes} bytes of messages");
        thread::sleep(Duration::from_millis(10));
        // SAFETY: the pipe is open, and the call writes an int.
        let asked = unsafe { libc::ioctl(said.as_raw_fd(), libc::FIONREAD, &mut filled_bytes) };
        assert_eq!(asked, 0);
    }
    thread::sleep(Duration::from_millis(500)); // Its library fetches the rest.
    // SAFETY: the process is a child, and has not been waited for.
    unsafe { libc::kill(reader.0.id() as libc::pid_t, libc::SIGTERM) };
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(BufReader::new(said).lines().count()));
    let lines = told.recv_timeout(PATIENCE)?;
    assert!(lines < COUNT / 2, "it goes on for {lines} messages");
    assert!(reader.0.wait()?.success());
    Ok(())
}
