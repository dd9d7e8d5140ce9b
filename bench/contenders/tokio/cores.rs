//! Row 14; see `cores.h`, which says the same in C.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc as of_threads;
use std::thread::{self, ThreadId};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::contender::*;

const SEEDS: u64 = 16;
const MESSAGES: usize = 16_384;

fn crunch(seed: u64, rounds: u64) -> u64 {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_add(seed);
    for _ in 0..rounds {
        next_random(&mut state);
    }
    state
}

fn runtime_with(workers: u64) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers as usize)
        .enable_all()
        .build()
        .unwrap()
}

// ---- made

struct Made {
    count: u64,
    rounds: u64,
    done: AtomicU64,
    ended: [AtomicU64; 2],
    expected: Vec<u64>,
}

/// One task spawns all others.
pub fn test_made() {
    let (count, rounds, workers) = (argument("count"), argument("rounds"), argument("cores"));
    let runtime = runtime_with(workers);
    let expected = (0..SEEDS).map(|seed| crunch(seed, rounds)).collect();
    let done = AtomicU64::new(0);
    let made = Arc::new(Made { count, rounds, done, ended: Default::default(), expected });
    let (last, is_over) = of_threads::channel();
    let began = [wall_ns(), cpu_ns()];
    let shared = made.clone();
    runtime.spawn(async move {
        for index in 0..shared.count {
            let (made, last) = (shared.clone(), last.clone());
            tokio::spawn(async move { made.make_one(index, &last) });
        }
    });
    is_over.recv().unwrap();
    report("work", made.done.load(Relaxed) as f64);
    for (index, name) in ["ns", "cpu_ns"].into_iter().enumerate() {
        let took = made.ended[index].load(Relaxed) - began[index];
        report(name, took as f64 / count as f64);
    }
}

impl Made {
    fn make_one(&self, index: u64, last: &of_threads::Sender<()>) {
        let seed = index % SEEDS;
        assert_eq!(crunch(seed, self.rounds), self.expected[seed as usize]);
        if self.done.fetch_add(1, Relaxed) + 1 == self.count {
            self.ended[0].store(wall_ns(), Relaxed);
            self.ended[1].store(cpu_ns(), Relaxed);
            last.send(()).unwrap();
        }
    }
}

// ---- servers. Of requests that compute, `way=0` is in the connection's task, 2 on the pool

pub fn test_serve_on_cores() {
    runtime_with(argument("cores")).block_on(crate::test_serve());
}

pub fn test_serve_jobs() {
    let (rounds, on_pool) = (argument("rounds"), argument("way") == 2);
    let runtime = runtime_with(argument("cores"));
    runtime
        .block_on(runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listen()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve_jobs(stream, rounds, on_pool));
            }
        }))
        .unwrap()
}

async fn serve_jobs(mut stream: tokio::net::TcpStream, rounds: u64, on_pool: bool) {
    let (mut buffer, mut length) = (vec![0u8; 4096], 0);
    while let Ok(bytes) = stream.read(&mut buffer[length..]).await {
        if bytes == 0 {
            break;
        }
        length += bytes;
        let request = &buffer[..length];
        if !request.windows(4).any(|window| window == b"\r\n\r\n") {
            continue;
        }
        assert!(request.starts_with(b"GET /"), "a request is wrong");
        let seed = u64::from_str_radix(std::str::from_utf8(&request[7..9]).unwrap(), 16).unwrap();
        let is_heavy = request[5] == b'1';
        length = 0;
        let result = match (is_heavy, on_pool) {
            (false, _) => crunch(seed, 0),
            (true, false) => crunch(seed, rounds),
            (true, true) => {
                tokio::task::spawn_blocking(move || crunch(seed, rounds)).await.unwrap()
            }
        };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 16\r\n\r\n{result:016x}"
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            break;
        }
    }
}

// ---- round_trips and messages: `way=0` two runtimes of one thread each, 1 one runtime with two workers

/// Where each side was, to tell whether messages have crossed threads.
type Threads = HashSet<ThreadId>;

/// Runs the first future, which ends the test, and the second one beside it.
fn run_pair<F, S>(first: F, second: S) -> (F::Output, S::Output)
where
    F: Future<Output: Send> + Send + 'static,
    S: Future<Output: Send> + Send + 'static,
{
    if argument("way") == 0 {
        let beside = thread::spawn(|| crate::runtime().block_on(second));
        let one = crate::runtime().block_on(first);
        (one, beside.join().unwrap())
    } else {
        let runtime = runtime_with(2);
        let (first, second) = (runtime.spawn(first), runtime.spawn(second));
        runtime.block_on(async { (first.await.unwrap(), second.await.unwrap()) })
    }
}

fn report_pair(done: u64, count: u64, (wall, cpu): (u64, u64)) {
    report("work", done as f64);
    report("ns", (wall_ns() - wall) as f64 / count as f64);
    report("cpu_ns", (cpu_ns() - cpu) as f64 / count as f64);
}

pub fn test_round_trips() {
    let count = argument("count");
    let (there, mut from_there) = mpsc::channel::<(u64, ThreadId)>(1);
    let (back, mut from_back) = mpsc::channel::<u64>(1);
    let call = async move {
        let (began, mut number) = ((wall_ns(), cpu_ns()), 0);
        for index in 0..count {
            there.send((number, thread::current().id())).await.unwrap();
            number = from_back.recv().await.unwrap();
            assert_eq!(number, index + 1);
        }
        report_pair(number, count, began);
    };
    let answer = async move {
        let mut crossed = 0;
        while let Some((number, from)) = from_there.recv().await {
            crossed += u64::from(from != thread::current().id());
            back.send(number + 1).await.unwrap();
        }
        crossed
    };
    let ((), crossed) = run_pair(call, answer);
    report("threads", 1.0 + crossed as f64 / count as f64);
}

pub fn test_messages() {
    let count = argument("count");
    let (sender, mut receiver) = mpsc::channel::<u64>(MESSAGES);
    let (begins, begun) = tokio::sync::oneshot::channel();
    let send = async move {
        begins.send((wall_ns(), cpu_ns())).unwrap();
        let mut threads = Threads::new();
        for number in 1..=count {
            sender.send(number).await.unwrap();
            if number % 1024 == 0 {
                threads.insert(thread::current().id());
            }
        }
        threads
    };
    let receive = async move {
        let (began, mut sum, mut received) = (begun.await.unwrap(), 0, 0);
        let (mut batch, mut threads) = (Vec::with_capacity(1024), Threads::new());
        while receiver.recv_many(&mut batch, 1024).await > 0 {
            received += batch.len() as u64;
            sum += batch.drain(..).sum::<u64>();
            threads.insert(thread::current().id());
        }
        assert_eq!(sum, count * (count + 1) / 2);
        report_pair(received, count, began);
        threads
    };
    let (mut threads, others) = run_pair(receive, send);
    threads.extend(others);
    report("threads", threads.len() as f64);
}
