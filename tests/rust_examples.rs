//! The programs in `examples/`, each run and checked.

mod support;

#[allow(dead_code)]
#[path = "../examples/chat.rs"]
mod chat;
#[allow(dead_code)]
#[path = "../examples/checksum.rs"]
mod checksum;
#[allow(dead_code)]
#[path = "../examples/crawler.rs"]
mod crawler;
#[allow(dead_code)]
#[path = "../examples/echo.rs"]
mod echo;
#[allow(dead_code)]
#[path = "../examples/http_server_all_cores.rs"]
mod http_server_all_cores;
#[allow(dead_code)]
#[path = "../examples/job_server.rs"]
mod job_server;
#[allow(dead_code)]
#[path = "../examples/port_scan.rs"]
mod port_scan;
#[allow(dead_code)]
#[path = "../examples/tls_echo.rs"]
mod tls_echo;

use http_server_all_cores::http_server;

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use majjen::logger::{self, Level};
use majjen::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use majjen::{cluster, task};
use support::scheduler;

fn listen() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn echo_serves_many_clients_at_once() {
    let scheduler = scheduler();
    let (listener, address) = listen();
    let server = scheduler.spawn(move || echo::serve(&listener));
    let clients: Vec<_> = (0..50)
        .map(|number: u32| {
            scheduler.spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let sent = vec![number as u8; 1000 * number as usize];
                let mut writer = stream.try_clone().unwrap();
                let data = sent.clone();
                let writes = task::spawn(move || {
                    writer.write_all(&data).unwrap();
                    writer.shutdown(std::net::Shutdown::Write).unwrap();
                });
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                writes.join().unwrap();
                assert_eq!(received, sent);
            })
        })
        .collect();
    scheduler.spawn(move || {
        clients.into_iter().for_each(|client| client.join().unwrap());
        server.cancel();
    });
    scheduler.run().unwrap();
}

#[test]
fn http_server_answers_and_keeps_connections() {
    let scheduler = scheduler();
    let (listener, address) = listen();
    let open = Rc::new(Cell::new(0));
    let count = open.clone();
    let server = scheduler.spawn(move || http_server::accept(&listener, &count));
    let client = scheduler.spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        // Two requests in one piece, one in many pieces, and a last one.
        stream.write_all(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n").unwrap();
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".chunks(5) {
            stream.write_all(byte).unwrap();
            task::sleep(Duration::from_millis(1)).unwrap();
        }
        stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
        let mut answers = String::new();
        reader.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 4, "{answers}");
        assert!(answers.ends_with("Hello, World!"));
        let mut garbled = TcpStream::connect(address).unwrap();
        garbled.write_all(b"\0\0\0\r\n\r\n").unwrap();
        assert_eq!(garbled.read(&mut [0]).unwrap(), 0);
        let idle = TcpStream::connect(address).unwrap();
        // The server learns of it when the loop has looked, which a timer may come before.
        let wait_until_open = |count| {
            while open.get() != count {
                task::sleep(Duration::from_millis(1)).unwrap();
            }
        };
        wait_until_open(1);
        server.cancel();
        drop(idle);
        wait_until_open(0);
    });
    scheduler.run().unwrap();
    client.join().unwrap();
}

