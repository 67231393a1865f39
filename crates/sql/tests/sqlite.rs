//! What is SQLite's own.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;

use account::{Device, DeviceKind, Facts, Guid, Store, SystemRng, Timestamp};
use sql::{Limits, SqlStore};
use tempfile::TempDir;

#[tokio::test]
async fn what_was_stored_is_there_after_reopening() {
    let folder = TempDir::new().unwrap();
    // Characters that mean something in a URL mean nothing in a path.
    let path = folder.path().join("a ?b#c%20d&é.db");
    let store = SqlStore::sqlite(&path, Limits::default()).await.unwrap();
    store.key_fingerprint("first").await.unwrap();
    assert!(path.with_extension("db-wal").exists(), "commits go to a write-ahead log");
    let header = std::fs::read(&path).unwrap();
    assert_eq!(header[18..20], [2, 2], "who writes and who reads must know the write-ahead log");
    store.close().await;
    assert!(path.exists());
    let again = SqlStore::sqlite(&path, Limits::default()).await.unwrap();
    assert_eq!(again.key_fingerprint("second").await.unwrap(), "first");
}

#[tokio::test]
async fn what_is_no_database_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("letter.db");
    std::fs::write(&path, "Dear Anna, this is a letter and not a database. ".repeat(100)).unwrap();
    let refused = SqlStore::sqlite(&path, Limits::default()).await.unwrap_err().to_string();
    assert!(refused.contains("letter.db") && refused.contains("not a database"), "{refused}");
    let nowhere = SqlStore::sqlite(&folder.path().join("no/such/folder.db"), Limits::default()).await.unwrap_err().to_string();
    assert!(nowhere.contains("no/such/folder.db"), "{nowhere}");
}

/// Versions follow one another while others still run: a newer one may have been here, unless it says that it broke the older ones.
#[tokio::test]
async fn a_newer_versions_database_is_used_as_long_as_it_can_be() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("hearthgate.db");
    SqlStore::sqlite(&path, Limits::default()).await.unwrap().close().await;
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', 1, x'00', 0)";
    change(&path, newer).await;
    SqlStore::sqlite(&path, Limits::default()).await.unwrap().close().await;
    change(&path, "UPDATE settings SET value = '9999' WHERE name = 'needs_migration'").await;
    let refused = SqlStore::sqlite(&path, Limits::default()).await.unwrap_err().to_string();
    assert!(refused.contains("hearthgate.db is a newer version's") && refused.contains("update hearthgate"), "{refused}");
}

/// After some failures, those of a disk among them, the engine has undone the transaction by itself. What is told then is what failed, not
/// that there is nothing left to undo.
#[tokio::test]
async fn what_failed_is_told_when_the_engine_has_undone_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("hearthgate.db");
    let store = SqlStore::sqlite(&path, Limits::default()).await.unwrap();
    let beside = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    let undoing = "CREATE TRIGGER undoing BEFORE INSERT ON devices BEGIN SELECT RAISE(ROLLBACK, 'the disk is gone'); END";
    sqlx::query(undoing).execute(&beside).await.unwrap();
    let device = Device {
        serial: "phone".parse().unwrap(),
        guid: Guid::draw(&SystemRng),
        kind: DeviceKind::Touch,
        app_version: None,
        name: None,
        facts: Facts::default(),
        registered_at: Timestamp(0),
    };
    let failed = store.insert_device(&device).await.unwrap_err().to_string();
    assert!(failed.contains("the disk is gone"), "{failed}");
    sqlx::query("DROP TRIGGER undoing").execute(&beside).await.unwrap();
    beside.close().await;
    store.insert_device(&device).await.unwrap();
    assert!(store.device(&device.serial).await.unwrap().is_some());
    store.close().await;
}

async fn change(path: &Path, statement: &'static str) {
    let beside = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    assert_eq!(sqlx::query(statement).execute(&beside).await.unwrap().rows_affected(), 1);
    beside.close().await;
}
