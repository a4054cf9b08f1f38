//! Tables and lines of usage, for a terminal of 80 columns.

use std::time::Duration;

use syft_endpoints::proto::{
    Cost, SummarizeUsageResponse, TimeBucket, UsageShare, UsageSpread, UsageTotals, moment,
};

use crate::cli::output::plain;

/// Columns of a line over time at most.
const LINE: usize = 60;
/// Columns of a name.
const NAME: usize = 28;
/// Heights of a column.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Everything that there is to show. Headings are bold with `color`.
pub(super) fn tables(summary: &SummarizeUsageResponse, bucket: TimeBucket, color: bool) -> String {
    let heading = |text: &str| if color { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() };
    let (from, to) = (minute(&moment(summary.start_time)), minute(&moment(summary.end_time)));
    let mut text = format!("{}\n\n", heading(&format!("Usage from {from} to {to} UTC")));
    let totals = summary.totals.clone().unwrap_or_default();
    text.push_str(&sums(&totals));
    if totals.queries == 0 {
        return text;
    }
    text.push_str(&format!("\n{}\n", heading(&format!("By {}", unit(bucket)))));
    text.push_str(&lines(summary, bucket));
    for (title, shares) in [("Top callers", &summary.top_callers), ("Top endpoints", &summary.top_endpoints)]
    {
        if !shares.is_empty() {
            let columns = format!("{title:NAME$} {:>8} {:>9} {:>8}  cost", "queries", "completed", "tokens");
            text.push_str(&format!("\n{}\n", heading(&columns)));
            shares.iter().for_each(|share| text.push_str(&row(share)));
        }
    }
    text
}

fn sums(totals: &UsageTotals) -> String {
    let mut text = format!("queries      {}\n", count(totals.queries));
    if totals.queries == 0 {
        return text;
    }
    let ended = [
        ("completed", totals.completed),
        ("refused", totals.refused),
        ("failed", totals.failed),
        ("cancelled", totals.cancelled),
    ];
    let ended = ended.map(|(name, number)| format!("{} {name}", count(number))).join(" · ");
    text.push_str(&format!("             {ended}\n"));
    text.push_str(&format!("callers      {}\n", count(totals.callers)));
    let (read, written) = (count(totals.prompt_tokens), count(totals.completion_tokens));
    text.push_str(&format!("tokens       {read} read · {written} written\n"));
    if !totals.costs.is_empty() {
        text.push_str(&format!("cost         {}\n", costs(&totals.costs, 66)));
    }
    for (name, spread) in [("latency", &totals.latency), ("first token", &totals.first_token_delay)] {
        if let Some(spread) = spread {
            text.push_str(&format!("{name:12} {}\n", times(spread)));
        }
    }
    text
}

/// Queries, those that were not answered, and tokens, over time.
fn lines(summary: &SummarizeUsageResponse, bucket: TimeBucket) -> String {
    let numbers = |number: fn(&UsageTotals) -> i64| -> Vec<i64> {
        summary.buckets.iter().map(|bucket| bucket.totals.as_ref().map_or(0, number)).collect()
    };
    let tokens = |totals: &UsageTotals| totals.prompt_tokens.saturating_add(totals.completion_tokens);
    let (each, mut text) = (summary.buckets.len().div_ceil(LINE).max(1), String::new());
    let shown: [(&str, Vec<i64>); 3] = [
        ("queries", numbers(|totals| totals.queries)),
        ("unanswered", numbers(|totals| totals.queries - totals.completed)),
        ("tokens", numbers(tokens)),
    ];
    for (name, numbers) in shown {
        let numbers = joined(&numbers, each);
        let most = numbers.iter().copied().max().unwrap_or_default();
        text.push_str(&format!("{name:12} {} max {}\n", line(&numbers), count(most)));
    }
    let starts = [summary.buckets.first(), summary.buckets.last()];
    let starts = starts.map(|bucket| bucket.map(|bucket| moment(bucket.start_time)).unwrap_or_default());
    let [first, last] = starts.map(|start| match bucket {
        TimeBucket::Hour => minute(&start),
        _ => start.chars().take(10).collect(),
    });
    let several = if each > 1 { format!(", {each} {}s a column", unit(bucket)) } else { String::new() };
    text.push_str(&format!("             {first} … {last}{several}\n"));
    text
}

