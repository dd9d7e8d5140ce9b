//! The budget of calls that need not wait.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Events, HOUR, MS, Sync, api_that_pretends};

behaviours!(
    each_call_yields_after_64,
    a_turn_has_a_budget_of_its_own,
    who_has_locked_a_mutex_does_not_yield,
    what_tries_never_yields,
    a_canceled_task_is_told_when_its_budget_is_spent,
    so_is_one_that_has_locked_a_mutex,
    a_shielded_task_is_not,
    a_timer_is_served_beside_a_channel_that_never_lets_up,
    a_call_after_a_long_time_yields,
);

type Call = (&'static str, Rc<dyn Fn()>);

/// The calls that may suspend, each where it need not wait.
fn calls<D: Sync>(api: &D) -> Vec<Call> {
    let (mutex, semaphore, group) = (api.mutex(), api.semaphore(1), api.group());
    let (room, elements, both) = (api.channel(1000), api.channel(1000), api.channel(1));
    for _ in 0..1000 {
        D::try_send(elements, 1).unwrap();
    }
    let ended = api.spawn(|| ());
    api.run();
    vec![
        (
            "lock",
            Rc::new(move || {
                D::lock(mutex, None).unwrap();
                D::unlock(mutex).unwrap();
            }),
        ),
        (
            "acquire",
            Rc::new(move || {
                D::acquire(semaphore, 1, None).unwrap();
                D::release(semaphore, 1).unwrap();
            }),
        ),
        ("wait for a group", Rc::new(move || D::wait_for_group(group, None).unwrap())),
        ("send", Rc::new(move || D::send(room, 1, Some(HOUR)).unwrap())),
        ("receive", Rc::new(move || assert_eq!(D::receive(elements, None), Ok(1)))),
        (
            "select",
            Rc::new(move || {
                D::select(&[(both, Some(2)), (both, None)], Some(Duration::ZERO)).unwrap();
            }),
        ),
        ("join", Rc::new(move || D::join(&ended, None).unwrap())),
    ]
}

/// How many calls a task makes before another one that is ready has its turn, at most 1000.
fn calls_before_others<D: Sync>(api: &D, call: impl Fn() + 'static) -> usize {
    let (others, count) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let (seen, counted) = (others.clone(), count.clone());
    api.spawn(move || {
        while counted.get() < 1000 && !seen.get() {
            call();
            counted.set(counted.get() + 1);
        }
    });
    api.spawn(move || others.set(true));
    api.run();
    count.get()
}

/// With a program's clock nothing but calls counts. The 65th comes back when the other has had its turn.
fn each_call_yields_after_64<D: Sync>() {
    let api: D = api_that_pretends();
    for (name, call) in calls(&api) {
        assert_eq!(calls_before_others(&api, move || call()), 65, "{name}");
    }
    let all = calls(&api);
    let next = Cell::new(0);
    let any = move || {
        all[next.get() % all.len()].1();
        next.set(next.get() + 1);
    };
    assert_eq!(calls_before_others(&api, any), 65, "all together");
}

fn a_turn_has_a_budget_of_its_own<D: Sync>() {
    let api: D = api_that_pretends();
    for (name, call) in calls(&api) {
        let events = Events::new();
        let log = events.clone();
        api.spawn(move || {
            for _ in 0..3 {
                (0..64).for_each(|_| call());
                log.push("turn");
                D::yield_now().unwrap();
            }
        });
        let log = events.clone();
        api.spawn(move || {
            for _ in 0..3 {
                log.push("other");
                D::yield_now().unwrap();
            }
        });
        api.run();
        assert_eq!(*events.0.borrow(), ["turn", "other"].repeat(3), "{name}");
    }
}

/// The others would find it locked, though its owner never waits. The first call afterwards yields.
fn who_has_locked_a_mutex_does_not_yield<D: Sync>() {
    let api: D = api_that_pretends();
    for (name, call) in calls(&api) {
        let (mutex, count) = (api.mutex(), Cell::new(0));
        let others = calls_before_others(&api, move || {
            if count.get() == 0 {
                D::lock(mutex, None).unwrap();
            }
            call();
            count.set(count.get() + 1);
            if count.get() == 200 {
                D::unlock(mutex).unwrap();
            }
        });
        assert_eq!(others, 201, "{name}");
    }
}

fn what_tries_never_yields<D: Sync>() {
    let api: D = api_that_pretends();
    let (mutex, semaphore, channel) = (api.mutex(), api.semaphore(1), api.channel(1));
    let tries = move || {
        D::try_lock(mutex).unwrap();
        D::unlock(mutex).unwrap();
        D::try_acquire(semaphore, 1).unwrap();
        D::release(semaphore, 1).unwrap();
        D::try_send(channel, 1).unwrap();
        D::try_receive(channel).unwrap();
    };
    assert_eq!(calls_before_others(&api, tries), 1000);
}

/// Nothing is transferred then.
fn a_canceled_task_is_told_when_its_budget_is_spent<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (room, log) = (api.channel(1000), events.clone());
    let canceled = api.spawn(move || {
        assert_eq!(D::park(None), Err(libc::ECANCELED));
        for times in [1, 2] {
            let sent = (0..1000).take_while(|_| D::send(room, 1, None).is_ok()).count();
            log.push(sent);
            let received = (0..1000).take_while(|_| D::try_receive(room).is_ok()).count();
            assert_eq!(received, sent, "time {times}");
        }
    });
    api.spawn(move || D::cancel(&canceled));
    api.run();
    // The call that is told begins the next turn.
    events.are(&[64, 63]);
}

