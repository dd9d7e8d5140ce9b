//! Many keys, many clients, no memory, no patience, and the end.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Trial};

use super::super::scenario_trials;
use super::client::{Client, command, command_of};
use super::{NO_MEMORY, SANITIZED, Server, WRONG_TYPE};
use crate::library::TempDir;
use crate::running::PATIENCE;
use crate::sanitizers::Sanitizer;
use crate::toolchain::{Compilers, runner};

pub fn trials() -> Vec<Trial> {
    let scenarios: [(&str, fn()); 14] = [
        ("agrees_with_a_model", agrees_with_a_model),
        ("is_full_and_loses_nothing", full),
        ("does_all_of_a_command_also_where_its_table_grows", grows_when_full),
        ("has_the_room_of_what_was_deleted", deleted_is_room),
        ("skips_what_there_is_no_memory_for", too_large),
        ("serves_many_at_once", many_clients),
        ("has_as_many_clients_as_may_be", most_clients),
        ("does_not_wait_for_who_never_reads", never_reads),
        ("writes_what_was_there_to_who_reads_late", reads_late),
        ("writes_to_who_reads_slowly", reads_slowly),
        ("lets_go_of_who_says_nothing", idle),
        ("lets_go_of_who_says_half_a_command", half_a_command),
        ("stop_answers_what_has_begun", stop),
        ("survives_random_bytes", random_bytes),
    ];
    let mut trials = scenario_trials("kv_server_", &scenarios);
    let sanitized = "examples::kv_server_is_clean_under_address_sanitizer";
    trials.push(Trial::ignorable_test(sanitized, || Ok(address_sanitizer())));
    trials
}

/// The same numbers each time: SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % end
    }
}

// ---- Many keys

enum Value {
    Text(String),
    List(VecDeque<String>),
}

/// What the server is to have, and to answer.
#[derive(Default)]
struct Model(HashMap<String, Value>);

impl Model {
    fn says(&mut self, words: &[&str]) -> String {
        let bulk = |text: Option<String>| match text {
            Some(text) => format!("${}\r\n{text}\r\n", text.len()),
            None => "$-1\r\n".to_owned(),
        };
        let key = words[1].to_owned();
        match (words[0], self.0.get_mut(words[1])) {
            ("DEL", _) => format!(":{}\r\n", usize::from(self.0.remove(&key).is_some())),
            ("EXISTS", value) => format!(":{}\r\n", usize::from(value.is_some())),
            ("SET", _) => {
                self.0.insert(key, Value::Text(words[2].to_owned()));
                "+OK\r\n".to_owned()
            }
            ("GET", Some(Value::Text(text))) => bulk(Some(text.clone())),
            ("GET" | "LPOP" | "RPOP", None) => bulk(None),
            ("LPUSH" | "RPUSH", None) => {
                self.0.insert(key, Value::List([words[2].to_owned()].into()));
                ":1\r\n".to_owned()
            }
            ("LPUSH" | "RPUSH", Some(Value::List(list))) => {
                let element = words[2].to_owned();
                if words[0] == "LPUSH" {
                    list.push_front(element)
                } else {
                    list.push_back(element)
                }
                format!(":{}\r\n", list.len())
            }
            ("LPOP" | "RPOP", Some(Value::List(list))) => {
                let element = if words[0] == "LPOP" { list.pop_front() } else { list.pop_back() };
                if list.is_empty() {
                    self.0.remove(&key);
                }
                bulk(element)
            }
            _ => format!("{WRONG_TYPE}\r\n"),
        }
    }
}

