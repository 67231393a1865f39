//! Accounts.

use account::store::{AccountChange, Changed, Created, Creation, Ending, Imported, InsertError, Page, Spend};
use account::{
    Account, AccountNumber, Activation, Address, Details, EndReason, Gateway, Identifier, Link, Region, Session, StoreError,
    Timestamp, Verifier,
};

use crate::engine::{self, Connection, Record};
use crate::row::Row;
use crate::session_events::{self, Which};
use crate::{gateways, mailings, messages, sessions};

/// The columns of whole accounts by their names: a newer version may have added some.
macro_rules! columns {
    () => {
        "accounts.number, accounts.id, accounts.apikey, accounts.region, accounts.user_name, accounts.email, accounts.phone, \
         accounts.verifier, accounts.activation_deadline, accounts.enabled, accounts.display_name, accounts.language, \
         accounts.birthday, accounts.address, accounts.country, accounts.groups, accounts.registered_at, accounts.last_login_at, \
         accounts.revision"
    };
}

/// A query of whole accounts.
macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT ", columns!(), " FROM accounts ", $rest)
    };
}

/// The columns, for a query of more than accounts.
pub(crate) const COLUMNS: &str = columns!();

pub(crate) async fn insert(connection: &mut Connection, account: &Account) -> Result<AccountNumber, InsertError> {
    let mut transaction = connection.begin().await?;
    let number = put(&mut transaction, account).await?;
    transaction.commit().await?;
    Ok(number)
}

