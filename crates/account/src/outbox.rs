//! The queue of messages: written in the same transaction as what they tell of, delivered afterwards, tried again until they are of no
//! use any more. A message that cannot be delivered undoes nothing.

use std::time::Duration;

use crate::account::ObjectId;
use crate::core::Core;
use crate::message::{Address, DeliveryError, Message, Notice, Queued};
use crate::store::{Page, StoreError};
use crate::time::Timestamp;

/// How long whoever tries a message has it to itself. Longer than any delivery may take; after a crash the message is tried again.
const LEASE: Duration = Duration::from_mins(2);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// What [`Core::deliver_next`] found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// A message was delivered, or put off: there may be more.
    Tried,
    /// Nothing is due before this time; `None` when the queue is empty.
    Idle(Option<Timestamp>),
}

impl Message {
    /// What it is about: a newer message about the same takes the place of an older one that still waits.
    fn subject(&self) -> String {
        let about = match &self.notice {
            Notice::Code { purpose, .. } => purpose.as_str(),
            Notice::Activation { .. } => "activation",
            Notice::Reset { .. } => "reset-link",
            Notice::PasswordChanged { .. } => "password-changed",
            Notice::Test => "test",
        };
        format!("{about} {}", self.to.as_str())
    }
}

impl Core {
    /// Prepares a message for the queue. `now` means that whoever queues it delivers it at once, and nobody else meanwhile.
    pub(crate) fn queue(&self, message: &Message, useful: Duration, now: bool) -> Queued {
        let created_at = self.clock.now();
        let id = ObjectId::draw(self.rng());
        let plain = serde_json::to_vec(message).expect("a message is plain data");
        let sealed = self.keys.seal(self.rng(), id.as_str(), &plain);
        let due_at = Some(if now { created_at.plus(LEASE) } else { created_at });
        let expires_at = created_at.plus(useful);
        Queued {
            id,
            subject: message.subject(),
            sealed,
            created_at,
            expires_at,
            due_at,
            attempts: i64::from(now),
            last_error: None,
        }
    }

    /// Delivers a message that is queued, and notes in the queue what came of it.
    pub(crate) async fn attempt(&self, queued: &Queued, message: &Message) -> Result<(), DeliveryError> {
        let delivered = self.notifier.deliver(&queued.id, message).await;
        let noted = match &delivered {
            Ok(()) => self.store.finish_message(&queued.id).await,
            Err(error) => self.store.postpone_message(&queued.id, self.next_try(queued), &error.0).await,
        };
        // The lease ends by itself: at worst the message is delivered twice.
        if let Err(error) = noted {
            tracing::error!(message = queued.id.as_str(), %error, "cannot note a delivery");
        }
        if let Err(error) = &delivered {
            tracing::warn!(message = queued.id.as_str(), attempt = queued.attempts, error = error.0, "not delivered");
            self.notifier.wake();
        }
        delivered
    }

    /// After a pause that doubles each time, as long as the message is of use.
    fn next_try(&self, queued: &Queued) -> Option<Timestamp> {
        let doublings = u32::try_from(queued.attempts.max(1) - 1).unwrap_or(u32::MAX).min(16);
        let pause = self.settings.retry_pause.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        let at = self.clock.now().plus(pause);
        (at < queued.expires_at).then_some(at)
    }

    /// Delivers the message that has waited longest, if one is due.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn deliver_next(&self) -> Result<Delivery, StoreError> {
        let now = self.clock.now();
        let Some(queued) = self.store.claim_message(now, now.plus(LEASE)).await? else {
            return Ok(Delivery::Idle(self.store.next_message_due().await?));
        };
        // There may be more, for others to work off meanwhile.
        self.notifier.wake();
        match self.message(&queued) {
            Ok(message) => drop(self.attempt(&queued, &message).await),
            Err(problem) => self.store.postpone_message(&queued.id, None, problem).await?,
        }
        Ok(Delivery::Tried)
    }

    fn message(&self, queued: &Queued) -> Result<Message, &'static str> {
        let plain = self.keys.open(queued.id.as_str(), &queued.sealed).map_err(|wrong| wrong.0)?;
        serde_json::from_slice(&plain).map_err(|_| "is of another version")
    }

    /// Lists what waits to be delivered, and what was given up.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn messages(&self, page: Page<ObjectId>) -> Result<Vec<(Queued, Option<Message>)>, StoreError> {
        let queued = self.store.messages(page).await?;
        Ok(queued.into_iter().map(|queued| (queued.clone(), self.message(&queued).ok())).collect())
    }

    /// Sends a message that proves that messages arrive, outside the queue.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn send_test(&self, to: Address, language: crate::Language) -> Result<(), DeliveryError> {
        let message = Message { to, language, notice: Notice::Test };
        self.notifier.deliver(&ObjectId::draw(self.rng()), &message).await
    }
}
