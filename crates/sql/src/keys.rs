//! The fingerprint of the master key, and the keys before it.

use account::store::{FormerKey, KeptKeys};
use account::{Sealed, StoreError, Timestamp};

use crate::engine::{self, Connection};
use crate::row::Row;

/// The fingerprint and the former keys in one query, so that they are of one moment on every engine.
const ALL: &str = "SELECT value AS fingerprint, NULL AS sealed, NULL AS retired_at FROM settings WHERE name = 'key_fingerprint' \
                   UNION ALL SELECT fingerprint, sealed, retired_at FROM former_keys ORDER BY retired_at";

/// Remembers the fingerprint if none is remembered, and returns the one that is.
pub(crate) async fn remember(connection: &mut Connection, ours: &str) -> Result<String, StoreError> {
    let mut transaction = connection.begin().await?;
    let insert = engine::query("INSERT INTO settings (name, value) VALUES ('key_fingerprint', $1) ON CONFLICT DO NOTHING");
    insert.bind(ours).execute(&mut transaction).await?;
    let query = engine::query_scalar("SELECT value FROM settings WHERE name = 'key_fingerprint'");
    let remembered = query.fetch_one(&mut transaction).await?;
    transaction.commit().await?;
    Ok(remembered)
}

pub(crate) async fn all(connection: &mut Connection) -> Result<KeptKeys, StoreError> {
    let mut kept = KeptKeys::default();
    for row in engine::query(ALL).fetch_all(connection).await? {
        let row = Row { table: "former_keys", row: &row };
        let fingerprint = row.get("fingerprint")?;
        let (sealed, retired_at): (Option<String>, Option<i64>) = (row.get("sealed")?, row.get("retired_at")?);
        match (sealed.map(Sealed::from_stored), retired_at.map(Timestamp)) {
            (Some(sealed), Some(retired_at)) => kept.former.push(FormerKey { fingerprint, sealed, retired_at }),
            _ => kept.current = Some(fingerprint),
        }
    }
    Ok(kept)
}

pub(crate) async fn rotate(connection: &mut Connection, from: &str, to: &str, former: &[FormerKey]) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let update = engine::query("UPDATE settings SET value = $1 WHERE name = 'key_fingerprint' AND value = $2");
    if update.bind(to).bind(from).execute(&mut transaction).await? == 0 {
        return Ok(false);
    }
    engine::query("DELETE FROM former_keys").execute(&mut transaction).await?;
    for key in former {
        let insert = engine::query("INSERT INTO former_keys (fingerprint, sealed, retired_at) VALUES ($1, $2, $3)");
        let insert = insert.bind(key.fingerprint.as_str()).bind(key.sealed.as_str()).bind(key.retired_at.0);
        insert.execute(&mut transaction).await?;
    }
    transaction.commit().await?;
    Ok(true)
}
