//! How guessing is held back, for every dialect and every way to prove something.
//!
//! A guess is counted as a failure before anything is compared, and given back when it was right: any number of guesses at once are
//! no more than one after the other. It counts where it belongs: in the *lane* of whoever is guessed at and in that of the source it
//! comes from. After a few failures a lane pauses, each time for longer. Whoever has been let in before, from an address or on a
//! device, has a lane of its own there, so that strangers cannot lock it out. All guesses at one account together are limited for
//! each day.

use std::time::{Duration, Instant};

use crate::account::{Account, ObjectId};
use crate::core::Core;
use crate::device::Serial;
use crate::hasher::{HashError, Verdict};
use crate::identifier::Identifier;
use crate::lane::Lane;
use crate::operator::OperatorError;
use crate::origin::Origin;
use crate::password::{Candidate, Verifier};
use crate::share::Entered;
use crate::store::{Page, StoreError};
use crate::tally::{Counted, Guess, Guessed, LaneState, Right, Rules};
use crate::time::Timestamp;
use crate::turns::{NoTurn, Turn};

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
    /// For so long it was waited for others from the same source: that says nothing of how long anybody's turn takes.
    pub(crate) fn has_waited(&mut self, waited: Duration) {
        self.turn.has_waited(waited);
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
        let before = begun.elapsed();
        let _share = self.share(&guess.source, longest.saturating_sub(before)).await?;
        turn.has_waited(begun.elapsed() - before);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_guessed_too_often_hears_when_to_try_again() {
        let retry_after = Duration::from_secs(7);
        assert_eq!(GuessError::TooMany { retry_after }.retry_after(), Some(retry_after));
        assert_eq!(GuessError::Hash(HashError::Overloaded { retry_after }).retry_after(), Some(retry_after));
        assert_eq!(GuessError::Hash(HashError::Broken(String::new())).retry_after(), None);
        assert_eq!(GuessError::Store(StoreError::OtherKey).retry_after(), None);
    }
}