async fn put(connection: &mut Connection, account: &Account) -> Result<AccountNumber, InsertError> {
    // Whoever registers holds the counter until the end, so that nobody else does meanwhile.
    let number: i64 = engine::query_scalar("UPDATE counters SET value = value + 1 WHERE name = 'account' RETURNING value")
        .fetch_one(connection)
        .await?;
    let insert = engine::query(
        "INSERT INTO accounts (number, id, apikey, region, user_name, email, phone, verifier, activation_deadline, enabled, \
         display_name, language, birthday, address, country, groups, registered_at, last_login_at, revision) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, 0) ON CONFLICT DO NOTHING",
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
    .bind(account.last_login_at.map(|at| at.0));
    match insert.execute(connection).await? {
        0 => Err(InsertError::Taken),
        _ => Ok(AccountNumber(number)),
    }
}

pub(crate) async fn create(connection: &mut Connection, creation: Creation<'_>) -> Result<Created, StoreError> {
    let mut transaction = connection.begin().await?;
    let created = try_create(&mut transaction, creation).await?;
    match created {
        Created::Account(_) => transaction.commit().await?,
        _ => transaction.rollback().await?,
    }
    Ok(created)
}

async fn try_create(connection: &mut Connection, creation: Creation<'_>) -> Result<Created, StoreError> {
    let Creation { account, replaceable_before, spend, session, link, message, limits, now } = creation;
    if let Some(code) = spend
        && !mailings::spend(connection, Spend::Code(code)).await?
    {
        return Ok(Created::Spent);
    }
    erase_replaceable(connection, account, replaceable_before, now).await?;
    let number = match put(connection, account).await {
        Ok(number) => number,
        Err(InsertError::Taken) => return Ok(Created::Taken),
        Err(InsertError::Store(error)) => return Err(error),
    };
    if let Some(session) = session {
        if !sessions::is_open(connection, &session.audience).await? {
            return Ok(Created::Closed);
        }
        sessions::put(connection, &Session { account: number, ..session.clone() }).await?;
    }
    if let Some(link) = link {
        mailings::put_link(connection, &Link { account: number, ..link.clone() }).await?;
    }
    if let (Some(message), Some(email)) = (message, &account.email) {
        let address = Address::Email(email.clone());
        if let Some(retry_after) = mailings::count(connection, &address, message, limits, now).await? {
            return Ok(Created::TooOften { retry_after });
        }
        messages::put(connection, message).await?;
    }
    Ok(Created::Account(number))
}

/// Erases the accounts that were never activated and have one of this account's identifiers.
async fn erase_replaceable(
    connection: &mut Connection,
    account: &Account,
    before: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    // Changed before it is erased, so that nobody activates it meanwhile.
    let query = engine::query_scalar(
        "UPDATE accounts SET revision = revision + 1 \
         WHERE (user_name = $1 OR email = $2 OR phone = $3) AND activation_deadline <= $4 RETURNING number",
    )
    .bind(account.user_name.clone().map(String::from))
    .bind(account.email.clone().map(String::from))
    .bind(account.phone.clone().map(String::from))
    .bind(before.0);
    let numbers: Vec<i64> = query.fetch_all(connection).await?;
    for number in numbers {
        erase(connection, AccountNumber(number), EndReason::AccountClosed, now).await?;
    }
    Ok(())
}

/// Erases an account, which was changed before, with everything that is its own, and frees its gateways.
async fn erase(connection: &mut Connection, number: AccountNumber, reason: EndReason, now: Timestamp) -> Result<(), StoreError> {
    session_events::end(connection, Which::OfAccount(number), reason, now).await?;
    let unbind = engine::query("UPDATE gateways SET account = NULL WHERE account = $1").bind(number.0);
    unbind.execute(connection).await?;
    let lanes = "DELETE FROM lanes WHERE subject = 'account/' || (SELECT id FROM accounts WHERE number = $1)";
    engine::query(lanes).bind(number.0).execute(connection).await?;
    let delete = engine::query("DELETE FROM accounts WHERE number = $1").bind(number.0);
    delete.execute(connection).await.map(drop).map_err(Into::into)
}

/// Makes everything that is being decided on this account be decided anew. `false` when there is no such account.
pub(crate) async fn bump_revision(connection: &mut Connection, number: AccountNumber) -> Result<bool, StoreError> {
    let update = engine::query("UPDATE accounts SET revision = revision + 1 WHERE number = $1").bind(number.0);
    Ok(update.execute(connection).await? > 0)
}

pub(crate) async fn delete(
    connection: &mut Connection,
    number: AccountNumber,
    spend: Spend<'_>,
    now: Timestamp,
) -> Result<Changed, StoreError> {
    let mut transaction = connection.begin().await?;
    let changed = if !bump_revision(&mut transaction, number).await? {
        Changed::Stale
    } else if !mailings::spend(&mut transaction, spend).await? {
        Changed::Spent
    } else {
        erase(&mut transaction, number, EndReason::AccountClosed, now).await?;
        Changed::Done
    };
    match changed {
        Changed::Done => transaction.commit().await?,
        _ => transaction.rollback().await?,
    }
    Ok(changed)
}

pub(crate) async fn change(connection: &mut Connection, change: AccountChange<'_>) -> Result<Changed, StoreError> {
    let mut transaction = connection.begin().await?;
    let changed = try_change(&mut transaction, change).await?;
    match changed {
        Changed::Done => transaction.commit().await?,
        _ => transaction.rollback().await?,
    }
    Ok(changed)
}

/// A change that ends sessions is a new password.
const PASSWORD: EndReason = EndReason::PasswordChanged;

async fn try_change(connection: &mut Connection, change: AccountChange<'_>) -> Result<Changed, StoreError> {
    let update = engine::query(
        "UPDATE accounts SET verifier = COALESCE($1, verifier), \
         activation_deadline = CASE WHEN $2 = 1 THEN NULL ELSE activation_deadline END, \
         last_login_at = COALESCE($3, last_login_at), revision = revision + 1 WHERE number = $4 AND revision = $5",
    )
    .bind(change.verifier.map(|verifier| verifier.phc().to_owned()))
    .bind(i64::from(change.activate))
    .bind(change.begin.map(|session| session.created_at.0))
    .bind(change.account.0)
    .bind(change.revision);
    if update.execute(connection).await? == 0 {
        return Ok(Changed::Stale);
    }
    if let Some(spend) = change.spend
        && !mailings::spend(connection, spend).await?
    {
        return Ok(Changed::Spent);
    }
    if let Some(session) = change.begin
        && !sessions::is_open(connection, &session.audience).await?
    {
        return Ok(Changed::Closed);
    }
    match change.end {
        Ending::None => {}
        Ending::All => drop(session_events::end(connection, Which::OfAccount(change.account), PASSWORD, change.now).await?),
        Ending::AllBut(session) => {
            if !sessions::is_there(connection, change.account, session).await? {
                return Ok(Changed::Stale);
            }
            session_events::end(connection, Which::OfAccountBut(change.account, session), PASSWORD, change.now).await?;
        }
    }
    if let Some(session) = change.begin {
        sessions::put(connection, session).await?;
    }
    if let Some(message) = change.message {
        messages::put(connection, message).await?;
    }
    Ok(Changed::Done)
}

pub(crate) async fn set_region(
    connection: &mut Connection,
    number: AccountNumber,
    region: &Region,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let update = engine::query("UPDATE accounts SET region = $1, revision = revision + 1 WHERE number = $2");
    let update = update.bind(region.as_str()).bind(number.0);
    let found = update.execute(&mut transaction).await? > 0;
    session_events::end(&mut transaction, Which::OfAccount(number), EndReason::AccountMoved, now).await?;
    transaction.commit().await?;
    Ok(found)
}

pub(crate) async fn take_in(
    connection: &mut Connection,
    account: &Account,
    gateways: &[Gateway],
) -> Result<Imported, StoreError> {
    let mut transaction = connection.begin().await?;
    let here = engine::query("SELECT number FROM accounts WHERE id = $1").bind(account.id.as_str());
    if here.fetch_optional(&mut transaction).await?.is_some() {
        return Ok(Imported::Done);
    }
    match try_take_in(&mut transaction, account, gateways).await {
        Ok(()) => {
            transaction.commit().await?;
            Ok(Imported::Done)
        }
        Err(InsertError::Taken) => Ok(Imported::Taken),
        Err(InsertError::Store(error)) => Err(error),
    }
}

async fn try_take_in(connection: &mut Connection, account: &Account, gateways: &[Gateway]) -> Result<(), InsertError> {
    let number = put(connection, account).await?;
    for gateway in gateways {
        gateways::insert(connection, &Gateway { account: Some(number), ..gateway.clone() }).await?;
    }
    Ok(())
}

pub(crate) async fn remove(connection: &mut Connection, number: AccountNumber, now: Timestamp) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let found = bump_revision(&mut transaction, number).await?;
    let delete = engine::query("DELETE FROM gateways WHERE account = $1").bind(number.0);
    delete.execute(&mut transaction).await?;
    erase(&mut transaction, number, EndReason::AccountMoved, now).await?;
    transaction.commit().await?;
    Ok(found)
}

