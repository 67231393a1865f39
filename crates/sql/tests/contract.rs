//! The store's contract, on a real SQLite file.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use account::Store;
use sql::SqlStore;
use tempfile::TempDir;

async fn open() -> (Arc<dyn Store>, TempDir) {
    let folder = TempDir::new().unwrap();
    let store = SqlStore::sqlite(&folder.path().join("hearthgate.db")).await.unwrap();
    (Arc::new(store), folder)
}

account::store_contract!(open);
