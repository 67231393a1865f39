//! The directory on PostgreSQL: claimed in the primary's table, read from the copy in one's own database.

use account::{Directory, DirectoryKey, Region, StoreError, Timestamp};
use sqlx::{AnyConnection, AnyPool, Connection};

use crate::open::{Limits, OpenError};
use crate::row::{Row, failed};
use crate::{SqlStore, on, postgres};

/// How many connections each process has to the primary: few claim at the same time, for each claims only after a hash.
const CLAIMANTS: u32 = 4;

/// A directory on PostgreSQL.
#[derive(Debug, Clone)]
pub struct SqlDirectory {
    copy: AnyPool,
    primary: AnyPool,
    limits: Limits,
}

impl SqlDirectory {
    /// The directory whose primary is at `url`, with the copy in `store`. It is not connected to before it is needed: without the
    /// primary, everything works but registering and moving.
    ///
    /// # Errors
    /// [`OpenError`], when the URL is none.
    pub fn connect(url: &str, store: &SqlStore, limits: Limits) -> Result<Self, OpenError> {
        let primary = postgres::lazily(url, Limits { connections: CLAIMANTS, ..limits })?;
        Ok(Self { copy: store.read.clone(), primary, limits })
    }

    /// Closes the connections to the primary.
    pub async fn close(&self) {
        self.primary.close().await;
    }
}

#[async_trait::async_trait]
impl Directory for SqlDirectory {
    async fn claim(&self, keys: &[DirectoryKey], region: &Region, now: Timestamp) -> Result<bool, StoreError> {
        on!(self.primary, connection => claim(connection, keys, region, now))
    }

    async fn release(&self, keys: &[DirectoryKey], region: &Region, until: Timestamp) -> Result<(), StoreError> {
        on!(self.primary, connection => release(connection, keys, region, until))
    }

    async fn hand_over(&self, keys: &[DirectoryKey], to: &Region, now: Timestamp) -> Result<(), StoreError> {
        on!(self.primary, connection => hand_over(connection, keys, to, now))
    }

    async fn sweep(&self, region: &Region, since: Timestamp) -> Result<u64, StoreError> {
        on!(self.primary, connection => sweep(connection, region, since))
    }

    async fn region_of(&self, key: &DirectoryKey) -> Result<Option<Region>, StoreError> {
        on!(self.copy, connection => region_of(connection, key))
    }
}

async fn claim(
    connection: &mut AnyConnection,
    keys: &[DirectoryKey],
    region: &Region,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await.map_err(failed)?;
    for key in keys {
        let claim = sqlx::query(
            "INSERT INTO directory (identifier, region, claimed_at) VALUES ($1, $2, $3) \
             ON CONFLICT (identifier) DO UPDATE SET claimed_at = excluded.claimed_at WHERE directory.region = excluded.region",
        );
        let claim = claim.bind(key.as_str()).bind(region.as_str()).bind(now.0);
        if claim.execute(&mut *transaction).await.map_err(failed)?.rows_affected() == 0 {
            transaction.rollback().await.map_err(failed)?;
            return Ok(false);
        }
    }
    transaction.commit().await.map_err(failed)?;
    Ok(true)
}

async fn release(
    connection: &mut AnyConnection,
    keys: &[DirectoryKey],
    region: &Region,
    until: Timestamp,
) -> Result<(), StoreError> {
    for key in keys {
        let delete = sqlx::query("DELETE FROM directory WHERE identifier = $1 AND region = $2 AND claimed_at <= $3");
        let delete = delete.bind(key.as_str()).bind(region.as_str()).bind(until.0);
        delete.execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

async fn hand_over(connection: &mut AnyConnection, keys: &[DirectoryKey], to: &Region, now: Timestamp) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await.map_err(failed)?;
    for key in keys {
        let put = sqlx::query(
            "INSERT INTO directory (identifier, region, claimed_at) VALUES ($1, $2, $3) \
             ON CONFLICT (identifier) DO UPDATE SET region = excluded.region, claimed_at = excluded.claimed_at",
        );
        put.bind(key.as_str()).bind(to.as_str()).bind(now.0).execute(&mut *transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

async fn sweep(connection: &mut AnyConnection, region: &Region, since: Timestamp) -> Result<u64, StoreError> {
    let delete = sqlx::query("DELETE FROM directory WHERE region = $1 AND claimed_at < $2").bind(region.as_str()).bind(since.0);
    Ok(delete.execute(connection).await.map_err(failed)?.rows_affected())
}

async fn region_of(connection: &mut AnyConnection, key: &DirectoryKey) -> Result<Option<Region>, StoreError> {
    let query = sqlx::query("SELECT region FROM directory WHERE identifier = $1").bind(key.as_str());
    let row = query.fetch_optional(connection).await.map_err(failed)?;
    row.map(|row| Row { table: "directory", row: &row }.parse("region")).transpose()
}
