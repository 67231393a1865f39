//! The store's contract, on real databases of every engine.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../../tests/support/postgres.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use account::store::contract::outlives_its_connections;
use account::{ObjectId, Store, SystemRng};
use sql::{Limits, SqlStore};
use tempfile::TempDir;

/// The checks make many calls at once on purpose, and each must be answered.
const PATIENT: Limits =
    Limits { connections: 8, acquire_timeout: Duration::from_secs(60), timeout: Duration::from_secs(60), tries: 10 };

mod sqlite {
    use super::*;

    async fn open() -> (Arc<dyn Store>, TempDir) {
        let folder = TempDir::new().unwrap();
        let store = open_at(&folder.path().join("hearthgate.db")).await;
        (store, folder)
    }

    async fn open_at(path: &Path) -> Arc<dyn Store> {
        Arc::new(SqlStore::sqlite(path, PATIENT).await.unwrap())
    }

    account::store_contract!(open);

    #[tokio::test]
    async fn what_was_stored_outlives_closing() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("hearthgate.db");
        let store = SqlStore::sqlite(&path, PATIENT).await.unwrap();
        let reopen = async || {
            store.close().await;
            open_at(&path).await
        };
        outlives_its_connections(Arc::new(store.clone()), reopen).await;
    }

    /// What a killed process leaves is its files as they are: nothing is written back on the way out.
    #[tokio::test]
    async fn what_was_stored_outlives_a_kill() {
        let folder = TempDir::new().unwrap();
        let (path, left) = (folder.path().join("hearthgate.db"), folder.path().join("left.db"));
        let store = open_at(&path).await;
        let reopen = async || {
            for (of, to) in [(path.clone(), left.clone()), (path.with_extension("db-wal"), left.with_extension("db-wal"))] {
                std::fs::copy(of, to).unwrap();
            }
            open_at(&left).await
        };
        outlives_its_connections(Arc::clone(&store), reopen).await;
    }
}

mod postgres {
    use super::*;

    async fn open() -> (Arc<dyn Store>, ()) {
        let url = support::database(&format!("contract_{}", ObjectId::draw(&SystemRng).as_str()));
        (Arc::new(SqlStore::postgres(&url, PATIENT).await.unwrap()), ())
    }

    account::store_contract!(open);

    #[tokio::test]
    async fn what_was_stored_outlives_closing() {
        let url = support::database(&format!("contract_{}", ObjectId::draw(&SystemRng).as_str()));
        let store = SqlStore::postgres(&url, PATIENT).await.unwrap();
        let reopen = async || {
            store.close().await;
            let reopened: Arc<dyn Store> = Arc::new(SqlStore::postgres(&url, PATIENT).await.unwrap());
            reopened
        };
        outlives_its_connections(Arc::new(store.clone()), reopen).await;
    }
}
