//! `examples-c/kv_server.c`, with clients that ask for all it can, for what it cannot, and for too much.

mod client;
mod load;

use std::cell::Cell;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Trial};

use self::client::{Client, command};
use super::process::Program;
use super::scenario_trials;
use crate::library::{TempDir, root};
use crate::process::{Finished, run};
use crate::program::{self, Link};
use crate::running::{PATIENCE, Running};
use crate::toolchain::{allow_preloaded, missing, runner};

pub fn trials() -> Vec<Trial> {
    let scenarios: [(&str, fn()); 10] = [
        ("does_what_its_commands_say", commands),
        ("counts_in_64_bits", counts),
        ("keeps_strings_and_lists_apart", wrong_types),
        ("lets_keys_expire", expiry),
        ("takes_all_bytes", all_bytes),
        ("says_what_it_does_not_know", unknown),
        ("takes_commands_in_any_pieces", pieces),
        ("refuses_what_is_malformed", malformed),
        ("is_no_web_server", http),
        ("refuses_settings_that_it_cannot_keep_to", settings),
    ];
    let mut trials = scenario_trials("kv_server_", &scenarios);
    trials.extend(load::trials());
    trials.push(Trial::ignorable_test("examples::kv_server_redis_cli", || Ok(redis_cli())));
    trials.push(Trial::ignorable_test("examples::kv_server_redis_benchmark", || Ok(benchmark())));
    trials.push(Trial::ignorable_test("examples::kv_server_hiredis", || Ok(hiredis())));
    trials
}

thread_local! {
    /// Whether the servers that this thread starts are built with sanitizers.
    static SANITIZED: Cell<bool> = const { Cell::new(false) };
}

struct Server {
    running: Running,
    port: u16,
}

impl Server {
    fn start(settings: &[&str]) -> Server {
        let sanitizers = "-fsanitize=address,undefined -fno-sanitize-recover=all";
        let flags = if SANITIZED.get() { sanitizers } else { "" };
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let arguments = [&["0"], settings].concat();
        let running = Program::compile("kv_server", &flags).start_with(&arguments, allow_preloaded);
        let line = running.wait_for_line("127.0.0.1:");
        let port = line.rsplit(':').next().and_then(|port| port.parse().ok());
        Server { running, port: port.unwrap_or_else(|| panic!("{line:?}")) }
    }

    fn connect(&self) -> Client {
        Client::connect(self.port)
    }

