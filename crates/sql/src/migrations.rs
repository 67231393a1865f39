//! What every version since the first has made of the tables.
//!
//! Listed here instead of by sqlx's macro, for which everybody who builds this would build all of sqlx a second time.

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
        "0010_forget_by_index"
    ];
    migrations.retain(|migration| migration.version <= newest);
    let mut migrator = Migrator::with_migrations(migrations);
    // A newer version may have been here: nodes are replaced one by one. Whether this one can go on is asked afterwards.
    migrator.set_ignore_missing(true);
    migrator
}

/// The one in the file of this name: a number, and what it is about.
fn migration(name: &'static str, sql: &'static str) -> Migration {
    let (number, about) = name.split_once('_').unwrap_or((name, ""));
    let number = number.parse().expect("files are named by numbers");
    Migration::new(number, about.replace('_', " ").into(), MigrationType::Simple, sql.into_sql_str(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

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
