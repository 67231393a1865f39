//! Sessions, and the login that begins one.

use std::time::Duration;

use account::store::{LoginCommit, LoginDone, Page};
use account::{AccountNumber, Audience, Client, ObjectId, Session, StoreError, Timestamp, TokenHash};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AnyPool};

use crate::gateways;
use crate::row::{Row, failed};

pub(crate) async fn commit_login(pool: &AnyPool, login: LoginCommit<'_>) -> Result<Option<LoginDone>, StoreError> {
    let mut transaction = pool.begin().await.map_err(failed)?;
    let committed = try_commit(&mut transaction, login).await?;
    match committed {
        Some(_) => transaction.commit().await.map_err(failed)?,
        None => transaction.rollback().await.map_err(failed)?,
    }
    Ok(committed)
}

async fn try_commit(connection: &mut AnyConnection, login: LoginCommit<'_>) -> Result<Option<LoginDone>, StoreError> {
    if !touch_account(connection, &login).await? || !is_open(connection, &login.session.audience).await? {
        return Ok(None);
    }
    let account = login.session.account;
    if let Some(serial) = login.bind
        && !gateways::bind_free(connection, serial, account).await?
    {
        return Ok(None);
    }
    let previous = find(connection, account, &login.session.audience).await?;
    let mut session = login.session.clone();
    if let Some(previous) = &previous {
        session.client.app_version = session.client.app_version.or_else(|| previous.client.app_version.clone());
        session.client.os = session.client.os.or_else(|| previous.client.os.clone());
    }
    put(connection, &session).await?;
    let previous_ended_at = previous.map(|previous| previous.access_expires_at.min(session.created_at));
    Ok(Some(LoginDone { session, previous_ended_at }))
}

/// Notes the login on its account and renews the verifier, if the account is still at the revision that the login was decided on.
async fn touch_account(connection: &mut AnyConnection, login: &LoginCommit<'_>) -> Result<bool, StoreError> {
    let update = sqlx::query(
        "UPDATE accounts SET last_login_at = $1, verifier = COALESCE($2, verifier), revision = revision + $3 \
         WHERE number = $4 AND revision = $5",
    )
    .bind(login.session.created_at.0)
    .bind(login.verifier.map(|verifier| verifier.phc().to_owned()))
    .bind(i64::from(login.verifier.is_some() || login.bind.is_some()))
    .bind(login.session.account.0)
    .bind(login.revision);
    Ok(update.execute(connection).await.map_err(failed)?.rows_affected() > 0)
}

/// Whether logins at this audience are allowed: an application may have been forbidden to call since it called.
async fn is_open(connection: &mut AnyConnection, audience: &Audience) -> Result<bool, StoreError> {
    let Audience::Application(id) = audience else { return Ok(true) };
    let query = sqlx::query("SELECT id FROM applications WHERE id = $1 AND enabled = 1").bind(id.as_str().to_owned());
    Ok(query.fetch_optional(connection).await.map_err(failed)?.is_some())
}

async fn find(
    connection: &mut AnyConnection,
    account: AccountNumber,
    audience: &Audience,
) -> Result<Option<Session>, StoreError> {
    let query = sqlx::query("SELECT * FROM sessions WHERE account = $1 AND audience_kind = $2 AND audience = $3");
    let query = query.bind(account.0).bind(audience.kind()).bind(audience.id().to_owned());
    query.fetch_optional(connection).await.map_err(failed)?.as_ref().map(read).transpose()
}

async fn put(connection: &mut AnyConnection, session: &Session) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO sessions (account, audience_kind, audience, id, access_hash, access_expires_at, refresh_hash, \
         refresh_expires_at, created_at, address, app_version, os) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
         ON CONFLICT (account, audience_kind, audience) DO UPDATE SET id = excluded.id, access_hash = excluded.access_hash, \
         access_expires_at = excluded.access_expires_at, refresh_hash = excluded.refresh_hash, \
         refresh_expires_at = excluded.refresh_expires_at, created_at = excluded.created_at, address = excluded.address, \
         app_version = excluded.app_version, os = excluded.os",
    )
    .bind(session.account.0)
    .bind(session.audience.kind())
    .bind(session.audience.id())
    .bind(session.id.as_str())
    .bind(session.access_hash.as_str())
    .bind(session.access_expires_at.0)
    .bind(session.refresh_hash.as_str())
    .bind(session.refresh_expires_at.0)
    .bind(session.created_at.0)
    .bind(session.client.address.to_string())
    .bind(session.client.app_version.clone())
    .bind(session.client.os.clone())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

