//! Sessions, and the login that begins one.

use std::slice;
use std::time::Duration;

use account::store::{LoginCommit, LoginDone, LoginOutcome, Page, RefreshToken, Rotation, Spend};
use account::{
    AccountNumber, Audience, Client, EndReason, Entry, ObjectId, Session, SpentToken, StoreError, Timestamp, TokenHash,
};

use crate::engine::{self, Connection, Engine, Record};
use crate::row::Row;
use crate::session_events::{self, Which};
use crate::{audit, gateways, lanes, mailings};

/// The columns of whole sessions by their names: a newer version may have added some.
macro_rules! columns {
    () => {
        "sessions.account, sessions.audience_kind, sessions.audience, sessions.id, sessions.access_hash, sessions.access_issued_at, \
         sessions.access_expires_at, sessions.refresh_hash, sessions.refresh_expires_at, sessions.created_at, sessions.address, \
         sessions.app_version, sessions.os"
    };
}

/// A query of whole sessions.
macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT ", columns!(), " FROM sessions ", $rest)
    };
}

/// The columns, for a query of more than sessions.
pub(crate) const COLUMNS: &str = columns!();

/// What of a token's hash the tables have indexes of.
pub(crate) fn indexed(hash: &TokenHash) -> &str {
    hash.as_str().get(..16).unwrap_or_default()
}

/// Makes a login true, within a transaction.
pub(crate) async fn commit_login(connection: &mut Connection, login: &LoginCommit) -> Result<LoginOutcome, StoreError> {
    if login.bind.is_none() && login.spend.is_none() {
        // It is refused before anything is changed, or not at all.
        return try_commit(connection, login).await;
    }
    let mut part = connection.begin().await?;
    let outcome = try_commit(&mut part, login).await?;
    match outcome {
        LoginOutcome::Done(_) => part.commit().await?,
        LoginOutcome::Stale | LoginOutcome::Spent => part.rollback().await?,
    }
    Ok(outcome)
}

async fn try_commit(connection: &mut Connection, login: &LoginCommit) -> Result<LoginOutcome, StoreError> {
    if !is_open(connection, &login.session.audience).await? || !touch_account(connection, login).await? {
        return Ok(LoginOutcome::Stale);
    }
    let account = login.session.account;
    if let Some(serial) = &login.bind
        && !gateways::bind_free(connection, serial, account, login.session.created_at).await?
    {
        return Ok(LoginOutcome::Stale);
    }
    if let Some(code) = &login.spend
        && !mailings::spend(connection, Spend::Code(code)).await?
    {
        return Ok(LoginOutcome::Spent);
    }
    let previous = find(connection, account, &login.session.audience).await?;
    let mut session = login.session.clone();
    if let Some(previous) = &previous {
        session.client.app_version = session.client.app_version.or_else(|| previous.client.app_version.clone());
        session.client.os = session.client.os.or_else(|| previous.client.os.clone());
        session_events::end(connection, Which::One(&previous.id), EndReason::Replaced, session.created_at).await?;
    }
    insert(connection, &session).await?;
    if let Some(right) = &login.right {
        lanes::take_back(connection, right).await?;
    }
    audit::append(connection, slice::from_ref(&login.entry)).await?;
    let previous_ended_at = previous.map(|previous| previous.access_expires_at.min(session.created_at));
    Ok(LoginOutcome::Done(Box::new(LoginDone { session, previous_ended_at })))
}

/// Notes the login on its account and renews the verifier, if the account is still at the revision that the login was decided on.
async fn touch_account(connection: &mut Connection, login: &LoginCommit) -> Result<bool, StoreError> {
    let update = engine::query(
        "UPDATE accounts SET last_login_at = $1, verifier = COALESCE($2, verifier), revision = revision + $3 \
         WHERE number = $4 AND revision = $5",
    )
    .bind(login.session.created_at.0)
    .bind(login.verifier.as_ref().map(|verifier| verifier.phc().to_owned()))
    .bind(i64::from(login.verifier.is_some() || login.bind.is_some()))
    .bind(login.session.account.0)
    .bind(login.revision);
    Ok(update.execute(connection).await? > 0)
}

/// Whether logins at this audience are allowed: an application may have been forbidden to call since it called.
pub(crate) async fn is_open(connection: &mut Connection, audience: &Audience) -> Result<bool, StoreError> {
    let Audience::Application(id) = audience else { return Ok(true) };
    // It stays so until the end of the transaction: where several write at the same time, that takes a lock.
    let query = match connection.engine() {
        Engine::Postgres => "SELECT id FROM applications WHERE id = $1 AND enabled = 1 FOR SHARE",
        Engine::Sqlite => "SELECT id FROM applications WHERE id = $1 AND enabled = 1",
    };
    let query = engine::query(query).bind(id.as_str().to_owned());
    Ok(query.fetch_optional(connection).await?.is_some())
}

