//! The data folder: database, master key, the operator's socket, and the lock that keeps a second server out.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use account::{MasterKey, SystemRng};
use secrecy::ExposeSecret;
use tempfile::NamedTempFile;

use crate::failure::{Context, Failure};

const MASTER_KEY: &str = "master.key";

/// A data folder's files.
#[derive(Debug, Clone)]
pub(crate) struct DataFolder(PathBuf);

/// A file, and what tells whether it is still the same: its inode, its length, and the time of its last change.
pub(crate) type FileState = (PathBuf, u64, u64, (i64, i64));

/// Holds the folder until it is dropped.
#[derive(Debug)]
pub(crate) struct FolderLock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl DataFolder {
    /// A folder that need not exist yet.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The folder that this database lies in, if it lies in a data folder.
    pub fn around(database: &Path) -> Option<Self> {
        let folder = Self(database.parent()?.to_owned());
        (folder.database() == database).then_some(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn database(&self) -> PathBuf {
        self.0.join("hearthgate.db")
    }

    fn lock_file(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("hearthgate.sock")
    }

    /// Where messages are left that are not sent.
    pub fn outbox(&self) -> PathBuf {
        self.0.join("outbox")
    }

    pub fn master_key_file(&self) -> PathBuf {
        self.0.join(MASTER_KEY)
    }

    /// Where the key waits that is to come next.
    pub fn next_key_file(&self) -> PathBuf {
        self.0.join(format!("{MASTER_KEY}.next"))
    }

    /// Where the key with this fingerprint is kept when it is not in force any more.
    pub fn former_key_file(&self, fingerprint: &str) -> PathBuf {
        self.0.join(format!("{MASTER_KEY}.{fingerprint}"))
    }

    /// Makes the folder, readable by its owner only, if it is not there.
    pub fn make(&self) -> Result<(), Failure> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.context(|| format!("cannot make the data folder {}", self.0.display()))
    }

    /// Locks the folder; `None` when another process holds it.
    pub fn try_lock(&self) -> Result<Option<FolderLock>, Failure> {
        let path = self.lock_file();
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FolderLock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Failure::new(format!("cannot lock {}: {error}", path.display()))),
        }
    }

    /// Locks the folder, which nobody else may have.
    pub fn lock(&self) -> Result<FolderLock, Failure> {
        self.try_lock()?.ok_or_else(|| {
            let shown = self.0.display();
            Failure::new(format!(
                "the data folder {shown} is in use by another hearthgate: stop it, or choose another with --data"
            ))
        })
    }

    /// The files that hold master keys, `master.key` before all others. Whatever else begins like them is somebody's copy, and left alone.
    pub fn key_files(&self) -> Result<Vec<PathBuf>, Failure> {
        let failed = || format!("cannot look into {}", self.0.display());
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.context(failed)?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.context(failed)?;
            if entry.file_name().to_str().is_some_and(holds_key) {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }

    /// The same, each with what changes when it is written to, renamed or protected.
    pub fn key_file_states(&self) -> Result<Vec<FileState>, Failure> {
        let state = |path: PathBuf| {
            let metadata = fs::metadata(&path).context(|| format!("cannot look at {}", path.display()))?;
            Ok((path, metadata.ino(), metadata.size(), (metadata.ctime(), metadata.ctime_nsec())))
        };
        self.key_files()?.into_iter().map(state).collect()
    }

    /// Makes a file durable that somebody else may have written, and its name.
    pub fn sync(&self, path: &Path) -> Result<(), Failure> {
        let synced = File::open(path).and_then(|file| file.sync_all()).and_then(|()| File::open(&self.0)?.sync_all());
        synced.context(|| format!("cannot make {} durable", path.display()))
    }

    /// Reads a master key.
    pub fn read_key(&self, path: &Path) -> Result<MasterKey, Failure> {
        let text = fs::read_to_string(path).context(|| format!("cannot read the master key {}", path.display()))?;
        self.check_private(path)?;
        MasterKey::parse(&text).context(|| format!("the master key {}", path.display()))
    }

    /// Gives one of its files another name, durably.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), Failure> {
        let renamed = fs::rename(from, to).and_then(|()| File::open(&self.0)?.sync_all());
        renamed.context(|| format!("cannot rename {} to {}", from.display(), to.display()))
    }

    /// Whether there is a database.
    pub fn has_database(&self) -> Result<bool, Failure> {
        self.database().try_exists().context(|| format!("cannot look into {}", self.0.display()))
    }

    /// Fails where there is no database: most likely the operator means another folder.
    pub fn expect_database(&self) -> Result<(), Failure> {
        if self.has_database()? {
            return Ok(());
        }
        Err(format!("there is no data in {}: name the server's data folder with --data", self.0.display()).into())
    }

    /// Fails where the data are another user's: what is made beside them now, that user's server could not read.
    pub fn expect_own(&self) -> Result<(), Failure> {
        let Some(owner) = self.owner()? else { return Ok(()) };
        if owner == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        let shown = self.0.display();
        Err(format!("the data in {shown} are another user's: run this as that one (sudo -u '#{owner}' hearthgate …)").into())
    }

    /// Whose the data are, once there are any: whoever has opened the folder first, which is when the lock is made.
    fn owner(&self) -> Result<Option<u32>, Failure> {
        match fs::metadata(self.lock_file()) {
            Ok(metadata) => return Ok(Some(metadata.uid())),
            // A volume may be root's, and made for others to write into. A folder that root finds empty is made for its owner.
            Err(error) if error.kind() == ErrorKind::NotFound && !rustix::process::geteuid().is_root() => return Ok(None),
            Err(_) => {}
        }
        match fs::metadata(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            metadata => Ok(Some(metadata.context(|| format!("cannot look at {}", self.0.display()))?.uid())),
        }
    }

    /// Makes the database's file, so that it and what the engine puts beside it can be read by their owner only.
    pub fn make_database(&self) -> Result<(), Failure> {
        let path = self.database();
        let made = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        made.map(drop).context(|| format!("cannot make the database {}", path.display()))
    }

    /// Finds out whether something can be written in it, durably, and says how many bytes are free.
    pub fn try_writing(&self) -> Result<u64, Failure> {
        let mut file = unfinished(&self.database())?;
        let written = file.write_all(&[0; 64 * 1024]).and_then(|()| file.as_file().sync_all());
        let shown = self.0.display();
        written.context(|| format!("nothing can be written in {shown}"))?;
        let disk = rustix::fs::statvfs(&self.0).context(|| format!("cannot look at the disk of {shown}"))?;
        Ok(disk.f_bavail * disk.f_frsize)
    }

    /// Whether others can look into it.
    pub fn is_private(&self) -> Result<bool, Failure> {
        let metadata = fs::metadata(&self.0).context(|| format!("cannot look at {}", self.0.display()))?;
        Ok(metadata.permissions().mode() & 0o077 == 0)
    }

    fn check_private(&self, path: &Path) -> Result<(), Failure> {
        let metadata = fs::metadata(path).context(|| format!("cannot look at {}", path.display()))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(format!("the master key {0} can be read by others: run chmod 600 {0}", path.display()).into());
        }
        Ok(())
    }

    /// Draws a master key and keeps it in a file that only its owner can read.
    pub fn draw_master_key(&self) -> Result<MasterKey, Failure> {
        let key = MasterKey::draw(&SystemRng);
        write_private(&self.master_key_file(), key.expose().expose_secret())?;
        Ok(key)
    }
}

