//! Listening on all cores, from Rust.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as Plain};
use std::os::unix::net::UnixStream as PlainUnix;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use majjen::cluster::{Cluster, Core};
use majjen::net::{self, TcpListener};
use majjen::{Error, task};

use super::support::HOUR;
use super::{Drops, cluster, wait_until};

/// Sends back what comes.
fn echo(mut stream: impl Read + Write) {
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
}

/// A client whose connection is served.
fn served<S: Read + Write>(mut stream: S) -> S {
    let mut byte = [7];
    stream.write_all(&byte).unwrap();
    stream.read_exact(&mut byte).unwrap();
    stream
}

fn dial(address: SocketAddr) -> Plain {
    Plain::connect(address).unwrap()
}

fn loads(cluster: &Cluster) -> Vec<usize> {
    (0..cluster.size()).map(|core| cluster.load(core)).collect()
}

#[test]
fn connections_are_spread_evenly() {
    const CONNECTIONS: usize = 200;
    let cluster = cluster(2);
    let address = cluster.listen("127.0.0.1:0", echo).unwrap();
    cluster.start().unwrap();
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| served(dial(address))).collect();
    let loads = loads(&cluster);
    assert_eq!(loads.iter().sum::<usize>(), CONNECTIONS);
    assert!(*loads.iter().max().unwrap() <= CONNECTIONS / 2 + CONNECTIONS / 20, "{loads:?}");
    drop(clients);
    cluster.stop(Duration::MAX);
    cluster.join().unwrap();
    assert_eq!(super::listening::loads(&cluster), [0, 0]);
}

#[test]
fn connections_at_a_path_are_handed_over() {
    let path = std::env::temp_dir().join(format!("majjen-cluster-{}", std::process::id()));
    let cluster = cluster(2);
    cluster.listen_unix(&path, echo).unwrap();
    assert_eq!(cluster.listen_unix(&path, echo).unwrap_err().kind(), ErrorKind::AddrInUse);
    cluster.start().unwrap();
    let clients: Vec<_> = (0..40).map(|_| served(PlainUnix::connect(&path).unwrap())).collect();
    assert!(cluster.load(1) >= 15, "{:?}", loads(&cluster));
    cluster.stop(Duration::ZERO);
    cluster.join().unwrap();
    drop(clients);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn tasks_of_connections_are_tasks_of_rust() {
    let (cluster, drops) = (cluster(2), Drops::default());
    let (count, guards) = (Arc::new(AtomicUsize::new(0)), drops.clone());
    let seen = count.clone();
    let options = net::Builder::new().nodelay(true);
    let handler = move |mut stream: net::TcpStream| {
        let _guard = guards.guard(); // It is unwound.
        assert!(stream.nodelay().unwrap());
        let core = Core::current().unwrap();
        assert_eq!(core.cluster().here(), Some(core.index()));
        // Neither of these could be sent.
        let (shared, here) = (Rc::new(core), std::thread::current().id());
        let of_child = shared.clone();
        let child = task::spawn(move || (of_child.index(), std::thread::current().id()));
        assert_eq!(child.join().unwrap(), (shared.index(), here));
        seen.fetch_add(1, SeqCst);
        stream.write_all(b"x").unwrap();
        task::sleep(HOUR).unwrap();
    };
    let address = cluster.listen_with(&options, "127.0.0.1:0", handler).unwrap();
    cluster.start().unwrap();
    let mut clients: Vec<_> = (0..20).map(|_| dial(address)).collect();
    clients.iter_mut().for_each(|client| client.read_exact(&mut [0]).unwrap());
    cluster.stop(Duration::ZERO);
    cluster.join().unwrap();
    assert_eq!((count.load(SeqCst), drops.count(), loads(&cluster)), (20, 20, vec![0, 0]));
    let ends = |client: &mut Plain| matches!(client.read(&mut [0]), Ok(0) | Err(_));
    assert!(clients.iter_mut().all(ends));
}

#[test]
fn a_handler_that_panics_ends_its_connection_alone() {
    let cluster = cluster(2);
    let handler = |mut stream: net::TcpStream| {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        assert_ne!(byte, *b"p", "on purpose");
        stream.write_all(&byte).unwrap();
    };
    let address = cluster.listen("127.0.0.1:0", handler).unwrap();
    cluster.start().unwrap();
    for _ in 0..10 {
        let mut client = dial(address);
        client.write_all(b"p").unwrap();
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
        served(dial(address));
    }
    wait_until("panics leave their load", || loads(&cluster) == [0, 0]);
    cluster.stop(Duration::MAX);
    cluster.join().unwrap();
}

#[test]
fn what_waits_in_a_queue_is_served_at_the_end() {
    let cluster = cluster(2);
    let address = cluster.listen("127.0.0.1:0", echo).unwrap();
    let mut clients: Vec<_> = (0..20).map(|_| dial(address)).collect();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
    }
    cluster.start().unwrap();
    cluster.stop(Duration::MAX);
    cluster.join().unwrap();
    for client in &mut clients {
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }
    assert!(Plain::connect(address).is_err(), "somebody listens still");
}