pub(crate) async fn list(
    pool: &AnyPool,
    account: Option<AccountNumber>,
    page: Page<ObjectId>,
) -> Result<Vec<Session>, StoreError> {
    let after = page.after.map_or_else(String::new, Into::into);
    let query = match account {
        None => sqlx::query("SELECT * FROM sessions WHERE id > $1 ORDER BY id LIMIT $2"),
        Some(_) => sqlx::query("SELECT * FROM sessions WHERE id > $1 AND account = $3 ORDER BY id LIMIT $2"),
    };
    let query = query.bind(after).bind(i64::from(page.limit));
    let query = match account {
        None => query,
        Some(account) => query.bind(account.0),
    };
    query.fetch_all(pool).await.map_err(failed)?.iter().map(read).collect()
}

pub(crate) async fn end(pool: &AnyPool, id: &ObjectId) -> Result<bool, StoreError> {
    let delete = sqlx::query("DELETE FROM sessions WHERE id = $1").bind(id.as_str());
    Ok(delete.execute(pool).await.map_err(failed)?.rows_affected() > 0)
}

pub(crate) async fn end_all_of(connection: &mut AnyConnection, account: AccountNumber) -> Result<(), StoreError> {
    let delete = sqlx::query("DELETE FROM sessions WHERE account = $1").bind(account.0);
    delete.execute(connection).await.map_err(failed).map(drop)
}

pub(crate) async fn end_all_at(connection: &mut AnyConnection, kind: &'static str, audience: &str) -> Result<(), StoreError> {
    let delete = sqlx::query("DELETE FROM sessions WHERE audience_kind = $1 AND audience = $2");
    delete.bind(kind).bind(audience.to_owned()).execute(connection).await.map_err(failed).map(drop)
}

pub(crate) async fn remember_nonce(
    pool: &AnyPool,
    audience: &Audience,
    nonce: &str,
    now: Timestamp,
    keep: Duration,
) -> Result<bool, StoreError> {
    let mut transaction = pool.begin().await.map_err(failed)?;
    let forget = sqlx::query("DELETE FROM nonces WHERE seen_at < $1").bind(now.minus(keep).0);
    forget.execute(&mut *transaction).await.map_err(failed)?;
    let insert = sqlx::query(
        "INSERT INTO nonces (audience_kind, audience, nonce, seen_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(audience.kind())
    .bind(audience.id().to_owned())
    .bind(nonce.to_owned())
    .bind(now.0);
    let new = insert.execute(&mut *transaction).await.map_err(failed)?.rows_affected() > 0;
    transaction.commit().await.map_err(failed)?;
    Ok(new)
}

fn read(row: &AnyRow) -> Result<Session, StoreError> {
    let row = Row { table: "sessions", row };
    let address: String = row.get("address")?;
    let audience = match row.get::<String>("audience_kind")?.as_str() {
        "application" => Audience::Application(row.parse("audience")?),
        "device" => Audience::Device(row.parse("audience")?),
        _ => return Err(row.wrong("audience_kind", &"is neither application nor device")),
    };
    Ok(Session {
        id: row.parse("id")?,
        account: AccountNumber(row.get("account")?),
        audience,
        access_hash: TokenHash::from_stored(row.get("access_hash")?),
        access_expires_at: Timestamp(row.get("access_expires_at")?),
        refresh_hash: TokenHash::from_stored(row.get("refresh_hash")?),
        refresh_expires_at: Timestamp(row.get("refresh_expires_at")?),
        created_at: Timestamp(row.get("created_at")?),
        client: Client {
            address: address.parse().map_err(|error| row.wrong("address", &error))?,
            app_version: row.get("app_version")?,
            os: row.get("os")?,
        },
    })
}