    /// A number of INFO.
    fn info(&self, name: &str) -> u64 {
        let page = self.connect().says("INFO");
        let number = page.split_once(name).map(|(_, rest)| rest[1..].split([' ', ',']).next());
        let number = number.flatten().and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("{name} in {page}"))
    }

    fn wait_for(&self, name: &str, is_it: impl Fn(u64) -> bool) {
        let began = Instant::now();
        while !is_it(self.info(name)) {
            assert!(began.elapsed() < PATIENCE, "{name} is {}", self.info(name));
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(self) {
        self.running.signal(libc::SIGTERM);
        self.running.succeed();
    }
}

/// What is said to a client that says this.
fn check(client: &mut Client, conversation: &[(&str, &str)]) {
    for (said, answer) in conversation {
        assert_eq!(client.says(said), *answer, "{said}");
    }
}

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const NO_INTEGER: &str = "-ERR value is not an integer or out of range";
const WRONG_COUNT: &str = "-ERR wrong number of arguments for ";
const NO_MEMORY: &str = "-OOM command not allowed: memory_mb is used up";

fn commands() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    check(
        &mut client,
        &[
            ("PING", "+PONG"),
            ("pInG hello", "$5 hello"),
            ("ECHO hello", "$5 hello"),
            ("GET a", "$-1"),
            ("SET a 1", "+OK"),
            ("GET a", "$1 1"),
            ("SET a longer-than-what-was-there-before", "+OK"),
            ("GET a", "$33 longer-than-what-was-there-before"),
            ("SET a short", "+OK"),
            ("GET a", "$5 short"),
            ("MSET a 1 b 2 a 3", "+OK"),
            ("GET a", "$1 3"),
            ("GET b", "$1 2"),
            ("EXISTS a b c a", ":3"),
            ("DEL a b c a", ":2"),
            ("EXISTS a b c", ":0"),
            ("LPUSH list 1 2 3", ":3"),
            ("RPUSH list 0", ":4"),
            ("LPUSH list 4", ":5"),
            ("LPOP list", "$1 4"),
            ("RPOP list", "$1 0"),
            ("RPOP list", "$1 1"),
            ("LPOP list", "$1 3"),
            ("EXISTS list", ":1"),
            ("RPOP list", "$1 2"),
            ("EXISTS list", ":0"),
            ("LPOP list", "$-1"),
            ("RPOP list", "$-1"),
            ("RPUSH list x y", ":2"),
            ("DEL list", ":1"),
            ("LPOP list", "$-1"),
            ("RPUSH list z", ":1"),
            ("LPOP list", "$1 z"),
        ],
    );
    assert_eq!((server.info("keys"), server.info("connected_clients")), (0, 2));
    // What clients ask when they connect, and the last word.
    check(
        &mut client,
        &[
            ("COMMAND DOCS", "*0"),
            ("CONFIG GET save", "*2 $4 save $0 "),
            ("CLIENT SETNAME me", "+OK"),
            ("CLIENT SETINFO lib-name me", "+OK"),
            ("SELECT 0", "+OK"),
            ("QUIT", "+OK"),
        ],
    );
    assert!(client.is_closed());
    server.stop();
}

fn counts() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    check(
        &mut client,
        &[
            ("INCR a", ":1"),
            ("INCR a", ":2"),
            ("GET a", "$1 2"),
            ("SET a -1", "+OK"),
            ("INCR a", ":0"),
            ("SET a 9223372036854775806", "+OK"),
            ("INCR a", ":9223372036854775807"),
            ("INCR a", "-ERR increment or decrement would overflow"),
            ("GET a", "$19 9223372036854775807"),
            ("SET a -9223372036854775808", "+OK"),
            ("INCR a", ":-9223372036854775807"),
        ],
    );
    // Every length, in place and not.
    for digits in 1..=18 {
        let (before, after) = ("9".repeat(digits), format!(":1{}", "0".repeat(digits)));
        client.says(&format!("SET n {before}"));
        assert_eq!(client.says("INCR n"), after);
        assert_eq!(client.says("GET n"), format!("${} {}", digits + 1, &after[1..]));
    }
    let no_numbers = "- -- +1 01 00 -0 1.0 1a a 0x1 9223372036854775808 -9223372036854775809 \
                      18446744073709551616 99999999999999999999 999999999999999999999999";
    for no_number in no_numbers.split(' ').chain([""]) {
        client.asks(&[b"SET", b"a", no_number.as_bytes()]);
        assert_eq!(client.says("INCR a"), NO_INTEGER, "{no_number:?}");
        assert_eq!(client.asks(&[b"EXPIRE", b"a", no_number.as_bytes()]), NO_INTEGER);
        assert_eq!(client.says("TTL a"), ":-1");
    }
    server.stop();
}

fn wrong_types() {
    let server = Server::start(&[]);
    check(
        &mut server.connect(),
        &[
            ("SET string 1", "+OK"),
            ("LPUSH list 1", ":1"),
            ("GET list", WRONG_TYPE),
            ("INCR list", WRONG_TYPE),
            ("LPUSH string 2", WRONG_TYPE),
            ("RPUSH string 2", WRONG_TYPE),
            ("LPOP string", WRONG_TYPE),
            ("RPOP string", WRONG_TYPE),
            ("GET string", "$1 1"),
            ("LPOP list", "$1 1"),
            // What gives a key a value does not ask for the one it had.
            ("LPUSH list 1 2", ":2"),
            ("SET list 3", "+OK"),
            ("GET list", "$1 3"),
            ("DEL list", ":1"),
            ("LPUSH list 1 2", ":2"),
            ("MSET list 3 string 4", "+OK"),
            ("INCR list", ":4"),
        ],
    );
    server.stop();
}

