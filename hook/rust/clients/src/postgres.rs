//! The crate `diesel` over libpq, as it is: postgres URL.

use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{
    Connection, PgConnection, QueryableByName, RunQueryDsl, sql_query, sql_types::Integer,
};
use majjen_hook_clients::{Gate, assert_at_once, at_once, nobody};

fn connect() -> PgConnection {
    PgConnection::establish(&std::env::args().nth(1).expect("the server's URL")).unwrap()
}

fn waits(_: usize, gate: &Gate) {
    let mut connection = connect();
    gate.pass();
    connection.batch_execute("select pg_sleep(0.1)").unwrap();
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
    connection
        .transaction(|connection| {
            for round in 0..20 {
                let query = sql_query("select $1 * 1000 + generate_series(1, $2) as number")
                    .bind::<Integer, _>(number)
                    .bind::<Integer, _>(round);
                let rows: Vec<Row> = query.load(connection)?;
                let expected: Vec<i32> = (1..=round).map(|row| number * 1000 + row).collect();
                let found: Vec<i32> = rows.into_iter().map(|row| row.number).collect();
                assert_eq!(found, expected);
            }
            diesel::QueryResult::Ok(())
        })
        .unwrap();
}

fn ends_in_time(_: usize, gate: &Gate) {
    let mut connection = connect();
    gate.pass();
    let began = Instant::now();
    connection.batch_execute("set statement_timeout = 500").unwrap();
    let failed = connection.batch_execute("select pg_sleep(100)").unwrap_err();
    assert!(failed.to_string().contains("statement timeout"), "{failed}");
    assert!(began.elapsed() >= Duration::from_millis(500));
    connection.batch_execute("select 1").unwrap();
}

fn is_cut_off(_: usize, gate: &Gate) {
    let mut connection = connect();
    gate.pass();
    connection.batch_execute("select pg_sleep(100)").unwrap_err();
    connection.batch_execute("select 1").unwrap_err();
}

/// Ends the sessions of all others, also of those that have not begun to wait yet.
fn ends_the_others(gate: &Gate) {
    const END: &str = "select count(pg_terminate_backend(pid))::integer as number \
                       from pg_stat_activity where query like '%pg_sleep(100)' \
                       and pid <> pg_backend_pid()";
    let mut connection = connect();
    gate.wait();
    loop {
        let ended: Row = sql_query(END).get_result(&mut connection).unwrap();
        if ended.number == 0 {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn main() {
    assert_at_once("queries", at_once(waits, nobody));
    at_once(has_its_own, nobody);
    at_once(ends_in_time, nobody);
    at_once(is_cut_off, ends_the_others);
}
