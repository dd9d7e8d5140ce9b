//! glommio: one executor for each thread, on io_uring. Row 14 only: what goes from one to the other.

#[path = "../contender.rs"]
mod contender;

use contender::*;
use glommio::LocalExecutorBuilder;
use glommio::channels::shared_channel::new_bounded;

const MESSAGES: usize = 16_384;

fn main() {
    match test().as_str() {
        "round_trips" => test_round_trips(),
        "messages" => test_messages(),
        test => panic!("no test {test:?}"),
    }
}

/// Runs both futures, each on an executor of its own.
fn run_pair<F, G>(
    first: impl FnOnce() -> F + Send + 'static,
    second: impl FnOnce() -> G + Send + 'static,
) where
    F: Future<Output = ()> + 'static,
    G: Future<Output = ()> + 'static,
{
    let one = LocalExecutorBuilder::default().spawn(first).unwrap();
    let other = LocalExecutorBuilder::default().spawn(second).unwrap();
    one.join().unwrap();
    other.join().unwrap();
}

fn report_pair(done: u64, count: u64, (wall, cpu): (u64, u64)) {
    report("work", done as f64);
    report("ns", (wall_ns() - wall) as f64 / count as f64);
    report("cpu_ns", (cpu_ns() - cpu) as f64 / count as f64);
    report("threads", 2.0);
}

fn test_round_trips() {
    let count = argument("count");
    let (there, from_there) = new_bounded::<u64>(1);
    let (back, from_back) = new_bounded::<u64>(1);
    let call = async move || {
        let (there, from_back) = (there.connect().await, from_back.connect().await);
        let (began, mut number) = ((wall_ns(), cpu_ns()), 0);
        for index in 0..count {
            there.send(number).await.unwrap();
            number = from_back.recv().await.unwrap();
            assert_eq!(number, index + 1);
        }
        report_pair(number, count, began);
    };
    let answer = async move || {
        let (from_there, back) = (from_there.connect().await, back.connect().await);
        while let Some(number) = from_there.recv().await {
            back.send(number + 1).await.unwrap();
        }
    };
    run_pair(call, answer);
}

fn test_messages() {
    let count = argument("count");
    let (sender, receiver) = new_bounded::<u64>(MESSAGES);
    let (begins, begun) = std::sync::mpsc::channel();
    let send = async move || {
        let sender = sender.connect().await;
        begins.send((wall_ns(), cpu_ns())).unwrap();
        for number in 1..=count {
            sender.send(number).await.unwrap();
        }
    };
    let receive = async move || {
        let receiver = receiver.connect().await;
        let (mut sum, mut received) = (0, 0);
        while let Some(number) = receiver.recv().await {
            received += 1;
            sum += number;
        }
        assert_eq!(sum, count * (count + 1) / 2);
        report_pair(received, count, begun.recv().unwrap());
    };
    run_pair(receive, send);
}
