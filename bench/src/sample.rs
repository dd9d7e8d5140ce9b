//! Samples: the values of repeated measurements.

use std::collections::BTreeMap;

/// The values that a contender reported, by name, one for each repeat.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    values: BTreeMap<String, Vec<f64>>,
}

/// The median of the values, and their range.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Samples {
    pub fn add(&mut self, reported: BTreeMap<String, f64>) {
        for (name, value) in reported {
            self.values.entry(name).or_default().push(value);
        }
    }

    pub fn get(&self, name: &str) -> Option<Spread> {
        Spread::of(self.values.get(name)?)
    }

    /// Of each repeat the value beside the one of others, which ran right before or after it.
    pub fn of(&self, others: &Samples, name: &str) -> Option<Spread> {
        Spread::of_pairs(self.values.get(name)?, others.values.get(name)?)
    }
}

impl Spread {
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Spread { median, least, most })
    }

    /// Of each value beside the other one of its pair.
    pub fn of_pairs(values: &[f64], others: &[f64]) -> Option<Spread> {
        let pairs = values.iter().zip(others).map(|(value, other)| value / other);
        Spread::of(&pairs.collect::<Vec<_>>())
    }

    pub fn scaled(self, factor: f64) -> Spread {
        let Spread { median, least, most } = self;
        Spread { median: median * factor, least: least * factor, most: most * factor }
    }

    /// `median (least..most)`.
    pub fn in_words(self) -> String {
        let (median, least, most) = (short(self.median), short(self.least), short(self.most));
        if least == most { median } else { format!("{median} ({least}..{most})") }
    }
}

/// A number with three significant digits or all digits before the point.
pub fn short(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if size >= 100.0 || size == 0.0 => 0,
        _ if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::{Spread, short};

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = Spread::of(&[5.0, 1.0, 3.0]).unwrap();
        assert_eq!((spread.median, spread.least, spread.most), (3.0, 1.0, 5.0));
        assert_eq!(Spread::of(&[1.0, 2.0]).unwrap().median, 1.5);
        assert!(Spread::of(&[]).is_none());
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(
            [short(1.234), short(12.34), short(1234.4), short(0.0)],
            ["1.23", "12.3", "1234", "0"]
        );
    }
}
