//! Against the definition: every admission is remembered, and summed up anew.

use std::collections::VecDeque;

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

/// A counter, and beside it everything that was admitted: when, and how much.
struct World<'c> {
    frame: Frame,
    caps: &'c [Cap],
    now: i64,
    buckets: Vec<Bucket>,
    admitted: Vec<(i64, Amount)>,
    /// Queries that run, as places in `admitted`, each with its bucket.
    running: VecDeque<(usize, Place)>,
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

impl World<'_> {
    fn fits(&self, after: i64, need: Amount) -> bool {
        let recent: Amount =
            self.admitted.iter().filter(|(at, _)| *at > after).map(|(_, amount)| *amount).sum();
        self.caps.iter().all(|cap| cap.measure(recent + need) <= cap.most)
    }

    fn end(&mut self, per_cent: i64) {
        let Some((i, place)) = self.running.pop_front() else { return };
        let held = self.admitted[i].1;
        let used = tokens(held.output_tokens * per_cent / 100);
        self.admitted[i].1 = used;
        put(&mut self.buckets, place, used, Amount::default() - held);
    }

    /// Checks the decision against the sum of what was admitted.
    fn ask(&mut self, need: Amount) -> Result<(), TestCaseError> {
        // The window itself, and all that may go on counting.
        let (after, slack) = match self.frame {
            Frame::Rolling(period) => (self.now - period.length(), self.now - period.length() * 61 / 60),
            Frame::Fixed(period) => (period.begin(self.now) - 1, period.begin(self.now) - 1),
        };
        let limits = (self.frame, self.caps);
        let Some(short) = shortage(limits, self.now, &self.buckets, need) else {
            prop_assert!(self.fits(after, need), "admitted beyond the limit");
            let place = self.frame.place(self.now);
            put(&mut self.buckets, place, Amount::default(), need);
            self.running.push_back((self.admitted.len(), place));
            self.admitted.push((self.now, need));
            return Ok(());
        };
        prop_assert!(!self.fits(slack, need), "refused although there was room");
        let later = self.now + i64::try_from(short.resets_after.as_micros()).unwrap();
        let never = self.caps.iter().any(|cap| cap.measure(need) > cap.most);
        let again = shortage(limits, later, &self.buckets, need);
        prop_assert_eq!(again.is_none(), !never, "it does not reset when it says");
        prop_assert_eq!(short.retry_after.is_none(), never);
        Ok(())
    }

    fn play(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Pass(part) => self.now += self.frame.period().length() / 1_000 * part + part,
            Step::End(per_cent) => self.end(*per_cent),
            Step::Ask(need) => self.ask(*need)?,
        }
        // What upkeep deletes counts nowhere.
        self.buckets.retain(|bucket| self.frame.stale_at(bucket.place) >= self.now);
        prop_assert!(self.buckets.len() <= 64, "{} buckets", self.buckets.len());
        Ok(())
    }
}

proptest! {
    #[test]
    fn no_window_ever_holds_more_and_no_room_is_refused(
        (period, is_fixed, caps) in (period(), any::<bool>(), caps()),
        now in 1_600_000_000_000_000_i64..1_900_000_000_000_000,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let frame = if is_fixed { Frame::Fixed(period) } else { Frame::Rolling(period) };
        let (buckets, admitted, running) = (Vec::new(), Vec::new(), VecDeque::new());
        let mut world = World { frame, caps: &caps, now, buckets, admitted, running };
        steps.iter().try_for_each(|step| world.play(step))?;
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