/// Without a yield: nobody else has a turn while it owns the mutex.
fn so_is_one_that_has_locked_a_mutex<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (room, mutex, log) = (api.channel(1000), api.mutex(), events.clone());
    let inner = api.clone();
    let canceled = api.spawn(move || {
        assert_eq!(D::park(None), Err(libc::ECANCELED));
        D::lock(mutex, None).unwrap();
        let turns = inner.turns();
        let sent = (0..1000).take_while(|_| D::send(room, 1, None).is_ok()).count();
        assert_eq!(D::send(room, 1, None), Err(libc::ECANCELED)); // Until it has unlocked it.
        assert_eq!(inner.turns(), turns);
        log.push(sent);
        D::unlock(mutex).unwrap();
    });
    api.spawn(move || D::cancel(&canceled));
    api.run();
    // The lock was a call, too.
    events.are(&[63]);
}

fn a_shielded_task_is_not<D: Sync>() {
    let api: D = api_that_pretends();
    let room = api.channel(1000);
    let canceled = api.spawn(move || {
        assert_eq!(D::park(None), Err(libc::ECANCELED));
        D::shield(|| (0..1000).for_each(|_| D::send(room, 1, None).unwrap()));
    });
    api.spawn(move || D::cancel(&canceled));
    api.run();
}

/// By the monotonic clock. The task alone is ready, so nobody but the loop has to have a turn.
fn a_timer_is_served_beside_a_channel_that_never_lets_up<D: Sync>() {
    const MANY: usize = 50_000_000; // They take much longer than the timer.
    let api = D::new();
    let (channel, done) = (api.channel(1), Rc::new(Cell::new(false)));
    let rang = done.clone();
    api.spawn(move || {
        D::sleep(10 * MS).unwrap();
        rang.set(true);
    });
    api.spawn(move || {
        let turns = (0..MANY).take_while(|_| {
            D::send(channel, 1, None).unwrap();
            D::receive(channel, None).unwrap();
            !done.get()
        });
        assert!(turns.count() < MANY, "the timer has not been served");
    });
    api.run();
}

/// The loop has not looked for longer than it should: 50 us, which is less than three of these take.
fn a_call_after_a_long_time_yields<D: Sync>() {
    let api = D::new();
    for (name, call) in calls(&api) {
        let computes = move || {
            let began = Instant::now();
            while began.elapsed() < Duration::from_micros(20) {}
            call();
        };
        // Without a cycle counter, time is looked at each eighth time.
        let count = calls_before_others(&api, computes);
        assert!(count <= 10, "{name}: {count} calls of 20 us each");
    }
}
