//! The audit trail: who did what, and who was refused what and why.
//!
//! What was done is in the trail before it is answered; a login, as a part of it. Refusals, of which anybody can cause any number,
//! are gathered and written together a little later: those that are alike as one, and beyond a limit only their number.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::account::{AccountNumber, ObjectId};
use crate::core::Core;
use crate::identifier::Identifier;
use crate::operator::OperatorError;
use crate::origin::Origin;
use crate::session::Audience;
use crate::store::{Page, StoreError};
use crate::time::Timestamp;

/// How many refusals wait to be written at most.
const WAITING: usize = 10_000;

/// How many are written at once.
const AT_ONCE: usize = 500;

/// With how many of the last a refusal is compared: when the store is away, all are alike.
const COMPARED: usize = 8;

/// What happened, as whoever saw it knows it.
#[derive(Debug, Clone)]
pub struct Deed {
    /// What was done or refused, such as `ewelink-v8 login`.
    pub what: String,
    /// How it ended, in the log's words.
    pub outcome: String,
    /// Whether it was refused.
    pub refused: bool,
    /// Whose account, if that is known.
    pub account: Option<AccountNumber>,
    /// Who it was said to be.
    pub identifier: Option<Identifier>,
    /// At which application or device.
    pub audience: Option<Audience>,
    /// Where it came from; `None` for an operator.
    pub origin: Option<Origin>,
}

/// An entry of the trail.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its id: ids come in the order in which a node's deeds happened, and begin with the time.
    pub id: ObjectId,
    /// When it happened.
    pub at: Timestamp,
    /// What was done or refused.
    pub what: String,
    /// How it ended, in words.
    pub outcome: String,
    /// Whether it was refused.
    pub refused: bool,
    /// Whose account.
    pub account: Option<AccountNumber>,
    /// Who it was said to be, masked.
    pub identifier: Option<String>,
    /// At which application or device.
    pub audience: Option<String>,
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// The request's id, which the answer and the log carry as well.
    pub request: Option<String>,
    /// How often the same happened at about the same time.
    pub times: i64,
}

/// Which entries are wanted. What is not said does not matter.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Only this account's.
    pub account: Option<AccountNumber>,
    /// Only those whose outcome has these words in it, in lower case.
    pub reason: Option<String>,
    /// Only those from then on.
    pub since: Option<Timestamp>,
}

impl Deed {
    /// The same without who did it, and where.
    #[must_use]
    pub fn of_nobody(self) -> Self {
        Self { account: None, identifier: None, audience: None, origin: None, ..self }
    }
}

/// A deed that has a place in the trail.
#[derive(Debug, Clone)]
struct Happened {
    id: ObjectId,
    at: Timestamp,
    deed: Deed,
}

/// What this node puts into the trail, and when.
#[derive(Debug, Default)]
pub(crate) struct Trail(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    /// What waits to be written, most of it refusals, and how often each happened.
    waiting: VecDeque<(Happened, i64)>,
    /// How many of those, the first, are being written: they stay as they are.
    writing: usize,
    /// How many refusals there was no room for, as an entry of its own.
    left_out: Option<(Happened, i64)>,
    /// When the last deed happened, and how many others had at the same time.
    last: Option<(Timestamp, u16)>,
}

impl Trail {
    fn recent(&self) -> MutexGuard<'_, Recent> {
        // Nothing that holds it can panic in the middle of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// Lets something wait to be written, or a refusal be counted with one of the last that is like it; `false` when there is no room.
    fn wait(&mut self, happened: Happened) -> bool {
        let mut last = self.waiting.iter_mut().skip(self.writing).rev().take(COMPARED);
        if let Some((_, times)) = last.find(|(known, _)| is_alike(&known.deed, &happened.deed)) {
            *times += 1;
            return true;
        }
        // What was done is not left out: it is told to follow.
        let has_room = self.waiting.len() < WAITING || !happened.deed.refused;
        if has_room {
            self.waiting.push_back((happened, 1));
        }
        has_room
    }

    /// How many deeds have happened at this time before.
    fn nth(&mut self, at: Timestamp) -> u16 {
        let nth = self.last.filter(|(last, _)| *last == at).map_or(0, |(_, nth)| nth.wrapping_add(1));
        self.last = Some((at, nth));
        nth
    }
}

impl Happened {
    fn entry(self, times: i64) -> Entry {
        let Self { id, at, deed } = self;
        let (address, request) = deed.origin.map(|origin| (origin.address, origin.request)).unzip();
        Entry {
            id,
            at,
            what: deed.what,
            outcome: deed.outcome,
            refused: deed.refused,
            account: deed.account,
            identifier: deed.identifier.map(|identifier| identifier.masked().to_string()),
            audience: deed.audience.map(|audience| audience.id().to_owned()),
            address,
            request,
            times,
        }
    }
}

impl Core {
    /// The entry of a deed whose account is known, for whoever writes it together with what was done.
    pub(crate) fn entry_of(&self, deed: Deed) -> Entry {
        self.happened(deed, &mut self.trail.recent()).entry(1)
    }

    /// Writes what was done into the trail. What the store does not take waits until it does.
    ///
    /// # Errors
    /// [`StoreError`], for whoever is to be told that the trail lacks it for now.
    pub async fn record(&self, deed: Deed) -> Result<(), StoreError> {
        let happened = self.happened(deed, &mut self.trail.recent());
        let written = self.append(happened.clone()).await;
        if let Err(error) = &written {
            let request_id = happened.deed.origin.as_ref().map(|origin| origin.request.as_str());
            tracing::error!(request_id, %error, "the audit trail lacks this for now");
            self.let_wait(happened, &mut self.trail.recent());
        }
        written
    }

