//! Percentiles and medians of small samples, by sorting.

/// The value below which `share` of the values lie.
pub fn percentile(values: &[u64], share: f64) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).or(sorted.last()).copied().unwrap_or(0)
}

/// The same of nanoseconds, in milliseconds.
pub fn percentile_ms(nanos: &[u64], share: f64) -> f64 {
    percentile(nanos, share) as f64 / 1e6
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.as_slice() {
        [] => f64::NAN,
        sorted if sorted.len().is_multiple_of(2) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        sorted => sorted[middle],
    }
}
