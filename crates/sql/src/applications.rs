//! Applications.

use account::store::{InsertError, Page};
use account::{Application, ApplicationId, Audience, EndReason, Sealed, StoreError, Timestamp};

use crate::engine::{self, Connection, Record};
use crate::row::{Row, insert_failed};
use crate::session_events::{self, Which};

/// A query of whole applications, by the names of their columns: a newer version may have added some.
macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, name, secret, profile, enabled, created_at FROM applications ", $rest)
    };
}

pub(crate) async fn insert(connection: &mut Connection, application: &Application) -> Result<(), InsertError> {
    engine::query("INSERT INTO applications (id, name, secret, profile, enabled, created_at) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(application.id.as_str())
        .bind(application.name.as_str())
        .bind(application.secret.as_str())
        .bind(application.profile.as_str())
        .bind(i64::from(application.enabled))
        .bind(application.created_at.0)
        .execute(connection)
        .await
        .map_err(insert_failed)?;
    Ok(())
}

pub(crate) async fn find(connection: &mut Connection, id: &ApplicationId) -> Result<Option<Application>, StoreError> {
    let query = engine::query(select!("WHERE id = $1")).bind(id.as_str());
    query.fetch_optional(connection).await?.as_ref().map(read).transpose()
}

pub(crate) async fn list(connection: &mut Connection, page: &Page<ApplicationId>) -> Result<Vec<Application>, StoreError> {
    let after = page.after.as_ref().map_or("", |after| after.as_str());
    let query = engine::query(select!("WHERE id > $1 ORDER BY id LIMIT $2"));
    let rows = query.bind(after).bind(i64::from(page.limit)).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

pub(crate) async fn enable(
    connection: &mut Connection,
    id: &ApplicationId,
    enabled: bool,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let update = engine::query("UPDATE applications SET enabled = $1 WHERE id = $2").bind(i64::from(enabled)).bind(id.as_str());
    let found = update.execute(&mut transaction).await? > 0;
    if !enabled {
        session_events::end(&mut transaction, Which::At(&Audience::Application(id.clone())), EndReason::ApplicationDisabled, now)
            .await?;
    }
    transaction.commit().await?;
    Ok(found)
}

pub(crate) async fn reseal(
    connection: &mut Connection,
    id: &ApplicationId,
    old: &Sealed,
    new: &Sealed,
) -> Result<bool, StoreError> {
    let update = engine::query("UPDATE applications SET secret = $1 WHERE id = $2 AND secret = $3");
    let update = update.bind(new.as_str()).bind(id.as_str()).bind(old.as_str());
    Ok(update.execute(connection).await? > 0)
}

fn read(row: &Record) -> Result<Application, StoreError> {
    let row = Row { table: "applications", row };
    Ok(Application {
        id: row.parse("id")?,
        name: row.get("name")?,
        secret: Sealed::from_stored(row.get("secret")?),
        profile: row.parse("profile")?,
        enabled: row.flag("enabled")?,
        created_at: Timestamp(row.get("created_at")?),
    })
}
