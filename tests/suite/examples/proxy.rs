//! `examples-c/proxy.c`, between clients of all kinds and a server of the tests' own.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Trial};

use super::http::{Client, Upstream, pattern};
use super::process::Program;
use super::scenario_trials;
use crate::library::TempDir;
use crate::process::{Finished, run};
use crate::running::{PATIENCE, Running};
use crate::toolchain::missing;

/// Larger than all buffers between two sides.
const BIG: usize = 32 << 20;

pub fn trials() -> Vec<Trial> {
    let scenarios: [(&str, fn()); 13] = [
        ("keeps_connections_on_both_sides", keeps_connections),
        ("passes_on_what_is_for_the_other_side", passes_on_fields),
        ("streams_bodies_both_ways_at_once", streams_both_ways),
        ("is_as_slow_as_its_reader", back_pressure),
        ("refuses_what_is_malformed", refuses_what_is_malformed),
        ("asks_once", asks_once),
        ("has_limits_for_heads_and_idleness", limits),
        ("drops_what_nobody_uses", kept_for_nothing),
        ("tells_of_an_upstream_that_fails", upstream_fails),
        ("is_not_disturbed_by_rude_clients", rude_clients),
        ("serves_so_many_at_a_time", at_a_time),
        ("stop_finishes_what_has_begun", graceful_stop),
        ("stop_has_a_limit", stop_limit),
    ];
    let mut trials = scenario_trials("proxy_", &scenarios);
    trials.push(Trial::ignorable_test("examples::proxy_keeps_no_more_than_it_may", || {
        Ok(few_kept())
    }));
    trials.push(Trial::ignorable_test("examples::proxy_curl_is_content", || Ok(curl())));
    trials.push(Trial::ignorable_test("examples::proxy_wrk_is_content", || Ok(wrk())));
    trials
}

struct Proxy {
    running: Running,
    port: u16,
}

impl Proxy {
    fn start(upstream: u16, settings: &[&str]) -> Proxy {
        let program = Program::compile("proxy", &[]);
        let port = upstream.to_string();
        let fixed: [&str; 4] = ["127.0.0.1", "0", "127.0.0.1", &port];
        let running = program.start(&[&fixed[..], settings].concat());
        let line = running.wait_for_line("http://127.0.0.1:");
        let port = line.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
        Proxy { running, port: port.unwrap_or_else(|| panic!("{line:?}")) }
    }