fn expiry() {
    const KEYS: usize = 3000;

    let server = Server::start(&[]);
    let mut client = server.connect();
    check(
        &mut client,
        &[
            ("TTL a", ":-2"),
            ("EXPIRE a 100", ":0"),
            ("SET a 1", "+OK"),
            ("TTL a", ":-1"),
            ("EXPIRE a 100", ":1"),
            ("TTL a", ":100"),
            ("INCR a", ":2"),
            ("TTL a", ":100"),
            ("SET a 1", "+OK"),
            ("TTL a", ":-1"),
            ("SET a 1 EX 50", "+OK"),
            ("TTL a", ":50"),
            ("MSET a 1", "+OK"),
            ("TTL a", ":-1"),
            ("SET a 1 px 7000", "+OK"),
            ("TTL a", ":7"),
            ("SET a 1 EX", "-ERR syntax error"),
            ("SET a 1 EZ 1", "-ERR syntax error"),
            ("SET a 1 EX soon", NO_INTEGER),
            ("SET a 2 EX 0", "-ERR invalid expire time in 'set' command"),
            ("SET a 2 PX -1", "-ERR invalid expire time in 'set' command"),
            ("GET a", "$1 1"),
            // What is beyond the server's clock, and what is beyond that of Redis.
            ("SET a 1 EX 9999999999", "+OK"),
            ("EXPIRE a 9200000000000000", ":1"),
            ("EXISTS a", ":1"),
            ("EXPIRE a 9223372036854776", "-ERR invalid expire time in 'expire' command"),
            ("EXPIRE a -9223372036854775808", "-ERR invalid expire time in 'expire' command"),
            ("EXISTS a", ":1"),
            ("EXPIRE a 0", ":1"),
            ("GET a", "$-1"),
            ("LPUSH a 1 2", ":2"),
            ("EXPIRE a -1", ":1"),
            ("EXISTS a", ":0"),
            ("LPUSH a 3", ":1"),
            ("TTL a", ":-1"),
            ("DEL a", ":1"),
        ],
    );
    // Not before its time: if it is still there, that is so; and it goes.
    let began = Instant::now();
    client.says("SET a 1 PX 50");
    while client.says("GET a") == "$1 1" {
        assert!(began.elapsed() < PATIENCE);
    }
    assert!(began.elapsed() >= Duration::from_millis(50));
    // Those that nobody asks for go too, and give back what they had.
    let memory = server.info("used_memory");
    let long: Vec<u8> = (0..KEYS).flat_map(|key| command(&format!("SET long{key} v"))).collect();
    let short = (0..KEYS).flat_map(|key| command(&format!("SET key{key} v PX 1"))).collect();
    for commands in [long, short] {
        client.send(&commands);
        (0..KEYS).for_each(|_| assert_eq!(client.answer(), b"+OK\r\n"));
    }
    server.wait_for("keys", |keys| keys == KEYS as u64);
    assert_eq!(server.info("expires"), 0);
    for key in 0..KEYS {
        assert_eq!(client.says(&format!("DEL long{key}")), ":1");
    }
    // The table has grown.
    assert!(server.info("used_memory") - memory <= 2 * 8 * 8192, "{memory} bytes before");
    server.stop();
}