/// Whether a master key is in a file of this name: `master.key`, `master.key.next`, or that of a former one.
fn holds_key(name: &str) -> bool {
    let is_fingerprint = |text: &str| {
        text.len() == 2 * MasterKey::FINGERPRINT && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    match name.strip_prefix(MASTER_KEY) {
        Some("" | ".next") => true,
        Some(rest) => rest.strip_prefix('.').is_some_and(is_fingerprint),
        None => false,
    }
}

/// Writes a new file that only its owner can read. It is all there, and durable, or not there at all.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = unfinished(path)?;
    writeln!(file, "{}", text.trim_end()).context(|| format!("cannot write {}", path.display()))?;
    finish(file, path)
}

/// A file without a name that lasts, which only its owner can read, where `path` is to be.
pub(crate) fn unfinished(path: &Path) -> Result<NamedTempFile, Failure> {
    let made = tempfile::Builder::new().prefix(".hearthgate-").suffix(".unfinished").tempfile_in(folder_of(path));
    made.context(|| format!("cannot write {}", path.display()))
}

/// Gives a file its name, which nothing else may have; all of it is durable when this returns.
pub(crate) fn finish(file: NamedTempFile, path: &Path) -> Result<(), Failure> {
    let finish = || {
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|error| error.error)?;
        File::open(folder_of(path))?.sync_all()
    };
    finish().context(|| format!("cannot write {}", path.display()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a file readable by its owner only.
pub(crate) fn make_private(path: &Path) -> Result<(), Failure> {
    fs::set_permissions(path, Permissions::from_mode(0o600)).context(|| format!("cannot protect {}", path.display()))
}
