//! Against the definition: every admission is remembered, and summed up anew.

use proptest::prelude::*;

use super::*;

/// What a test does next.
#[derive(Debug, Clone)]
enum Step {
    /// Time passes, in thousandths of the period.
    Pass(i64),
    Ask(Amount),
    /// The oldest query that runs ends, having used so many per cent.
    End(i64),
}

/// Everything that was admitted: when, how much, whether it still runs.
#[derive(Default)]
struct Model {
    admitted: Vec<(i64, Amount, bool)>,
}

impl Model {
    fn sum(&self, after: i64) -> Amount {
        self.admitted.iter().filter(|(at, ..)| *at > after).map(|(_, amount, _)| *amount).sum()
    }
}

fn tokens(output: i64) -> Amount {
    Amount { requests: 1, input_tokens: 2 * output, output_tokens: output }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..30_i64).prop_map(Step::Pass),
        1 => (0..1_100_i64).prop_map(Step::Pass),
        4 => (0..40_i64).prop_map(|output| Step::Ask(tokens(output))),
        3 => (0..=100_i64).prop_map(Step::End),
    ]
}

fn period() -> impl Strategy<Value = Period> {
    prop_oneof![Just(Period::Minute), Just(Period::Hour), Just(Period::Day), Just(Period::Month)]
}

fn caps() -> impl Strategy<Value = Vec<Cap>> {
    prop_oneof![
        (1..20_u64).prop_map(|most| vec![Cap::requests(most)]),
        (1..200_u64).prop_map(|most| vec![Cap::input_tokens(most)]),
        (1..200_u64).prop_map(|most| vec![Cap::output_tokens(most)]),
        (1..900_i128).prop_map(|most| vec![Cap::cost(most, 2, 5)]),
        (1..20_u64, 1..200_u64).prop_map(|(n, most)| vec![Cap::requests(n), Cap::output_tokens(most)]),
    ]
}

fn put(buckets: &mut Vec<Bucket>, place: Place, used: Amount, held: Amount) {
    let Some(bucket) = buckets.iter_mut().find(|bucket| bucket.place == place) else {
        buckets.push(Bucket { place, used, held });
        return;
    };
    (bucket.used, bucket.held) = (bucket.used + used, bucket.held + held);
}

/// Plays the steps, and checks each decision against the sum of what was admitted.
fn play(frame: Frame, caps: &[Cap], start: i64, steps: Vec<Step>) -> Result<usize, TestCaseError> {
    let (length, grain) = (frame.period().length(), frame.place(0).grain);
    let (mut now, mut buckets, mut model, mut running) = (start, Vec::new(), Model::default(), Vec::new());
    for step in steps {
        match step {
            Step::Pass(part) => now += length / 1_000 * part + part,
            Step::End(part) if !running.is_empty() => {
                let (i, place): (usize, Place) = running.remove(0);
                let (_, amount, runs) = &mut model.admitted[i];
                let held = *amount;
                *amount = Amount { requests: 1, ..tokens(held.output_tokens * part / 100) };
                *runs = false;
                put(&mut buckets, place, *amount, Amount::default() - held);
            }
            Step::End(_) => {}
            Step::Ask(need) => {
                let fits =
                    |after: i64| caps.iter().all(|cap| cap.measure(model.sum(after) + need) <= cap.most);
                // The window itself, and all that may go on counting.
                let (after, slack) = match frame {
                    Frame::Rolling(_) => (now - length, now - length - grain),
                    Frame::Fixed(period) => (period.begin(now) - 1, period.begin(now) - 1),
                };
                match shortage((frame, caps), now, &buckets, need) {
                    None => {
                        prop_assert!(fits(after), "admitted beyond the limit");
                        let place = frame.place(now);
                        put(&mut buckets, place, Amount::default(), need);
                        running.push((model.admitted.len(), place));
                        model.admitted.push((now, need, true));
                    }
                    Some(short) => {
                        prop_assert!(!fits(slack), "refused although there was room");
                        let later = now + i64::try_from(short.resets_after.as_micros()).unwrap();
                        let again = shortage((frame, caps), later, &buckets, need);
                        let never = caps.iter().any(|cap| cap.measure(need) > cap.most);
                        prop_assert_eq!(again.is_none(), !never, "it does not reset when it says");
                        prop_assert_eq!(short.retry_after.is_none(), never);
                    }
                }
            }
        }
        // What upkeep deletes counts nowhere.
        buckets.retain(|bucket| frame.stale_at(bucket.place) >= now);
        prop_assert!(buckets.len() <= 64, "{} buckets", buckets.len());
    }
    Ok(model.admitted.len())
}

proptest! {
    #[test]
    fn no_window_ever_holds_more_and_no_room_is_refused(
        (period, is_fixed, caps) in (period(), any::<bool>(), caps()),
        start in 1_600_000_000_000_000_i64..1_900_000_000_000_000,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let frame = if is_fixed { Frame::Fixed(period) } else { Frame::Rolling(period) };
        play(frame, &caps, start, steps)?;
    }

    #[test]
    fn periods_follow_each_other_and_begin_where_buckets_do(period in period(), now in 0..4_000_000_000_000_000_i64) {
        let (begin, end) = (period.begin(now), period.end(now));
        prop_assert!(begin <= now && now < end);
        prop_assert_eq!(period.begin(end), end);
        prop_assert_eq!(period.begin(end - 1), begin);
        let place = Frame::Fixed(period).place(now);
        prop_assert!(place.ends_at - place.grain <= now && now < place.ends_at);
        prop_assert!(begin <= place.ends_at - place.grain && place.ends_at <= end);
        prop_assert!(period == Period::Month || end - begin == period.length());
    }

    #[test]
    fn nothing_overflows(most in any::<u64>(), price in 0..=i128::MAX, amount in any::<i64>(), now in any::<i32>()) {
        let need = Amount { requests: amount, input_tokens: amount, output_tokens: amount };
        let caps = [Cap::cost(most.into(), price, price), Cap::input_tokens(most)];
        let frame = Frame::Rolling(Period::Month);
        let now = i64::from(now) * SECOND;
        let bucket = Bucket { place: frame.place(now), used: need, held: need };
        let _ = shortage((frame, &caps), now, &[bucket], need);
    }
}

#[test]
fn months_are_those_of_the_calendar() {
    let micros = |text: &str| {
        let at = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap();
        at.unix_timestamp() * SECOND
    };
    for (now, begin, end) in [
        ("2028-02-29T23:59:59Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ("2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"),
    ] {
        assert_eq!(Period::Month.begin(micros(now)), micros(begin), "{now}");
        assert_eq!(Period::Month.end(micros(now)), micros(end), "{now}");
    }
}
