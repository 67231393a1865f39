//! `hearthgate restore`: an empty store, filled from a backup.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::Path;

use account::MasterKey;
use secrecy::ExposeSecret;
use sql::{Place, Sum, Whole};
use tempfile::NamedTempFile;

use crate::config::Config;
use crate::data_folder::{DataFolder, finish, unfinished};
use crate::failure::{Context, Failure};
use crate::keys::KeyFolder;
use crate::{migrate, print, progress};

/// Fills the store, all or nothing, and prints what it holds.
pub(crate) async fn run(config: &Config, path: &Path, json: bool) -> Result<(), Failure> {
    let folder = DataFolder::at(&config.data);
    folder.make()?;
    let _lock = folder.lock()?;
    let target = empty_target(config, &folder).await?;
    let keys = KeyFolder::new(config, &folder)?;
    keys.find(None)?;
    let file = unpack(path, &keys, &folder)?;
    let mut backup = Whole::backup(file.path(), &path.display().to_string()).await?;
    if keys.find(backup.key_fingerprint().await?.as_deref()).is_err() {
        return Err("the master key is not the one that the backup was made with: put that one in its place first".into());
    }
    backup.bring_up_to_date().await?;
    let sums = match target {
        Some(target) => {
            // Without a name, nothing is left of it, however this ends.
            let _nameless = file.into_file();
            copy(backup, target).await?
        }
        None => {
            let sums = backup.sums().await?;
            backup.close().await?;
            finish(file, &folder.database())?;
            sums
        }
    };
    print::answer(&migrate::shown(&sums), json)
}

/// The database on PostgreSQL, if that is what is configured. It must be empty; a file must not be there at all.
async fn empty_target(config: &Config, folder: &DataFolder) -> Result<Option<Whole>, Failure> {
    match config.store() {
        Some(url) => {
            let mut target = Whole::target(&Place::Postgres(url.expose_secret().to_owned())).await?;
            target.refuse_if_not_empty().await?;
            target.refuse_if_in_use().await?;
            Ok(Some(target))
        }
        None => refuse_if_there(folder).map(|()| None),
    }
}

fn refuse_if_there(folder: &DataFolder) -> Result<(), Failure> {
    // What an earlier database left beside itself would be taken for a part of the new one.
    for file in ["hearthgate.db", "hearthgate.db-wal", "hearthgate.db-journal"].map(|name| folder.path().join(name)) {
        if file.symlink_metadata().is_ok() {
            return Err(format!("there is a database already, {}: restore into another data folder", file.display()).into());
        }
    }
    Ok(())
}

/// Copies everything in one transaction.
async fn copy(mut backup: Whole, mut target: Whole) -> Result<Vec<Sum>, Failure> {
    target.all_or_nothing().await?;
    target.begin(&backup).await?;
    migrate::fill(&mut target, &mut backup).await?;
    let sums = target.finish(&mut backup).await?;
    target.keep().await?;
    target.close().await?;
    backup.close().await?;
    Ok(sums)
}

/// Takes a backup as it is, or opens it, into a file beside the database.
fn unpack(path: &Path, keys: &KeyFolder, folder: &DataFolder) -> Result<NamedTempFile, Failure> {
    let failed = || format!("cannot read {}", path.display());
    let mut packed = File::open(path).context(failed)?;
    let mut beginning = Vec::new();
    Read::by_ref(&mut packed).take(64).read_to_end(&mut beginning).context(failed)?;
    packed.rewind().context(failed)?;
    let bar = progress::bar(packed.metadata().context(failed)?.len());
    let packed = bar.wrap_read(packed);
    let file = unfinished(&folder.database())?;
    if let Some(fingerprint) = MasterKey::seals(&beginning) {
        let mut plain = BufWriter::new(file.as_file());
        let key = keys.find(Some(&fingerprint)).or_else(|_| keys.find(None))?;
        key.open_stream(packed, &mut plain).context(|| format!("the backup {} does not open", path.display()))?;
        plain.flush().context(failed)?;
    } else if beginning.starts_with(b"SQLite format 3\0") {
        io::copy(&mut { packed }, &mut file.as_file()).context(failed)?;
    } else {
        return Err(format!("{} is not a backup that hearthgate made", path.display()).into());
    }
    bar.finish_and_clear();
    Ok(file)
}
