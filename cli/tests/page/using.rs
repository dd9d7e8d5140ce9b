//! The page as people use it: by mouse and keys.

use libtest_mimic::Trial;
use serde_json::json;

use crate::browser::{Browser, Tab};
use crate::reading::{details, has};
use crate::traces::{MS, Server, waits};
use crate::{open, recorded, trial, write};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("using::it_opens_without_a_network", without_a_network),
        trial("using::a_click_shows_details", a_click),
        trial("using::the_wheel_zooms_and_dragging_moves", wheel_and_drag),
        trial("using::keys_do_all_of_it", keys),
        trial("using::tasks_are_searched_and_sorted", search_and_sort),
        trial("using::the_longest_are_listed", lists),
        trial("using::it_is_dark_where_people_like_that", dark),
        trial("using::it_fits_into_a_narrow_window", narrow),
        trial("using::the_picture_in_the_documents", picture),
    ]
}

fn server() -> majjen_cli::page::Recorded {
    Server { sessions: 44, requests: 12, entries: 6000 }.run()
}

const NAMES: &str = "[...document.querySelectorAll('#labels .row:not([hidden]):not(.is-loop) .name')]\
    .sort((a, b) => a.getBoundingClientRect().y - b.getBoundingClientRect().y).map(e => e.innerText)";

fn names(tab: &mut Tab) -> Vec<String> {
    let names = tab.value(NAMES);
    names
        .as_array()
        .expect("names")
        .iter()
        .map(|name| name.as_str().unwrap_or("").to_owned())
        .collect()
}

/// The length of the time that is shown.
fn span(tab: &mut Tab) -> String {
    tab.settle();
    tab.text("#span")
}

fn without_a_network() {
    let mut tab = open("server", &[server()]);
    let url = tab.value("location.href");
    assert_eq!(tab.requests(), [url.as_str().unwrap()]);
    assert_eq!(tab.faults(), Vec::<&serde_json::Value>::new());
    assert_eq!(tab.text("h1"), "process 4242 (server)");
    assert_eq!(tab.value("document.title"), "process 4242 (server)");
    assert_eq!(tab.text("#row-count"), "64 tasks");
    let names = names(&mut tab);
    assert_eq!(names[..3], ["listener", "logger", "cleaner"]);
    // Only those that are seen are there.
    assert!((20..40).contains(&names.len()), "{names:?}");
    // Whatever it would ask for is refused.
    tab.value("fetch('https://example.com/').catch(() => {})");
    tab.value(
        "document.body.append(Object.assign(new Image(), { src: 'https://example.com/a.png' }))",
    );
    tab.settle();
    assert_eq!(tab.requests().len(), 1);
    assert!(tab.faults().iter().any(|fault| fault.to_string().contains("Content Security Policy")));
}

/// Where in the window a time of a row is.
fn place(tab: &mut Tab, row: usize, part: f64) -> (f64, f64) {
    let chart = "document.getElementById('chart').getBoundingClientRect()";
    let chart = tab.value(&format!("(box => [box.x, box.y, box.width])({chart})"));
    let number = |at: usize| chart[at].as_f64().unwrap();
    (number(0) + part * number(2), number(1) + 22.0 * row as f64 + 11.0)
}

fn a_click() {
    // All of it is seen, with a margin of 0.5%.
    let entries =
        vec![waits(2 * MS, 0, 0, 3), waits(4 * MS, 1, 1, 0x70 >> 3), waits(8 * MS, 0, 0, 9)];
    let mut tab = open("click", &[recorded(entries, &[(0, "reader"), (1, "writer")])]);
    let (x, y) = place(&mut tab, 2, 0.75);
    tab.click(x, y);
    has(
        &tab.text("#details").replace("\n\n", "\n"),
        &["task 1 'writer'", "waits for mutex …000070", "Length: 4.00 ms"],
    );
    assert!(tab.text("#tip").contains("waits for mutex"), "{}", tab.text("#tip"));
    let (x, y) = place(&mut tab, 1, 0.4);
    tab.click(x, y);
    has(&tab.text("#details").replace("\n\n", "\n"), &["task 0 'reader'", "waits for fd 3"]);
    assert_eq!(tab.value("location.hash"), "#task=0&at=3000000ns");
    // The name of a task.
    tab.click_on("#labels .row:nth-child(2) .task");
    has(&tab.text("#details"), &["task 1 'writer'"]);
    // Where nothing is, nothing is marked.
    tab.click(x, y + 300.0);
    has(&tab.text("#details"), &["Details"]);
    assert_eq!(tab.faults(), Vec::<&serde_json::Value>::new());
}