    fn connect(&self) -> Client {
        Client::connect(self.port)
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn stop(self) {
        self.running.signal(libc::SIGTERM);
        self.running.succeed();
    }
}

fn keeps_connections() {
    let upstream = Upstream::start();
    let proxy = Proxy::start(upstream.port, &[]);
    let mut client = proxy.connect();
    for size in [0, 1, 100_000, 7] {
        let answer = client.get(&format!("/sized/{size}"));
        assert_eq!(answer.start, "HTTP/1.1 200 OK");
        assert_eq!(answer.field("Content-Length"), Some(&*size.to_string()));
        assert!(answer.body == pattern(size), "{} of {size} bytes", answer.body.len());
        let answer = client.get(&format!("/chunked/{size}"));
        assert!(answer.body == pattern(size), "{} of {size} bytes", answer.body.len());
    }
    assert_eq!(client.get("/nothing").word(), "204");
    // Several at once, in one piece.
    client.send(&"GET /sized/5 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3));
    (0..3).for_each(|_| assert_eq!(client.answer().body, pattern(5)));
    // The answer to HEAD has the length of a body that does not come.
    client.send("HEAD /sized/9 HTTP/1.1\r\nHost: a\r\n\r\nGET /late HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.head();
    assert_eq!(answer.field("Content-Length"), Some("9"));
    assert_eq!(client.answer().body, b"late\n", "what comes before an answer is not the answer");
    // Another client uses the same connection to the upstream, if it is back already.
    assert_eq!(upstream.counts.connections.load(Relaxed), 1);
    assert_eq!(proxy.connect().get("/sized/3").body, pattern(3));
    assert!(upstream.counts.connections.load(Relaxed) <= 2);

    // One whose body has no length ends with it, and the client's goes on.
    for size in [0, 100_000] {
        assert!(client.get(&format!("/closed/{size}")).body == pattern(size));
    }
    // A kept connection that the upstream has closed is no failure.
    for _ in 0..5 {
        assert_eq!(client.get("/last").body, b"last\n");
    }
    // A client that wants no more, and one of old times.
    client.send("GET /sized/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().field("Connection"), Some("close"));
    assert!(client.is_closed());
    let mut old = proxy.connect();
    old.send("GET /chunked/1000 HTTP/1.0\r\n\r\n");
    let answer = old.answer();
    assert_eq!((answer.field("Transfer-Encoding"), &answer.body), (None, &pattern(1000)));
    // It does not know what to do with "100 Continue".
    let mut old = proxy.connect();
    old.send("POST /sized/1 HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na");
    assert_eq!(old.answer().word(), "200");
    // An empty line between two requests.
    client = proxy.connect();
    client.send("\r\nGET /sized/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().word(), "200");
    proxy.stop();
}

fn passes_on_fields() {
    let upstream = Upstream::start();
    let proxy = Proxy::start(upstream.port, &[]);
    let mut client = proxy.connect();
    client.send(
        "GET /fields HTTP/1.1\r\nHost: a\r\nX-Mine:  b c \r\nConnection: keep-alive, x-hop\r\n\
         X-Hop: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\nUpgrade: h2c\r\n\r\n",
    );
    let answer = client.answer();
    let passed_on = [("Host", "a"), ("X-Mine", " b c"), ("Via", "1.1 proxy")];
    assert_eq!(String::from_utf8_lossy(&answer.body), format!("{passed_on:?}"));
    assert_eq!((answer.field("X-Own"), answer.field("X-Other")), (None, Some("2")));
    proxy.stop();
}

fn streams_both_ways() {
    let upstream = Upstream::start();
    let proxy = Proxy::start(upstream.port, &[]);
    let body = Arc::new(pattern(BIG));
    for is_chunked in [false, true] {
        let mut client = proxy.connect();
        let (mut stream, body_sent) = (client.stream.try_clone().expect("it"), Arc::clone(&body));
        // The upstream answers while it reads: who read all before it wrote would never end.
        let sender = thread::spawn(move || {
            let framing = match is_chunked {
                true => "Transfer-Encoding: chunked".to_owned(),
                false => format!("Content-Length: {BIG}"),
            };
            write!(stream, "POST /echo HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n")?;
            if !is_chunked {
                return stream.write_all(&body_sent);
            }
            for part in body_sent.chunks(123_457) {
                write!(stream, "{:X}\r\n", part.len())?;
                stream.write_all(part)?;
                stream.write_all(b"\r\n")?;
            }
            stream.write_all(b"0\r\n\r\n")
        });
        let answer = client.answer();
        sender.join().expect("the sender").expect("send the body");
        assert!(answer.body == *body, "{} of {BIG} bytes", answer.body.len());
        assert_eq!(client.get("/sized/3").body, pattern(3), "and the connection goes on");
    }
    proxy.stop();
}

fn back_pressure() {
    let upstream = Upstream::start();
    let proxy = Proxy::start(upstream.port, &[]);
    let mut client = proxy.connect();
    client.send(&format!("GET /closed/{} HTTP/1.1\r\nHost: a\r\n\r\n", 2 * BIG));
    // Nobody reads: the upstream comes to a halt, and others are served.
    let written = || upstream.counts.written.load(Relaxed);
    let mut last = 0;
    while last == 0 || written() > last {
        last = written();
        assert_eq!(proxy.connect().get("/sized/3").body, pattern(3));
        thread::sleep(Duration::from_millis(300));
    }
    assert!(last < 2 * BIG, "{last} bytes were taken in");
    assert!(client.answer().body == pattern(2 * BIG));
    proxy.stop();
}

fn refuses_what_is_malformed() {
    let upstream = Upstream::start();
    let proxy = Proxy::start(upstream.port, &[]);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(101));
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(17_000));
    let options = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {}\r\n\r\n", ",".repeat(17));
    for (request, status) in [
        ("nonsense\r\n\r\n", "400"),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.1 \r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nA\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: b\nC: d\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: \0\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "400"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400",
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "501"),
        ("PRI * HTTP/2.0\r\n\r\n", "505"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, host\r\n\r\n", "400"),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", "400"),
        (" / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET\t/x /y HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET /\t HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nA\x0b: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: \x08\r\n\r\n", "400"),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (&options, "431"),
        (&many, "431"),
        (&long, "431"),
    ] {
        proxy.connect().expect_refusal(request, status);
    }
    assert_eq!(upstream.counts.connections.load(Relaxed), 0, "nothing of it was passed on");
    // A chunk that is none is found when it comes; a size that is missing is not that of the one before.
    let long = format!("1;{}\r\n", "e".repeat(20_000));
    for chunks in ["3\r\nabcd\r\n", "1\r\nA\r\n\r\nB\r\n", &long] {
        let mut client = proxy.connect();
        client.send("POST /sized/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(&format!("{chunks}0\r\n\r\n"));
        assert_eq!(
            (client.answer().word(), client.is_closed()),
            ("400", true),
            "{:?}",
            &chunks[..9]
        );
    }
    proxy.stop();
}

/// An upstream that answers before it reads, and closes: the proxy finds out while it writes what has filled a buffer,
/// the second time, and has not begun with the body.
fn asks_once() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = upstream.local_addr().expect("its address").port();
    thread::spawn(move || {
        for mut stream in upstream.incoming().flatten() {
            let _ = stream
                .write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno\n");
        }
    });
    let proxy = Proxy::start(port, &[]);
    let fields = format!("X: {}\r\na:\r\nZ: {}", "x".repeat(8156), "z".repeat(8160));
    for _ in 0..30 {
        let mut client = proxy.connect();
        client.send(&format!(
            "POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n{fields}\r\n\r\nhello"
        ));
        client.stream.shutdown(Shutdown::Write).expect("send the end");
        // The reset may take the answer with it.
        let answer = client.answer();
        assert!(["413", "502"].contains(&answer.word()), "{}", answer.start);
        assert!(client.is_closed(), "the request is not taken for the next one");
    }
    proxy.stop();
}

fn limits() {
    let upstream = Upstream::start();
    let proxy = Proxy::start(upstream.port, &["header_ms=400", "idle_ms=800", "answer_ms=600"]);
    let began = Instant::now();
    let mut silent = proxy.connect();
    let mut kept = proxy.connect();
    assert_eq!(kept.get("/sized/1").word(), "200");
    let mut trickling = proxy.connect();
    let mut stopping = proxy.connect();
    stopping.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
    let mut waiting = proxy.connect();
    waiting.send("GET /late/60000 HTTP/1.1\r\nHost: a\r\n\r\n");
    // A byte now and then does not extend the limit of a head.
    for byte in "GET / HTTP/1.1\r\nHost: a\r\nX-Much: ".chars() {
        if !trickling.has_nothing() || trickling.stream.write_all(&[byte as u8]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(40));
    }
    assert_eq!(trickling.answer().word(), "408");
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert_eq!(waiting.answer().word(), "504");
    // The answer had begun.
    assert!(stopping.try_answer().is_err());
    assert!(silent.is_closed() && kept.is_closed());
    assert!(began.elapsed() >= Duration::from_millis(800));
    proxy.stop();
    assert_eq!(upstream.counts.cut_off.load(Relaxed), 1);
}

/// A connection to the upstream that no request takes is closed, though no request looks at it.
fn kept_for_nothing() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = upstream.local_addr().expect("its address").port();
    let proxy = Proxy::start(port, &["idle_ms=300"]);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: here\r\n\r\n");
    let (mut stream, _) = upstream.accept().expect("the proxy");
    let mut bytes = [0; 1000];
    assert_ne!(stream.read(&mut bytes).expect("the request"), 0);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("an answer");
    assert_eq!(client.answer().word(), "200");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    assert_eq!(stream.read(&mut bytes).expect("the end"), 0);
    proxy.stop();
}

fn upstream_fails() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = nobody.local_addr().expect("its address").port();
    drop(nobody);
    let proxy = Proxy::start(port, &[]);
    let mut client = proxy.connect();
    assert_eq!(client.get("/sized/1").word(), "502");
    assert!(client.is_closed());
    proxy.stop();

