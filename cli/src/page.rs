//! The page that shows what a flight recorder has recorded: one file of HTML with everything in it, which a browser
//! opens from a disk and which asks no network for anything.
//!
//! Its parts are in `page/`. The data stand in it as JSON, and as the entries in base64; `page/model.js` says what
//! an entry means. Names come from the process, which may be hostile: they are JSON in an element that is no
//! program, without a `<` that could end it, and the page makes text of them only. Should that have a hole, scripts
//! run only with a number that the process cannot know.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};

use serde_json::json;

/// What was recorded of a scheduler.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    pub name: String,
    /// How many entries were overwritten before the first one.
    pub lost: u64,
    /// What a task may wait for, by the numbers that entries have.
    pub kinds: Vec<String>,
    /// The tasks that were alive at the end: the number, and the name.
    pub names: Vec<(u32, String)>,
    /// The time, and a word that says what happened then.
    pub entries: Vec<[u64; 2]>,
}

/// The parts, in this order: the later ones use the earlier ones.
const PROGRAM: [&str; 13] = [
    include_str!("page/words.js"),
    include_str!("page/elements.js"),
    include_str!("page/slices.js"),
    include_str!("page/model.js"),
    include_str!("page/rows.js"),
    include_str!("page/paint.js"),
    include_str!("page/ruler.js"),
    include_str!("page/labels.js"),
    include_str!("page/timeline.js"),
    include_str!("page/pointer.js"),
    include_str!("page/details.js"),
    include_str!("page/lists.js"),
    include_str!("page/main.js"),
];

/// Writes the page.
pub fn write(out: &mut impl Write, title: &str, schedulers: &[Recorded]) -> io::Result<()> {
    let mut rest = include_str!("page/page.html");
    let nonce = format!("{:016x}", RandomState::new().hash_one(0));
    while let Some((before, marked)) = rest.split_once("{{") {
        let (mark, after) = marked.split_once("}}").expect("the end of a mark");
        out.write_all(before.as_bytes())?;
        match mark {
            "title" => out.write_all(escaped(title).as_bytes())?,
            "nonce" => out.write_all(nonce.as_bytes())?,
            "style" => out.write_all(include_str!("page/page.css").as_bytes())?,
            "program" => PROGRAM.iter().try_for_each(|part| out.write_all(part.as_bytes()))?,
            "tables" => write_tables(out, title, schedulers)?,
            "entries" => write_entries(out, schedulers)?,
            _ => unreachable!("a mark that nobody has written"),
        }
        rest = after;
    }
    out.write_all(rest.as_bytes())
}

/// A text between tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn write_tables(out: &mut impl Write, title: &str, schedulers: &[Recorded]) -> io::Result<()> {
    let schedulers: Vec<_> = schedulers
        .iter()
        .map(|recorded| {
            json!({
                "name": recorded.name,
                "lost": recorded.lost,
                "kinds": recorded.kinds,
                "names": recorded.names,
            })
        })
        .collect();
    let tables = json!({ "title": title, "schedulers": schedulers }).to_string();
    // In JSON it can only be a part of a text.
    out.write_all(tables.replace('<', "\\u003c").as_bytes())
}

/// An element for each scheduler.
fn write_entries(out: &mut impl Write, schedulers: &[Recorded]) -> io::Result<()> {
    for recorded in schedulers {
        out.write_all(b"<script type=\"text/plain\" class=\"entries\">")?;
        let mut text = String::new();
        // Three entries are 48 bytes, which are 64 characters. A line has a few thousand.
        for entries in recorded.entries.chunks(3 * 64) {
            text.clear();
            for three in entries.chunks(3) {
                let mut bytes = [0; 48];
                for (place, word) in bytes.chunks_mut(8).zip(three.as_flattened()) {
                    place.copy_from_slice(&word.to_le_bytes());
                }
                push_base64(&mut text, &bytes[..16 * three.len()]);
            }
            text.push('\n');
            out.write_all(text.as_bytes())?;
        }
        out.write_all(b"</script>\n")?;
    }
    Ok(())
}

fn push_base64(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Recorded, push_base64, write};

    fn page(title: &str, schedulers: &[Recorded]) -> String {
        let mut page = Vec::new();
        write(&mut page, title, schedulers).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            let mut text = String::new();
            push_base64(&mut text, bytes.as_bytes());
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn entries_stand_in_it() {
        let entries = vec![[0x0102, 0x0304], [5, u64::MAX], [6, 7], [8, 9]];
        let text = page("a", &[Recorded { entries, ..Recorded::default() }]);
        let text = text.split("class=\"entries\">").nth(1).unwrap();
        let expected = "AgEAAAAAAAAEAwAAAAAAAAUAAAAAAAAA//////////8GAAAAAAAAAAcAAAAAAAAA\
            CAAAAAAAAAAJAAAAAAAAAA==\n</script>";
        assert!(text.starts_with(expected), "{}", text.split('<').next().unwrap());
    }

    #[test]
    fn no_text_ends_its_element() {
        let evil = "</script></title><script>alert(1)</script><!--&lt;\u{2028}\"\\{{nonce}}";
        let harmless = page("", &[Recorded::default()]);
        let recorded = Recorded {
            name: evil.to_owned(),
            kinds: vec![evil.to_owned()],
            names: vec![(1, evil.to_owned())],
            ..Recorded::default()
        };
        let text = page(evil, &[recorded]);
        for tag in ["<script", "</script", "</title", "<!--"] {
            assert_eq!(text.matches(tag).count(), harmless.matches(tag).count(), "{tag}");
        }
        assert!(text.contains("<title>&lt;/script&gt;"));
    }

    #[test]
    fn no_two_pages_have_the_same_number() {
        let number = |text: &str| {
            text.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned()
        };
        let (one, other) = (number(&page("", &[])), number(&page("", &[])));
        assert!(one.len() == 16 && one != other, "{one} {other}");
    }
}
