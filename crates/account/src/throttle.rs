//! How guessing is held back, for every dialect and every way to prove something.
//!
//! A guess is counted as a failure before anything is compared, and given back when it was right: any number of guesses at once are
//! no more than one after the other. It counts where it belongs: in the *lane* of whoever is guessed at and in that of the source it
//! comes from. After a few failures a lane pauses, each time for longer. Whoever has been let in before, from an address or on a
//! device, has a lane of its own there, so that strangers cannot lock it out. All guesses at one account together are limited for
//! each day.

use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::account::{Account, ObjectId};
use crate::core::Core;
use crate::device::Serial;
use crate::hasher::{HashError, Verdict};
use crate::identifier::Identifier;
use crate::master_key::MasterKey;
use crate::operator::OperatorError;
use crate::origin::{Origin, Source};
use crate::password::{Candidate, Verifier};
use crate::share::Entered;
use crate::store::{Page, StoreError};
use crate::text::{Malformed, plain};
use crate::time::Timestamp;
use crate::turns::{NoTurn, Turn};

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

/// Where guesses are counted: a name that tells lanes apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Lane(String);

impl Lane {
    /// The lane of everybody who guesses at an account.
    #[must_use]
    pub fn of_account(account: &ObjectId) -> Self {
        Self(format!("account/{account}"))
    }

    /// The lane of everybody who guesses at an identifier that nobody has. Such a name may be a password in the wrong field.
    pub(crate) fn of_nobody(key: &MasterKey, identifier: &Identifier) -> Self {
        Self(format!("nobody/{}", hex::encode(&key.mac("nobody", &[identifier.as_str()])[..16])))
    }

    /// The lane of whatever comes from a source.
    #[must_use]
    pub fn of_source(source: Source) -> Self {
        Self(format!("from/{source}"))
    }

    /// The lane of tokens and links that do not exist, from a source: apps whose session has ended go on trying, and must not be in
    /// the way of people who log in.
    #[must_use]
    pub fn of_tokens(source: Source) -> Self {
        Self(format!("tokens/{source}"))
    }

    /// The lane of registrations that prove nothing, from a source.
    #[must_use]
    pub fn of_newcomers(source: Source) -> Self {
        Self(format!("newcomers/{source}"))
    }

    fn at(&self, source: Source) -> Self {
        Self(format!("{}/from/{source}", self.0))
    }

    fn on(&self, device: &Serial) -> Self {
        Self(format!("{}/on/{device}", self.0))
    }

    fn within(&self, session: &ObjectId) -> Self {
        Self(format!("{}/in/{session}", self.0))
    }

