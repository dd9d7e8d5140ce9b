//! The server of docs/tutorial-rust.md: visits PORT URL.

use std::io::{self, BufRead, BufReader, Write};
use std::time::Duration;

use diesel::sql_types::{Integer, Text};
use diesel::{Connection, PgConnection, QueryResult, QueryableByName, RunQueryDsl, sql_query};
use majjen::net::{TcpListener, TcpStream};
use majjen::{Builder, task};
use majjen_hook as _; // The blocking calls of libpq suspend the task that makes them.

#[derive(QueryableByName)]
struct Visits {
    #[diesel(sql_type = Integer)]
    count: i32,
}

fn count_visit(database: &mut PgConnection, name: &str) -> QueryResult<i32> {
    sql_query(
        "insert into visits as v values ($1, 1) \
         on conflict (name) do update set count = v.count + 1 returning count",
    )
    .bind::<Text, _>(name)
    .get_result(database)
    .map(|visits: Visits| visits.count)
}

fn serve(stream: TcpStream, url: &str) -> io::Result<()> {
    let mut database = PgConnection::establish(url).map_err(io::Error::other)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    for name in BufReader::new(&stream).lines() {
        let name = name?;
        match task::timeout(Duration::from_secs(5), || count_visit(&mut database, &name))? {
            Ok(count) => writeln!(&stream, "hello {name}, visit {count}")?,
            Err(error) => writeln!(&stream, "sorry: {error}")?,
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [port, url] = [1, 2].map(|number| std::env::args().nth(number).unwrap_or_default());
    // Outside of tasks these calls block as ever.
    sql_query("create table if not exists visits (name text primary key, count int not null)")
        .execute(&mut PgConnection::establish(&url)?)?;
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    let scheduler = Builder::new().handle_signals(true).build()?;
    scheduler.spawn(move || {
        for stream in listener.incoming().flatten() {
            let url = url.clone();
            task::spawn(move || serve(stream, &url));
        }
    });
    scheduler.run()?;
    Ok(())
}
