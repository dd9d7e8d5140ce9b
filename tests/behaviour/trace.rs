//! What the flight recorder has recorded, told as JSON.

use std::collections::BTreeMap;

use serde_json::Value;

use super::c_abi::{CAbi, text_of};
use super::circles::Seen;
use super::majjen_h::*;
use super::rust_api::RustApi;
use super::{End, MS};

behaviours!(
    nothing_is_recorded_unless_asked_for,
    each_turn_is_told_and_what_comes_behind_it,
    who_makes_a_task_ready_is_told,
    the_names_of_tasks_that_have_ended_are_told,
    the_last_events_are_kept,
    turns_of_tasks_that_yield_are_all_told,
    the_last_turns_of_tasks_that_yield_are_kept,
    a_recorder_may_change_while_tasks_yield,
    a_turn_that_goes_on_is_told,
    a_recorder_stops_and_begins_anew,
    what_cannot_be_is_refused,
    a_slot_that_is_used_again_has_one_row,
    any_name_is_told,
);

trait Traced: Seen {
    fn trace(&self, events: usize) -> Result<(), i32>;
    fn trace_json(&self) -> String;
}

impl Traced for RustApi {
    fn trace(&self, events: usize) -> Result<(), i32> {
        self.scheduler().trace(events).map_err(|error| error.errno())
    }

    fn trace_json(&self) -> String {
        self.scheduler().trace_json()
    }
}

impl Traced for CAbi {
    fn trace(&self, events: usize) -> Result<(), i32> {
        match mj_scheduler_trace(self.scheduler(), events) {
            0 => Ok(()),
            error => Err(-error),
        }
    }

    fn trace_json(&self) -> String {
        text_of(|stream| assert_eq!(mj_scheduler_write_trace(self.scheduler(), stream), 0))
    }
}

/// The events of each row, in words: `+` begins a state, `-` ends one, `!` is a moment.
struct Told {
    rows: BTreeMap<u64, Vec<String>>,
    /// What makes tasks ready, in order.
    makers: Vec<String>,
    names: BTreeMap<u64, String>,
}

impl Told {
    fn of<D: Traced>(api: &D) -> Told {
        let text = api.trace_json();
        let whole: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let mut told = Told { rows: BTreeMap::new(), makers: Vec::new(), names: BTreeMap::new() };
        let mut latest = BTreeMap::new();
        for event in whole["traceEvents"].as_array().unwrap() {
            let (kind, row) = (event["ph"].as_str().unwrap(), event["tid"].as_u64().unwrap());
            let name = event["name"].as_str().unwrap_or_default();
            if kind == "M" {
                if name == "thread_name" {
                    let name = event["args"]["name"].as_str().unwrap().to_owned();
                    told.names.insert(row, name);
                }
                continue;
            }
            let time = event["ts"].as_f64().unwrap();
            let before = latest.insert(row, time).unwrap_or(0.0);
            assert!(time >= before || row == 0, "{time} after {before}: {text}");
            if let Some(maker) = event["args"]["by"].as_str() {
                told.makers.push(maker.to_owned());
            }
            let ended = event["args"]["name"].as_str().map(|name| format!(" '{name}'"));
            let sign = match kind {
                "B" => '+',
                "E" => '-',
                "i" => '!',
                "X" => continue,
                other => panic!("{other}"),
            };
            let words = format!("{sign}{name}{}", ended.unwrap_or_default());
            told.rows.entry(row).or_default().push(words);
        }
        told
    }

    /// What a row has, the ends left out.
    fn row(&self, row: u64) -> Vec<&str> {
        let events = self.rows.get(&row).unwrap_or_else(|| panic!("{:?}", self.rows)).iter();
        events.map(String::as_str).filter(|event| *event != "-").collect()
    }
}

fn traced<D: Traced>() -> D {
    let api = D::new();
    api.trace(1024).unwrap();
    api
}

fn nothing_is_recorded_unless_asked_for<D: Traced>() {
    let api = D::new();
    api.spawn(|| D::yield_now().unwrap());
    assert_eq!(api.run(), End::Completed);
    assert!(Told::of(&api).rows.is_empty());
}