    /// Reads what [`Lane::as_str`] wrote.
    #[must_use]
    pub fn from_stored(name: String) -> Self {
        Self(name)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
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

    fn fail(&mut self, most: u32, rules: &Rules, now: Timestamp) {
        let quiet = now.since(self.failed_at.max(self.paused_until));
        let forgotten = quiet.as_millis() / rules.longest_pause.as_millis().max(1);
        self.failures = (self.failures - i64::try_from(forgotten).unwrap_or(i64::MAX)).max(0) + 1;
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
    fn new(lane: Lane, count: Count, rules: &Rules, now: Timestamp) -> Self {
        Self {
            lane,
            failures: count.failures,
            failed_at: (count.failures > 0).then_some(count.failed_at),
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
    fn choose(&self, guess: &Guess, rules: &Rules, now: Timestamp) -> Result<Counted, Duration> {
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

/// Why a guess may not be made. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub enum GuessError {
    /// There were too many wrong ones.
    #[error("too many wrong guesses")]
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
    /// Too many wait to be compared, or it cannot be compared.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<NoTurn> for GuessError {
    fn from(error: NoTurn) -> Self {
        match error {
            NoTurn::TooLong(retry_after) => Self::Hash(HashError::Overloaded { retry_after }),
            NoTurn::Stuck => Self::Store(StoreError::Unavailable("it did not answer whoever asked before".into())),
        }
    }
}

impl GuessError {
    /// When to try again, if that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooMany { retry_after } => Some(*retry_after),
            Self::Hash(error) => error.retry_after(),
            Self::Store(_) => None,
        }
    }
}

/// Permission to compare one guess. It is counted as a failure unless [`Core::was_right`] takes that back.
#[derive(Debug)]
pub(crate) struct Permit {
    guess: Guess,
    counted: Counted,
    /// Others who would count in the same lane wait meanwhile, so that what is still under way is nobody's failure.
    turn: Turn,
}

impl Permit {
    /// What it waited for was for others from the same source: it says nothing of how long anybody's turn takes.
    pub(crate) fn has_waited(&mut self) {
        self.turn.begins_now();
    }

    /// What the store takes back.
    pub(crate) fn right(&self, let_in: bool, rules: Rules, now: Timestamp) -> Right {
        Right { guess: self.guess.clone(), counted: self.counted, let_in, rules, now }
    }
}

/// How much more is forgiven where what is guessed is as long as a token: nobody finds one, and a forgotten app is no attacker.
const TOKENS: u32 = 4;

/// Whoever is guessed at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// An account.
    Account(&'a Account),
    /// An identifier that no account has.
    Nobody(&'a Identifier),
}

impl Core {
    /// A guess at the password or a code of `subject`, which may say that it comes from a device.
    pub(crate) fn guess(&self, subject: Subject<'_>, origin: &Origin, device: Option<&Serial>) -> Guess {
        let source = origin.source();
        let subject = match subject {
            Subject::Account(account) => Lane::of_account(&account.id),
            Subject::Nobody(identifier) => Lane::of_nobody(&self.keys.first(), identifier),
        };
        let own = std::iter::once(subject.at(source)).chain(device.map(|device| subject.on(device))).collect();
        let source_failures = self.settings.throttle.source_failures;
        Guess { subject: Some(subject), own, proven: false, source: Lane::of_source(source), source_failures }
    }

    /// A guess at the account's password or a code by whoever holds an access token of it.
    pub(crate) fn guess_within(&self, account: &Account, session: &ObjectId, origin: &Origin) -> Guess {
        let guess = self.guess(Subject::Account(account), origin, None);
        let own = guess.subject.iter().map(|subject| subject.within(session)).collect();
        Guess { own, proven: true, ..guess }
    }

    /// Counts a guess as a failure before it is compared with anything.
    ///
    /// # Errors
    /// [`GuessError`]; then it may not be compared.
    pub(crate) async fn permit(&self, guess: Guess) -> Result<Permit, GuessError> {
        let turn = self.turn(&guess, self.settings.longest_wait).await?;
        self.count(guess, turn).await
    }

    /// Waits until nobody else counts in the lane of a guess.
    async fn turn(&self, guess: &Guess, longest: Duration) -> Result<Turn, GuessError> {
        let rules = &self.settings.throttle;
        // First without waiting for anybody, and without writing: a flood is sent away here.
        let tally = self.store.tally(guess).await?;
        let line = match tally.choose(guess, rules, self.clock.now()) {
            Ok(Counted::Own) => guess.own.first().unwrap_or(&guess.source),
            Ok(Counted::Shared) => &guess.source,
            Err(retry_after) => return Err(GuessError::TooMany { retry_after }),
        };
        Ok(self.turns.wait(line.as_str(), longest).await?)
    }

    async fn count(&self, guess: Guess, turn: Turn) -> Result<Permit, GuessError> {
        let rules = &self.settings.throttle;
        match self.store.take_guess(&guess, rules, self.clock.now()).await {
            Ok(Guessed::Counted(counted)) => Ok(Permit { guess, counted, turn }),
            Ok(Guessed::TooMany { retry_after }) => Err(GuessError::TooMany { retry_after }),
            Err(error) => {
                turn.is_stuck();
                Err(error.into())
            }
        }
    }

    /// Compares a password with a verifier, of an account that exists or not, as a guess. Nothing else in the core compares passwords.
    ///
    /// # Errors
    /// [`GuessError`]; then nothing was compared, and nothing stays counted.
    pub(crate) async fn compare(
        &self,
        guess: Guess,
        candidate: &Candidate,
        verifier: Option<&Verifier>,
        entered: &Entered,
    ) -> Result<(Verdict, Permit), GuessError> {
        // Whoever would wait for too long in all is sent away before anything is written, and has a place in the queue before that is.
        let (begun, longest) = (Instant::now(), self.settings.longest_wait.saturating_sub(entered.hashing));
        let mut turn = self.turn(&guess, longest).await?;
        let _share = self.share(&guess.source, longest.saturating_sub(begun.elapsed())).await?;
        turn.begins_now();
        let place = entered.take_place().unwrap_or_else(|| self.hasher.reserve());
        let permit = self.count(guess, turn).await?;
        #[expect(clippy::disallowed_methods, reason = "this is the one place that compares passwords")]
        match self.hasher.verify(place, candidate.clone(), verifier.cloned()).await {
            Ok(verdict) => Ok((verdict, permit)),
            Err(error) => {
                self.was_right(&permit, false).await?;
                Err(error.into())
            }
        }
    }

    /// Takes back that a guess was counted as a failure. `let_in` says whether whoever made it is known there from now on.
    pub(crate) async fn was_right(&self, permit: &Permit, let_in: bool) -> Result<(), StoreError> {
        self.store.return_guess(permit.right(let_in, self.settings.throttle, self.clock.now())).await
    }

    /// Notes that whoever has the account is at home where the request comes from.
    pub(crate) async fn know(&self, account: &Account, origin: &Origin) -> Result<(), StoreError> {
        let guess = self.guess(Subject::Account(account), origin, None);
        self.store.know(&guess, self.clock.now()).await
    }

    /// Counts that a token, link or secret was presented which does not exist. What does exist is never held back.
    pub(crate) async fn presented_nothing(&self, origin: &Origin) -> Result<(), GuessError> {
        let source = Lane::of_tokens(origin.source());
        let source_failures = self.settings.throttle.source_failures.saturating_mul(TOKENS);
        let guess = Guess { subject: None, own: Vec::new(), proven: false, source, source_failures };
        self.permit(guess).await.map(drop)
    }

    /// Counts a registration that proves nothing. While the permit is held, others from there wait.
    pub(crate) async fn permit_newcomer(&self, origin: &Origin) -> Result<Permit, GuessError> {
        let (source, source_failures) = (Lane::of_newcomers(origin.source()), self.settings.registrations);
        self.permit(Guess { subject: None, own: Vec::new(), proven: false, source, source_failures }).await
    }
}

/// What an operator sees and does.
impl Core {
    /// The lane of whoever is called so: an account's number, or an identifier, which need not be an account's.
    ///
    /// # Errors
    /// [`OperatorError::NotFound`] for what can be no identifier either.
    pub async fn lane_of(&self, name: &str) -> Result<Lane, OperatorError> {
        match (self.find_account(name).await, name.parse()) {
            (Ok(account), _) => Ok(Lane::of_account(&account.id)),
            (Err(OperatorError::NotFound(_)), Ok(identifier)) => Ok(Lane::of_nobody(&self.keys.first(), &identifier)),
            (Err(error), _) => Err(error),
        }
    }

    /// Lists the lanes in which failures are counted, all or those of a subject, as they are now.
    ///
    /// # Errors
    /// [`OperatorError::Store`].
    pub async fn lanes(&self, subject: Option<&Lane>, page: Page<Lane>) -> Result<Vec<LaneState>, OperatorError> {
        let now = self.clock.now();
        let counted = self.store.lanes(subject, page, now).await?;
        Ok(counted.into_iter().map(|(lane, count)| LaneState::new(lane, count, &self.settings.throttle, now)).collect())
    }

    /// Forgets the failures in all lanes of these subjects or sources. Says in how many there were any.
    ///
    /// # Errors
    /// [`OperatorError::Store`].
    pub async fn clear_lanes(&self, subjects: &[Lane]) -> Result<u64, OperatorError> {
        let mut cleared = 0;
        for subject in subjects {
            cleared += self.store.clear_lanes(subject).await?;
        }
        Ok(cleared)
    }
}

impl FromStr for Lane {
    type Err = Malformed;

    /// Takes any name that an operator has read somewhere.
    fn from_str(name: &str) -> Result<Self, Malformed> {
        plain(name, 512)?;
        Ok(Self(name.to_owned()))
    }
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
    fn whoever_guessed_too_often_hears_when_to_try_again() {
        let retry_after = Duration::from_secs(7);
        assert_eq!(GuessError::TooMany { retry_after }.retry_after(), Some(retry_after));
        assert_eq!(GuessError::Hash(HashError::Overloaded { retry_after }).retry_after(), Some(retry_after));
        assert_eq!(GuessError::Hash(HashError::Broken(String::new())).retry_after(), None);
        assert_eq!(GuessError::Store(StoreError::OtherKey).retry_after(), None);
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