#[test]
fn http_server_answers_on_all_cores() {
    logger::set_level(Level::Warn);
    let builder = cluster::Builder::new().cores(2).set_up(http_server_all_cores::set_up);
    let cluster = builder.build().unwrap();
    let address = http_server_all_cores::listen(&cluster, "127.0.0.1:0").unwrap();
    cluster.start().unwrap();
    let connect = || std::net::TcpStream::connect(address).unwrap();
    let ask = |mut stream: &std::net::TcpStream, request: &str| {
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = vec![0; 1000];
        let length = stream.read(&mut answer).unwrap();
        assert!(answer[..length].ends_with(b"Hello, World!"));
    };
    let mut idle: Vec<_> = (0..20).map(|_| connect()).collect();
    idle.iter().for_each(|stream| ask(stream, "GET / HTTP/1.1\r\n\r\n"));
    assert!([0, 1].iter().all(|core| cluster.load(*core) >= 8), "both serve");
    cluster.stop(Duration::MAX);
    // Those that are there are served on.
    ask(&idle[0], "GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_eq!(idle[0].read(&mut [0]).unwrap(), 0);
    drop(idle);
    cluster.join().unwrap();
    assert_eq!((cluster.load(0), cluster.load(1)), (0, 0));
}

#[test]
fn chat_tells_all_and_lets_go_who_is_slow() {
    const LINES: usize = 20_000;
    let scheduler = scheduler();
    let (listener, address) = listen();
    let server = scheduler.spawn(move || chat::serve(&listener, &chat::Room::default()));
    let enter = move |number: u32| {
        let client = BufReader::new(TcpStream::connect(address).unwrap());
        let mut lines = client.get_ref().try_clone().map(BufReader::new).unwrap().lines();
        assert_eq!(lines.next().unwrap().unwrap(), format!("{number} has come"));
        (client, lines)
    };
    scheduler.spawn(move || {
        let (slow, mut unread) = enter(1);
        let (talker, mut heard) = enter(2);
        let talks = task::spawn(move || {
            let line = format!("{}\n", "x".repeat(400));
            for _ in 0..LINES {
                (&mut talker.get_ref()).write_all(line.as_bytes()).unwrap();
            }
            talker
        });
        // It hears all that it says, and that the other one has been let go in the meantime.
        let (mut count, mut has_gone) = (0, false);
        while count < LINES || !has_gone {
            let line = heard.next().unwrap().unwrap();
            count += usize::from(line.starts_with("2 x"));
            has_gone |= line == "1 has gone";
        }
        assert!(unread.by_ref().map_while(Result::ok).count() < LINES);
        drop((slow, talks.join().unwrap()));
        server.cancel();
    });
    scheduler.run().unwrap();
}

#[test]
fn port_scan_finds_who_listens() {
    let scheduler = scheduler();
    // No other test's server listens there, which the scan would disturb.
    let address = [127, 0, 0, 2];
    let listeners: Vec<_> = (0..4)
        .map(|_| std::net::TcpListener::bind((std::net::Ipv4Addr::from(address), 0)).unwrap())
        .collect();
    let mut ports: Vec<u16> =
        listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    ports.sort_unstable();
    let range = ports[0]..=ports[3];
    let scan = scheduler
        .spawn(move || port_scan::scan("127.0.0.2", range, 3, Duration::from_secs(10)).unwrap());
    scheduler.run().unwrap();
    let open = scan.join().unwrap(); // Others may listen in between.
    assert!(ports.iter().all(|port| open.contains(port)), "{ports:?} in {open:?}");
}

#[test]
fn checksum_hashes_all_files_of_a_tree() {
    let tree = std::env::temp_dir().join(format!("majjen-checksum-{}", std::process::id()));
    let mut expected = Vec::new();
    for number in 0..100_u64 {
        let directory = tree.join(format!("{}/{}", number % 7, number % 3));
        std::fs::create_dir_all(&directory).unwrap();
        let data: Vec<u8> = (0..number * 1000).map(|place| (place * number) as u8).collect();
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        let path = directory.join(number.to_string());
        std::fs::write(&path, &data).unwrap();
        expected.push((path, data.iter().fold(0xcbf2_9ce4_8422_2325, mix)));
    }
    expected.sort();
    let scheduler = scheduler();
    let progress = Rc::new(checksum::Progress::default());
    let (of_task, directory) = (progress.clone(), tree.clone());
    let hashed = scheduler.spawn(move || checksum::hash_tree(&directory, &of_task).unwrap());
    scheduler.run().unwrap();
    let hashed = hashed.join().unwrap().into_iter().map(|(path, hash)| (path, hash.unwrap()));
    assert_eq!(hashed.collect::<Vec<_>>(), expected);
    assert_eq!((progress.files.get(), progress.bytes.get()), (100, (0..100).sum::<u64>() * 1000));
    std::fs::remove_dir_all(&tree).unwrap();
}

#[test]
fn job_server_does_jobs_and_lets_them_end() {
    const LONG: Duration = Duration::from_secs(100);
    let path = std::env::temp_dir().join(format!("majjen-jobs-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let scheduler = scheduler();
    let server = job_server::Jobs::new(2, LONG, LONG);
    let serves = scheduler.spawn(move || job_server::serve(listener, &Rc::new(server)));
    let socket = path.clone();
    scheduler.spawn(move || {
        let send = |line: &str| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.write_all(format!("{line}\n").as_bytes()).unwrap();
            BufReader::new(stream).lines().map(|line| line.unwrap())
        };
        let ask = |line: &str| send(line).collect::<Vec<_>>();
        assert_eq!(
            ask("RUN echo a; echo b >&2; exit 3"),
            ["job 1", "> a", "> b", "exit status: 3"]
        );
        assert_eq!(ask("HASH /dev/null"), ["job 2", "hash cbf29ce484222325"]);
        assert_eq!(ask("HASH /no/such/file")[1], "No such file or directory (os error 2)");
        // What a job has started ends with it: else the pipe would stay open.
        let mut one = send("RUN sleep 90 & echo begun; wait");
        let mut other = send("RUN sleep 90 & echo begun; wait");
        for job in [&mut one, &mut other] {
            assert_eq!(job.nth(1).unwrap(), "> begun");
        }
        assert_eq!(ask("RUN true"), ["too many jobs"]);
        assert!(ask("STATUS").contains(&"jobs 2 of 2".to_owned()));
        assert_eq!(ask("CANCEL 4"), ["ok"]);
        assert_eq!(one.collect::<Vec<_>>(), ["Operation canceled"]);
        assert_eq!(ask("CANCEL 4"), ["no such job"]);
        assert_eq!(ask("CANCEL 5"), ["ok"]);
        assert_eq!(other.collect::<Vec<_>>(), ["Operation canceled"]);
        // A job may end when the server is told to.
        let mut last = send("RUN echo begun; sleep 0.3; echo end");
        assert_eq!(last.nth(1).unwrap(), "> begun");
        let told = std::process::Command::new("kill").arg(std::process::id().to_string()).status();
        assert!(told.unwrap().success());
        while UnixStream::connect(&socket).is_ok() {
            task::sleep(Duration::from_millis(5)).unwrap();
        }
        assert_eq!(last.collect::<Vec<_>>(), ["> end", "exit status: 0"]);
    });
    let ends = scheduler.spawn(move || serves.join().unwrap());
    scheduler.run().unwrap();
    ends.join().unwrap().unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn crawler_finds_every_page_and_keeps_its_rate() {
    const PER_SECOND: u32 = 500;
    let scheduler = scheduler();
    let (listener, address) = listen();
    let server = scheduler.spawn(move || crawler::serve_site(&listener));
    let began = Instant::now();
    let crawl = scheduler.spawn(move || {
        let pages = crawler::crawl(address, "/", 8, PER_SECOND);
        server.cancel();
        pages
    });
    scheduler.run().unwrap();
    assert_eq!(crawl.join().unwrap().unwrap().len(), crawler::SITE_PAGES);
    assert!(
        began.elapsed() >= Duration::from_secs(1) / PER_SECOND * (crawler::SITE_PAGES as u32 - 1)
    );
}

#[test]
fn tls_echo_serves_clients_at_once() {
    let scheduler = majjen::Builder::new().stack_size(512 * 1024).build().unwrap();
    let (listener, address) = listen();
    let (server_config, client_config) = tls_echo::configs().unwrap();
    let server = scheduler.spawn(move || tls_echo::serve(&listener, &server_config));
    let clients: Vec<_> = (0..8)
        .map(|number: u8| {
            let config = client_config.clone();
            scheduler.spawn(move || {
                let data = vec![number; 50_000];
                assert_eq!(tls_echo::ask(address, config, &data).unwrap(), data);
            })
        })
        .collect();
    scheduler.spawn(move || {
        clients.into_iter().for_each(|client| client.join().unwrap());
        server.cancel();
    });
    scheduler.run().unwrap();
}

#[test]
fn a_line_at_a_time_is_read_by_a_buffered_reader() {
    let scheduler = scheduler();
    let (listener, address) = listen();
    scheduler.spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for part in ["one\ntw", "o\nthr", "ee\n"] {
            stream.write_all(part.as_bytes()).unwrap();
            task::sleep(Duration::from_millis(2)).unwrap();
        }
    });
    let lines = scheduler.spawn(move || {
        let stream = TcpStream::connect(address).unwrap();
        BufReader::new(stream).lines().collect::<Result<Vec<_>, _>>().unwrap()
    });
    scheduler.run().unwrap();
    assert_eq!(lines.join().unwrap(), ["one", "two", "three"]);
}
