//! Codes and links, and how many messages an address gets.

use std::time::Duration;

use account::store::{Mailed, Mailing, Spend};
use account::{
    AccountNumber, Address, Limit, Link, LinkPurpose, ProvenCode, Purpose, Queued, StoreError, StoredCode, Timestamp, TokenHash,
};

use crate::engine::{self, Connection, Record};
use crate::messages;
use crate::row::Row;

pub(crate) async fn mail(connection: &mut Connection, mailing: Mailing<'_>) -> Result<Mailed, StoreError> {
    let Mailing { address, code, link, message, limits, now } = mailing;
    let mut transaction = connection.begin().await?;
    if let Some(retry_after) = count(&mut transaction, address, message, limits, now).await? {
        transaction.rollback().await?;
        return Ok(Mailed::TooOften { retry_after });
    }
    if let Some(code) = code {
        engine::query(
            "INSERT INTO codes (purpose, address, hash, expires_at, tries, used) VALUES ($1, $2, $3, $4, 0, 0) \
             ON CONFLICT (purpose, address) DO UPDATE SET hash = excluded.hash, expires_at = excluded.expires_at, tries = 0, used = 0",
        )
        .bind(code.purpose.as_str())
        .bind(address.as_str())
        .bind(code.hash)
        .bind(code.expires_at.0)
        .execute(&mut transaction)
        .await
        ?;
    }
    if let Some(link) = link {
        put_link(&mut transaction, link).await?;
    }
    messages::put(&mut transaction, message).await?;
    transaction.commit().await?;
    Ok(Mailed::Queued)
}

/// Counts a message to `address`; when that is one too many, says how long to wait.
pub(crate) async fn count(
    connection: &mut Connection,
    address: &Address,
    message: &Queued,
    limits: &[Limit],
    now: Timestamp,
) -> Result<Option<Duration>, StoreError> {
    engine::query(
        "INSERT INTO addressees (address, sent_at) VALUES ($1, $2) ON CONFLICT (address) DO UPDATE SET sent_at = excluded.sent_at",
    )
    .bind(address.as_str())
    .bind(now.0)
    .execute(connection)
    .await
    ?;
    for limit in limits {
        let query = engine::query_scalar(
            "SELECT sent_at FROM sendings WHERE address = $1 AND sent_at > $2 ORDER BY sent_at DESC LIMIT 1 OFFSET $3",
        )
        .bind(address.as_str())
        .bind(now.minus(limit.within).0)
        .bind(i64::from(limit.most) - 1);
        let first: Option<i64> = query.fetch_optional(connection).await?;
        if let Some(first) = first {
            let free_at = Timestamp(first).plus(limit.within);
            return Ok(Some(Duration::from_millis(u64::try_from(free_at.0 - now.0).unwrap_or(0))));
        }
    }
    let insert = engine::query("INSERT INTO sendings (id, address, sent_at) VALUES ($1, $2, $3)");
    let insert = insert.bind(message.id.as_str()).bind(address.as_str()).bind(now.0);
    insert.execute(connection).await?;
    Ok(None)
}

pub(crate) async fn take_try(
    connection: &mut Connection,
    purpose: Purpose,
    address: &Address,
    most: i64,
) -> Result<Option<StoredCode>, StoreError> {
    let update = engine::query(
        "UPDATE codes SET tries = tries + 1 WHERE purpose = $1 AND address = $2 AND tries < $3 RETURNING hash, expires_at, used",
    )
    .bind(purpose.as_str())
    .bind(address.as_str())
    .bind(most);
    let row = update.fetch_optional(connection).await?;
    let Some(row) = &row else { return Ok(None) };
    let row = Row { table: "codes", row };
    Ok(Some(StoredCode { hash: row.get("hash")?, expires_at: Timestamp(row.get("expires_at")?), used: row.flag("used")? }))
}

pub(crate) async fn return_try(connection: &mut Connection, code: &ProvenCode) -> Result<(), StoreError> {
    let update =
        engine::query("UPDATE codes SET tries = tries - 1 WHERE purpose = $1 AND address = $2 AND hash = $3 AND tries > 0")
            .bind(code.purpose.as_str())
            .bind(code.address.as_str())
            .bind(code.hash.as_str());
    update.execute(connection).await.map(drop).map_err(Into::into)
}

pub(crate) async fn put_link(connection: &mut Connection, link: &Link) -> Result<(), StoreError> {
    engine::query(
        "INSERT INTO links (account, purpose, hash, expires_at, used) VALUES ($1, $2, $3, $4, 0) \
         ON CONFLICT (account, purpose) DO UPDATE SET hash = excluded.hash, expires_at = excluded.expires_at, used = 0",
    )
    .bind(link.account.0)
    .bind(link.purpose.as_str())
    .bind(link.hash.as_str())
    .bind(link.expires_at.0)
    .execute(connection)
    .await
    .map_err(Into::into)
    .map(drop)
}

pub(crate) async fn find_link(connection: &mut Connection, hash: &TokenHash) -> Result<Option<Link>, StoreError> {
    let query = engine::query("SELECT account, purpose, hash, expires_at, used FROM links WHERE hash = $1").bind(hash.as_str());
    query.fetch_optional(connection).await?.as_ref().map(read_link).transpose()
}

/// Uses up what proved an address. `false` when somebody else has used it meanwhile.
pub(crate) async fn spend(connection: &mut Connection, spend: Spend<'_>) -> Result<bool, StoreError> {
    let update = match spend {
        Spend::Code(code) => {
            engine::query("UPDATE codes SET used = 1 WHERE purpose = $1 AND address = $2 AND hash = $3 AND used = 0")
                .bind(code.purpose.as_str())
                .bind(code.address.as_str().to_owned())
                .bind(code.hash.clone())
        }
        Spend::Link(link) => engine::query("UPDATE links SET used = 1 WHERE purpose = $1 AND hash = $2 AND used = 0")
            .bind(link.purpose.as_str())
            .bind(link.hash.as_str().to_owned()),
    };
    Ok(update.execute(connection).await? > 0)
}

fn read_link(row: &Record) -> Result<Link, StoreError> {
    let row = Row { table: "links", row };
    let purpose = match row.get::<String>("purpose")?.as_str() {
        "activate" => LinkPurpose::Activate,
        "reset" => LinkPurpose::Reset,
        _ => return Err(row.wrong("purpose", &"is neither activate nor reset")),
    };
    Ok(Link {
        purpose,
        account: AccountNumber(row.get("account")?),
        hash: TokenHash::from_stored(row.get("hash")?),
        expires_at: Timestamp(row.get("expires_at")?),
        used: row.flag("used")?,
    })
}
