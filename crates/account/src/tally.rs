//! How guesses are counted: the rules, and what they make of what was counted before. Nothing here waits or is stored.

use std::time::Duration;

use crate::lane::Lane;
use crate::time::Timestamp;

const DAY: Duration = Duration::from_hours(24);

/// How long a failure is remembered at most.
const REMEMBERED: Duration = Duration::from_hours(7 * 24);

/// How long whoever was let in is known where that was.
const KNOWN: Duration = Duration::from_hours(180 * 24);

/// How much is forgiven.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// After how many failures the lane of an account, of an unknown identifier, or of an owner's own place pauses.
    pub failures: u32,
    /// After how many failures a source's lane pauses.
    pub source_failures: u32,
    /// The first pause; each failure after it makes one twice as long.
    pub first_pause: Duration,
    /// The longest pause. For every such time without a failure, one is forgotten.
    pub longest_pause: Duration,
    /// How many failures at one account, or unknown identifier, there may be in any 24 hours.
    pub daily: u32,
}

impl Rules {
    /// How much of the day's number comes back over the day; the rest is there at once.
    fn refilled(&self) -> u32 {
        self.daily - self.at_once()
    }

    fn at_once(&self) -> u32 {
        (self.daily * 2 / 5).max(1)
    }

    /// How long it takes until one more failure is allowed again.
    fn refill(&self) -> Duration {
        DAY / self.refilled().max(1)
    }

    fn pause(&self, beyond: i64) -> Duration {
        let doublings = u32::try_from(beyond).unwrap_or(0).min(31);
        self.first_pause.saturating_mul(1 << doublings).min(self.longest_pause)
    }
}

/// A guess, and in which lanes it may count.
#[derive(Debug, Clone)]
pub struct Guess {
    /// Whoever is guessed at, if that is known. The day's number is theirs.
    pub subject: Option<Lane>,
    /// Lanes of whoever has been let in before: one of them must be open, and all of them count.
    pub own: Vec<Lane>,
    /// Whether the own lanes are there from the start: whoever guesses has proven something else already.
    pub proven: bool,
    /// The source's lane.
    pub source: Lane,
    /// After how many failures the source's lane pauses.
    pub source_failures: u32,
}

/// Where a guess was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// In the own lanes.
    Own,
    /// In the lanes that it shares with strangers: the subject's and the source's.
    Shared,
}

/// What became of a guess.
#[derive(Debug)]
pub enum Guessed {
    /// It is counted as a failure, and may be made.
    Counted(Counted),
    /// It is one too many; nothing was changed.
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
}

/// What was counted in one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Failures that are not forgotten yet.
    pub failures: i64,
    /// The newest one.
    pub failed_at: Timestamp,
    /// Until when nobody may guess in it.
    pub paused_until: Timestamp,
    /// By when all of the day's number will be there again.
    pub day_until: Timestamp,
    /// Since when somebody who was let in has this lane.
    pub known_at: Option<Timestamp>,
}

impl Count {
    /// A lane in which nothing was counted.
    pub const NEW: Self =
        Self { failures: 0, failed_at: Timestamp(0), paused_until: Timestamp(0), day_until: Timestamp(0), known_at: None };

    /// When nothing that it says matters any more.
    #[must_use]
    pub fn forget_at(&self) -> Timestamp {
        let known = self.known_at.map_or(Timestamp(0), |known_at| known_at.plus(KNOWN));
        self.failed_at.plus(REMEMBERED).max(self.day_until).max(known)
    }

    /// Until when nobody may guess in the lane, if nobody may now.
    fn paused(&self, now: Timestamp) -> Option<Timestamp> {
        (!self.wait(now).is_zero()).then_some(self.paused_until)
    }

    /// Until when the day's number is used up, if it is now.
    fn day_full(&self, rules: &Rules, now: Timestamp) -> Option<Timestamp> {
        let wait = self.wait_for_day(rules, now);
        (!wait.is_zero()).then(|| now.plus(wait))
    }

