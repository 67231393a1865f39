//! Gateways and their binding.

use account::store::{InsertError, Page};
use account::{AccountNumber, AppVersion, Gateway, Serial, StoreError, Timestamp};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AnyPool};

use crate::row::{Row, failed, insert_failed};

pub(crate) async fn insert(pool: &AnyPool, gateway: &Gateway) -> Result<(), InsertError> {
    sqlx::query(
        "INSERT INTO gateways (serial, guid, kind, min_app_version, account, registered_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(gateway.serial.as_str())
    .bind(gateway.guid.as_str())
    .bind(gateway.kind.as_str())
    .bind(gateway.min_app_version.clone().map(String::from))
    .bind(gateway.account.map(|account| account.0))
    .bind(gateway.registered_at.0)
    .execute(pool)
    .await
    .map_err(insert_failed)?;
    Ok(())
}

pub(crate) async fn find(pool: &AnyPool, serial: &Serial) -> Result<Option<Gateway>, StoreError> {
    let query = sqlx::query("SELECT * FROM gateways WHERE serial = $1").bind(serial.as_str());
    query.fetch_optional(pool).await.map_err(failed)?.as_ref().map(read).transpose()
}

pub(crate) async fn list(pool: &AnyPool, page: Page<Serial>) -> Result<Vec<Gateway>, StoreError> {
    let after = page.after.map_or_else(String::new, Into::into);
    let query = sqlx::query("SELECT * FROM gateways WHERE serial > $1 ORDER BY serial LIMIT $2");
    let rows = query.bind(after).bind(i64::from(page.limit)).fetch_all(pool).await.map_err(failed)?;
    rows.iter().map(read).collect()
}

pub(crate) async fn of_account(pool: &AnyPool, account: AccountNumber) -> Result<Vec<Gateway>, StoreError> {
    let query = sqlx::query("SELECT * FROM gateways WHERE account = $1 ORDER BY serial").bind(account.0);
    query.fetch_all(pool).await.map_err(failed)?.iter().map(read).collect()
}

pub(crate) async fn set_min_app_version(
    pool: &AnyPool,
    serial: &Serial,
    version: Option<&AppVersion>,
) -> Result<bool, StoreError> {
    let query = sqlx::query("UPDATE gateways SET min_app_version = $1 WHERE serial = $2");
    let query = query.bind(version.map(|version| version.as_str().to_owned())).bind(serial.as_str());
    Ok(query.execute(pool).await.map_err(failed)?.rows_affected() > 0)
}

pub(crate) async fn bind(pool: &AnyPool, serial: &Serial, account: AccountNumber) -> Result<bool, StoreError> {
    let mut transaction = pool.begin().await.map_err(failed)?;
    let bound = bump_revision(&mut transaction, account).await? && bind_free(&mut transaction, serial, account).await?;
    if bound {
        transaction.commit().await.map_err(failed)?;
    } else {
        transaction.rollback().await.map_err(failed)?;
    }
    Ok(bound)
}

/// Binds the gateway if it is free, and says whether it was.
pub(crate) async fn bind_free(
    connection: &mut AnyConnection,
    serial: &Serial,
    account: AccountNumber,
) -> Result<bool, StoreError> {
    let update = sqlx::query("UPDATE gateways SET account = $1 WHERE serial = $2 AND account IS NULL");
    let done = update.bind(account.0).bind(serial.as_str()).execute(connection).await.map_err(failed)?;
    Ok(done.rows_affected() > 0)
}

pub(crate) async fn unbind(pool: &AnyPool, serial: &Serial) -> Result<bool, StoreError> {
    let mut transaction = pool.begin().await.map_err(failed)?;
    let owner = sqlx::query_scalar("SELECT account FROM gateways WHERE serial = $1 AND account IS NOT NULL");
    let owner: Option<i64> = owner.bind(serial.as_str()).fetch_optional(&mut *transaction).await.map_err(failed)?;
    let Some(owner) = owner else { return Ok(false) };
    bump_revision(&mut transaction, AccountNumber(owner)).await?;
    let update = sqlx::query("UPDATE gateways SET account = NULL WHERE serial = $1 AND account = $2");
    let done = update.bind(serial.as_str()).bind(owner).execute(&mut *transaction).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(done.rows_affected() > 0)
}

/// Makes every login that is being decided on this account decide anew. `false` when there is no such account.
async fn bump_revision(connection: &mut AnyConnection, account: AccountNumber) -> Result<bool, StoreError> {
    let update = sqlx::query("UPDATE accounts SET revision = revision + 1 WHERE number = $1").bind(account.0);
    Ok(update.execute(connection).await.map_err(failed)?.rows_affected() > 0)
}

fn read(row: &AnyRow) -> Result<Gateway, StoreError> {
    let row = Row { table: "gateways", row };
    Ok(Gateway {
        serial: row.parse("serial")?,
        guid: row.parse("guid")?,
        kind: row.parse("kind")?,
        min_app_version: row.parse_optional("min_app_version")?,
        account: row.get::<Option<i64>>("account")?.map(AccountNumber),
        registered_at: Timestamp(row.get("registered_at")?),
    })
}