async fn find(connection: &mut Connection, account: AccountNumber, audience: &Audience) -> Result<Option<Session>, StoreError> {
    let query = engine::query(select!("WHERE account = $1 AND audience_kind = $2 AND audience = $3"));
    let query = query.bind(account.0).bind(audience.kind()).bind(audience.id().to_owned());
    query.fetch_optional(connection).await?.as_ref().map(read).transpose()
}

/// Begins a session in the place of the one that the account has at that audience.
pub(crate) async fn put(connection: &mut Connection, session: &Session) -> Result<(), StoreError> {
    let older = Which::OfAccountAt(session.account, &session.audience);
    session_events::end(connection, older, EndReason::Replaced, session.created_at).await?;
    insert(connection, session).await
}

async fn insert(connection: &mut Connection, session: &Session) -> Result<(), StoreError> {
    engine::query(
        "INSERT INTO sessions (account, audience_kind, audience, id, access_hash, access_issued_at, access_expires_at, refresh_hash, \
         refresh_expires_at, created_at, address, app_version, os) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(session.account.0)
    .bind(session.audience.kind())
    .bind(session.audience.id())
    .bind(session.id.as_str())
    .bind(session.access_hash.as_str())
    .bind(session.access_issued_at.0)
    .bind(session.access_expires_at.0)
    .bind(session.refresh_hash.as_str())
    .bind(session.refresh_expires_at.0)
    .bind(session.created_at.0)
    .bind(session.client.address.to_string())
    .bind(session.client.app_version.clone())
    .bind(session.client.os.clone())
    .execute(connection)
    .await
    ?;
    Ok(())
}

pub(crate) async fn list(
    connection: &mut Connection,
    account: Option<AccountNumber>,
    page: &Page<ObjectId>,
) -> Result<Vec<Session>, StoreError> {
    let after = page.after.as_ref().map_or("", |after| after.as_str());
    let query = match account {
        None => engine::query(select!("WHERE id > $1 ORDER BY id LIMIT $2")),
        Some(_) => engine::query(select!("WHERE id > $1 AND account = $3 ORDER BY id LIMIT $2")),
    };
    let query = query.bind(after).bind(i64::from(page.limit));
    let query = match account {
        None => query,
        Some(account) => query.bind(account.0),
    };
    query.fetch_all(connection).await?.iter().map(read).collect()
}

pub(crate) async fn find_one(connection: &mut Connection, id: &ObjectId) -> Result<Option<Session>, StoreError> {
    let query = engine::query(select!("WHERE id = $1")).bind(id.as_str());
    query.fetch_optional(connection).await?.as_ref().map(read).transpose()
}

/// Ends a session, within a transaction.
pub(crate) async fn end_one(
    connection: &mut Connection,
    id: &ObjectId,
    reason: EndReason,
    now: Timestamp,
    entry: &[Entry],
) -> Result<bool, StoreError> {
    let ended = session_events::end(connection, Which::One(id), reason, now).await?;
    if ended {
        audit::append(connection, entry).await?;
    }
    Ok(ended)
}

/// Whether an account has a session with this id.
pub(crate) async fn is_there(connection: &mut Connection, account: AccountNumber, id: &ObjectId) -> Result<bool, StoreError> {
    let query = engine::query("SELECT id FROM sessions WHERE account = $1 AND id = $2").bind(account.0).bind(id.as_str());
    Ok(query.fetch_optional(connection).await?.is_some())
}

pub(crate) async fn find_by_refresh(
    connection: &mut Connection,
    refresh: &TokenHash,
) -> Result<Option<RefreshToken>, StoreError> {
    if let Some(current) = find_current(connection, refresh).await? {
        return Ok(Some(RefreshToken::Current(current)));
    }
    // It may be spent, or was so a moment ago: all of one moment.
    let mut transaction = connection.begin().await?;
    if let Some(current) = find_current(&mut transaction, refresh).await? {
        return Ok(Some(RefreshToken::Current(current)));
    }
    let spent = engine::query("SELECT session, access, successor, salt, spent_at, expires_at FROM spent_tokens WHERE hash = $1")
        .bind(refresh.as_str());
    let Some(spent) = spent.fetch_optional(&mut transaction).await? else { return Ok(None) };
    let spent = Row { table: "spent_tokens", row: &spent };
    let session = engine::query(select!("WHERE id = $1")).bind(spent.get::<String>("session")?);
    let Some(session) = session.fetch_optional(&mut transaction).await? else { return Ok(None) };
    let spent = SpentToken {
        hash: refresh.clone(),
        access: TokenHash::from_stored(spent.get("access")?),
        successor: TokenHash::from_stored(spent.get("successor")?),
        salt: spent.get("salt")?,
        spent_at: Timestamp(spent.get("spent_at")?),
        expires_at: Timestamp(spent.get("expires_at")?),
    };
    Ok(Some(RefreshToken::Spent(read(&session)?, spent)))
}

async fn find_current(connection: &mut Connection, refresh: &TokenHash) -> Result<Option<Session>, StoreError> {
    let query = engine::query(select!("WHERE SUBSTR(sessions.refresh_hash, 1, 16) = $1 AND sessions.refresh_hash = $2"));
    let query = query.bind(indexed(refresh)).bind(refresh.as_str());
    query.fetch_optional(connection).await?.as_ref().map(read).transpose()
}

/// Gives a session new tokens, within a transaction.
pub(crate) async fn rotate(connection: &mut Connection, rotation: &Rotation) -> Result<bool, StoreError> {
    let Rotation { session, spent, now } = rotation;
    let update = engine::query(
        "UPDATE sessions SET access_hash = $1, access_issued_at = $2, access_expires_at = $3, refresh_hash = $4, \
         refresh_expires_at = $5 WHERE id = $6 AND refresh_hash = $7",
    )
    .bind(session.access_hash.as_str())
    .bind(session.access_issued_at.0)
    .bind(session.access_expires_at.0)
    .bind(session.refresh_hash.as_str())
    .bind(session.refresh_expires_at.0)
    .bind(session.id.as_str())
    .bind(spent.hash.as_str());
    if update.execute(connection).await? == 0 {
        return Ok(false);
    }
    let insert = engine::query(
        "INSERT INTO spent_tokens (hash, session, access, successor, salt, spent_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(spent.hash.as_str())
    .bind(session.id.as_str())
    .bind(spent.access.as_str())
    .bind(spent.successor.as_str())
    .bind(spent.salt.as_str())
    .bind(spent.spent_at.0)
    .bind(spent.expires_at.0);
    insert.execute(connection).await?;
    session_events::note_refresh(connection, session, *now).await?;
    Ok(true)
}

pub(crate) async fn remember_nonce(
    connection: &mut Connection,
    audience: &Audience,
    nonce: &str,
    now: Timestamp,
    keep: Duration,
) -> Result<bool, StoreError> {
    let insert = engine::query(
        "INSERT INTO nonces (audience_kind, audience, nonce, expires_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (audience_kind, audience, nonce) DO UPDATE SET expires_at = excluded.expires_at WHERE nonces.expires_at < $5",
    )
    .bind(audience.kind())
    .bind(audience.id())
    .bind(nonce)
    .bind(now.plus(keep).0)
    .bind(now.0);
    Ok(insert.execute(connection).await? > 0)
}

pub(crate) fn read(row: &Record) -> Result<Session, StoreError> {
    let row = Row { table: "sessions", row };
    let address: String = row.get("address")?;
    let created_at = Timestamp(row.get("created_at")?);
    Ok(Session {
        id: row.parse("id")?,
        account: AccountNumber(row.get("account")?),
        audience: read_audience(&row)?,
        access_hash: TokenHash::from_stored(row.get("access_hash")?),
        access_issued_at: Timestamp(row.get("access_issued_at")?).max(created_at),
        access_expires_at: Timestamp(row.get("access_expires_at")?),
        refresh_hash: TokenHash::from_stored(row.get("refresh_hash")?),
        refresh_expires_at: Timestamp(row.get("refresh_expires_at")?),
        created_at,
        client: Client {
            address: address.parse().map_err(|error| row.wrong("address", &error))?,
            app_version: row.get("app_version")?,
            os: row.get("os")?,
        },
    })
}

pub(crate) fn read_audience(row: &Row<'_>) -> Result<Audience, StoreError> {
    match row.get::<String>("audience_kind")?.as_str() {
        "application" => Ok(Audience::Application(row.parse("audience")?)),
        "device" => Ok(Audience::Device(row.parse("audience")?)),
        _ => Err(row.wrong("audience_kind", &"is neither application nor device")),
    }
}
