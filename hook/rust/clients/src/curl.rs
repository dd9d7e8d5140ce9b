//! The crate `curl`, as it is. The server is plain blocking code beside it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use curl::easy::Easy;
use majjen_hook_clients::{A_WHILE, Gate, MANY, assert_at_once, at_once, nobody};

/// A listener, and requests to it.
fn server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn request(address: SocketAddr) -> Easy {
    let mut easy = Easy::new();
    easy.url(&format!("http://{address}/")).unwrap();
    easy.noproxy("*").unwrap();
    easy.signal(false).unwrap();
    easy
}

fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    let mut part = [0; 1000];
    while !head.ends_with(b"\r\n\r\n") {
        let count = stream.read(&mut part).unwrap();
        assert!(count > 0);
        head.extend_from_slice(&part[..count]);
    }
}

/// Takes all connections; after a while it answers them, one by one.
fn answers(listener: &TcpListener) {
    let mut streams: Vec<TcpStream> = (0..MANY).map(|_| listener.accept().unwrap().0).collect();
    streams.iter_mut().for_each(read_head);
    thread::sleep(A_WHILE);
    for stream in &mut streams {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        stream.write_all(answer).unwrap();
    }
}

fn asks(mut request: Easy) {
    let mut answer = Vec::new();
    let mut transfer = request.transfer();
    transfer
        .write_function(|data| {
            answer.extend_from_slice(data);
            Ok(data.len())
        })
        .unwrap();
    transfer.perform().unwrap();
    drop(transfer);
    assert_eq!(answer, b"hello");
}

fn main() {
    let (listener, address) = server();
    let many = move |_: usize, gate: &Gate| {
        gate.pass();
        asks(request(address));
    };
    assert_at_once("requests", at_once(many, move |_| answers(&listener)));

    let (_silent, address) = server();
    let in_time = move |_: usize, gate: &Gate| {
        gate.pass();
        let mut request = request(address);
        request.timeout(Duration::from_millis(50)).unwrap();
        let began = Instant::now();
        assert!(request.perform().unwrap_err().is_operation_timedout());
        assert!(began.elapsed() >= Duration::from_millis(45));
    };
    at_once(in_time, nobody);

    let (listener, address) = server();
    let cut_off = move |_: usize, gate: &Gate| {
        gate.pass();
        let failed = request(address).perform().unwrap_err();
        assert!(failed.is_got_nothing() || failed.is_recv_error(), "{failed}");
    };
    at_once(cut_off, move |_| {
        for _ in 0..MANY {
            read_head(&mut listener.accept().unwrap().0);
        }
    });
}
