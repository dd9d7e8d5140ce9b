//! Numbers with their nouns, for messages.

use std::fmt;

/// A number and a noun, in the singular and the plural: `1 task`, `2 tasks`.
pub struct Counted(pub usize, pub &'static str, pub &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counted(count, one, many) = *self;
        write!(out, "{count} {}", if count == 1 { one } else { many })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        let texts = [0, 1, 2].map(|count| Counted(count, "mutex", "mutexes").to_string());
        assert_eq!(texts, ["0 mutexes", "1 mutex", "2 mutexes"]);
    }
}
