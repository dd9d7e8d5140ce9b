//! The crate `diesel` over the library of MariaDB, as it is: mysql URL PID, of the server, which is killed.

use std::process::Command;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{
    Connection, MysqlConnection, QueryableByName, RunQueryDsl, sql_query, sql_types::Integer,
};
use majjen_hook_clients::{Gate, assert_at_once, at_once, nobody};

fn argument(number: usize) -> String {
    std::env::args().nth(number).expect("the server's URL and its process")
}

fn connect() -> MysqlConnection {
    MysqlConnection::establish(&argument(1)).unwrap()
}

fn waits(_: usize, gate: &Gate) {
    let mut connection = connect();
    gate.pass();
    sql_query("do sleep(0.1)").execute(&mut connection).unwrap();
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Integer)]
    number: i32,
}

fn has_its_own(number: usize, gate: &Gate) {
    let number = number as i32;
    let mut connection = connect();
    gate.pass();
    for round in 0..20 {
        let query = sql_query("select cast(? * 1000 + ? as integer) as number")
            .bind::<Integer, _>(number)
            .bind::<Integer, _>(round);
        let found: Row = query.get_result(&mut connection).unwrap();
        assert_eq!(found.number, number * 1000 + round);
    }
}

fn ends_in_time(_: usize, gate: &Gate) {
    let mut connection = connect();
    gate.pass();
    let began = Instant::now();
    connection.batch_execute("set max_statement_time = 0.05").unwrap();
    let failed = sql_query("select sleep(100) from (select 1 union select 2) as two")
        .execute(&mut connection)
        .unwrap_err();
    assert!(failed.to_string().contains("max_statement_time"), "{failed}");
    assert!(began.elapsed() >= Duration::from_millis(50));
    sql_query("do 1").execute(&mut connection).unwrap();
}

fn is_cut_off(_: usize, gate: &Gate) {
    let mut connection = connect();
    gate.pass();
    sql_query("do sleep(100)").execute(&mut connection).unwrap_err();
    sql_query("do 1").execute(&mut connection).unwrap_err();
}

fn main() {
    assert_at_once("queries", at_once(waits, nobody));
    at_once(has_its_own, nobody);
    at_once(ends_in_time, nobody);
    at_once(is_cut_off, |gate| {
        gate.wait();
        assert!(Command::new("kill").args(["-KILL", &argument(2)]).status().unwrap().success());
    });
}
