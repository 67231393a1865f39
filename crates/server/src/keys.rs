//! The master key's files: `master.key` is the one in force, `master.key.next` the one that is to come, others are former ones, for
//! backups that were made under them. Which of them is in force is the store's to say: any state of the files is put in order.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use account::{Core, Keys, KeysError, MasterKey, Store, SystemRng};
use admin::KeyFiles;
use secrecy::ExposeSecret;
use sql::SqlStore;

use crate::config::Config;
use crate::data_folder::{DataFolder, write_private};
use crate::failure::{Context, Failure};

/// How often it is asked whether the key was rotated on another node, or another was put into the data folder.
const LOOK: Duration = Duration::from_secs(1);

/// The master keys that a node was given.
#[derive(Clone)]
pub(crate) struct KeyFolder {
    folder: DataFolder,
    configured: Option<Arc<MasterKey>>,
    /// Whether other nodes may serve from the same database.
    shared: bool,
}

impl KeyFolder {
    pub fn new(config: &Config, folder: &DataFolder) -> Result<Self, Failure> {
        let configured = config.master_key()?.map(Arc::new);
        Ok(Self { folder: folder.clone(), configured, shared: config.store().is_some() })
    }

    /// All keys that are there: the configured one first, then `master.key`.
    pub fn given(&self) -> Result<Vec<Arc<MasterKey>>, Failure> {
        let mut given: Vec<_> = self.configured.iter().cloned().collect();
        for file in self.folder.key_files()? {
            given.push(Arc::new(self.folder.read_key(&file)?));
        }
        Ok(given)
    }

    /// The key with this fingerprint; without one, the first that is given.
    pub fn find(&self, fingerprint: Option<&str>) -> Result<Arc<MasterKey>, Failure> {
        let given = self.given()?;
        if given.is_empty() {
            return Err(self.missing());
        }
        let found = given.into_iter().find(|key| fingerprint.is_none_or(|fingerprint| key.fingerprint() == fingerprint));
        found.ok_or_else(|| KeysError::Other.to_string().into())
    }

    /// The keys of a store; a new store is given one.
    pub async fn open(&self, store: &SqlStore) -> Result<Arc<Keys>, Failure> {
        let unusable = || "cannot use the database".to_owned();
        let mut given = self.given()?;
        if store.keys().await.context(unusable)?.current.is_none() {
            if given.is_empty() {
                given.push(Arc::new(self.folder.draw_master_key()?));
            }
            store.key_fingerprint(&given[0].fingerprint()).await.context(unusable)?;
        }
        if given.is_empty() {
            return Err(self.missing());
        }
        let keys = Keys::load(store, given).await.map_err(|error| Failure::new(error.to_string()))?;
        self.tidy(&keys);
        if self.configured.as_ref().is_some_and(|key| key.fingerprint() != keys.fingerprint()) {
            let shown = self.folder.master_key_file().display().to_string();
            tracing::warn!("the configured master key is a former one: configure the one in {shown}");
        }
        Ok(Arc::new(keys))
    }

    fn tidy(&self, keys: &Keys) {
        if let Err(error) = self.settle(&keys.fingerprint()) {
            tracing::warn!(error, "the master key's files cannot be put in order");
        }
    }

    fn missing(&self) -> Failure {
        let shown = self.folder.master_key_file().display().to_string();
        Failure::new(format!(
            "the master key {shown} is missing, and without it the database is of no use: put it back, or copy another node's"
        ))
    }
}

/// Takes up what others do to the key: the next one that is put into the data folder, and a rotation on another node.
pub(crate) async fn follow(files: KeyFolder, core: Arc<Core>, keys: Arc<Keys>, store: SqlStore) {
    let mut follower = Follower { files, core, keys, store, seen: Vec::new(), said: String::new() };
    follower.reseal().await;
    loop {
        let said = follower.look().await.err().map(|failure| failure.to_string()).unwrap_or_default();
        if !said.is_empty() && said != follower.said {
            tracing::error!("{said}");
        }
        follower.said = said;
        tokio::time::sleep(LOOK).await;
    }
}

