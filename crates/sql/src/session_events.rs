//! What became of sessions, for those who follow it.

use account::{AccountNumber, Audience, EndReason, ObjectId, Session, SessionChange, SessionEvent, StoreError, Timestamp};

use crate::engine::{self, Connection, Query, Record};
use crate::row::Row;
use crate::sessions;

/// How many events are numbered at once. Whoever writes waits meanwhile.
pub(crate) const AT_ONCE: u64 = 1000;

/// Numbers some events, as many as $1. That they have none is said as their index says it: otherwise, SQLite takes another one.
const NUMBER: &str = "UPDATE session_events SET sequence = (SELECT value FROM counters WHERE name = 'session_events') + fresh.place \
    FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY at, id) AS place FROM \
    (SELECT id, at FROM session_events WHERE COALESCE(sequence, 0) = 0 ORDER BY at, id LIMIT $1) AS first) AS fresh \
    WHERE session_events.id = fresh.id";

/// Some sessions.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which<'a> {
    One(&'a ObjectId),
    OfAccount(AccountNumber),
    OfAccountBut(AccountNumber, &'a ObjectId),
    OfAccountAt(AccountNumber, &'a Audience),
    At(&'a Audience),
}

impl Which<'_> {
    /// What is true of them, with places from the third on.
    fn condition(self) -> &'static str {
        match self {
            Self::One(_) => "sessions.id = $3",
            Self::OfAccount(_) => "sessions.account = $3",
            Self::OfAccountBut(..) => "sessions.account = $3 AND sessions.id <> $4",
            Self::OfAccountAt(..) => "sessions.account = $3 AND sessions.audience_kind = $4 AND sessions.audience = $5",
            Self::At(_) => "sessions.audience_kind = $3 AND sessions.audience = $4",
        }
    }

    fn bind(self, query: Query) -> Query {
        match self {
            Self::One(id) => query.bind(id.as_str()),
            Self::OfAccount(account) => query.bind(account.0),
            Self::OfAccountBut(account, id) => query.bind(account.0).bind(id.as_str()),
            Self::OfAccountAt(account, audience) => query.bind(account.0).bind(audience.kind()).bind(audience.id()),
            Self::At(audience) => query.bind(audience.kind()).bind(audience.id()),
        }
    }
}

/// Ends sessions and notes that they did. Says whether there was one.
///
/// Each is noted first and ends because it was noted: one that somebody begins meanwhile neither ends unnoted nor is noted without
/// ending.
pub(crate) async fn end(
    connection: &mut Connection,
    which: Which<'_>,
    reason: EndReason,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let what = SessionChange::Ended(reason);
    if note(connection, "sessions.id || '.ended'", which, what, now).await? == 0 {
        return Ok(false);
    }
    let delete = format!(
        "DELETE FROM sessions WHERE {} AND EXISTS \
         (SELECT 1 FROM session_events WHERE session_events.id = sessions.id || '.ended' AND session_events.at = $1 AND session_events.what = $2)",
        which.condition()
    );
    let delete = which.bind(engine::query(delete).bind(now.0).bind(what.as_str()));
    delete.execute(connection).await?;
    Ok(true)
}

/// Notes that a session has new tokens.
pub(crate) async fn note_refresh(connection: &mut Connection, session: &Session, now: Timestamp) -> Result<(), StoreError> {
    // Each refresh makes another access token. One comes after the other, also in the index of ids.
    let id = "CAST($1 AS TEXT) || '.' || SUBSTR(sessions.access_hash, 1, 16)";
    note(connection, id, Which::One(&session.id), SessionChange::Refreshed, now).await.map(drop)
}

/// Notes that the account of some sessions has gained or lost a gateway. Its revision was counted up for it in this transaction.
pub(crate) async fn note_gateway(
    connection: &mut Connection,
    account: AccountNumber,
    what: SessionChange,
    now: Timestamp,
) -> Result<(), StoreError> {
    // Each such change has a revision of its own.
    let id = "sessions.id || '.gateway.' || CAST(accounts.revision AS TEXT)";
    note(connection, id, Which::OfAccount(account), what, now).await.map(drop)
}

async fn note(
    connection: &mut Connection,
    id: &str,
    which: Which<'_>,
    what: SessionChange,
    now: Timestamp,
) -> Result<u64, StoreError> {
    // Where two end the same session, the second waits here for the first and finds it noted.
    let insert = format!(
        "INSERT INTO session_events (id, at, what, session, account, account_id, apikey, audience_kind, audience) \
         SELECT {id}, $1, $2, sessions.id, sessions.account, accounts.id, accounts.apikey, \
         sessions.audience_kind, sessions.audience FROM sessions JOIN accounts ON accounts.number = sessions.account \
         WHERE {} ON CONFLICT (id) DO NOTHING",
        which.condition()
    );
    let insert = which.bind(engine::query(insert).bind(now.0).bind(what.as_str()));
    Ok(insert.execute(connection).await?)
}

pub(crate) async fn newest(connection: &mut Connection) -> Result<Option<i64>, StoreError> {
    let query = "SELECT value FROM counters WHERE name = 'session_events' AND NOT EXISTS (SELECT 1 FROM session_events WHERE sequence IS NULL)";
    engine::query_scalar(query).fetch_optional(connection).await.map_err(Into::into)
}

/// Numbers some events, no more than [`AT_ONCE`]. Says the newest number, and how many.
pub(crate) async fn number(connection: &mut Connection) -> Result<(i64, u64), StoreError> {
    let mut transaction = connection.begin().await?;
    // Whoever numbers holds the counter until the end, so that numbers are seen in their order.
    let lock = engine::query("UPDATE counters SET value = value WHERE name = 'session_events'");
    lock.execute(&mut transaction).await?;
    let number = engine::query(NUMBER);
    let numbered = number.bind(AT_ONCE.cast_signed()).execute(&mut transaction).await?;
    let count = engine::query_scalar("UPDATE counters SET value = value + $1 WHERE name = 'session_events' RETURNING value");
    let count = count.bind(numbered.cast_signed());
    let newest = count.fetch_one(&mut transaction).await?;
    transaction.commit().await?;
    Ok((newest, numbered))
}

pub(crate) async fn list(connection: &mut Connection, after: i64, limit: u32) -> Result<Vec<SessionEvent>, StoreError> {
    let query = engine::query(
        "SELECT sequence, at, what, session, account, account_id, apikey, audience_kind, audience FROM session_events \
         WHERE sequence > $1 ORDER BY sequence LIMIT $2",
    );
    let rows = query.bind(after).bind(i64::from(limit)).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// The counter of a follower.
fn told(follower: &str) -> String {
    format!("told {follower}")
}

pub(crate) async fn told_up_to(connection: &mut Connection, follower: &str) -> Result<Option<i64>, StoreError> {
    let query = engine::query_scalar("SELECT value FROM counters WHERE name = $1").bind(told(follower));
    query.fetch_optional(connection).await.map_err(Into::into)
}

pub(crate) async fn note_told(connection: &mut Connection, follower: &str, sequence: i64) -> Result<(), StoreError> {
    let put = "INSERT INTO counters (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    let put = engine::query(put).bind(told(follower)).bind(sequence);
    put.execute(connection).await.map(drop).map_err(Into::into)
}

fn read(row: &Record) -> Result<SessionEvent, StoreError> {
    let row = Row { table: "session_events", row };
    Ok(SessionEvent {
        sequence: row.get("sequence")?,
        at: Timestamp(row.get("at")?),
        change: SessionChange::named(&row.get::<String>("what")?),
        session: row.parse("session")?,
        account: AccountNumber(row.get("account")?),
        account_id: row.parse("account_id")?,
        apikey: row.parse("apikey")?,
        audience: sessions::read_audience(&row)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Access;
    use crate::open::migrate;
    use crate::sqlite::{WRITING, connect};

    /// Otherwise, whoever numbers some looks at all that have no number.
    #[tokio::test]
    async fn events_without_a_number_have_an_index() {
        let folder = tempfile::TempDir::new().unwrap();
        let mut store = connect(&folder.path().join("hearthgate.db"), Access::Make, WRITING).await.unwrap();
        migrate(&mut store, "here").await.unwrap();
        let plan = engine::query(format!("EXPLAIN QUERY PLAN {NUMBER}")).bind(1).fetch_all(&mut store).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|row| Row { table: "plan", row }.get("detail").unwrap()).collect();
        assert!(steps.iter().any(|step| step.ends_with("USING INDEX session_events_unnumbered")), "{steps:?}");
    }
}
