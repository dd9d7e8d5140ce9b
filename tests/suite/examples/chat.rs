//! `examples-c/chat.c`, with clients that are fast, slow and rude.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::process::Program;
use super::scenario_trials;
use crate::running::{self, PATIENCE, Running};
use crate::server::reset;

pub fn trials() -> Vec<Trial> {
    let scenarios: [(&str, fn()); 5] = [
        ("lines_go_to_all", lines_go_to_all),
        ("a_slow_client_delays_nobody", slow_client),
        ("rude_clients_are_let_go", rude_clients),
        ("serves_so_many_at_a_time", at_a_time),
        ("stop_delivers_what_was_said", graceful_stop),
    ];
    scenario_trials("chat_", &scenarios)
}

struct Chat {
    running: Running,
    port: u16,
}

impl Chat {
    fn start(clients: usize, idle: Duration) -> Chat {
        let idle = idle.as_millis().to_string();
        let running = Program::compile("chat", &[]).start(&["0", &clients.to_string(), &idle]);
        let line = running.wait_for_line("127.0.0.1:");
        let port = line.rsplit(':').next().and_then(|port| port.parse().ok());
        Chat { running, port: port.unwrap_or_else(|| panic!("{line:?}")) }
    }

    /// A client that has not been welcomed yet.
    fn connect(&self) -> Client {
        let stream = running::connect(self.port);
        Client { lines: BufReader::new(stream.try_clone().expect("the same stream")), stream }
    }

    /// A client that has come, as it and others are told.
    fn enter(&self, number: u32) -> Client {
        let mut client = self.connect();
        client.hears(&format!("{number} has come"));
        client
    }
}

struct Client {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Client {
    fn says(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("send to the chat");
    }

    /// Closes the connection with a reset.
    fn resets(self) {
        drop(self.lines);
        reset(self.stream);
    }

    /// The next line; none at the end.
    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            result => (result.expect("read from the chat") > 0).then(|| line.trim_end().to_owned()),
        }
    }

    fn hears(&mut self, line: &str) {
        assert_eq!(self.next().as_deref(), Some(line));
    }
}

fn lines_go_to_all() {
    let chat = Chat::start(10, PATIENCE);
    let mut first = chat.enter(1);
    let mut second = chat.enter(2);
    let mut third = chat.enter(3);
    first.hears("2 has come");
    first.hears("3 has come");
    second.hears("3 has come");
    // Several in one piece, one in several pieces.
    first.says("one\ntwo\n\n");
    for said in ["1 one", "1 two", "1 "] {
        [&mut first, &mut second, &mut third]
            .into_iter()
            .for_each(|client| client.hears(said.trim_end()));
    }
    for part in ["in ", "par", "ts\n"] {
        second.says(part);
        thread::sleep(Duration::from_millis(5));
    }
    for client in [&mut first, &mut second, &mut third] {
        client.hears("2 in parts");
    }
    // What is not a whole line is not said.
    second.says("half a li");
    drop(second);
    first.hears("2 has gone");
    third.hears("2 has gone");
    chat.running.signal(libc::SIGTERM);
    chat.running.succeed();
}

fn slow_client() {
    const LINES: usize = 20_000;
    let chat = Chat::start(10, PATIENCE);
    let mut slow = chat.enter(1);
    let mut talker = chat.enter(2);
    let listener = chat.enter(3);
    talker.hears("3 has come");
    let text = "x".repeat(400);
    // Eight times what the chat keeps, and far more than the kernel does. Both who talks and who listens get
    // all of it, while the other one reads nothing.
    let said = format!("{text}\n");
    let mut stream = talker.stream.try_clone().expect("the same stream");
    let talks =
        thread::spawn(move || (0..LINES).try_for_each(|_| stream.write_all(said.as_bytes())));
    let hears_all = |mut client: Client| {
        let (mut count, mut has_gone) = (0, false);
        while count < LINES || !has_gone {
            let line = client.next().expect("it is not let go");
            has_gone |= line == "1 has gone";
            count += usize::from(line.strip_prefix("2 ") == Some(&text));
        }
        client
    };
    thread::scope(|scope| {
        let both = [talker, listener].map(|client| scope.spawn(|| hears_all(client)));
        let mut both = both.map(|client| client.join().expect("it hears all"));
        talks.join().expect("the talker").expect("send all lines");
        both[0].says("still here\n");
        both.iter_mut().for_each(|client| client.hears("2 still here"));
    });
    // The slow one has been let go in the middle.
    let mut count = 0;
    while slow.next().is_some() {
        count += 1;
    }
    assert!(count < LINES, "{count} lines");
    chat.running.signal(libc::SIGTERM);
    chat.running.succeed();
}

fn rude_clients() {
    let idle = Duration::from_secs(2);
    let began = Instant::now();
    let chat = Chat::start(10, idle);
    let mut silent = chat.enter(1);
    let mut witness = chat.enter(2);
    let mut number = 2;
    for (said, why) in [("half a li", "has gone"), ("a line\n", "has gone")] {
        number += 1;
        let mut rude = chat.enter(number);
        rude.says(said);
        thread::sleep(Duration::from_millis(20));
        rude.resets();
        witness.says("still here\n");
        let mut found = 0;
        while found < 2 {
            let line = witness.next().expect("it is not let go");
            assert!(!line.ends_with("half a li"), "{line}");
            found += usize::from(line == format!("{number} {why}") || line == "2 still here");
        }
    }
    let mut long = chat.connect();
    long.says(&"x".repeat(600));
    let mut last = None;
    while let Some(line) = long.next() {
        last = Some(line);
    }
    // Closing with unread bytes may lose the last line.
    assert!(last.is_none_or(|line| line.starts_with("5 ")));
    for wanted in ["5 talks too much", "1 has fallen asleep"] {
        while witness.next().expect("it is not let go") != wanted {
            witness.says("still here\n");
            thread::sleep(Duration::from_millis(10));
        }
    }
    assert!(began.elapsed() >= idle);
    while silent.next().is_some() {}
    chat.running.signal(libc::SIGINT);
    chat.running.succeed();
}

fn at_a_time() {
    let chat = Chat::start(2, PATIENCE);
    let first = chat.enter(1);
    let mut second = chat.enter(2);
    let mut third = chat.connect();
    third.says("hello\n");
    second.says("is it here?\n");
    second.hears("2 is it here?");
    drop(first);
    second.hears("1 has gone");
    second.hears("3 has come");
    second.hears("3 hello");
    third.hears("3 has come");
    chat.running.signal(libc::SIGTERM);
    chat.running.succeed();
}

fn graceful_stop() {
    const LINES: usize = 500;
    let chat = Chat::start(100, PATIENCE);
    let mut clients: Vec<Client> = (1..=20).map(|number| chat.enter(number)).collect();
    clients[0].says(&"a line\n".repeat(LINES));
    // One of them has heard the last line: the others get it too, however far they are.
    let last = clients.len() - 1;
    (0..LINES).for_each(|_| clients[last].hears("1 a line"));
    chat.running.signal(libc::SIGTERM);
    for client in &mut clients[..last] {
        let mut heard = 0;
        while let Some(line) = client.next() {
            heard += usize::from(line == "1 a line");
        }
        assert_eq!(heard, LINES);
    }
    chat.running.succeed();
}
