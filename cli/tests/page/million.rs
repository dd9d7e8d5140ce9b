//! A million entries: the page opens, and stays fluent.

use std::time::Instant;

use libtest_mimic::Trial;
use serde_json::json;

use crate::traces::Server;
use crate::{open, trial};

pub fn trials() -> Vec<Trial> {
    vec![trial("million::grows_with_the_entries_only", grows_with_the_entries_only)]
}

struct Figures {
    opened_ms: f64,
    /// How many rectangles it draws at a time.
    rectangles: f64,
}

fn measure(entries: usize) -> Figures {
    let server = Server { sessions: entries / 100, requests: 1, entries }.run();
    let mut tab = open(&format!("entries-{entries}"), &[server]);
    let opened = "Number(document.documentElement.dataset.openedMs)";
    let opened_ms = tab.value(opened).as_f64().expect("a time");
    tab.value(
        "window.rectangles = 0; const fill = CanvasRenderingContext2D.prototype.fillRect; \
         CanvasRenderingContext2D.prototype.fillRect = function (...where) { \
             rectangles++; return fill.apply(this, where); }",
    );
    let mut most = 0.0f64;
    let begin = Instant::now();
    for _ in 0..20 {
        tab.mouse("mouseWheel", 600.0, 400.0, json!({ "deltaX": 0, "deltaY": -100 }));
        tab.settle();
        let rectangles = tab.value("rectangles / (rectangles = 0, 1)");
        most = most.max(rectangles.as_f64().expect("a number"));
    }
    let (zoomed, tasks) = (begin.elapsed(), tab.text("#row-count"));
    println!("{entries} entries, {tasks}: opened in {opened_ms} ms, 20 zooms in {zoomed:?}");
    tab.press("End");
    tab.press("0");
    assert_eq!(tab.faults(), Vec::<&serde_json::Value>::new());
    Figures { opened_ms, rectangles: most }
}

fn grows_with_the_entries_only() {
    let (small, large) = (measure(100_000), measure(1_000_000));
    // Ten times, and less, for what both need; 100 times would be the square.
    assert!(large.opened_ms < 30.0 * small.opened_ms, "{} {}", large.opened_ms, small.opened_ms);
    // What is drawn is as much as there are pixels: about 30 rows, with 600 each.
    let most = small.rectangles.max(30.0 * 600.0);
    assert!(large.rectangles < 2.0 * most, "{} {most}", large.rectangles);
    println!("at most {} and {} rectangles", small.rectangles, large.rectangles);
}
