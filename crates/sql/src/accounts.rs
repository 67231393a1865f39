//! Accounts.

use account::store::{InsertError, Page};
use account::{Account, AccountNumber, Activation, Details, Identifier, StoreError, Timestamp, Verifier};
use sqlx::AnyPool;
use sqlx::any::AnyRow;

use crate::row::{Row, failed, insert_failed};
use crate::sessions;

pub(crate) async fn insert(pool: &AnyPool, account: &Account) -> Result<AccountNumber, InsertError> {
    let mut transaction = pool.begin().await.map_err(failed)?;
    let number: i64 = sqlx::query_scalar("UPDATE counters SET value = value + 1 WHERE name = 'account' RETURNING value")
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed)?;
    sqlx::query(
        "INSERT INTO accounts (number, id, apikey, region, user_name, email, phone, verifier, activation_deadline, enabled, \
         display_name, language, birthday, address, country, groups, registered_at, last_login_at, revision) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, NULL, 0)",
    )
    .bind(number)
    .bind(account.id.as_str())
    .bind(account.apikey.as_str())
    .bind(account.region.as_str())
    .bind(account.user_name.clone().map(String::from))
    .bind(account.email.clone().map(String::from))
    .bind(account.phone.clone().map(String::from))
    .bind(account.verifier.phc())
    .bind(deadline(account.activation))
    .bind(i64::from(account.enabled))
    .bind(account.details.display_name.clone())
    .bind(account.details.language.clone())
    .bind(account.details.birthday.clone().map(String::from))
    .bind(account.details.address.clone())
    .bind(account.details.country.clone())
    .bind(account.details.groups.clone())
    .bind(account.registered_at.0)
    .execute(&mut *transaction)
    .await
    .map_err(insert_failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(AccountNumber(number))
}

pub(crate) async fn find_named(pool: &AnyPool, identifier: &Identifier) -> Result<Option<Account>, StoreError> {
    let query = match identifier {
        Identifier::UserName(_) => sqlx::query("SELECT * FROM accounts WHERE user_name = $1"),
        Identifier::Email(_) => sqlx::query("SELECT * FROM accounts WHERE email = $1"),
        Identifier::Phone(_) => sqlx::query("SELECT * FROM accounts WHERE phone = $1"),
    };
    query.bind(identifier.as_str()).fetch_optional(pool).await.map_err(failed)?.as_ref().map(read).transpose()
}

pub(crate) async fn find(pool: &AnyPool, number: AccountNumber) -> Result<Option<Account>, StoreError> {
    let query = sqlx::query("SELECT * FROM accounts WHERE number = $1").bind(number.0);
    query.fetch_optional(pool).await.map_err(failed)?.as_ref().map(read).transpose()
}

pub(crate) async fn list(pool: &AnyPool, page: Page<AccountNumber>) -> Result<Vec<Account>, StoreError> {
    let after = page.after.map_or(0, |number| number.0);
    let query = sqlx::query("SELECT * FROM accounts WHERE number > $1 ORDER BY number LIMIT $2");
    let rows = query.bind(after).bind(i64::from(page.limit)).fetch_all(pool).await.map_err(failed)?;
    rows.iter().map(read).collect()
}

pub(crate) async fn set_verifier(pool: &AnyPool, number: AccountNumber, verifier: &Verifier) -> Result<bool, StoreError> {
    let mut transaction = pool.begin().await.map_err(failed)?;
    let update = sqlx::query("UPDATE accounts SET verifier = $1, revision = revision + 1 WHERE number = $2");
    let found = update.bind(verifier.phc()).bind(number.0).execute(&mut *transaction).await.map_err(failed)?.rows_affected() > 0;
    sessions::end_all_of(&mut transaction, number).await?;
    transaction.commit().await.map_err(failed)?;
    Ok(found)
}

pub(crate) async fn set_activation(pool: &AnyPool, number: AccountNumber, activation: Activation) -> Result<bool, StoreError> {
    let update = sqlx::query("UPDATE accounts SET activation_deadline = $1, revision = revision + 1 WHERE number = $2");
    let done = update.bind(deadline(activation)).bind(number.0).execute(pool).await.map_err(failed)?;
    Ok(done.rows_affected() > 0)
}

pub(crate) async fn enable(pool: &AnyPool, number: AccountNumber, enabled: bool) -> Result<bool, StoreError> {
    let mut transaction = pool.begin().await.map_err(failed)?;
    let update = sqlx::query("UPDATE accounts SET enabled = $1, revision = revision + 1 WHERE number = $2");
    let update = update.bind(i64::from(enabled)).bind(number.0);
    let found = update.execute(&mut *transaction).await.map_err(failed)?.rows_affected() > 0;
    if !enabled {
        sessions::end_all_of(&mut transaction, number).await?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(found)
}

fn deadline(activation: Activation) -> Option<i64> {
    match activation {
        Activation::Active => None,
        Activation::Pending { deadline } => Some(deadline.0),
    }
}

fn read(row: &AnyRow) -> Result<Account, StoreError> {
    let row = Row { table: "accounts", row };
    let deadline: Option<i64> = row.get("activation_deadline")?;
    Ok(Account {
        number: AccountNumber(row.get("number")?),
        id: row.parse("id")?,
        apikey: row.parse("apikey")?,
        region: row.parse("region")?,
        user_name: row.parse_optional("user_name")?,
        email: row.parse_optional("email")?,
        phone: row.parse_optional("phone")?,
        verifier: Verifier::from_phc(row.get("verifier")?),
        activation: deadline.map_or(Activation::Active, |at| Activation::Pending { deadline: Timestamp(at) }),
        enabled: row.flag("enabled")?,
        details: Details {
            display_name: row.get("display_name")?,
            language: row.get("language")?,
            birthday: row.parse_optional("birthday")?,
            address: row.get("address")?,
            country: row.get("country")?,
            groups: row.get("groups")?,
        },
        registered_at: Timestamp(row.get("registered_at")?),
        last_login_at: row.get::<Option<i64>>("last_login_at")?.map(Timestamp),
        revision: row.get("revision")?,
    })
}