    fn wait(&self, now: Timestamp) -> Duration {
        self.paused_until.since(now)
    }

    /// How many failures are not forgotten by now.
    fn remembered(&self, rules: &Rules, now: Timestamp) -> i64 {
        let quiet = now.since(self.failed_at.max(self.paused_until));
        let forgotten = quiet.as_millis() / rules.longest_pause.as_millis().max(1);
        (self.failures - i64::try_from(forgotten).unwrap_or(i64::MAX)).max(0)
    }

    fn fail(&mut self, most: u32, rules: &Rules, now: Timestamp) {
        self.failures = self.remembered(rules, now) + 1;
        self.failed_at = now;
        if self.failures >= i64::from(most) {
            self.paused_until = now.plus(rules.pause(self.failures - i64::from(most)));
        }
    }

    fn forgive(&mut self) {
        self.failures = (self.failures - 1).max(0);
        self.paused_until = Timestamp(0);
    }

    fn wait_for_day(&self, rules: &Rules, now: Timestamp) -> Duration {
        self.day_until.since(now).saturating_sub(rules.refill() * (rules.at_once() - 1))
    }

    fn take_from_day(&mut self, rules: &Rules, now: Timestamp) {
        self.day_until = self.day_until.max(now).plus(rules.refill());
    }

    fn return_to_day(&mut self, rules: &Rules) {
        self.day_until = self.day_until.minus(rules.refill());
    }
}

/// A lane as it is at one moment, for an operator.
#[derive(Debug)]
pub struct LaneState {
    /// The lane.
    pub lane: Lane,
    /// Failures that are not forgotten yet.
    pub failures: i64,
    /// The newest one, if there are any.
    pub failed_at: Option<Timestamp>,
    /// Until when nobody may guess in it, if nobody may.
    pub paused_until: Option<Timestamp>,
    /// Until when the day's number is used up, if it is.
    pub day_full_until: Option<Timestamp>,
}

impl LaneState {
    pub(crate) fn new(lane: Lane, count: Count, rules: &Rules, now: Timestamp) -> Self {
        let failures = count.remembered(rules, now);
        Self {
            lane,
            failures,
            failed_at: (failures > 0).then_some(count.failed_at),
            paused_until: count.paused(now),
            day_full_until: count.day_full(rules, now),
        }
    }
}

/// What was counted in the lanes of a guess.
#[derive(Debug, Clone)]
pub struct Tally {
    /// The subject's, if there is one.
    pub subject: Count,
    /// Each own lane's, in the order of the guess.
    pub own: Vec<Count>,
    /// The source's.
    pub source: Count,
}

impl Tally {
    /// In which lane the guess may be made.
    ///
    /// # Errors
    /// How long to wait, when it is one too many.
    pub(crate) fn choose(&self, guess: &Guess, rules: &Rules, now: Timestamp) -> Result<Counted, Duration> {
        let free = |wait: Duration| if wait.is_zero() { Ok(()) } else { Err(wait) };
        free(self.subject.wait_for_day(rules, now))?;
        let own = self.own.iter().filter(|count| is_theirs(guess, count)).map(|count| count.wait(now));
        match own.min() {
            Some(wait) => free(wait).map(|()| Counted::Own),
            None => free(self.subject.wait(now).max(self.source.wait(now))).map(|()| Counted::Shared),
        }
    }

    /// Counts the guess as a failure, if it may be made.
    pub fn count(&mut self, guess: &Guess, rules: &Rules, now: Timestamp) -> Guessed {
        let counted = match self.choose(guess, rules, now) {
            Ok(counted) => counted,
            Err(retry_after) => return Guessed::TooMany { retry_after },
        };
        self.subject.take_from_day(rules, now);
        match counted {
            Counted::Own => self.own_counts(guess).for_each(|own| own.fail(rules.failures, rules, now)),
            Counted::Shared => {
                self.subject.fail(rules.failures, rules, now);
                self.source.fail(guess.source_failures, rules, now);
            }
        }
        Guessed::Counted(counted)
    }

