//! The server of docs/tutorial-rust.md: visits PORT URL.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::time::Duration;

use diesel::sql_types::{Integer, Text};
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, sql_query};
use majjen::Builder;
use majjen::net::{TcpListener, TcpStream};
use majjen::task::{self, JoinSet};
use majjen_hook as _; // The blocking calls of libpq suspend the task that makes them.

#[derive(QueryableByName)]
struct Visits {
    #[diesel(sql_type = Integer)]
    count: i32,
}

/// Counts a visit. Makes a session if there is none, and keeps one only if it has answered: after a
/// time limit its answer may yet come, and would be taken for that to the next question.
fn count_visit(
    session: &mut Option<PgConnection>,
    url: &str,
    name: &str,
) -> Result<i32, Box<dyn Error>> {
    let mut database = match session.take() {
        Some(database) => database,
        None => PgConnection::establish(url)?,
    };
    let visits: Visits = sql_query(
        "insert into visits as v values ($1, 1) \
         on conflict (name) do update set count = v.count + 1 returning count",
    )
    .bind::<Text, _>(name)
    .get_result(&mut database)?;
    *session = Some(database);
    Ok(visits.count)
}

fn serve(stream: TcpStream, url: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    let mut session = None;
    for name in BufReader::new(&stream).lines() {
        let name = name?;
        match task::timeout(Duration::from_secs(5), || count_visit(&mut session, url, &name))? {
            Ok(count) => writeln!(&stream, "hello {name}, visit {count}")?,
            Err(error) => writeln!(&stream, "sorry: {}", error.to_string().trim_end())?,
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let [port, url] = [1, 2].map(|number| std::env::args().nth(number).unwrap_or_default());
    // Outside of tasks these calls block as ever.
    sql_query("create table if not exists visits (name text primary key, count int not null)")
        .execute(&mut PgConnection::establish(&url)?)?;
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    let scheduler = Builder::new().handle_signals(true).build()?;
    scheduler.spawn(move || {
        // As many as the database may have connections.
        let mut clients = JoinSet::with_limit(15);
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                task::sleep(Duration::from_millis(10)).unwrap(); // Out of descriptors, say.
                continue;
            };
            let url = url.clone();
            clients.spawn(move || serve(stream, &url)); // Waits for a place.
            while clients.try_join_next().is_some() {} // Those that have gone.
        }
    });
    scheduler.run()?;
    Ok(())
}
