//! The directory on PostgreSQL: claimed in the primary's table, read from the copy in one's own database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use account::{Directory, DirectoryKey, Region, StoreError, Timestamp};

use crate::engine::{self, Connection, Pool};
use crate::open::{Limits, OpenError};
use crate::row::Row;
use crate::{SqlStore, on, postgres};

/// How many connections each process has to the primary: few claim at the same time, for each claims only after a hash.
const CLAIMANTS: u32 = 4;

/// What stands in the place of an identifier in the row that says under which master key identifiers are hashed: its fingerprint stands in
/// the place of the region. So every copy has it, and no region says anything about it.
const MADE_UNDER: &str = "master key";

/// A directory on PostgreSQL.
#[derive(Debug, Clone)]
pub struct SqlDirectory {
    copy: Pool,
    primary: Pool,
    limits: Limits,
    /// The fingerprint of the master key that identifiers are hashed under here.
    key: String,
    /// Whether that is known to be everybody's.
    is_shared: Arc<AtomicBool>,
}

impl SqlDirectory {
    /// The directory whose primary is at `url`, with the copy in `store`; `key` is the fingerprint of this store's first master key. It is not connected to before it is needed: without the
    /// primary, everything works but registering and moving.
    ///
    /// # Errors
    /// [`OpenError`], when the URL is none.
    pub fn connect(url: &str, store: &SqlStore, key: String, limits: Limits) -> Result<Self, OpenError> {
        let primary = postgres::lazily(url, Limits { connections: CLAIMANTS, ..limits })?;
        Ok(Self { copy: store.read.clone(), primary, limits, key, is_shared: Arc::default() })
    }

    /// Finds out, unless it is known, whether identifiers are hashed here as everywhere: under another key they would be somebody else's,
    /// and nobody's would be found.
    ///
    /// # Errors
    /// [`StoreError::Inconsistent`] when they are not.
    pub async fn check_key(&self) -> Result<(), StoreError> {
        if self.is_shared.load(Ordering::Relaxed) {
            return Ok(());
        }
        let copied: Option<String> = on!(self.copy, connection => made_under(connection))?;
        let made_under = match copied {
            Some(fingerprint) => fingerprint,
            None => on!(self.primary, connection => make_under(connection, &self.key))?,
        };
        if made_under != self.key {
            let problem = format!("is hashed under {made_under}, not under this store's first master key, {}", self.key);
            return Err(StoreError::Inconsistent { table: "directory", column: "identifier", problem });
        }
        self.is_shared.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Closes the connections to the primary.
    pub async fn close(&self) {
        self.primary.close().await;
    }
}

#[async_trait::async_trait]
impl Directory for SqlDirectory {
    async fn claim(&self, keys: &[DirectoryKey], region: &Region, now: Timestamp) -> Result<bool, StoreError> {
        self.check_key().await?;
        on!(self.primary, connection => claim(connection, keys, region, now))
    }

    async fn release(&self, keys: &[DirectoryKey], region: &Region, until: Timestamp) -> Result<(), StoreError> {
        on!(self.primary, connection => release(connection, keys, region, until))
    }

    async fn hand_over(&self, keys: &[DirectoryKey], to: &Region, now: Timestamp) -> Result<(), StoreError> {
        self.check_key().await?;
        on!(self.primary, connection => hand_over(connection, keys, to, now))
    }

    async fn sweep(&self, region: &Region, since: Timestamp) -> Result<u64, StoreError> {
        on!(self.primary, connection => sweep(connection, region, since))
    }

    async fn region_of(&self, key: &DirectoryKey) -> Result<Option<Region>, StoreError> {
        on!(self.copy, connection => region_of(connection, key))
    }
}

async fn made_under(connection: &mut Connection) -> Result<Option<String>, StoreError> {
    let query = engine::query_scalar("SELECT region FROM directory WHERE identifier = $1").bind(MADE_UNDER);
    query.fetch_optional(connection).await.map_err(Into::into)
}

/// Says under which key the directory is made, unless that is said already, and returns what is.
async fn make_under(connection: &mut Connection, key: &str) -> Result<String, StoreError> {
    let insert = engine::query(
        "INSERT INTO directory (identifier, region, claimed_at) VALUES ($1, $2, 0) ON CONFLICT (identifier) DO NOTHING",
    );
    insert.bind(MADE_UNDER).bind(key).execute(connection).await?;
    Ok(made_under(connection).await?.unwrap_or_else(|| key.to_owned()))
}

async fn claim(connection: &mut Connection, keys: &[DirectoryKey], region: &Region, now: Timestamp) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    for key in keys {
        let claim = engine::query(
            "INSERT INTO directory (identifier, region, claimed_at) VALUES ($1, $2, $3) \
             ON CONFLICT (identifier) DO UPDATE SET claimed_at = excluded.claimed_at WHERE directory.region = excluded.region",
        );
        let claim = claim.bind(key.as_str()).bind(region.as_str()).bind(now.0);
        if claim.execute(&mut transaction).await? == 0 {
            transaction.rollback().await?;
            return Ok(false);
        }
    }
    transaction.commit().await?;
    Ok(true)
}

async fn release(
    connection: &mut Connection,
    keys: &[DirectoryKey],
    region: &Region,
    until: Timestamp,
) -> Result<(), StoreError> {
    for key in keys {
        let delete = engine::query("DELETE FROM directory WHERE identifier = $1 AND region = $2 AND claimed_at <= $3");
        let delete = delete.bind(key.as_str()).bind(region.as_str()).bind(until.0);
        delete.execute(connection).await?;
    }
    Ok(())
}

async fn hand_over(connection: &mut Connection, keys: &[DirectoryKey], to: &Region, now: Timestamp) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    for key in keys {
        let put = engine::query(
            "INSERT INTO directory (identifier, region, claimed_at) VALUES ($1, $2, $3) \
             ON CONFLICT (identifier) DO UPDATE SET region = excluded.region, claimed_at = excluded.claimed_at",
        );
        put.bind(key.as_str()).bind(to.as_str()).bind(now.0).execute(&mut transaction).await?;
    }
    transaction.commit().await.map_err(Into::into)
}

async fn sweep(connection: &mut Connection, region: &Region, since: Timestamp) -> Result<u64, StoreError> {
    let delete = engine::query("DELETE FROM directory WHERE region = $1 AND claimed_at < $2").bind(region.as_str()).bind(since.0);
    Ok(delete.execute(connection).await?)
}

async fn region_of(connection: &mut Connection, key: &DirectoryKey) -> Result<Option<Region>, StoreError> {
    let query = engine::query("SELECT region FROM directory WHERE identifier = $1").bind(key.as_str());
    let row = query.fetch_optional(connection).await?;
    row.map(|row| Row { table: "directory", row: &row }.parse("region")).transpose()
}
