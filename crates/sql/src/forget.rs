//! What is of no more use goes.

use account::store::Forget;
use account::{StoreError, Timestamp};

use crate::engine::{self, Connection};
use crate::session_events;

/// How many spent tokens are forgotten at once. There can be millions, and whoever writes waits meanwhile.
pub(crate) const AT_ONCE: u64 = 1000;

/// Forgets spent tokens that would have expired, no more than [`AT_ONCE`], and says how many.
pub(crate) async fn spent_tokens(connection: &mut Connection, now: Timestamp) -> Result<u64, StoreError> {
    let some = "SELECT hash FROM spent_tokens WHERE expires_at <= $1 LIMIT $2";
    let forget = engine::query(format!("DELETE FROM spent_tokens WHERE hash IN ({some})"));
    Ok(forget.bind(now.0).bind(AT_ONCE.cast_signed()).execute(connection).await?)
}

/// Each by itself: nothing here must be true together with anything else, and whoever needs a row does not wait for all the others.
pub(crate) async fn forget(connection: &mut Connection, before: &Forget) -> Result<(), StoreError> {
    let Forget { now, old, events, audit } = *before;
    // What goes has a number, by which whoever follows sees that something is gone.
    while session_events::newest(connection).await?.is_none() {
        session_events::number(connection).await?;
    }
    let give_up = "UPDATE messages SET due_at = NULL, last_error = COALESCE(last_error, 'out of time') \
                   WHERE expires_at <= $1 AND due_at IS NOT NULL";
    for (statement, before) in [
        ("DELETE FROM nonces WHERE expires_at < $1", now),
        (give_up, now),
        ("DELETE FROM messages WHERE expires_at <= $1", old),
        ("DELETE FROM codes WHERE expires_at <= $1", old),
        ("DELETE FROM links WHERE expires_at <= $1", old),
        ("DELETE FROM sendings WHERE sent_at <= $1", old),
        ("DELETE FROM addressees WHERE sent_at <= $1", old),
        ("DELETE FROM lanes WHERE forget_at <= $1", now),
        ("DELETE FROM session_events WHERE at <= $1 AND sequence IS NOT NULL", events),
        ("DELETE FROM audit WHERE at <= $1", audit),
    ] {
        engine::query(statement).bind(before.0).execute(connection).await?;
    }
    Ok(())
}