    let upstream = Upstream::start();
    let proxy = Proxy::start(upstream.port, &[]);
    assert_eq!(proxy.connect().get("/nonsense").word(), "502");
    let mut client = proxy.connect();
    client.send("GET /cut/100 HTTP/1.1\r\nHost: a\r\n\r\n");
    let error = client.try_answer().expect_err("the answer is cut off");
    assert!([ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind()));
    // Where the end of the connection is that of the body, only a reset tells that it is cut off.
    let mut client = proxy.connect();
    client.send("GET /chunk HTTP/1.0\r\n\r\n");
    let error = client.try_answer().expect_err("the answer is cut off");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    for status in ["1000", "20", "099", "101", "2x0"] {
        assert_eq!(proxy.connect().get(&format!("/status/{status}")).word(), "502", "{status}");
    }
    // An answer that comes before the body has been sent.
    let mut client = proxy.connect();
    client.send("POST /refuses HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome of it");
    assert_eq!((client.answer().word(), client.is_closed()), ("413", true));
    proxy.stop();
}

fn rude_clients() {
    let upstream = Upstream::start();
    let proxy = Proxy::start(upstream.port, &["idle_ms=600000", "answer_ms=600000"]);
    let rude = [
        "GET /si",
        "GET /sized/30000000 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /late/100 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ];
    for part in rude {
        let mut client = proxy.connect();
        client.send(part);
        assert_eq!(proxy.connect().get("/sized/3").body, pattern(3));
        client.reset();
        assert_eq!(proxy.connect().get("/sized/3").body, pattern(3));
    }
    let began = Instant::now();
    while upstream.counts.cut_off.load(Relaxed) < 2 {
        assert!(began.elapsed() < PATIENCE, "the upstream sees that bodies are cut off");
        thread::sleep(Duration::from_millis(5));
    }
    proxy.stop();
}

fn at_a_time() {
    let upstream = Upstream::start();
    let proxy = Proxy::start(upstream.port, &["max=2"]);
    let mut first = proxy.connect();
    let mut second = proxy.connect();
    assert_eq!((first.get("/sized/1").word(), second.get("/sized/1").word()), ("200", "200"));
    let mut third = proxy.connect();
    third.send("GET /sized/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    thread::sleep(Duration::from_millis(200));
    assert!(third.has_nothing(), "there are two already");
    drop(first);
    assert_eq!(third.answer().word(), "200");
    proxy.stop();
}

fn graceful_stop() {
    let upstream = Upstream::start();
    let proxy = Proxy::start(upstream.port, &[]);
    let mut idle = proxy.connect();
    assert_eq!(idle.get("/sized/1").word(), "200");
    let mut waiting = proxy.connect();
    waiting.send("GET /late/1000 HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut sending = proxy.connect();
    sending.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    let mut reading = proxy.connect();
    reading.send(&format!("GET /sized/{BIG} HTTP/1.1\r\nHost: a\r\n\r\n"));
    // What there is of a body is passed on before there is more.
    assert_eq!(
        (sending.head().word(), sending.line(), sending.line()),
        ("200", "5".into(), "hello".into())
    );
    // A task for each of them has begun.
    assert_eq!(proxy.connect().get("/sized/3").body, pattern(3));
    proxy.running.signal(libc::SIGTERM);
    assert!(idle.is_closed(), "it had no request");
    let refused = std::net::TcpStream::connect(("127.0.0.1", proxy.port));
    assert_eq!(refused.map(drop).map_err(|error| error.kind()), Err(ErrorKind::ConnectionRefused));
    sending.send("world");
    assert_eq!([(); 4].map(|()| sending.line()), ["5", "world", "0", ""]);
    assert!(reading.answer().body == pattern(BIG));
    let answer = waiting.answer();
    assert_eq!((&*answer.body, answer.field("Connection")), (&b"late\n"[..], Some("close")));
    assert!(waiting.is_closed());
    proxy.running.succeed();
}

fn stop_limit() {
    let upstream = Upstream::start();
    let mut proxy = Proxy::start(upstream.port, &["stop_ms=200"]);
    let mut waiting = proxy.connect();
    waiting.send("GET /late/60000 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(proxy.connect().get("/sized/3").body, pattern(3));
    proxy.running.signal(libc::SIGINT);
    assert_eq!(proxy.running.wait().code(), Some(1));
    assert_eq!(proxy.running.stderr(), ["proxy: 1 clients are cut off"]);
}

fn succeeds(command: &mut Command) -> Finished {
    let temp_dir = TempDir::new().expect("a directory");
    let finished = run(command, PATIENCE, temp_dir.path()).expect("run it");
    assert!(finished.succeeded(), "{}", finished.describe());
    finished
}

fn curl() -> Completion {
    if let Some(skipped) = missing("curl") {
        return skipped;
    }
    let upstream = Upstream::start();
    let proxy = Proxy::start(upstream.port, &[]);
    let temp_dir = TempDir::new().expect("a directory");
    let [sent, received] = ["sent", "received"].map(|name| temp_dir.path().join(name));
    fs::write(&sent, pattern(BIG)).expect("write a body");
    for framing in ["X-Framing: length", "Transfer-Encoding: chunked"] {
        // It expects "100 Continue" before a body of this size.
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "60"]);
        curl.args(["--expect100-timeout", "30", "--header", framing, "--data-binary"]);
        curl.arg(format!("@{}", sent.display())).arg("--output").arg(&received);
        succeeds(curl.arg(proxy.url("/echo")));
        assert!(fs::read(&received).expect("read the answer") == pattern(BIG), "{framing}");
    }
    proxy.stop();
    Completion::Completed
}

fn loads(proxy: &Proxy, clients: &str) {
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", clients, "-d1s", "--timeout", "30s"]).arg(proxy.url("/sized/100"));
    let finished = succeeds(&mut wrk);
    let errors = ["Socket errors", "Non-2xx"].map(|error| finished.output.contains(error));
    assert_eq!(errors, [false; 2], "{}", finished.output);
    assert!(!finished.output.contains(" 0 requests in"), "{}", finished.output);
}

/// Many requests end at once, and only some of their connections are kept: where a call suspends between the look
/// whether there is room and its use, others use it.
fn few_kept() -> Completion {
    if let Some(skipped) = missing("wrk") {
        return skipped;
    }
    let upstream = Upstream::start();
    let proxy = Proxy::start(upstream.port, &["kept=3"]);
    loads(&proxy, "-c200");
    proxy.stop();
    Completion::Completed
}

fn wrk() -> Completion {
    if let Some(skipped) = missing("wrk") {
        return skipped;
    }
    let upstream = Upstream::start();
    let proxy = Proxy::start(upstream.port, &[]);
    loads(&proxy, "-c20");
    assert!(upstream.counts.connections.load(Relaxed) <= 21, "connections are kept");
    proxy.stop();
    Completion::Completed
}