fn each_turn_is_told_and_what_comes_behind_it<D: Traced>() {
    let api = traced::<D>();
    let mutex = api.mutex();
    api.spawn(move || {
        D::lock(mutex, None).unwrap();
        D::yield_now().unwrap();
        D::sleep(MS).unwrap();
        D::unlock(mutex).unwrap();
    });
    api.spawn(move || {
        D::lock(mutex, None).unwrap();
        D::unlock(mutex).unwrap();
        let _ = D::park(Some(MS));
    });
    assert_eq!(api.run(), End::Completed);
    let told = Told::of(&api);
    let first = [
        "!created",
        "+ready",
        "+runs",
        "+ready",
        "+runs",
        "+sleeps",
        "+ready",
        "+runs",
        "!ended ''",
    ];
    assert_eq!(told.row(1), first);
    let second = told.row(2);
    let until_wait = ["!created", "+ready", "+runs", "+waits for mutex", "+ready", "+runs"];
    assert_eq!(second[..6], until_wait);
    assert_eq!(second[7..], ["+ready", "+runs", "!ended ''"]);
    // Each state is ended, but for the last, which an end is.
    for events in told.rows.values() {
        let count = |sign| events.iter().filter(|event| event.starts_with(sign)).count();
        assert_eq!(count('+'), count('-'), "{events:?}");
    }
}

fn who_makes_a_task_ready_is_told<D: Traced>() {
    let api = traced::<D>();
    let inner = api.clone();
    api.spawn(move || {
        let parked = inner.spawn(|| {
            let _ = D::park(None);
        });
        D::sleep(MS).unwrap();
        D::wake(&parked);
    });
    assert_eq!(api.run(), End::Completed);
    assert_eq!(Told::of(&api).makers, ["the loop", "task 0", "the loop", "task 0"]);
}

fn the_names_of_tasks_that_have_ended_are_told<D: Traced>() {
    let api = traced::<D>();
    let long = "a name of 23 characters";
    for name in ["short", "of fifteen char", "of sixteen chars", long] {
        api.spawn_named(name, || ());
    }
    assert_eq!(api.run(), End::Completed);
    let told = Told::of(&api);
    let ends: Vec<&str> = (1..=4).map(|row| *told.row(row).last().unwrap()).collect();
    assert_eq!(
        ends,
        [
            "!ended 'short'",
            "!ended 'of fifteen char'",
            "!ended 'of sixteen chars'",
            "!ended 'a name of 23 characters'"
        ]
    );
    assert_eq!(told.names.len(), 1, "of living tasks only: {:?}", told.names);
}

fn the_last_events_are_kept<D: Traced>() {
    let api = traced::<D>();
    api.spawn_named("yields", || (0..5000).for_each(|_| D::yield_now().unwrap()));
    assert_eq!(api.run(), End::Completed);
    let told = Told::of(&api);
    let row = told.row(1);
    assert_eq!(row.last(), Some(&"!ended 'yields'"));
    let turns = row.iter().filter(|event| **event == "+runs").count();
    // Some of the 1024 are of the loop.
    assert!((900..=1024).contains(&turns), "{turns}");
    assert!(!row.contains(&"!created"));
}

/// When each turn of any task began, and of which row it is, in order.
fn turns<D: Traced>(api: &D) -> Vec<(f64, u64)> {
    let whole: Value = serde_json::from_str(&api.trace_json()).unwrap();
    let events = whole["traceEvents"].as_array().unwrap();
    let runs = events.iter().filter(|event| event["name"] == "runs");
    let turn = |event: &Value| (event["ts"].as_f64().unwrap(), event["tid"].as_u64().unwrap());
    runs.map(turn).collect()
}

/// Also of those between which others become ready, or the loop looks at the clock.
fn turns_of_tasks_that_yield_are_all_told<D: Traced>() {
    const YIELDS: usize = 2000;
    let api = D::new();
    api.trace(1 << 15).unwrap();
    let inner = api.clone();
    for task in 0..3 {
        let inner = inner.clone();
        api.spawn(move || {
            for turn in 0..YIELDS {
                if task == 0 && turn % 100 == 99 {
                    inner.spawn_named("made", || ());
                }
                D::yield_now().unwrap();
            }
        });
    }
    assert_eq!(api.run(), End::Completed);
    let told = Told::of(&api);
    for row in 1..=3 {
        let runs = told.row(row).iter().filter(|event| **event == "+runs").count();
        assert_eq!(runs, YIELDS + 1, "{row}");
    }
    let made: Vec<&str> = told.row(4).into_iter().filter(|event| event.starts_with('!')).collect();
    assert_eq!(made, ["!created", "!ended 'made'"].repeat(YIELDS / 100));
    assert!(turns(&api).is_sorted_by_key(|(began, _)| *began));
    assert!(api.turns() >= 3 * (YIELDS as u64 + 1) + 20, "{}", api.turns());
}

