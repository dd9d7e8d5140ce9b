//! The library's histograms: buckets whose widths grow with the values.

/// How many of the values in counts are new since others were read.
pub fn since(now: &[u64], before: &[u64]) -> Vec<u64> {
    let before = before.iter().copied().chain(std::iter::repeat(0));
    now.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect()
}

/// The value that so many percent of the values do not exceed, rounded up to the end of its bucket; `None` without
/// values. A power of two has so many buckets as `parts` says.
pub fn quantile(counts: &[u64], parts: u64, percent: u64) -> Option<u64> {
    let total: u128 = counts.iter().map(|count| u128::from(*count)).sum();
    let rank = (total * u128::from(percent)).div_ceil(100).max(1);
    let mut seen = 0;
    let place = counts.iter().position(|count| {
        seen += u128::from(*count);
        seen >= rank
    })?;
    Some(last_value(place as u64, parts))
}

fn last_value(bucket: u64, parts: u64) -> u64 {
    let shift = (bucket / parts).saturating_sub(1);
    let leading = bucket - shift * parts + 1;
    leading
        .checked_shl(shift as u32)
        .filter(|value| value >> shift == leading)
        .map_or(u64::MAX, |end| end - 1)
}

#[cfg(test)]
mod tests {
    use super::{last_value, quantile, since};

    #[test]
    fn buckets_are_those_of_the_library() {
        // Up to 15 each value has its own; then eight share a power of two.
        assert_eq!(
            [0, 7, 15, 16, 23, 24].map(|bucket| last_value(bucket, 8)),
            [0, 7, 15, 17, 31, 35]
        );
        assert_eq!(last_value(5000, 8), u64::MAX);
    }

    #[test]
    fn quantiles_are_of_what_is_new() {
        let before = [5, 0, 100, 0];
        let now = [5, 98, 100, 2];
        let new = since(&now, &before);
        assert_eq!(new, [0, 98, 0, 2]);
        assert_eq!(
            [50, 98, 99, 100].map(|percent| quantile(&new, 8, percent)),
            [1, 1, 3, 3].map(Some)
        );
        assert_eq!(quantile(&since(&now, &now), 8, 50), None);
        assert_eq!(since(&[1, 2], &[]), [1, 2]);
    }
}