fn all_bytes() {
    let server = Server::start(&["bulk_mb=4", "memory_mb=32"]);
    let mut client = server.connect();
    let every: Vec<u8> = (0..=255).collect();
    let values: [&[u8]; 4] = [b"", b"\0", b"\r\n$1\r\n", &every];
    for key in values {
        for value in values {
            assert_eq!(client.asks(&[b"SET", key, value]), "+OK");
            assert_eq!(client.asks_for(&[b"GET", key]), value);
            assert_eq!(client.asks(&[b"LPUSH", b"list", value]), ":1");
            assert_eq!(client.asks_for(&[b"LPOP", b"list"]), value);
        }
        assert_eq!(client.asks_for(&[b"ECHO", key]), key);
    }
    assert_eq!(server.info("keys"), values.len() as u64);
    assert_eq!(client.asks(&[b"GET\r\n\0", b""]), "-ERR unknown command 'GET   '");
    assert_eq!(client.asks(&[b""]), "-ERR unknown command ''");
    // Around the sizes of its buffers, and larger than any of the kernel's.
    for bytes in [16_300, 16_383, 16_384, 16_385, 32_768, 70_000, 4 << 20] {
        let value: Vec<u8> = (0..bytes).map(|place| (place * 7 % 251) as u8).collect();
        assert_eq!(client.asks(&[b"SET", b"a", &value]), "+OK");
        assert!(client.asks_for(&[b"GET", b"a"]) == value, "{bytes} bytes");
        assert!(client.asks_for(&[b"ECHO", &value]) == value, "{bytes} bytes");
    }
    // As many arguments as may be.
    let words: Vec<Vec<u8>> = (0..4095).map(|word| format!("{word}").into_bytes()).collect();
    let words: Vec<&[u8]> =
        [&b"DEL"[..]].into_iter().chain(words.iter().map(|word| &**word)).collect();
    assert_eq!(client.asks(&words), ":0");
    server.stop();
}

fn unknown() {
    let server = Server::start(&[]);
    let wrong = "PING a b,ECHO,GET,GET a b,SET a,SET a b c d e,INCR,INCR a b,MSET,MSET a,MSET a b c,LPUSH a,\
                 LPOP,LPOP a 1,DEL,EXPIRE a,EXPIRE a 1 NX,TTL,EXISTS,CONFIG GET,CLIENT,SELECT,QUIT now";
    let mut client = server.connect();
    for said in wrong.split(',') {
        let name = said.split(' ').next().expect("a name").to_lowercase();
        assert_eq!(client.says(said), format!("{WRONG_COUNT}'{name}' command"));
    }
    for said in ["HELLO 3", "FLUSHALL", "SUBSCRIBE a", "a-name-that-is-longer", "GETT a", "GE a"] {
        let name = said.split(' ').next().expect("a name");
        assert_eq!(client.says(said), format!("-ERR unknown command '{name}'"));
    }
    for said in ["CONFIG SET save 1", "CLIENT LIST"] {
        assert!(client.says(said).starts_with("-ERR "), "{said}");
    }
    for (database, answer) in
        [("1", "-ERR DB index is out of range"), ("x", NO_INTEGER), ("00", NO_INTEGER)]
    {
        assert_eq!(client.says(&format!("SELECT {database}")), answer);
    }
    assert_eq!(client.says("PING"), "+PONG");
    server.stop();
}

/// Commands of all forms, and what is answered to them.
fn conversation() -> (Vec<u8>, Vec<u8>) {
    let value = "v".repeat(40);
    let commands = [
        (command(&format!("SET a {value}")), "+OK\r\n".to_owned()),
        (command("GET a"), format!("$40\r\n{value}\r\n")),
        (b"*0\r\n\r\n*-1\r\n \r\n".to_vec(), String::new()),
        (b"PING\r\nset  b\t5 \nGET b\r\n".to_vec(), "+PONG\r\n+OK\r\n$1\r\n5\r\n".to_owned()),
        (command("LPUSH list 1 2"), ":2\r\n".to_owned()),
        (command("LPOP list"), "$1\r\n2\r\n".to_owned()),
        (command("DEL list a b"), ":3\r\n".to_owned()),
        (b"*1\r\n$4\r\nPING\r\n".to_vec(), "+PONG\r\n".to_owned()),
        (b"*2\r\n$3\r\nGET\r\n$2\r\n\r\n\r\n".to_vec(), "$-1\r\n".to_owned()),
    ];
    let (commands, answers): (Vec<_>, Vec<_>) = commands.into_iter().unzip();
    (commands.concat(), answers.concat().into_bytes())
}

