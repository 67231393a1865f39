//! `hearthgate migrate-store`: the whole store, copied into an empty one, on whichever engine each is.

use std::fs;
use std::path::Path;

use secrecy::ExposeSecret;
use sql::{Place, Sum, Whole};

use crate::cli::MigrateStore;
use crate::config::Config;
use crate::data_folder::{DataFolder, FolderLock};
use crate::failure::{Context, Failure};
use crate::{print, progress};

/// Copies a store and prints what it holds.
pub(crate) async fn run(config: &Config, wish: &MigrateStore, json: bool) -> Result<(), Failure> {
    let from = named("from", wish.from.as_deref(), wish.from_file.as_deref(), config)?;
    let to = named("to", wish.to.as_deref(), wish.to_file.as_deref(), config)?;
    refuse_if_same(&from, &to)?;
    let _locks = (lock_source(&from)?, lock_target(&to)?);
    let mut source = Whole::source(&from).await?;
    // Nobody uses it now, nor when all is copied: so it is copied as it is.
    source.look_again().await?;
    let mut target = Whole::target(&to).await?;
    target.begin(&source).await?;
    fill(&mut target, &mut source).await?;
    source.look_again().await?;
    let sums = target.finish(&mut source).await?;
    source.close().await?;
    target.close().await?;
    print::answer(&shown(&sums), json)
}

/// Copies all that is not there yet, and shows how far it is.
pub(crate) async fn fill(target: &mut Whole, source: &mut Whole) -> Result<(), Failure> {
    let bar = progress::bar(source.count().await?);
    bar.set_position(target.count().await?);
    target.fill(source, |rows| bar.inc(rows)).await?;
    bar.finish_and_clear();
    Ok(())
}

/// What a store holds, table by table, as it is printed.
pub(crate) fn shown(sums: &[Sum]) -> serde_json::Value {
    let row = |sum: &Sum| serde_json::json!({ "table": sum.table, "rows": sum.rows, "checksum": sum.checksum });
    sums.iter().map(row).collect()
}

/// The store that is configured.
pub(crate) fn configured(config: &Config) -> Place {
    match config.store() {
        Some(url) => Place::Postgres(url.expose_secret().to_owned()),
        None => Place::Sqlite(DataFolder::at(&config.data).database()),
    }
}

fn named(which: &str, url: Option<&str>, file: Option<&Path>, config: &Config) -> Result<Place, Failure> {
    let parse = |url: &str| Place::parse(url.trim()).context(|| format!("--{which}"));
    match (url, file) {
        (Some(url), _) => parse(url),
        (None, Some(file)) => parse(&fs::read_to_string(file).context(|| format!("cannot read {}", file.display()))?),
        (None, None) => Ok(configured(config)),
    }
}

fn refuse_if_same(from: &Place, to: &Place) -> Result<(), Failure> {
    if let (Place::Sqlite(from), Place::Sqlite(to)) = (from, to)
        && let (Ok(from), Ok(to)) = (from.canonicalize(), to.canonicalize())
        && from == to
    {
        return Err(format!("{} is both source and target: name another target", from.display()).into());
    }
    Ok(())
}

/// Keeps servers from a file that is read.
fn lock_source(place: &Place) -> Result<Option<FolderLock>, Failure> {
    let Place::Sqlite(path) = place else { return Ok(None) };
    if !path.exists() {
        return Err(format!("there is no database {}", path.display()).into());
    }
    DataFolder::around(path).map(|folder| folder.lock()).transpose()
}

/// Keeps servers from a file that is filled, and makes its folder.
fn lock_target(place: &Place) -> Result<Option<FolderLock>, Failure> {
    let Place::Sqlite(path) = place else { return Ok(None) };
    let Some(folder) = DataFolder::around(path) else { return Ok(None) };
    folder.make()?;
    folder.lock().map(Some)
}