fn agrees_with_a_model() {
    const BATCH: u64 = 500;

    let (keys, batches) = if runner().is_some() { (3000, 40) } else { (20_000, 300) };
    let server = Server::start(&[]);
    let memory = server.info("used_memory");
    let mut client = server.connect();
    let (mut model, mut random) = (Model::default(), Random(25));
    for batch in 0..batches {
        let (mut commands, mut answers) = (Vec::new(), String::new());
        for _ in 0..BATCH {
            // At first keys come, in the end they go.
            let names = ["SET", "GET", "LPUSH", "RPUSH", "LPOP", "RPOP", "EXISTS", "DEL", "DEL"];
            let most = if batch < batches / 2 { 7 } else { names.len() as u64 };
            let name = names[random.below(most) as usize];
            let key = format!("key:{}", random.below(keys));
            let value = format!("{batch}").repeat(random.below(20) as usize);
            let words = [name, &key, &value];
            let words =
                if matches!(name, "SET" | "LPUSH" | "RPUSH") { &words[..] } else { &words[..2] };
            commands
                .extend(command_of(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>()));
            answers += &model.says(words);
        }
        client.send(&commands);
        let mut got = Vec::new();
        (0..BATCH).for_each(|_| got.extend(client.answer()));
        assert!(got == answers.as_bytes(), "batch {batch}");
    }
    let names: Vec<&String> = model.0.keys().collect();
    assert!(names.len() > 1100, "more than the first buckets: {}", names.len());
    assert_eq!(server.info("keys"), names.len() as u64);
    for part in names.chunks(1000) {
        let words: Vec<&[u8]> = part.iter().map(|name| name.as_bytes()).collect();
        let answer = client.asks(&[&[&b"DEL"[..]], &*words].concat());
        assert_eq!(answer, format!(":{}", part.len()));
    }
    // But for the table itself, all is given back.
    server.wait_for("used_memory", |now| now - memory <= 16 * keys + 1024);
    assert_eq!(server.info("keys"), 0);
    server.stop();
}

// ---- No memory

fn full() {
    const BYTES: usize = 3000;
    const MEMORY: usize = 2 << 20;

    let server = Server::start(&["memory_mb=2"]);
    let mut client = server.connect();
    let value = |key: usize| vec![b'a' + (key % 26) as u8; BYTES];
    let mut keys = 0;
    while client.asks(&[b"SET", format!("key{keys}").as_bytes(), &value(keys)]) == "+OK" {
        keys += 1;
        assert!(keys <= MEMORY / BYTES);
    }
    assert!(keys > MEMORY / BYTES - 50, "{keys} keys");
    // What would need more has no effect, not even a part of it; what needs none works. The commands are no larger
    // than a client's buffer, so that they are read.
    let large = vec![b'x'; 2 * BYTES];
    let (new, old) = (&b"new"[..], &b"key0"[..]);
    let refused: [&[&[u8]]; 6] = [
        &[b"SET", old, &large],
        &[b"SET", new, &large],
        &[b"MSET", old, b"1", b"key1", &large],
        &[b"LPUSH", new, b"1", &large],
        &[b"RPUSH", new, &large],
        &[b"SET", &large, b"1"],
    ];
    for words in refused {
        assert_eq!(client.asks(words), NO_MEMORY);
    }
    for key in 0..keys {
        assert!(client.asks_for(&[b"GET", format!("key{key}").as_bytes()]) == value(key), "{key}");
    }
    assert_eq!(client.says("EXISTS new"), ":0");
    assert!(server.info("used_memory") <= MEMORY as u64);
    // What is deleted is room for others, also a list, which is not freed at once.
    assert_eq!(client.says("DEL key0 key1 key2 key3 key4"), ":5");
    let elements: Vec<String> = (0..100).map(|element| format!("element{element}")).collect();
    let push = format!("RPUSH list {}", elements.join(" "));
    let mut count = 0;
    while client.says(&push) != NO_MEMORY {
        count += 100;
    }
    assert!(count >= 100, "{count} elements");
    assert!(client.says("RPUSH list").starts_with(super::WRONG_COUNT));
    (5..keys).for_each(|key| assert_eq!(client.says(&format!("DEL key{key}")), ":1"));
    while client.says(&push) != NO_MEMORY {
        count += 100;
    }
    assert!(count > 10_000, "{count} elements");
    for place in 0..200 {
        assert_eq!(client.asks_for(&[b"LPOP", b"list"]), elements[place % 100].as_bytes());
    }
    let fill = vec![b'y'; 12_000];
    let more: Vec<u8> = (0..100)
        .flat_map(|key| command_of(&[b"SET", format!("fill{key}").as_bytes(), &fill]))
        .collect();
    client.send(&[command("DEL list"), more].concat());
    assert_eq!(client.answer(), b":1\r\n");
    (0..100).for_each(|key| assert_eq!(client.answer(), b"+OK\r\n", "{key}"));
    server.stop();
}