#[test]
fn a_connection_whose_task_has_had_no_turn_is_closed() {
    let (cluster, served) = (cluster(1), Arc::new(AtomicUsize::new(0)));
    let count = served.clone();
    let handler = move |_: net::TcpStream| _ = count.fetch_add(1, SeqCst);
    let address = cluster.listen("127.0.0.1:0", handler).unwrap();
    let mut client = dial(address);
    let there = cluster.clone();
    let stops = move || {
        // Its own, and the connection, whose task is ready behind this one.
        while there.load(0) < 2 {
            task::yield_now().unwrap();
        }
        there.remote(0).unwrap().stop().unwrap();
    };
    cluster.spawn(0, stops).unwrap();
    cluster.start().unwrap();
    cluster.join().unwrap();
    assert_eq!((served.load(SeqCst), cluster.load(0)), (0, 0));
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let read = client.read(&mut [0]).map_err(|error| error.kind());
    assert!(matches!(read, Ok(0) | Err(ErrorKind::ConnectionReset)), "{read:?}");
}

#[test]
fn handlers_are_dropped_once_with_the_end() {
    let (cluster, drops) = (cluster(2), Drops::default());
    let handler = |guard| {
        move |stream: net::TcpStream| {
            let _guard = &guard;
            echo(stream);
        }
    };
    let address = cluster.listen("127.0.0.1:0", handler(drops.guard())).unwrap();
    // Of a socket that is not shared.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let in_use = cluster.listen(taken.local_addr().unwrap(), handler(drops.guard()));
    assert_eq!(in_use.unwrap_err().kind(), ErrorKind::AddrInUse);
    assert_eq!(drops.count(), 1);
    cluster.start().unwrap();
    served(dial(address));
    cluster.stop(Duration::MAX);
    cluster.join().unwrap();
    assert_eq!(drops.count(), 2);
    let late = cluster.listen("127.0.0.1:0", handler(drops.guard())).unwrap_err();
    assert_eq!((Error::from(late), drops.count()), (Error::Disconnected, 3));
}

#[test]
fn a_handler_may_own_a_handle() {
    let (cluster, drops) = (cluster(2), Drops::default());
    let (own, guard) = (cluster.clone(), drops.guard());
    let handler = move |mut stream: net::TcpStream| {
        let _guard = &guard;
        stream.write_all(own.metrics_json().unwrap().as_bytes()).unwrap();
    };
    let address = cluster.listen("127.0.0.1:0", handler).unwrap();
    cluster.start().unwrap();
    assert!(std::io::read_to_string(dial(address)).unwrap().starts_with("{\"all\":{"));
    cluster.stop(Duration::MAX);
    cluster.join().unwrap();
    assert_eq!(drops.count(), 1);
}

#[test]
fn its_sockets_can_be_handed_on() {
    let cluster = cluster(2);
    let address = cluster.listen("127.0.0.1:0", echo).unwrap();
    let copies = cluster.listeners().unwrap();
    assert_eq!(copies.len(), 2);
    cluster.start().unwrap();
    served(dial(address));
    cluster.stop(Duration::MAX);
    cluster.join().unwrap();
    assert!(cluster.listeners().unwrap().is_empty());
    // They listen still: who has them takes over.
    let listeners = copies.into_iter().map(std::net::TcpListener::from);
    let listeners: Vec<_> = listeners.collect();
    assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == address));
    let client = dial(address);
    let is_accepted = || listeners.iter().any(|listener| listener.accept().is_ok());
    wait_until("nobody accepts", is_accepted);
    drop(client);
}

#[test]
fn handlers_are_dropped_with_one_that_was_not_started() {
    let (cluster, drops) = (cluster(2), Drops::default());
    let guard = drops.guard();
    let handler = move |_: net::TcpStream| {
        let _guard = &guard;
    };
    let address = cluster.listen("127.0.0.1:0", handler).unwrap();
    let client = dial(address); // In a queue.
    assert_eq!(drops.count(), 0);
    drop(cluster);
    assert_eq!(drops.count(), 1);
    drop(client);
    assert!(Plain::connect(address).is_err(), "somebody listens still");
}
