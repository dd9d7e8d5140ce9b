//! The program of docs/scaling.md, with a broker of librdkafka's own.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;

use libtest_mimic::{Completion, Failed, Trial};

use super::blocks_of_c;
use crate::hook::servers::{not_installed, pkg_config};
use crate::library::{self, TempDir};
use crate::program::{self, Link, STRICT};
use crate::running::Running;
use crate::toolchain;

pub fn trials() -> Vec<Trial> {
    vec![Trial::ignorable_test("readme::scaling::kafka_wakes_a_task", kafka)]
}

/// A process that ends with its standard input.
struct Broker(Child);

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Each message arrives once, though they come in parts, between which the task waits.
fn kafka() -> Result<Completion, Failed> {
    const COUNT: usize = 50;
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
    let mut command = program::command(&mock);
    command.arg(COUNT.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut broker = Broker(command.spawn()?);
    let mut address = String::new();
    let said = broker.0.stdout.take().ok_or("a pipe")?;
    BufReader::new(said).read_line(&mut address)?;

    let mut command = program::command(&program);
    command.args([address.trim(), "news"]);
    let reader = Running::start(command, libc::SIGKILL, Arc::clone(&temp_dir));
    let heard =
        reader.wait_until("all messages", |lines| (lines.len() >= COUNT).then(|| lines.to_vec()));
    let expected: BTreeSet<String> = (0..COUNT).map(|number| format!("message {number}")).collect();
    assert_eq!(heard.iter().cloned().collect::<BTreeSet<_>>(), expected);
    assert_eq!(heard.len(), COUNT);
    reader.signal(libc::SIGTERM);
    reader.succeed();
    Ok(Completion::Completed)
}