    /// Takes back that the guess was counted as a failure. Where whoever made it was let in and is at home, what was counted there
    /// before was their own, and goes as well.
    pub fn take_back(&mut self, guess: &Guess, counted: Counted, let_in: bool, rules: &Rules) {
        self.subject.return_to_day(rules);
        match counted {
            Counted::Own if let_in => {
                self.own_counts(guess).for_each(|own| *own = Count { known_at: own.known_at, ..Count::NEW });
            }
            Counted::Own => self.own_counts(guess).for_each(Count::forgive),
            Counted::Shared => {
                self.subject.forgive();
                self.source.forgive();
            }
        }
    }

    /// Whether a guess would be counted in an own lane.
    #[must_use]
    pub fn is_own(&self, guess: &Guess, rules: &Rules, now: Timestamp) -> bool {
        matches!(self.choose(guess, rules, now), Ok(Counted::Own))
    }

    /// What a guess that was counted so has changed.
    pub fn changed<'a>(&'a self, guess: &'a Guess, counted: Counted) -> impl Iterator<Item = (&'a Lane, &'a Count)> {
        let source = (counted == Counted::Shared).then_some((&guess.source, &self.source));
        let own = guess.own.iter().zip(&self.own);
        let own = own.filter(move |(_, count)| counted == Counted::Own && is_theirs(guess, count));
        guess.subject.iter().map(|subject| (subject, &self.subject)).chain(own).chain(source)
    }

    fn own_counts(&mut self, guess: &Guess) -> impl Iterator<Item = &mut Count> {
        self.own.iter_mut().filter(|count| is_theirs(guess, count))
    }
}

/// Whether an own lane is that of whoever guesses.
fn is_theirs(guess: &Guess, own: &Count) -> bool {
    guess.proven || own.known_at.is_some()
}

/// A guess that was right: what the store takes back, and where whoever made it is known from now on.
#[derive(Debug, Clone)]
pub struct Right {
    /// The guess.
    pub guess: Guess,
    /// Where it was counted.
    pub counted: Counted,
    /// Whether whoever made it was let in, and has the own lanes from now on.
    pub let_in: bool,
    /// The rules that it was counted by.
    pub rules: Rules,
    /// The present.
    pub now: Timestamp,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules {
        failures: 5,
        source_failures: 5,
        first_pause: Duration::from_secs(30),
        longest_pause: Duration::from_hours(1),
        daily: 100,
    };
    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn lane(name: &str) -> Lane {
        Lane::from_stored(name.into())
    }

    fn guess() -> Guess {
        let own = vec![lane("a/from/x"), lane("a/on/d")];
        Guess { subject: Some(lane("a")), own, proven: false, source: lane("from/x"), source_failures: 5 }
    }

    fn fresh() -> Tally {
        Tally { subject: Count::NEW, own: vec![Count::NEW; 2], source: Count::NEW }
    }

    fn at_home() -> Tally {
        Tally { own: vec![Count { known_at: Some(NOW), ..Count::NEW }; 2], ..fresh() }
    }

    /// How long to wait; nothing when the guess was counted.
    fn wait(guessed: &Guessed) -> Duration {
        match guessed {
            Guessed::Counted(_) => Duration::ZERO,
            Guessed::TooMany { retry_after } => *retry_after,
        }
    }

