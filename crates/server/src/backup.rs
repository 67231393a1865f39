//! `hearthgate backup`: all that the store holds at one moment, in one file.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use account::{MasterKey, SystemRng};
use sql::{Place, Sum, Whole};
use tempfile::NamedTempFile;

use crate::config::Config;
use crate::data_folder::{DataFolder, finish, unfinished};
use crate::failure::{Context, Failure};
use crate::keys::KeyFolder;
use crate::{migrate, print, progress};

/// Writes a backup and prints what it holds.
pub(crate) async fn run(config: &Config, path: &Path, encrypt: bool, json: bool) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() {
        return Err(format!("{} is there already, and no backup is overwritten: name a new file", path.display()).into());
    }
    let place = migrate::configured(config);
    let folder = DataFolder::at(&config.data);
    if matches!(place, Place::Sqlite(_)) {
        folder.expect_database()?;
    }
    let mut source = Whole::source(&place).await?;
    let file = unfinished(path)?;
    let sums = if encrypt {
        let key = KeyFolder::new(config, &folder)?.find(source.key_fingerprint().await?.as_deref())?;
        write_sealed(&mut source, &file, &folder, &key).await?
    } else {
        write(&mut source, Whole::scratch(file.path()).await?).await?
    };
    source.close().await?;
    finish(file, path)?;
    print::answer(&migrate::shown(&sums), json)
}

/// Copies the store into a new SQLite database.
async fn write(source: &mut Whole, mut copy: Whole) -> Result<Vec<Sum>, Failure> {
    copy.bring_up_to_date().await?;
    copy.begin(source).await?;
    migrate::fill(&mut copy, source).await?;
    let sums = copy.finish(source).await?;
    copy.seal(&sums).await?;
    copy.close().await?;
    Ok(sums)
}

/// The same, sealed. What can be read lies in the data folder, as the key does, and has no name: nothing is left of it, however this
/// ends.
async fn write_sealed(
    source: &mut Whole,
    file: &NamedTempFile,
    folder: &DataFolder,
    key: &MasterKey,
) -> Result<Vec<Sum>, Failure> {
    folder.make()?;
    let plain = unfinished(&folder.database())?;
    let copy = Whole::scratch(plain.path()).await?;
    let mut plain = plain.into_file();
    let sums = write(source, copy).await?;
    seal(&mut plain, file.as_file(), key).context(|| "cannot write the backup".to_owned())?;
    Ok(sums)
}

fn seal(plain: &mut File, sealed: &File, key: &MasterKey) -> io::Result<()> {
    plain.rewind()?;
    let bar = progress::bar(plain.metadata()?.len());
    let mut sealed = BufWriter::new(sealed);
    key.seal_stream(&SystemRng, bar.wrap_read(plain), &mut sealed)?;
    bar.finish_and_clear();
    sealed.flush()
}
