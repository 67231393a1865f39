//! What every version since the first has made of the tables.
//!
//! Listed here instead of by sqlx's macro, which has sqlx, and for tests SQLite, built a second time.

use std::sync::LazyLock;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

macro_rules! named {
    ($($name:literal)*) => { vec![$(migration($name, include_str!(concat!("../migrations/", $name, ".sql")))),*] };
}

/// All of them.
pub(crate) static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| up_to(i64::MAX));

/// All of them up to this number, as an older version has them.
pub(crate) fn up_to(newest: i64) -> Migrator {
    let mut migrations = named![
        "0001_first"
        "0002_life"
        "0003_directory"
        "0004_resource"
        "0005_throttle"
        "0006_audit"
        "0007_keys"
        "0008_spent_tokens"
        "0009_lighter_refreshes"
        "0010_old_links"
        "0011_old_messages"
        "0012_old_addressees"
        "0013_unnumbered_events"
    ];
    migrations.retain(|migration| migration.version <= newest);
    let mut migrator = Migrator::with_migrations(migrations);
    // A newer version may have been here: nodes are replaced one by one. Whether this one can go on is asked afterwards.
    migrator.set_ignore_missing(true);
    migrator
}

/// The one in the file of this name: a number, and what it is about.
fn migration(name: &'static str, sql: &'static str) -> Migration {
    let (number, about) = name.split_once('_').expect("a file is named by a number and what it is about");
    let number = number.parse().expect("the number comes first");
    Migration::new(number, about.replace('_', " ").into(), MigrationType::Simple, sql.into_sql_str(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was published stays as it is: every database has written down what was done to it.
    #[test]
    fn what_was_published_stays() {
        let published = [
            "505d92b9", "b72fd35a", "b06042b8", "43dfb8ef", "00e1a8fb", "a9764984", "5afd1c49", "58ff1c32", "b0ba0828",
            "495cf42e", "d2e467e2", "ddd8ec0c", "f70d725d",
        ];
        for (migration, checksum) in MIGRATIONS.iter().zip(published) {
            let found: String = migration.checksum[..4].iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, checksum, "{} {}", migration.version, migration.description);
        }
    }

    #[test]
    fn every_file_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let listed = MIGRATIONS.iter().map(|one| format!("{:04}_{}.sql", one.version, one.description.replace(' ', "_")));
        assert_eq!(files, listed.collect::<Vec<_>>());
    }
}