/// Sums of `each` numbers, from the last back.
fn joined(numbers: &[i64], each: usize) -> Vec<i64> {
    let sum = |numbers: &[i64]| numbers.iter().fold(0_i64, |sum, number| sum.saturating_add(*number));
    let mut joined: Vec<i64> = numbers.rchunks(each).map(sum).collect();
    joined.reverse();
    joined
}

/// A column for each number, as high as the number is of the largest. Nothing is a blank, little is something.
fn line(numbers: &[i64]) -> String {
    let most = i128::from(numbers.iter().copied().max().unwrap_or_default().max(1));
    let column = |number: &i64| match i128::from(*number) {
        ..=0 => ' ',
        number => {
            let height = usize::try_from((number * 8 + most - 1) / most).unwrap_or(8).clamp(1, 8);
            BARS[height - 1]
        }
    };
    numbers.iter().map(column).collect()
}

fn row(share: &UsageShare) -> String {
    let tokens = share.prompt_tokens.saturating_add(share.completion_tokens);
    let line = format!(
        "{:NAME$} {:>8} {:>9} {:>8}  {}",
        cut(&plain(&share.name), NAME),
        count(share.queries),
        count(share.completed),
        count(tokens),
        costs(&share.costs, 80 - NAME - 30),
    );
    format!("{}\n", line.trim_end())
}

/// Amounts with their currencies, as many as fit.
fn costs(costs: &[Cost], columns: usize) -> String {
    let amount = |cost: &Cost| format!("{} {}", cost.units(), plain(&cost.currency)).trim_end().to_owned();
    cut(&costs.iter().map(amount).collect::<Vec<_>>().join(" · "), columns)
}

fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let head: String = text.chars().take(columns - 1).collect();
    format!("{head}…")
}

fn times(spread: &UsageSpread) -> String {
    let times = [("p50", spread.p50), ("p95", spread.p95), ("max", spread.max)];
    let told = times.into_iter().filter_map(|(name, time)| {
        let time = Duration::try_from(time?).ok()?;
        Some(format!("{name} {}", length(time)))
    });
    told.collect::<Vec<_>>().join(" · ")
}