fn wheel_and_drag() {
    let mut tab =
        open("wheel", &[recorded(vec![waits(80 * MS, 0, 0, 3), waits(100 * MS, 1, 0, 4)], &[])]);
    assert_eq!(span(&mut tab), "101 ms in view");
    let (x, y) = place(&mut tab, 1, 0.9);
    for _ in 0..10 {
        tab.mouse("mouseWheel", x, y, json!({ "deltaX": 0, "deltaY": -200 }));
    }
    assert_eq!(span(&mut tab), "1.85 ms in view");
    // What is under the pointer has stayed there.
    tab.click(x, y);
    has(&tab.text("#details").replace("\n\n", "\n"), &["waits for fd 3", "Length: 20.0 ms"]);
    let drag = |tab: &mut Tab, from: f64, to: f64, modifiers: u64| {
        let button =
            json!({ "button": "left", "buttons": 1, "clickCount": 1, "modifiers": modifiers });
        tab.mouse("mousePressed", from, y, button.clone());
        for step in 1..=4 {
            tab.mouse("mouseMoved", from + (to - from) * f64::from(step) / 4.0, y, button.clone());
        }
        tab.mouse("mouseReleased", to, y, button);
        tab.settle();
    };
    // To the right, again and again: what was before comes into view.
    for _ in 0..30 {
        let (left, right) = (place(&mut tab, 1, 0.05).0, place(&mut tab, 1, 0.95).0);
        drag(&mut tab, left, right, 0);
    }
    let (x, y_of_row) = place(&mut tab, 1, 0.5);
    tab.click(x, y_of_row);
    has(&tab.text("#details").replace("\n\n", "\n"), &["runs", "Length: at least 80.0 ms"]);
    // With Shift, to what is marked.
    let (left, right) = (place(&mut tab, 1, 0.25).0, place(&mut tab, 1, 0.75).0);
    drag(&mut tab, left, right, 8);
    assert_eq!(span(&mut tab), "925 µs in view");
    tab.click_on("#zoom-all");
    assert_eq!(span(&mut tab), "101 ms in view");
    tab.click_on("#zoom-in");
    assert_eq!(span(&mut tab), "50.5 ms in view");
}

fn keys() {
    let mut tab = open("keys", &[server()]);
    let all = span(&mut tab);
    tab.press("w");
    let zoomed_once = span(&mut tab);
    tab.press("+");
    let zoomed = span(&mut tab);
    assert!(zoomed_once != all && zoomed != zoomed_once, "{all} {zoomed_once} {zoomed}");
    tab.press("d");
    tab.press("ArrowLeft");
    assert_eq!(span(&mut tab), zoomed);
    tab.press("s");
    tab.press("-");
    tab.press("w");
    tab.press("0");
    assert_eq!(span(&mut tab), all);
    tab.press("ArrowDown");
    assert!(tab.value("document.getElementById('scroller').scrollTop").as_f64().unwrap() > 0.0);
    tab.press("Home");
    // From slice to slice of a task.
    has(&details(&mut tab, "task=cleaner"), &["task 2 'cleaner'"]);
    tab.press(".");
    has(&tab.text("#details").replace("\n\n", "\n"), &["is ready, and waits for its turn"]);
    tab.press(".");
    has(&tab.text("#details").replace("\n\n", "\n"), &["runs"]);
    tab.press(",");
    has(&tab.text("#details").replace("\n\n", "\n"), &["is ready, and waits for its turn"]);
    tab.press("f");
    tab.press("Escape");
    has(&tab.text("#details"), &["Details"]);
    let help = "!document.getElementById('help').hidden";
    assert_eq!(tab.value(help), false);
    tab.press("?");
    assert_eq!(tab.value(help), true);
    // While something is written, keys are letters.
    tab.press("/");
    assert_eq!(tab.value("document.activeElement.id"), "search");
    let before = span(&mut tab);
    tab.press("w");
    assert_eq!((span(&mut tab), tab.value("document.activeElement.value")), (before, json!("w")));
    assert_eq!(tab.faults(), Vec::<&serde_json::Value>::new());
}