fn grows_when_full() {
    let server = Server::start(&["memory_mb=1"]);
    let mut client = server.connect();
    let free = || (1 << 20) - server.info("used_memory");
    // As many keys as there are buckets, and room for the command or for more of them, but not for both.
    for key in 0..1023 {
        assert_eq!(client.asks(&[b"SET", format!("key{key}").as_bytes(), b""]), "+OK");
    }
    for (bytes, most) in [(15_000, 24_000), (100, 9000)] {
        while free() > most {
            assert!(client.asks(&[b"RPUSH", b"list", &vec![b'x'; bytes]]).starts_with(':'));
        }
    }
    assert_eq!(client.says(&format!("RPUSH new{}", " y".repeat(40))), ":40");
    assert_eq!(client.says("EXISTS key0 key1022 list new"), ":4");
    server.stop();
}

/// A list is not freed at once, but before a command that is being read is refused.
fn deleted_is_room() {
    let server = Server::start(&["memory_mb=32"]);
    let mut client = server.connect();
    let push = format!("RPUSH list{}", " 12345678".repeat(4000));
    let set = command_of(&[b"SET", b"large", &vec![b'v'; 5_000_000]]);
    // A buffer of 4 MiB has room for the head; the next one is of 8.
    let (head, rest) = set.split_at(4_190_000);
    for _ in 0..3 {
        (0..115).for_each(|_| assert!(client.says(&push).starts_with(':')));
        let without = server.info("used_memory");
        let mut half = server.connect();
        half.send(head);
        server.wait_for("used_memory", |bytes| bytes > without + (4 << 20));
        assert_eq!(client.says("DEL list"), ":1");
        half.send(rest);
        assert_eq!(half.answer(), b"+OK\r\n");
        assert_eq!(client.says("DEL large"), ":1");
        drop(half);
        server.wait_for("used_memory", |bytes| bytes < 1000);
    }
    server.stop();
}

fn too_large() {
    let server = Server::start(&["memory_mb=4", "bulk_mb=64"]);
    let mut client = server.connect();
    assert_eq!(client.says("SET a 1"), "+OK");
    let large = vec![b'$'; 20 << 20];
    let medium = vec![b'1'; 3 << 20];
    let many: Vec<&[u8]> = (0..4000).map(|_| &large[..20_000]).collect();
    let too_large = [
        command_of(&[b"SET", b"a", &large]),
        command_of(&[b"SET", &large, b"a"]),
        command_of(&[b"ECHO", &large]),
        command_of(&[b"MSET", b"a", &medium, b"b", &medium]),
        command_of(&[&[&b"LPUSH"[..], b"a"], &*many].concat()),
        command_of(&[&many[0][..5], &large]),
    ];
    for commands in too_large {
        // What comes behind it is a command again.
        client.send(&[commands, command("GET a"), b"PING\r\n".to_vec()].concat());
        assert_eq!(client.answer(), format!("{NO_MEMORY}\r\n").as_bytes());
        assert_eq!(client.answer(), b"$1\r\n1\r\n");
        assert_eq!(client.answer(), b"+PONG\r\n");
    }
    server.wait_for("used_memory", |bytes| bytes < 1000);
    // A buffer that is full in the middle of a length, and cannot grow.
    let mut fill = 0;
    while client.asks(&[b"SET", format!("fill{fill}").as_bytes(), &large[..10_000]]) == "+OK" {
        fill += 1;
    }
    for key in ["a", "aa", "aaa", "aaaa", "aaaaa", "aaaaaa", "aaaaaaa"] {
        let words: Vec<&[u8]> = (0..4000).map(|_| &b"x"[..]).collect();
        let push = command_of(&[&[&b"LPUSH"[..], key.as_bytes()], &*words].concat());
        client.send(&[push, command("PING")].concat());
        assert_eq!(client.answer(), format!("{NO_MEMORY}\r\n").as_bytes());
        assert_eq!(client.answer(), b"+PONG\r\n");
    }
    (0..fill).for_each(|key| assert_eq!(client.says(&format!("DEL fill{key}")), ":1"));
    // Many that are not whole share the bound, and are answered like others.
    let mut halves: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    let whole = command_of(&[b"SET", b"a", &medium]);
    let (head, tail) = whole.split_at(1 << 20);
    halves.iter_mut().for_each(|client| client.send(head));
    assert!(server.info("used_memory") <= 4 << 20);
    for client in &mut halves {
        client.send(tail);
        let answer = client.answer();
        assert!(answer == b"+OK\r\n" || answer == format!("{NO_MEMORY}\r\n").as_bytes());
        assert_eq!(client.says("PING"), "+PONG");
    }
    // Who goes in the middle takes nothing along.
    assert_eq!(client.says("DEL a"), ":1");
    let mut gone = server.connect();
    gone.send(head);
    server.wait_for("used_memory", |bytes| bytes > 1 << 20);
    drop(gone);
    server.wait_for("used_memory", |bytes| bytes < 1000);
    server.stop();
}