fn length(time: Duration) -> String {
    match time.as_millis() {
        0 => format!("{} µs", time.as_micros()),
        millis @ 1..=999 => format!("{millis} ms"),
        1_000..=59_999 => format!("{:.1} s", (time.as_millis() / 100) as f64 / 10.0),
        _ => format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

/// Whole as long as it is short: `12,345`, then `1.2M`.
fn count(number: i64) -> String {
    if number < 1_000_000 {
        let digits = number.to_string();
        return match digits.len() {
            ..=3 => digits,
            length => format!("{},{}", &digits[..length - 3], &digits[length - 3..]),
        };
    }
    let (mut tenths, mut unit) = (number / 100_000, 0);
    while tenths >= 10_000 && unit < 4 {
        (tenths, unit) = (tenths / 1_000, unit + 1);
    }
    format!("{}.{}{}", tenths / 10, tenths % 10, ['M', 'G', 'T', 'P', 'E'][unit])
}

fn unit(bucket: TimeBucket) -> &'static str {
    match bucket {
        TimeBucket::Hour => "hour",
        TimeBucket::Week => "week",
        TimeBucket::Day | TimeBucket::Unspecified => "day",
    }
}

/// The first sixteen characters of a moment: its day, hour and minute.
fn minute(moment: &str) -> String {
    moment.chars().take(16).map(|character| if character == 'T' { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use syft_endpoints::proto::{
        Cost, SummarizeUsageResponse, TimeBucket, UsageBucket, UsageShare, UsageSpread, UsageTotals,
    };

    use super::{count, joined, length, line, tables};

    fn time(micros: i64) -> Option<prost_types::Duration> {
        let nanos = i32::try_from(micros % 1_000_000).unwrap() * 1_000;
        Some(prost_types::Duration { seconds: micros / 1_000_000, nanos })
    }

    fn spread(p50: i64, p95: i64, max: i64) -> Option<UsageSpread> {
        Some(UsageSpread { p50: time(p50), p95: time(p95), max: time(max) })
    }

    fn cost(nano_units: i64, currency: &str) -> Cost {
        Cost { nano_units, currency: currency.to_owned() }
    }

    fn at(day: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds: 1_772_582_400 + day * 86_400, nanos: 0 })
    }

    fn bucket(day: i64) -> UsageBucket {
        let queries = (day * 7) % 11 * 10;
        let totals = UsageTotals {
            queries,
            completed: queries - day % 3 * queries / 4,
            prompt_tokens: queries * 100,
            completion_tokens: queries,
            ..UsageTotals::default()
        };
        UsageBucket { start_time: at(day), totals: Some(totals) }
    }

    fn share(name: &str, queries: i64, costs: &[(i64, &str)]) -> UsageShare {
        UsageShare {
            name: name.to_owned(),
            queries,
            completed: queries - 1,
            prompt_tokens: queries * 1_000,
            completion_tokens: 17,
            costs: costs.iter().map(|(nano_units, currency)| cost(*nano_units, currency)).collect(),
            ..UsageShare::default()
        }
    }

    fn summary(days: i64) -> SummarizeUsageResponse {
        let long = format!("{}\u{1b}[31m@example.org", "long".repeat(20));
        SummarizeUsageResponse {
            start_time: at(0),
            end_time: at(days),
            totals: Some(UsageTotals {
                queries: 1_234_567,
                completed: 1_200_000,
                refused: 34_000,
                failed: 560,
                cancelled: 7,
                prompt_tokens: i64::MAX,
                completion_tokens: 98_765,
                costs: vec![cost(500_000_000, "EUR"), cost(12_500_000_001, "USD")],
                callers: 17,
                latency: spread(850, 1_234_567, 130_000_000),
                first_token_delay: spread(80_000, 400_000, 59_990_000),
            }),
            buckets: (0..days).map(bucket).collect(),
            top_callers: vec![
                share("alice@example.org", 1_000_000, &[(12_500_000_001, "USD")]),
                share(&long, 999, &[(1, "EUR"), (2, "USD"), (3, "credits")]),
            ],
            top_endpoints: vec![share("legal-qa", 12, &[])],
        }
    }

    #[test]
    fn usage_fits_on_a_terminal() {
        for (days, bucket) in [(8, TimeBucket::Day), (150, TimeBucket::Day), (1, TimeBucket::Hour)] {
            let drawn = tables(&summary(days), bucket, false);
            assert!(drawn.lines().all(|line| line.chars().count() <= 80), "{drawn}");
            assert!(!drawn.contains('\x1b'), "{drawn}");
        }
        assert!(tables(&summary(8), TimeBucket::Day, true).contains("\x1b[1mTop callers"));
        insta::assert_snapshot!(tables(&summary(8), TimeBucket::Day, false));
        insta::assert_snapshot!("a_long_range", tables(&summary(150), TimeBucket::Day, false));
        let nothing = SummarizeUsageResponse { totals: None, ..summary(3) };
        insta::assert_snapshot!("nothing", tables(&nothing, TimeBucket::Day, false));
    }

    #[test]
    fn columns_are_as_high_as_their_numbers() {
        assert_eq!(line(&[0, 1, 50, 100]), " ▁▄█");
        assert_eq!(line(&[0, 0]), "  ");
        assert_eq!(line(&[i64::MAX, i64::MAX / 2, 1]), "█▄▁");
        assert_eq!(line(&[]), "");
        assert_eq!(joined(&[1, 2, 3, 4, 5], 2), [1, 5, 9]);
        assert_eq!(joined(&[i64::MAX, 1], 2), [i64::MAX]);
    }

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (12_345, "12,345"),
            (999_999, "999,999"),
            (1_234_567, "1.2M"),
            (999_999_999, "999.9M"),
            (1_000_000_000, "1.0G"),
            (i64::MAX, "9.2E"),
        ] {
            assert_eq!(count(number), text);
        }
        for (micros, text) in
            [(0, "0 µs"), (999, "999 µs"), (1_000, "1 ms"), (59_999_999, "59.9 s"), (61_000_000, "1 min 1 s")]
        {
            assert_eq!(length(std::time::Duration::from_micros(micros)), text);
        }
    }
}