    #[test]
    fn after_five_failures_pauses_double_up_to_an_hour() {
        let (mut tally, mut now) = (fresh(), NOW);
        for _ in 0..5 {
            assert!(wait(&tally.count(&guess(), &RULES, now)).is_zero());
        }
        for seconds in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
            let pause = Duration::from_secs(seconds);
            let before = now.plus(pause).minus(Duration::from_millis(1));
            assert_eq!(wait(&tally.count(&guess(), &RULES, now)), pause);
            assert_eq!(wait(&tally.count(&guess(), &RULES, before)), Duration::from_millis(1));
            now = now.plus(pause);
            assert!(wait(&tally.count(&guess(), &RULES, now)).is_zero(), "one more after {seconds} s");
        }
    }

    #[test]
    fn a_failure_is_forgotten_for_each_quiet_hour() {
        let mut tally = fresh();
        for _ in 0..4 {
            tally.count(&guess(), &RULES, NOW);
        }
        let later = NOW.plus(Duration::from_hours(2));
        for _ in 0..3 {
            assert!(wait(&tally.count(&guess(), &RULES, later)).is_zero());
        }
        assert!(!wait(&tally.count(&guess(), &RULES, later)).is_zero(), "4 - 2 + 3 are five");
    }

    #[test]
    fn forty_of_a_day_are_there_at_once_and_the_rest_over_the_day() {
        let patient = Rules { failures: u32::MAX, source_failures: u32::MAX, ..RULES };
        let guess = Guess { source_failures: u32::MAX, ..guess() };
        let mut tally = fresh();
        for _ in 0..40 {
            assert!(wait(&tally.count(&guess, &patient, NOW)).is_zero());
        }
        let refill = Duration::from_mins(24);
        assert_eq!(wait(&tally.count(&guess, &patient, NOW)), refill);
        assert!(wait(&tally.count(&guess, &patient, NOW.plus(refill))).is_zero());
        assert_eq!(wait(&tally.count(&guess, &patient, NOW.plus(refill))), refill);
    }

    /// What an operator is shown is what whoever guesses is told.
    #[test]
    fn a_lane_says_until_when_it_is_closed() {
        let (mut tally, mut now) = (fresh(), NOW);
        let state = |tally: &Tally, now| {
            let state = LaneState::new(lane("a"), tally.subject, &RULES, now);
            (state.failures, state.failed_at, state.paused_until, state.day_full_until)
        };
        assert_eq!(state(&tally, now), (0, None, None, None));
        for _ in 0..5 {
            tally.count(&guess(), &RULES, now);
        }
        let pause = NOW.plus(RULES.first_pause);
        assert_eq!(state(&tally, now), (5, Some(NOW), Some(pause), None));
        assert_eq!(state(&tally, pause), (5, Some(NOW), None, None), "a pause that is over is none");
        let later = |hours| pause.plus(RULES.longest_pause * hours);
        assert_eq!(state(&tally, later(2)).0, 3, "what is forgotten is not told");
        assert_eq!(state(&tally, later(9)), (0, None, None, None));

        let (mut at_home, guess) = (at_home(), guess());
        let impatient = Rules { longest_pause: Duration::ZERO, ..RULES };
        while wait(&at_home.count(&guess, &impatient, now)).is_zero() {
            now = now.plus(Duration::from_secs(1));
        }
        let room = now.plus(wait(&at_home.count(&guess, &impatient, now)));
        assert_eq!(state(&at_home, now), (0, None, None, Some(room)), "all of them failed where the owner is at home");
        assert_eq!(state(&at_home, room), (0, None, None, None));
    }

    #[test]
    fn a_lane_is_kept_as_long_as_it_matters() {
        let days = |number: u64| NOW.plus(Duration::from_hours(24 * number));
        let failed = Count { failed_at: NOW, ..Count::NEW };
        assert_eq!(failed.forget_at(), days(7));
        assert_eq!(Count { known_at: Some(NOW), ..failed }.forget_at(), days(180));
        assert_eq!(Count { day_until: days(8), ..failed }.forget_at(), days(8));
    }

    #[test]
    fn what_was_right_leaves_nothing() {
        for mut tally in [fresh(), at_home()] {
            for _ in 0..200 {
                let Guessed::Counted(counted) = tally.count(&guess(), &RULES, NOW) else {
                    panic!("right guesses are not limited")
                };
                tally.take_back(&guess(), counted, false, &RULES);
            }
            for _ in 0..5 {
                assert!(wait(&tally.count(&guess(), &RULES, NOW)).is_zero());
            }
            assert!(!wait(&tally.count(&guess(), &RULES, NOW)).is_zero());
        }
    }

    #[test]
    fn only_who_is_let_in_starts_anew() {
        for (let_in, free) in [(true, 5), (false, 1)] {
            let mut tally = at_home();
            for _ in 0..4 {
                tally.count(&guess(), &RULES, NOW);
            }
            tally.count(&guess(), &RULES, NOW);
            tally.take_back(&guess(), Counted::Own, let_in, &RULES);
            assert!(tally.is_own(&guess(), &RULES, NOW), "whoever is known stays known");
            let free_now = (0..10).take_while(|_| wait(&tally.count(&guess(), &RULES, NOW)).is_zero()).count();
            assert_eq!(free_now, free);
        }
    }

    #[test]
    fn what_counts_nothing_is_not_written() {
        let changed = |tally: &Tally, counted| {
            let guess = guess();
            tally.changed(&guess, counted).map(|(lane, _)| lane.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(changed(&at_home(), Counted::Own), ["a", "a/from/x", "a/on/d"]);
        assert_eq!(changed(&at_home(), Counted::Shared), ["a", "from/x"]);
        let mut on_the_device = at_home();
        on_the_device.own[0].known_at = None;
        assert_eq!(changed(&on_the_device, Counted::Own), ["a", "a/on/d"]);
    }

    #[test]
    fn a_stranger_is_not_at_home() {
        assert!(!fresh().is_own(&guess(), &RULES, NOW));
        assert!(at_home().is_own(&guess(), &RULES, NOW));
    }

    #[test]
    fn strangers_do_not_lock_the_owner_out() {
        let (mut strangers, mut owner) = (fresh(), at_home());
        while wait(&strangers.count(&guess(), &RULES, NOW)).is_zero() {}
        (owner.subject, owner.source) = (strangers.subject, strangers.source);
        assert!(matches!(owner.count(&guess(), &RULES, NOW), Guessed::Counted(Counted::Own)), "the owner is held back");
    }

    #[test]
    fn an_owner_at_home_has_five_as_well() {
        let mut tally = at_home();
        for _ in 0..5 {
            assert!(wait(&tally.count(&guess(), &RULES, NOW)).is_zero());
        }
        assert_eq!(wait(&tally.count(&guess(), &RULES, NOW)), RULES.first_pause);
    }

    #[test]
    fn an_owner_whose_address_pauses_has_the_device() {
        let mut tally = at_home();
        tally.own[0].paused_until = NOW.plus(RULES.longest_pause);
        assert!(matches!(tally.count(&guess(), &RULES, NOW), Guessed::Counted(Counted::Own)));
    }

    #[test]
    fn whoever_has_proven_something_else_has_a_lane() {
        let mut tally = Tally { own: vec![Count::NEW], ..fresh() };
        tally.subject.paused_until = NOW.plus(RULES.longest_pause);
        let within = Guess { own: vec![lane("a/in/s")], proven: true, ..guess() };
        assert!(matches!(tally.count(&within, &RULES, NOW), Guessed::Counted(Counted::Own)));
    }

    proptest! {
        /// Whatever the times and whatever lanes there are.
        #[test]
        fn no_more_than_a_hundred_in_any_day(gaps in proptest::collection::vec(0_u64..7_200_000, 1..600), places in 0_usize..40) {
            let mut tallies: Vec<_> = std::iter::repeat_with(at_home).take(places + 1).collect();
            let (mut now, mut subject, mut made) = (NOW, Count::NEW, Vec::new());
            for (index, gap) in gaps.into_iter().enumerate() {
                now = now.plus(Duration::from_millis(gap));
                let place = index % tallies.len();
                let tally = &mut tallies[place];
                tally.subject = subject;
                if wait(&tally.count(&guess(), &RULES, now)).is_zero() {
                    made.push(now);
                }
                subject = tally.subject;
            }
            for (index, first) in made.iter().enumerate() {
                let within = made[index..].iter().take_while(|at| at.since(*first) < DAY).count();
                prop_assert!(within <= 100, "{within}");
            }
        }
    }
}