// ---- Clients

/// The number at the end of an answer.
fn number_in(answer: &[u8]) -> usize {
    let text = String::from_utf8_lossy(answer);
    let number = text.trim_end().rsplit(['\n', ':']).next().and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{text:?}"))
}

fn many_clients() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 100;

    let each = if runner().is_some() { 5 } else { 50 };
    let server = Server::start(&[]);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let server = &server;
            scope.spawn(move || {
                let mut clients: Vec<Client> = (0..each).map(|_| server.connect()).collect();
                let own = format!("own{number}");
                for round in 1..=ROUNDS {
                    for client in &mut clients {
                        let all =
                            ["INCR all".to_owned(), format!("INCR {own}"), format!("GET {own}")];
                        client.send(&all.iter().flat_map(|text| command(text)).collect::<Vec<_>>());
                    }
                    // Each answer is to its own question, in order, and no count is given twice.
                    let mut counts = Vec::new();
                    for client in &mut clients {
                        let _all = number_in(&client.answer());
                        let count = number_in(&client.answer());
                        let seen = number_in(&client.answer());
                        assert!((count..=round * each).contains(&seen), "{seen} after {count}");
                        counts.push(count);
                    }
                    counts.sort_unstable();
                    let expected: Vec<usize> = ((round - 1) * each + 1..=round * each).collect();
                    assert_eq!(counts, expected);
                }
            });
        }
    });
    let all = THREADS * each * ROUNDS;
    let mut client = server.connect();
    assert_eq!(client.asks_for(&[b"GET", b"all"]), all.to_string().as_bytes());
    server.wait_for("connected_clients", |count| count <= 2);
    server.stop();
}

