//! The crate `redis`, as it is: redis SOCKET.

use std::time::{Duration, Instant};

use majjen_hook_clients::{Gate, assert_at_once, at_once, nobody};
use redis::{Client, Connection, Value};

fn connect() -> Connection {
    let path = std::env::args().nth(1).expect("the path of the server's socket");
    Client::open(format!("unix://{path}")).unwrap().get_connection().unwrap()
}

/// Waits for an element that nobody adds.
fn waits(_: usize, gate: &Gate) {
    let mut connection = connect();
    gate.pass();
    let found = redis::cmd("BLPOP").arg("nothing").arg(0.1).query::<Value>(&mut connection);
    assert_eq!(found.unwrap(), Value::Nil);
}

fn has_its_own(number: usize, gate: &Gate) {
    let mut connection = connect();
    gate.pass();
    for round in 0..50 {
        let key = format!("key:{number}");
        redis::cmd("SET").arg(&key).arg(round).exec(&mut connection).unwrap();
        let found: i32 = redis::cmd("GET").arg(&key).query(&mut connection).unwrap();
        assert_eq!(found, round);
    }
}

fn ends_in_time(_: usize, gate: &Gate) {
    const LIMIT: Duration = Duration::from_millis(50);
    let mut connection = connect();
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    gate.pass();
    let began = Instant::now();
    let failed = redis::cmd("BLPOP").arg("nothing").arg(100).exec(&mut connection).unwrap_err();
    assert!(failed.is_timeout(), "{failed}");
    assert!(began.elapsed() >= LIMIT);
}

fn is_cut_off(_: usize, gate: &Gate) {
    let mut connection = connect();
    gate.pass();
    let failed = redis::cmd("BLPOP").arg("nothing").arg(100).exec(&mut connection).unwrap_err();
    assert!(failed.is_connection_dropped() || failed.is_io_error(), "{failed}");
}

fn main() {
    assert_at_once("waits", at_once(waits, nobody));
    at_once(has_its_own, nobody);
    at_once(ends_in_time, nobody);
    at_once(is_cut_off, |gate| {
        let mut connection = connect();
        gate.wait();
        assert!(redis::cmd("SHUTDOWN").arg("NOSAVE").exec(&mut connection).is_err());
    });
}
