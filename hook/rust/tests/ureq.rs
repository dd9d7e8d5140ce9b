//! A client for HTTP that blocks, as it is on crates.io, in tasks of one thread beside their server.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use majjen_hook as _;

const CLIENTS: usize = 100;

/// Answers each request after a tenth of a second.
fn serve(listener: TcpListener, count: usize) {
    for _ in 0..count {
        let (mut stream, _) = listener.accept().unwrap();
        majjen::task::spawn(move || {
            let mut head = Vec::new();
            let mut part = [0; 1000];
            while !head.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut part).unwrap();
                assert!(count > 0);
                head.extend_from_slice(&part[..count]);
            }
            thread::sleep(Duration::from_millis(100));
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
            stream.write_all(answer.as_bytes()).unwrap();
        });
    }
}

#[test]
fn many_requests_wait_at_once() {
    let scheduler = majjen::Scheduler::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let began = Instant::now();
    scheduler.spawn(move || serve(listener, CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let url = url.clone();
            scheduler.spawn(move || {
                let mut answer = ureq::get(&url).call().unwrap();
                answer.body_mut().read_to_string().unwrap()
            })
        })
        .collect();
    scheduler.run().unwrap();
    for client in clients {
        assert_eq!(client.join().unwrap(), "hello");
    }
    // One after another they would take 10 s.
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn its_limits_are_kept() {
    let scheduler = majjen::Scheduler::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap(); // Nobody accepts.
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let client = scheduler.spawn(move || {
        let began = Instant::now();
        let limit = Some(Duration::from_millis(50));
        let failed = ureq::get(&url).config().timeout_global(limit).build().call();
        assert!(matches!(failed, Err(ureq::Error::Timeout(_))), "{failed:?}");
        assert!(began.elapsed() >= Duration::from_millis(50));
    });
    scheduler.run().unwrap();
    client.join().unwrap();
}