fn search_and_sort() {
    let mut tab = open("search", &[server()]);
    tab.press("/");
    tab.write("LOGGER");
    tab.until("document.getElementById('row-count').innerText === '1 of 64 tasks'");
    tab.settle();
    assert_eq!(names(&mut tab), ["logger"]);
    // A number is that of a task, or is in a name.
    tab.value("document.getElementById('search').value = ''");
    tab.write("4");
    tab.until("document.getElementById('row-count').innerText !== '1 of 64 tasks'");
    tab.settle();
    let found = names(&mut tab);
    assert!(
        found.contains(&"supervisor".to_owned()) && !found.contains(&"listener".to_owned()),
        "{found:?}"
    );
    // What is gone to is there, whatever is searched.
    has(&details(&mut tab, "task=cleaner"), &["task 2 'cleaner'"]);
    assert_eq!(
        (tab.text("#row-count"), tab.value("document.getElementById('search').value")),
        ("64 tasks".into(), json!(""))
    );

    let mut order = |by: &str| {
        let select = "document.getElementById('order')";
        tab.value(&format!("{select}.value = '{by}'; {select}.dispatchEvent(new Event('change'))"));
        tab.settle();
        names(&mut tab)
    };
    assert_eq!(order("run")[..2], ["logger", "cleaner"]);
    assert_eq!(order("turn")[0], "cleaner");
    let waits = order("wait");
    assert!(
        waits[..2].contains(&"shutdown".to_owned())
            && waits[..2].contains(&"supervisor".to_owned()),
        "{waits:?}"
    );
    assert_eq!(order("name")[0], "cleaner");
    assert_eq!(order("first")[0], "listener");

    // Some sessions have ended before.
    tab.value("location.hash = 'from=210ms&to=215ms'");
    tab.click_on("#only-here");
    tab.until("document.getElementById('row-count').innerText !== '64 tasks'");
    let text = tab.text("#row-count");
    let shown: usize = text.split(' ').next().unwrap().parse().unwrap();
    assert!((40..60).contains(&shown), "{text}");
}

fn lists() {
    let mut tab = open("lists", &[server()]);
    tab.click_on("#longest tr button");
    has(
        &tab.text("#details").replace("\n\n", "\n"),
        &["task 2 'cleaner'", "runs", "Length: 3.46 ms"],
    );
    // It is where it can be seen.
    assert_ne!(span(&mut tab), "220 ms in view");
    tab.click_on("#tab-waits");
    let kind = "document.getElementById('kind')";
    tab.value(&format!("{kind}.value = '=mutex'; {kind}.dispatchEvent(new Event('change'))"));
    let lines = tab.text("#longest");
    assert!(
        lines.lines().count() > 10 && lines.contains("mutex …3cea00") && !lines.contains("fd "),
        "{lines}"
    );
    tab.click_on("#longest tr button");
    has(
        &tab.text("#details").replace("\n\n", "\n"),
        &["waits for mutex …3cea00", "Ended by: task 2 'cleaner'"],
    );
    tab.press("Tab");
    tab.click_on("#tab-delays");
    tab.click_on("#longest tr button");
    has(&tab.text("#details").replace("\n\n", "\n"), &["is ready, and waits for its turn"]);
    // Only what is in view.
    tab.value("location.hash = 'from=1ms&to=2ms'");
    tab.click_on("#tab-turns");
    tab.click_on("#list-here");
    tab.settle();
    assert!(!tab.text("#longest").contains("3.46 ms"), "{}", tab.text("#longest"));
    assert_eq!(tab.faults(), Vec::<&serde_json::Value>::new());
}

fn dark() {
    // A task that runs all the time: the middle of its row is a turn.
    let mut tab = open("dark", &[recorded(vec![waits(MS, 0, 0, 3)], &[])]);
    let pixel = "[...document.getElementById('chart').getContext('2d').getImageData(300, 33, 1, 1).data.slice(0, 3)]";
    assert_eq!(tab.value(pixel), json!([0x00, 0x72, 0xb2]));
    tab.make_dark(true);
    assert_eq!(tab.value(pixel), json!([0x4b, 0xa3, 0xe3]));
    let page = "getComputedStyle(document.body).backgroundColor";
    assert_eq!(tab.value(page), "rgb(20, 23, 28)");
}

fn narrow() {
    let url = write("narrow", "process 4242 (server)", &[server()]);
    let mut tab = Browser::start("narrow").open(&url, 640, 800);
    tab.settle();
    for (part, least) in
        [("#chart", 150.0), ("#legend", 20.0), ("#details", 40.0), ("#longest", 90.0)]
    {
        let bounds = format!("document.querySelector('{part}').getBoundingClientRect()");
        let bounds = tab.value(&format!("(box => [box.right, box.bottom, box.height])({bounds})"));
        let [right, bottom, height] = [0, 1, 2].map(|at| bounds[at].as_f64().unwrap());
        assert!(right <= 640.5 && bottom <= 800.5 && height > least, "{part}: {bounds}");
    }
}

/// `docs/images/trace.png` is what the page looks like.
fn picture() {
    let path = crate::browser::root().join("docs/images/trace.png");
    if std::env::var_os("MAJJEN_BLESS").is_some() {
        let url = write("picture", "process 4242 (server)", &[server()]);
        let mut tab = Browser::start("picture").open(&url, 1180, 600);
        tab.value("location.hash = 'from=120ms&to=150ms'");
        details(&mut tab, "task=8&at=135ms");
        std::fs::write(&path, tab.screenshot()).expect("a file");
    }
    let bytes = std::fs::metadata(&path).expect("the picture").len();
    assert!((10_000..200_000).contains(&bytes), "{bytes} bytes");
}