fn most_clients() {
    let server = Server::start(&["clients=2"]);
    let [mut first, mut second, mut third] = [(); 3].map(|()| server.connect());
    assert_eq!([first.says("PING"), second.says("PING")], ["+PONG", "+PONG"]);
    third.send(&command("PING"));
    third.stream.set_read_timeout(Some(Duration::from_millis(200))).expect("set the time");
    let mut byte = [0];
    let waits = third.stream.peek(&mut byte).expect_err("it waits").kind();
    assert!(matches!(waits, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{waits}");
    drop(first);
    third.stream.set_read_timeout(Some(PATIENCE)).expect("set the time");
    assert_eq!(third.answer(), b"+PONG\r\n");
    assert_eq!(second.says("PING"), "+PONG");
    server.stop();
}

/// Sends as much as the server takes, and reads nothing.
fn send_without_end(client: &mut Client, bytes: &[u8]) -> usize {
    client.stream.set_nonblocking(true).expect("make it non-blocking");
    let (mut sent, mut last) = (0, Instant::now());
    while last.elapsed() < Duration::from_millis(300) {
        match client.stream.write(&bytes[sent % bytes.len()..]) {
            Ok(count) => (sent, last) = (sent + count, Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(_) => break,
        }
    }
    client.stream.set_nonblocking(false).expect("make it blocking");
    sent
}

fn never_reads() {
    let server = Server::start(&["write_ms=1500", "memory_mb=16"]);
    let mut client = server.connect();
    let values = [vec![b'v'; 100_000], vec![b'w'; 100_000]];
    assert_eq!(client.asks(&[b"SET", b"a", &values[0]]), "+OK");
    let memory = server.info("used_memory");
    let mut rude = server.connect();
    let began = Instant::now();
    let sent = send_without_end(&mut rude, &command("GET a").repeat(1000));
    // It takes no more of the commands, and so has no more of the answers than the kernel's buffers hold.
    let asked = sent / command("GET a").len();
    assert!(asked > 100, "{asked} commands");
    // Others do not wait.
    for round in 1..=100 {
        assert_eq!(client.asks(&[b"SET", b"a", &values[round % 2]]), "+OK");
    }
    let held = server.info("used_memory") - memory;
    assert!(held <= 101_000, "one value at the most is held beside the new one: {held} bytes");
    // When its time is over it is let go, and with it what it has held.
    server.wait_for("connected_clients", |count| count <= 2);
    assert!(began.elapsed() >= Duration::from_millis(1500));
    assert!(server.info("used_memory") <= memory + 1000);
    server.stop();
}

/// What is being written stays what it was, whatever becomes of its key.
fn reads_late() {
    // More than the kernel holds for the client: the answer waits in the middle.
    const BYTES: usize = 16 << 20;

    let server = Server::start(&["memory_mb=128"]);
    let mut client = server.connect();
    for change in ["SET", "DEL", "LPUSH"] {
        client.says("DEL a");
        assert_eq!(client.asks(&[b"SET", b"a", &vec![b'v'; BYTES]]), "+OK");
        let mut late = server.connect();
        late.send(&command("GET a"));
        late.stream.peek(&mut [0]).expect("an answer");
        match change {
            "SET" => assert_eq!(client.asks(&[b"SET", b"a", &vec![b'w'; BYTES]]), "+OK"),
            _ => assert_eq!(client.says("DEL a"), ":1"),
        }
        if change == "LPUSH" {
            assert_eq!(client.asks(&[b"LPUSH", b"a", &vec![b'x'; BYTES]]), ":1");
        }
        let answer = late.answer();
        let value = &answer[format!("${BYTES}\r\n").len()..answer.len() - 2];
        assert!(value.len() == BYTES && value.iter().all(|&byte| byte == b'v'), "{change}");
    }
    assert_eq!(client.says("DEL a"), ":1");
    server.wait_for("used_memory", |bytes| bytes < 1000);
    server.stop();
}

/// The limit is not for a whole value, which may be long.
fn reads_slowly() {
    const MB: usize = 1 << 20;

    let server = Server::start(&["write_ms=2000"]);
    let mut client = server.connect();
    // More than the kernel holds for the client, by far.
    assert_eq!(client.asks(&[b"SET", b"a", &vec![b'v'; 48 * MB]]), "+OK");
    client.send(&command("GET a"));
    let mut answer = vec![0; "$50331648\r\n".len() + 48 * MB + 2];
    for part in answer.chunks_mut(MB) {
        thread::sleep(Duration::from_millis(100));
        client.stream.read_exact(part).expect("the next part");
    }
    assert!(answer.starts_with(b"$50331648\r\nvv") && answer.ends_with(b"vv\r\n"));
    assert_eq!(client.says("PING"), "+PONG");
    server.stop();
}

fn idle() {
    let server = Server::start(&["idle_ms=300"]);
    let mut silent = server.connect();
    let mut half = server.connect();
    half.send(b"*2\r\n$3\r\nGET\r\n$100\r\nabc");
    let began = Instant::now();
    let mut busy = server.connect();
    while began.elapsed() < Duration::from_millis(400) {
        assert_eq!(busy.says("PING"), "+PONG");
    }
    assert!(silent.is_closed() && half.is_closed());
    assert_eq!(busy.says("PING"), "+PONG");
    server.stop();
}

fn half_a_command() {
    const REST: Duration = Duration::from_millis(1500);

    let server = Server::start(&["rest_ms=1500"]);
    let mut silent = server.connect();
    assert_eq!(silent.says("PING"), "+PONG");
    let began = Instant::now();
    let mut half = server.connect();
    half.send(b"*2\r\n$3\r\nGET\r\n$1000000\r\n");
    // It does not help to send a little more each time. Who begins another one each time is served.
    let mut busy = server.connect();
    while began.elapsed() < REST {
        half.send_if_open(&[b'x'; 1000]);
        busy.send(b"PING\r\nPI");
        assert_eq!(busy.answer(), b"+PONG\r\n");
        busy.send(b"NG\r\n");
        assert_eq!(busy.answer(), b"+PONG\r\n");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(half.is_closed());
    assert_eq!([silent.says("PING"), busy.says("PING")], ["+PONG", "+PONG"]);
    server.wait_for("used_memory", |bytes| bytes < 1000);
    server.stop();
}

// ---- The end

fn stop() {
    let server = Server::start(&["stop_ms=30000", "write_ms=30000"]);
    let mut silent = server.connect();
    let mut half = server.connect();
    half.send(b"*2\r\n$3\r\nGET\r\n$100\r\nabc");
    let mut client = server.connect();
    let value: Vec<u8> = (0..20 << 20).map(|place| (place % 251) as u8).collect();
    assert_eq!(client.asks(&[b"SET", b"a", &value]), "+OK");
    // Its answer has begun, and is not taken before the stop.
    client.send(&command("GET a"));
    let mut byte = [0];
    client.stream.peek(&mut byte).expect("the answer");
    server.running.signal(libc::SIGTERM);
    assert!(silent.is_closed() && half.is_closed());
    let answer = client.answer();
    let head = format!("${}\r\n", value.len());
    assert!(answer.starts_with(head.as_bytes()) && answer[head.len()..].starts_with(&value));
    assert!(client.is_closed());
    server.running.succeed();

    // What takes too long is cut off.
    let server = Server::start(&["stop_ms=100", "write_ms=600000"]);
    let mut client = server.connect();
    assert_eq!(client.asks(&[b"SET", b"a", &value]), "+OK");
    client.send(&command("GET a"));
    client.stream.peek(&mut byte).expect("the answer");
    // Now only this client holds it.
    assert_eq!(server.connect().says("DEL a"), ":1");
    let mut running = server.running;
    running.signal(libc::SIGINT);
    assert_eq!(running.wait().code(), Some(1));
    assert_eq!(running.stderr(), ["kv_server: 1 clients are cut off"]);
    assert!(client.rest().len() < value.len());
}

fn random_bytes() {
    const CLIENTS: u64 = 300;

    let server = Server::start(&["memory_mb=1", "bulk_mb=1", "write_ms=5000"]);
    let mut random = Random(7);
    let parts: [&[u8]; 16] = [
        b"*",
        b"$",
        b"\r\n",
        b"*1\r\n",
        b"*2\r\n",
        b"*3\r\n",
        b"$3\r\n",
        b"$1\r\n",
        b"GET",
        b"SET",
        b"\r",
        b"LPUSH a 1 2\r\n",
        b"RPOP a\r\n",
        b"INCR n\r\n",
        b"-1",
        b"4096",
    ];
    for _ in 0..CLIENTS {
        let mut bytes = Vec::new();
        for _ in 0..random.below(60) {
            match random.below(8) {
                0 => bytes.push(random.below(256) as u8),
                1 => bytes.extend(command(&format!("SET a {}", random.below(1 << 40)))),
                2 => bytes.extend(vec![b'x'; random.below(20_000) as usize]),
                _ => bytes.extend(parts[random.below(parts.len() as u64) as usize]),
            }
        }
        let mut client = server.connect();
        client.send_if_open(&bytes);
        client.rest();
    }
    assert_eq!(server.connect().says("PING"), "+PONG");
    server.stop();
}

/// What ends a list, is held, or is cut off, with each access looked at.
fn address_sanitizer() -> Completion {
    if runner().is_some() {
        return Completion::ignored_with("the library is built for another machine");
    }
    let temp_dir = TempDir::new().expect("a directory");
    let missing = Sanitizer::Address.missing(&Compilers::Usual, &temp_dir);
    if let Some(skipped) = missing.unwrap_or_else(|error| panic!("{error:?}")) {
        return skipped;
    }
    SANITIZED.set(true);
    super::commands();
    agrees_with_a_model();
    reads_late();
    stop();
    random_bytes();
    Completion::Completed
}