pub(crate) async fn set_details(
    connection: &mut Connection,
    number: AccountNumber,
    details: &Details,
) -> Result<bool, StoreError> {
    let update = engine::query(
        "UPDATE accounts SET display_name = $1, language = $2, birthday = $3, address = $4, country = $5, groups = $6 \
         WHERE number = $7",
    )
    .bind(details.display_name.clone())
    .bind(details.language.clone())
    .bind(details.birthday.clone().map(String::from))
    .bind(details.address.clone())
    .bind(details.country.clone())
    .bind(details.groups.clone())
    .bind(number.0);
    Ok(update.execute(connection).await? > 0)
}

pub(crate) async fn import(
    connection: &mut Connection,
    accounts: &[Account],
    source: &str,
    line: i64,
) -> Result<Vec<Imported>, StoreError> {
    let mut transaction = connection.begin().await?;
    let mut imported = Vec::with_capacity(accounts.len());
    for account in accounts {
        imported.push(match put(&mut transaction, account).await {
            Ok(_) => Imported::Done,
            Err(InsertError::Taken) => Imported::Taken,
            Err(InsertError::Store(error)) => return Err(error),
        });
    }
    engine::query("INSERT INTO imports (source, line) VALUES ($1, $2) ON CONFLICT (source) DO UPDATE SET line = excluded.line")
        .bind(source)
        .bind(line)
        .execute(&mut transaction)
        .await?;
    transaction.commit().await?;
    Ok(imported)
}

pub(crate) async fn imported_up_to(connection: &mut Connection, source: &str) -> Result<i64, StoreError> {
    let query = engine::query_scalar("SELECT line FROM imports WHERE source = $1").bind(source);
    Ok(query.fetch_optional(connection).await?.unwrap_or(0))
}

pub(crate) async fn find_named(connection: &mut Connection, identifier: &Identifier) -> Result<Option<Account>, StoreError> {
    let query = match identifier {
        Identifier::UserName(_) => engine::query(select!("WHERE user_name = $1")),
        Identifier::Email(_) => engine::query(select!("WHERE email = $1")),
        Identifier::Phone(_) => engine::query(select!("WHERE phone = $1")),
    };
    query.bind(identifier.as_str()).fetch_optional(connection).await?.as_ref().map(read).transpose()
}

pub(crate) async fn find(connection: &mut Connection, number: AccountNumber) -> Result<Option<Account>, StoreError> {
    let query = engine::query(select!("WHERE number = $1")).bind(number.0);
    query.fetch_optional(connection).await?.as_ref().map(read).transpose()
}

pub(crate) async fn list(connection: &mut Connection, page: &Page<AccountNumber>) -> Result<Vec<Account>, StoreError> {
    let after = page.after.map_or(0, |number| number.0);
    let query = engine::query(select!("WHERE number > $1 ORDER BY number LIMIT $2"));
    let rows = query.bind(after).bind(i64::from(page.limit)).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

pub(crate) async fn set_activation(
    connection: &mut Connection,
    number: AccountNumber,
    activation: Activation,
) -> Result<bool, StoreError> {
    let update = engine::query("UPDATE accounts SET activation_deadline = $1, revision = revision + 1 WHERE number = $2");
    let done = update.bind(deadline(activation)).bind(number.0).execute(connection).await?;
    Ok(done > 0)
}

pub(crate) async fn enable(
    connection: &mut Connection,
    number: AccountNumber,
    enabled: bool,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let update = engine::query("UPDATE accounts SET enabled = $1, revision = revision + 1 WHERE number = $2");
    let update = update.bind(i64::from(enabled)).bind(number.0);
    let found = update.execute(&mut transaction).await? > 0;
    if !enabled {
        session_events::end(&mut transaction, Which::OfAccount(number), EndReason::AccountDisabled, now).await?;
    }
    transaction.commit().await?;
    Ok(found)
}

fn deadline(activation: Activation) -> Option<i64> {
    match activation {
        Activation::Active => None,
        Activation::Pending { deadline } => Some(deadline.0),
    }
}

pub(crate) fn read(row: &Record) -> Result<Account, StoreError> {
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
