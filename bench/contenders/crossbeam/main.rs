//! crossbeam-channel, with an eventfd by which a sender wakes a loop that waits for descriptors: what a program
//! without a runtime does.

#[path = "../contender.rs"]
mod contender;
#[path = "../threads.rs"]
mod threads;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*, fence};

use contender::*;
use crossbeam_channel::{Receiver, Sender, bounded};
use threads::*;

fn main() {
    match test().as_str() {
        "posts" => test_posts(),
        "post_once" => test_post_once(),
        "elements" => test_elements(),
        test => panic!("no test {test:?}"),
    }
}

/// What wakes the loop: an eventfd, which is written to while it sleeps.
struct Bell {
    fd: i32,
    asleep: AtomicBool,
}

impl Bell {
    fn new() -> Arc<Bell> {
        // SAFETY: no preconditions.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        Arc::new(Bell { fd, asleep: AtomicBool::new(false) })
    }

    fn ring(&self) {
        fence(SeqCst);
        if self.asleep.load(Relaxed) && self.asleep.swap(false, Relaxed) {
            // SAFETY: the value is good for the call.
            unsafe { libc::write(self.fd, (&raw const ONE).cast(), 8) };
        }
    }

    /// Waits until it rings, unless there is something to receive.
    fn wait<T>(&self, receiver: &Receiver<T>) {
        self.asleep.store(true, Relaxed);
        fence(SeqCst);
        if receiver.is_empty() || !self.asleep.swap(false, Relaxed) {
            let mut rung = 0u64;
            let mut poll = libc::pollfd { fd: self.fd, events: libc::POLLIN, revents: 0 };
            // SAFETY: the addresses are good for the calls.
            unsafe {
                libc::poll(&mut poll, 1, -1);
                libc::read(self.fd, (&raw mut rung).cast(), 8);
            }
        }
    }
}

static ONE: u64 = 1;

fn channel<T>() -> (Sender<T>, Receiver<T>, Arc<Bell>) {
    let (sender, receiver) = bounded(16_384);
    (sender, receiver, Bell::new())
}

/// Receives until `is_done`, which is asked after each.
fn receive<T>(receiver: &Receiver<T>, bell: &Bell, busy: bool, mut take: impl FnMut(T) -> bool) {
    loop {
        match receiver.try_recv() {
            Ok(element) => {
                if take(element) {
                    return;
                }
            }
            Err(_) if busy => {}
            Err(_) => bell.wait(receiver),
        }
    }
}

fn test_posts() {
    let count = argument("count");
    let (sender, receiver, bell) = channel::<Posted>();
    let shared = Shared::default();
    let began = (wall_ns(), cpu_ns());
    let ring = bell.clone();
    let posters = post_many(count, move |posted| {
        let sent = sender.try_send(posted).is_ok();
        ring.ring();
        sent
    });
    receive(&receiver, &bell, false, |(function, argument)| {
        function(&shared, argument);
        shared.begun.load(Relaxed) == count
    });
    report_posts(&shared, count, began);
    posters.into_iter().for_each(|poster| poster.join().unwrap());
}

fn test_post_once() {
    let (count, idle) = (argument("count"), argument("idle") != 0);
    let (sender, receiver, bell) = channel::<Posted>();
    let shared = Arc::new(Shared::default());
    let ring = bell.clone();
    let poster = post_one_by_one(&shared, count, idle, move |posted| {
        let sent = sender.try_send(posted).is_ok();
        ring.ring();
        sent
    });
    receive(&receiver, &bell, !idle, |(function, argument)| {
        function(&shared, argument);
        shared.begun.load(Relaxed) == count
    });
    poster.join().unwrap();
    report_post_once(&shared);
}

fn test_elements() {
    let count = argument("count");
    let (sender, receiver, bell) = channel::<u64>();
    let ring = bell.clone();
    let began = (wall_ns(), cpu_ns());
    let thread = send_elements(count, move |element| {
        sender.send(element).unwrap();
        ring.ring();
    });
    let mut sum = 0;
    receive(&receiver, &bell, false, |element| {
        sum += element;
        element == count
    });
    report_elements(count, sum, began);
    thread.join().unwrap();
}
