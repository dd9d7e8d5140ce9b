//! A process that is recorded may write whatever it likes: the page shows it as text, and never fails.

use libtest_mimic::Trial;
use majjen_cli::page::Recorded;
use serde_json::Value;

use crate::reading::details;
use crate::traces::{CREATED, ENDED, MS, entry, left_loop, texts, waits};
use crate::{browser::Browser, open, recorded, trial, write};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("hostile::names_are_texts", names),
        trial("hostile::entries_may_be_anything", entries),
        trial("hostile::nothing_recorded_is_a_page_too", nothing),
    ]
}

const EVIL: &str =
    "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>";

fn names() {
    let mut entries = vec![entry(MS, CREATED, 1, 0), left_loop(MS, 0), entry(2 * MS, ENDED, 1, 0)];
    entries.extend(texts("<b>x</b>\u{202e}\u{7}"));
    entries.push(waits(3 * MS, 2, 0, 1));
    let evil = Recorded {
        name: EVIL.to_owned(),
        kinds: vec![EVIL.to_owned()],
        ..recorded(entries, &[(2, EVIL), (3, "<!--"), (4, "a\u{2028}b\0c\u{200b}")])
    };
    let url = write("hostile-names", EVIL, &[evil]);
    let mut tab = Browser::start("hostile-names").open(&url, 1200, 700);
    assert_eq!(tab.text("h1"), EVIL);
    for (slot, name) in
        [(1, "<b>x</b>\\u{202e}\\u{7}"), (2, EVIL), (3, "<!--"), (4, "a\\u{2028}b\\u{0}c\\u{200b}")]
    {
        let text = details(&mut tab, &format!("task={slot}"));
        assert!(text.starts_with(&format!("task {slot} '{name}'\n")), "{text}");
    }
    let text = details(&mut tab, "task=2&at=4ms");
    assert!(text.contains(&format!("waits for {EVIL}")) || text.contains("runs"), "{text}");
    details(&mut tab, "task=<img src=x onerror=alert(1)>&at=x&from=y");
    assert_eq!(tab.value("window.pwned"), Value::Null);
    assert_eq!(tab.value("document.querySelectorAll('img, b').length"), 0);
    assert_eq!(tab.requests().len(), 1);
}

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn entries() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // Any bits at all; any codes of few tasks, with times that go on, or back; and all bits set, or none.
    let any = (0..20_000).map(|_| [random.next(), random.next()]).collect();
    let mut random = Random(7);
    let mut time = 0;
    let codes = (0..60_000)
        .map(|_| {
            let step = random.next() % 1000;
            time = if random.next().is_multiple_of(50) {
                random.next() % 1_000_000
            } else {
                time + step
            };
            let (code, slot, above) = (random.next() % 12, random.next() % 9, random.next() % 3);
            entry(time, code, slot, above)
        })
        .collect();
    let all = vec![[u64::MAX; 2]; 100];
    let none = vec![[0; 2]; 100];
    let schedulers = [any, codes, all, none].map(|entries| Recorded {
        lost: u64::MAX,
        names: vec![(u32::MAX, String::new()), (0, "a".to_owned()), (0, "b".to_owned())],
        ..recorded(entries, &[])
    });
    // Alone too: beside others, some have hardly a pixel.
    for (place, schedulers) in schedulers.chunks(1).chain([&schedulers[..]]).enumerate() {
        let mut tab = open(&format!("hostile-entries-{place}"), schedulers);
        for key in ["w", "w", "w", "ArrowDown", "PageDown", "d", "End", "Home", "0", "."] {
            tab.press(key);
        }
        for tab_name in ["waits", "delays", "turns"] {
            tab.click_on(&format!("#tab-{tab_name}"));
            if tab.value("document.querySelector('#longest button') !== null") == true {
                tab.click_on("#longest button");
                tab.press(".");
                tab.press("f");
                tab.press(",");
            }
        }
        for y in [170.0, 190.0, 260.0, 400.0] {
            for x in [260.0, 500.0, 700.0, 830.0] {
                tab.click(x, y);
            }
        }
        for row in 1..4 {
            tab.value(&format!("document.querySelectorAll('#labels .task')[{row}]?.click()"));
        }
        tab.settle();
        assert_eq!(tab.faults(), Vec::<&Value>::new());
    }
}

fn nothing() {
    for (place, schedulers) in
        [vec![], vec![Recorded::default()], vec![recorded(vec![], &[(7, "silent")])]]
            .iter()
            .enumerate()
    {
        let mut tab = open(&format!("nothing-{place}"), schedulers);
        for key in ["w", "0", "."] {
            tab.press(key);
        }
        tab.click(600.0, 300.0);
        assert_eq!(tab.faults(), Vec::<&Value>::new());
    }
}