fn pieces() {
    let server = Server::start(&[]);
    let (commands, answers) = conversation();
    for at in 1..commands.len() {
        let mut client = server.connect();
        client.send(&commands[..at]);
        // The first part is read before the second one comes: another client has an answer meanwhile.
        server.connect().says("PING");
        client.send(&commands[at..]);
        assert_eq!(client.rest(), answers, "in two pieces, the first of {at} bytes");
    }
    let mut client = server.connect();
    for byte in &commands {
        client.send(&[*byte]);
    }
    assert_eq!(client.rest(), answers);
    // All at once, and far more than a buffer holds; nobody reads before all is sent.
    let mut client = server.connect();
    client.send(&commands.repeat(1000));
    assert!(client.rest() == answers.repeat(1000));
    server.stop();
}

fn malformed() {
    let server = Server::start(&["bulk_mb=1"]);
    let multibulk = "-ERR Protocol error: invalid multibulk length\r\n";
    let bulk = "-ERR Protocol error: invalid bulk length\r\n";
    let dollar = "-ERR Protocol error: expected '$'\r\n";
    let line = "-ERR Protocol error: expected the end of a line\r\n";
    let inline = "-ERR Protocol error: too big inline request\r\n";
    let long = "x".repeat(16_384);
    let zeros = format!("*{}1\r\n", "0".repeat(20));
    let mut all: Vec<(&str, &str)> = vec![(&long, inline), (&zeros, multibulk)];
    for length in ["*4097", "*99999999999999999999", "*x", "*", "*1x", "*1\rx", "*-", "*--1", "*+1"]
    {
        all.push((length, multibulk));
    }
    for length in
        ["$-1", "$1048577", "$4294967297", "$18446744073709551617", "$", "$x", "$-", "$1\rx"]
    {
        all.push((length, bulk));
    }
    all.extend([
        ("+x", dollar),
        ("*1", dollar),
        ("", dollar),
        ("$1\r\nabc", line),
        ("$0\r\na", line),
    ]);
    for (said, answer) in all {
        let mut client = server.connect();
        let begin =
            if answer == multibulk || answer == inline { "" } else { "*2\r\n$3\r\nGET\r\n" };
        client.send(&command("SET a 1"));
        // What comes behind it is not taken for a command.
        let text = format!("{begin}{said}\r\n");
        client.send(text.as_bytes());
        client.send_if_open(&command("SET a 2"));
        let got = String::from_utf8(client.rest()).expect("text");
        assert_eq!(got, format!("+OK\r\n{answer}"), "{:?}", &text[..text.len().min(60)]);
        assert_eq!(server.connect().says("GET a"), "$1 1");
    }
    // Cut off in the middle: no answer.
    for at in 1..command("INCR a").len() {
        let mut client = server.connect();
        client.send(&command("INCR a")[..at]);
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(server.connect().says("GET a"), "$1 1");
    server.stop();
}

/// What a page can have a browser send.
fn http() {
    let server = Server::start(&[]);
    for method in ["POST", "GET", "OPTIONS"] {
        let mut client = server.connect();
        client
            .send(format!("{method} / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nSET a 1\r\n").as_bytes());
        let got = String::from_utf8(client.rest()).expect("text");
        assert!(got.ends_with("-ERR this is no web server\r\n"), "{method}: {got}");
        assert_eq!(server.connect().says("EXISTS a"), ":0");
    }
    server.stop();
}

fn settings() {
    let program = Program::compile("kv_server", &[]);
    for wrong in ["bulk_mb=4000", "clients=0", "idle_ms=-1", "idle_ms=x", "port=1"] {
        let mut running = program.start(&["0", wrong]);
        assert_eq!(running.wait().code(), Some(1), "{wrong}");
        let line = format!("kv_server: no such setting, or not such a value: {wrong}");
        assert_eq!(running.stderr(), [line]);
    }
}

// ---- Clients that others have written

fn succeeds(command: &mut Command) -> Finished {
    let temp_dir = TempDir::new().expect("a directory");
    let finished = run(command.current_dir(temp_dir.path()), PATIENCE, temp_dir.path());
    let finished = finished.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(finished.succeeded(), "{}", finished.describe());
    finished
}

fn redis_cli() -> Completion {
    if let Some(skipped) = missing("redis-cli") {
        return skipped;
    }
    let server = Server::start(&[]);
    let port = server.port.to_string();
    let says = |words: &[&str]| {
        let mut client = Command::new("redis-cli");
        succeeds(client.args(["-p", &port]).args(words)).output.trim_end().to_owned()
    };
    assert_eq!(says(&["PING"]), "PONG");
    assert_eq!(says(&["SET", "a key", "a \"value\"\n of two lines"]), "OK");
    assert_eq!(says(&["GET", "a key"]), "a \"value\"\n of two lines");
    assert_eq!(says(&["-r", "5", "INCR", "n"]), "1\n2\n3\n4\n5");
    assert_eq!(says(&["LPUSH", "list", "1", "2"]), "2");
    assert_eq!(says(&["LPOP", "list"]), "2");
    assert_eq!(says(&["EXPIRE", "list", "100"]), "1");
    assert_eq!(says(&["TTL", "list"]), "100");
    assert_eq!(says(&["GET", "list"]), WRONG_TYPE[1..]);
    assert_eq!(says(&["-n", "0", "DEL", "list", "n"]), "2");
    assert!(says(&["INFO"]).contains("connected_clients:1"));
    server.stop();
    Completion::Completed
}

fn benchmark() -> Completion {
    if let Some(skipped) = missing("redis-benchmark") {
        return skipped;
    }
    let server = Server::start(&[]);
    let tests = ["ping", "set", "get", "incr", "lpush", "mset"];
    for pipeline in ["1", "16"] {
        let mut client = Command::new("redis-benchmark");
        client.args([
            "-p",
            &server.port.to_string(),
            "-c",
            "20",
            "-n",
            "2000",
            "-r",
            "5000",
            "--csv",
        ]);
        let output = succeeds(client.args(["-P", pipeline, "-t", &tests.join(",")])).output;
        for test in tests {
            let start = format!("\"{}", test.to_uppercase());
            assert!(output.lines().any(|line| line.starts_with(&start)), "{test}: {output}");
        }
        assert!(!output.contains("WARN"), "{output}");
    }
    server.stop();
    Completion::Completed
}

fn hiredis() -> Completion {
    if runner().is_some() {
        return Completion::ignored_with("the library is built for another machine");
    }
    let flags = Command::new("pkg-config").args(["--cflags", "--libs", "hiredis"]).output();
    let Some(flags) = flags.ok().filter(|flags| flags.status.success()) else {
        return Completion::ignored_with("libhiredis-dev is not installed");
    };
    let flags = String::from_utf8(flags.stdout).expect("flags");
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let temp_dir = Arc::new(TempDir::new().expect("a directory"));
    let source = root().join("tests/suite/examples/kv_server/hiredis.c");
    let path = program::compile(&source, &["-Wall", "-Werror"], Link::Shared, &flags, &temp_dir)
        .unwrap_or_else(|failed| panic!("{}", failed.message().unwrap_or("not compiled")));
    let server = Server::start(&[]);
    succeeds(Command::new(path).arg(server.port.to_string()));
    server.stop();
    Completion::Completed
}