fn the_last_turns_of_tasks_that_yield_are_kept<D: Traced>() {
    let api = traced::<D>();
    for _ in 0..2 {
        api.spawn(|| (0..5000).for_each(|_| D::yield_now().unwrap()));
    }
    assert_eq!(api.run(), End::Completed);
    let turns = turns(&api);
    // Some of the 1024 are of the loop, more where turns are slow.
    assert!((500..=1024).contains(&turns.len()), "{}", turns.len());
    assert!(turns.is_sorted_by_key(|(began, _)| *began));
    // They take turns.
    assert!(turns.windows(2).filter(|pair| pair[0].1 == pair[1].1).count() < 3);
    assert_eq!(api.turns(), 10_002);
}

fn a_recorder_may_change_while_tasks_yield<D: Traced>() {
    let api = traced::<D>();
    let inner = api.clone();
    api.spawn(|| (0..20_000).for_each(|_| D::yield_now().unwrap()));
    api.spawn(move || {
        let yields = || (0..300).for_each(|_| D::yield_now().unwrap());
        for events in [1024, 0, 2048, 1 << 16, 1 << 16, 0, 0, 1024] {
            inner.trace(events).unwrap();
            let before = turns(&inner).len();
            yields();
            let recorded = turns(&inner).len();
            assert!(recorded <= 1 << 16 && (events > 0 || recorded == before), "{events}");
            D::sleep(MS / 10).unwrap();
        }
    });
    assert_eq!(api.run(), End::Completed);
    assert!(turns(&api).is_sorted_by_key(|(began, _)| *began));
}

fn a_turn_that_goes_on_is_told<D: Traced>() {
    let api = traced::<D>();
    let inner = api.clone();
    api.spawn(move || {
        D::yield_now().unwrap();
        let told = Told::of(&inner);
        assert_eq!(told.row(1), ["!created", "+ready", "+runs", "+ready", "+runs"]);
        assert_eq!(told.rows[&1].last().unwrap(), "-");
        D::yield_now().unwrap();
        D::yield_now().unwrap();
        inner.trace(0).unwrap();
        D::yield_now().unwrap();
    });
    assert_eq!(api.run(), End::Completed);
    let told = Told::of(&api);
    let turn = ["+ready", "+runs"].repeat(4);
    assert_eq!(told.row(1)[1..], turn);
    assert_eq!(told.rows[&1].last().unwrap(), "-");
}

fn a_recorder_stops_and_begins_anew<D: Traced>() {
    let api = traced::<D>();
    let run = || {
        api.spawn(|| ());
        assert_eq!(api.run(), End::Completed);
        Told::of(&api).rows.get(&1).map_or(0, Vec::len)
    };
    let one = run();
    assert!(one > 0);
    assert_eq!(run(), 2 * one);
    api.trace(0).unwrap();
    assert_eq!(run(), 2 * one); // What is there stays.
    api.trace(4096).unwrap();
    assert_eq!(run(), one);
    api.trace(4096).unwrap();
    assert_eq!(run(), one);
}

fn what_cannot_be_is_refused<D: Traced>() {
    let api = traced::<D>();
    for events in [(1 << 26) + 1, usize::MAX] {
        assert_eq!(api.trace(events), Err(libc::EINVAL));
    }
    api.spawn(|| ());
    assert_eq!(api.run(), End::Completed);
    assert!(!Told::of(&api).rows.is_empty());
    api.trace(1).unwrap(); // Rounded up.
}

fn a_slot_that_is_used_again_has_one_row<D: Traced>() {
    let api = traced::<D>();
    let inner = api.clone();
    api.spawn(move || {
        for _ in 0..10 {
            let task = inner.spawn(|| ());
            D::join(&task, None).unwrap();
        }
    });
    assert_eq!(api.run(), End::Completed);
    let told = Told::of(&api);
    assert_eq!(told.rows.keys().copied().collect::<Vec<u64>>(), [1, 2]);
    assert_eq!(told.row(2).iter().filter(|event| event.starts_with("!ended")).count(), 10);
    assert!(told.row(1).contains(&"+waits for task"));
}

fn any_name_is_told<D: Traced>() {
    let api = traced::<D>();
    let name = "\"\\\n\t\u{1}</script>é";
    api.spawn_named(name, || ());
    assert_eq!(api.run(), End::Completed);
    assert_eq!(*Told::of(&api).row(1).last().unwrap(), format!("!ended '{name}'"));
}