    async fn append(&self, happened: Happened) -> Result<(), StoreError> {
        let entry = self.entry(happened, 1).await?;
        self.store.append_audit(vec![entry]).await
    }

    /// Records a refusal a little later: [`Core::write_waiting`] writes it.
    pub fn record_later(&self, deed: Deed) {
        let mut recent = self.trail.recent();
        let happened = self.happened(deed, &mut recent);
        self.let_wait(happened, &mut recent);
    }

    fn let_wait(&self, happened: Happened, recent: &mut Recent) {
        if !recent.wait(happened) {
            self.leave_out(1, recent);
        }
    }

    fn leave_out(&self, more: i64, recent: &mut Recent) {
        if let Some((_, times)) = &mut recent.left_out {
            *times += more;
            return;
        }
        let (what, outcome) = ("audit".into(), "refusals for which there was no room".into());
        let deed = Deed { what, outcome, refused: true, account: None, identifier: None, audience: None, origin: None };
        recent.left_out = Some((self.happened(deed, recent), more));
    }

    /// Gives a deed its place: after all that have happened on this node.
    fn happened(&self, deed: Deed, recent: &mut Recent) -> Happened {
        let at = self.clock.now();
        Happened { id: ObjectId::at(at, recent.nth(at), self.rng()), at, deed }
    }

    /// Writes what waits to be recorded, some at once. Says whether there are more. Only one may do so at a time.
    ///
    /// # Errors
    /// [`StoreError`]; then they still wait.
    pub async fn write_waiting(&self) -> Result<bool, StoreError> {
        let (some, left_out) = {
            let mut recent = self.trail.recent();
            let some: Vec<_> = recent.waiting.iter().take(AT_ONCE).cloned().collect();
            recent.writing = some.len();
            (some, recent.left_out.clone())
        };
        if some.is_empty() && left_out.is_none() {
            return Ok(false);
        }
        self.write_together(some.iter().chain(&left_out)).await?;
        // Whoever is stopped before this has written nothing.
        let mut recent = self.trail.recent();
        recent.waiting.drain(..some.len());
        recent.writing = 0;
        if let Some((_, told)) = left_out {
            let more = recent.left_out.take().map_or(0, |(_, times)| times - told);
            if more > 0 {
                self.leave_out(more, &mut recent);
            }
        }
        Ok(!recent.waiting.is_empty())
    }

    async fn write_together(&self, some: impl Iterator<Item = &(Happened, i64)>) -> Result<(), StoreError> {
        let mut alike: Vec<(Happened, i64)> = Vec::new();
        for (happened, times) in some {
            match alike.iter_mut().find(|(known, _)| is_alike(&known.deed, &happened.deed)) {
                Some((_, known)) => *known += times,
                None => alike.push((happened.clone(), *times)),
            }
        }
        let mut entries = Vec::with_capacity(alike.len());
        for (happened, times) in alike {
            entries.push(self.entry(happened, times).await?);
        }
        self.store.append_audit(entries).await
    }

    async fn entry(&self, mut happened: Happened, times: i64) -> Result<Entry, StoreError> {
        if let (None, Some(identifier)) = (happened.deed.account, &happened.deed.identifier) {
            happened.deed.account = self.store.account_named(identifier).await?.map(|account| account.number);
        }
        Ok(happened.entry(times))
    }

    /// Lists the trail in its order.
    ///
    /// # Errors
    /// [`OperatorError::Store`].
    pub async fn audit(&self, query: &AuditQuery, page: Page<ObjectId>) -> Result<Vec<Entry>, OperatorError> {
        Ok(self.store.audit(query, page).await?)
    }
}

/// Whether two refusals differ in nothing but the request.
fn is_alike(one: &Deed, other: &Deed) -> bool {
    let address = |deed: &Deed| deed.origin.as_ref().map(|origin| origin.address);
    // What was done has an entry of its own.
    one.refused
        && other.refused
        && one.what == other.what
        && one.outcome == other.outcome
        && one.account == other.account
        && one.identifier == other.identifier
        && one.audience == other.audience
        && address(one) == address(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happened(outcome: &str, refused: bool) -> Happened {
        let (what, outcome) = ("login".to_owned(), outcome.to_owned());
        let deed = Deed { what, outcome, refused, account: None, identifier: None, audience: None, origin: None };
        Happened { id: "0".repeat(24).parse().unwrap(), at: Timestamp(0), deed }
    }

    #[test]
    fn what_is_alike_waits_once() {
        let mut recent = Recent::default();
        for _ in 0..3 {
            assert!(recent.wait(happened("the database is away", true)) && recent.wait(happened("wrong password", true)));
        }
        let times = |recent: &Recent| recent.waiting.iter().map(|(_, times)| *times).collect::<Vec<_>>();
        assert_eq!(times(&recent), [3, 3]);
        recent.writing = 2;
        assert!(recent.wait(happened("wrong password", true)));
        assert_eq!(times(&recent), [3, 3, 1], "what is being written stays as it is");
        assert!(recent.wait(happened("logged out", false)) && recent.wait(happened("logged out", false)));
        assert_eq!(times(&recent), [3, 3, 1, 1, 1], "each deed has an entry of its own");
    }

    #[test]
    fn there_is_always_room_for_what_was_done() {
        let mut recent = Recent::default();
        assert!((0..WAITING).all(|number| recent.wait(happened(&number.to_string(), true))));
        assert!(!recent.wait(happened("one too many", true)));
        assert!(recent.wait(happened("the password is changed", false)));
    }
}