struct Follower {
    files: KeyFolder,
    core: Arc<Core>,
    keys: Arc<Keys>,
    store: SqlStore,
    /// The files that were there last.
    seen: Vec<PathBuf>,
    /// What was wrong last.
    said: String,
}

impl Follower {
    async fn look(&mut self) -> Result<(), Failure> {
        let ours = self.keys.fingerprint();
        let rotated = self.store.keys().await.context(|| "cannot ask for the master key".to_owned())?.current != Some(ours);
        let files = self.files.folder.key_files()?;
        if !rotated && files == self.seen {
            return Ok(());
        }
        let reloaded = self.keys.reload(&self.store, self.files.given()?).await;
        reloaded.map_err(|error| Failure::new(error.to_string()))?;
        self.seen = files;
        for key in self.keys.next() {
            tracing::info!(key, "the next master key is there");
        }
        if rotated {
            tracing::info!(key = self.keys.fingerprint(), "the master key was rotated");
            self.files.tidy(&self.keys);
            self.reseal().await;
        }
        Ok(())
    }

    /// What this node sealed under the former key, or whoever rotated it did not come to.
    async fn reseal(&self) {
        match self.core.reseal().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "sealed anew under the master key"),
            Err(error) => tracing::error!(%error, "cannot seal anew under the master key"),
        }
    }
}

impl KeyFiles for KeyFolder {
    fn draw(&self) -> Result<PathBuf, String> {
        let path = self.folder.next_key_file();
        if path.exists() {
            return Err(format!("there is one already, {}: rotate to it, or remove it", path.display()));
        }
        write_private(&path, MasterKey::draw(&SystemRng).expose().expose_secret()).map_err(said)?;
        Ok(path)
    }

    fn next(&self) -> Result<Arc<MasterKey>, String> {
        let path = self.folder.next_key_file();
        if !path.exists() {
            self.refuse_to_draw(&path)?;
            self.draw()?;
        }
        self.folder.read_key(&path).map(Arc::new).map_err(said)
    }

    fn settle(&self, in_force: &str) -> Result<Option<PathBuf>, String> {
        self.put_in_place(in_force).map_err(said)
    }
}

impl KeyFolder {
    /// Whoever else needs the key must have it before it is in force.
    fn refuse_to_draw(&self, path: &Path) -> Result<(), String> {
        let draw = "draw the next one with hearthgate key draw";
        let shown = path.display();
        if self.configured.is_some() {
            return Err(format!(
                "the master key is configured: {draw}, keep what is in {shown} where you keep yours, and rotate then"
            ));
        }
        if self.shared {
            return Err(format!(
                "other nodes may serve from this database: {draw}, copy {shown} into the data folder of each, and rotate then"
            ));
        }
        Ok(())
    }

    fn put_in_place(&self, in_force: &str) -> Result<Option<PathBuf>, Failure> {
        let (place, next) = (self.folder.master_key_file(), self.folder.next_key_file());
        let mut found = Vec::new();
        for file in self.folder.key_files()? {
            let fingerprint = self.folder.read_key(&file)?.fingerprint();
            found.push((file, fingerprint));
        }
        let mut holders = found.iter().filter(|(_, fingerprint)| fingerprint == in_force).map(|(file, _)| file);
        let Some(holder) = holders.next() else { return Ok(None) };
        if *holder != place {
            if let Some((_, former)) = found.iter().find(|(file, _)| *file == place) {
                self.folder.rename(&place, &self.folder.former_key_file(former))?;
            }
            self.folder.rename(holder, &place)?;
        } else if holders.any(|file| *file == next) {
            // It was copied to both places, and what is in force is not to come.
            fs::remove_file(&next).context(|| format!("cannot remove {}", next.display()))?;
        }
        Ok(Some(place))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn said(failure: Failure) -> String {
    failure.to_string()
}
