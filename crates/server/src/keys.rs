//! The master key's files: `master.key` is the one in force, `master.key.next` the one that is to come, others are former ones, for
//! backups that were made under them. Which of them is in force is the store's to say: any state of the files is put in order.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use account::{Core, Keys, KeysError, MasterKey, Store, SystemRng};
use admin::KeyFiles;
use secrecy::ExposeSecret;
use sql::SqlStore;
use tokio::time::Instant;

use crate::config::Config;
use crate::data_folder::{DataFolder, FileState, write_private};
use crate::failure::{Context, Failure};

/// How often it is asked whether the key was rotated on another node, or another was put into the data folder.
const LOOK: Duration = Duration::from_secs(1);

/// How long after a rotation everything is sealed anew once more: by then, whoever was sealing meanwhile has kept it, or given up.
const LATER: Duration = Duration::from_secs(30);

/// The master keys that a node was given.
#[derive(Clone)]
pub(crate) struct KeyFolder {
    folder: DataFolder,
    configured: Option<Arc<MasterKey>>,
    /// Whether other nodes may serve from the same database.
    shared: bool,
    /// Whoever changes the files holds it: an operator's command and the look at the files may come to it at the same time.
    changing: Arc<Mutex<()>>,
}

impl KeyFolder {
    pub fn new(config: &Config, folder: &DataFolder) -> Result<Self, Failure> {
        let configured = config.master_key()?.map(Arc::new);
        Ok(Self { folder: folder.clone(), configured, shared: config.store().is_some(), changing: Arc::default() })
    }

    /// All keys that are there: the configured one first, then `master.key`.
    pub fn given(&self) -> Result<Vec<Arc<MasterKey>>, Failure> {
        let kept = self.kept(|failure| tracing::warn!("not taken: {failure}"))?.into_iter().map(|(_, key)| key);
        Ok(self.configured.iter().cloned().chain(kept).collect())
    }

    /// The keys in files. Of those, only `master.key` has to be readable: without any other, less can be done.
    fn kept(&self, not_taken: impl Fn(Failure)) -> Result<Vec<(PathBuf, Arc<MasterKey>)>, Failure> {
        let mut kept = Vec::new();
        for file in self.folder.key_files()? {
            match self.folder.read_key(&file) {
                Ok(key) => kept.push((file, Arc::new(key))),
                Err(failure) if file == self.folder.master_key_file() => return Err(failure),
                Err(failure) => not_taken(failure),
            }
        }
        Ok(kept)
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
        if let Err(failure) = self.tidy(&keys) {
            tracing::warn!("the master key's files cannot be put in order: {failure}");
        }
        self.warn_of_configured(&keys);
        Ok(Arc::new(keys))
    }

    /// Says so when the configured key is not the one in force.
    fn warn_of_configured(&self, keys: &Keys) {
        let Some(configured) = self.configured.as_ref().map(|key| key.fingerprint()) else { return };
        let (in_force, shown) = (keys.fingerprint(), self.folder.master_key_file().display().to_string());
        if keys.next().contains(&configured) {
            tracing::warn!(
                "the configured master key {configured} was never in force here: unless it is the one to rotate to, configure {in_force}, which is in {shown}"
            );
        } else if configured != in_force {
            tracing::warn!("the configured master key {configured} is a former one: configure {in_force}, which is in {shown}");
        }
    }

    fn missing(&self) -> Failure {
        let shown = self.folder.master_key_file().display().to_string();
        Failure::new(format!(
            "the master key {shown} is missing, and without it the database is of no use: put it back, or copy another node's"
        ))
    }
}

/// Takes up what others do to the key: the next one that is put into the data folder, and a rotation on another node. Whatever is left to
/// do after a rotation is done here, and tried until it is.
pub(crate) async fn follow(files: KeyFolder, core: Arc<Core>, keys: Arc<Keys>, store: SqlStore) {
    let mut follower = Follower {
        files,
        core,
        keys,
        store,
        seen: Vec::new(),
        in_order: false,
        announced: Vec::new(),
        in_force: String::new(),
        reseal_at: Vec::new(),
        said: String::new(),
    };
    loop {
        let said = follower.look().await.err().map(|failure| failure.to_string()).unwrap_or_default();
        if !said.is_empty() && said != follower.said {
            tracing::error!("{said}");
        }
        follower.said = said;
        follower.reseal_what_is_due().await;
        tokio::time::sleep(LOOK).await;
    }
}

struct Follower {
    files: KeyFolder,
    core: Arc<Core>,
    keys: Arc<Keys>,
    store: SqlStore,
    /// The files that were there when they were last read.
    seen: Vec<FileState>,
    /// Whether they are in order since.
    in_order: bool,
    /// The next keys that were told of.
    announced: Vec<String>,
    /// The key that was in force last.
    in_force: String,
    /// When everything is to be sealed anew.
    reseal_at: Vec<Instant>,
    /// What was wrong last.
    said: String,
}

impl Follower {
    async fn look(&mut self) -> Result<(), Failure> {
        let in_force = self.store.keys().await.context(|| "cannot ask for the master key".to_owned())?.current;
        let files = self.files.folder.key_file_states()?;
        let rotated = in_force != Some(self.keys.fingerprint());
        if rotated || files != self.seen {
            self.reload(rotated).await?;
            self.seen = files;
            self.in_order = false;
        }
        if self.in_force != self.keys.fingerprint() {
            self.in_force = self.keys.fingerprint();
            self.in_order = false;
            // Somebody may have sealed something under the former key who is still about to keep it.
            self.reseal_at = vec![Instant::now(), Instant::now() + LATER];
        }
        if !self.in_order {
            self.files.tidy(&self.keys)?;
            self.in_order = true;
        }
        Ok(())
    }

    async fn reload(&mut self, rotated: bool) -> Result<(), Failure> {
        let reloaded = self.keys.reload(&self.store, self.files.given()?).await;
        reloaded.map_err(|error| Failure::new(error.to_string()))?;
        let next = self.keys.next();
        for key in next.iter().filter(|key| !self.announced.contains(key)) {
            tracing::info!(key, "the next master key is there");
        }
        self.announced = next;
        if rotated {
            tracing::info!(key = self.keys.fingerprint(), "the master key was rotated");
        }
        Ok(())
    }

    async fn reseal_what_is_due(&mut self) {
        let due = self.reseal_at.iter().take_while(|at| **at <= Instant::now()).count();
        if due > 0 && self.reseal().await {
            self.reseal_at.drain(..due);
        }
    }

    /// What this node sealed under the former key, or whoever rotated it did not come to. `false` when there is more to do.
    async fn reseal(&self) -> bool {
        match self.core.reseal().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "sealed anew under the master key"),
            Err(error) => {
                tracing::error!(%error, "cannot seal anew under the master key");
                return false;
            }
        }
        let emptied = self.store.empty_log().await;
        emptied.inspect_err(|error| tracing::error!(%error, "cannot empty the write-ahead log")).unwrap_or(false)
    }
}

impl KeyFiles for KeyFolder {
    fn draw(&self, in_force: &str) -> Result<PathBuf, String> {
        self.put_in_place(in_force).map_err(said)?;
        let _changing = self.changing();
        self.draw_next().map_err(said)
    }

    fn next(&self, in_force: &str) -> Result<Arc<MasterKey>, String> {
        self.put_in_place(in_force).map_err(said)?;
        let _changing = self.changing();
        let path = self.folder.next_key_file();
        if !path.exists() {
            self.refuse_to_draw(&path)?;
            self.draw_next().map_err(said)?;
        }
        let next = self.folder.read_key(&path).map_err(said)?;
        // Somebody may have copied it there, and the power may be cut as soon as it is in force.
        self.folder.sync(&path).map_err(said)?;
        Ok(Arc::new(next))
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

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw_next(&self) -> Result<PathBuf, Failure> {
        let path = self.folder.next_key_file();
        if path.exists() {
            // What cannot be read may be anything, and be needed.
            let next = self.folder.read_key(&path)?.fingerprint();
            let shown = path.display();
            return Err(format!("there is one already, {next} in {shown}: rotate to it, or remove it").into());
        }
        write_private(&path, MasterKey::draw(&SystemRng).expose().expose_secret())?;
        Ok(path)
    }

    /// Puts the files in order for the key that is in force by the time that it is this one's turn.
    fn tidy(&self, keys: &Keys) -> Result<(), Failure> {
        let _changing = self.changing();
        self.arrange(&keys.fingerprint()).map(drop)
    }

    fn put_in_place(&self, in_force: &str) -> Result<Option<PathBuf>, Failure> {
        let _changing = self.changing();
        self.arrange(in_force)
    }

    /// Gives the key in force its place, and keeps the one that is there. At no time is `master.key` absent, or any key in no file.
    fn arrange(&self, in_force: &str) -> Result<Option<PathBuf>, Failure> {
        let (place, next) = (self.folder.master_key_file(), self.folder.next_key_file());
        let kept = self.kept(drop)?;
        let holders: Vec<_> =
            kept.iter().filter(|(_, key)| key.fingerprint() == in_force).map(|(file, _)| file.clone()).collect();
        let Some(holder) = holders.first() else { return Ok(None) };
        if *holder != place {
            self.keep_former(&place, &kept)?;
            self.folder.sync(holder)?;
            self.folder.rename(holder, &place)?;
        }
        if *holder != next && holders.contains(&next) {
            // It was copied to both places, and what is in force is not to come.
            self.folder.sync(&place)?;
            fs::remove_file(&next).context(|| format!("cannot remove {}", next.display()))?;
        }
        Ok(Some(place))
    }

    /// Keeps the key that is in `place` in a file of its own as well.
    fn keep_former(&self, place: &Path, kept: &[(PathBuf, Arc<MasterKey>)]) -> Result<(), Failure> {
        let Some((_, former)) = kept.iter().find(|(file, _)| file == place) else { return Ok(()) };
        let copy = self.folder.former_key_file(&former.fingerprint());
        if kept.iter().any(|(file, key)| *file == copy && key.fingerprint() == former.fingerprint()) {
            return self.folder.sync(&copy);
        }
        write_private(&copy, former.expose().expose_secret())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn said(failure: Failure) -> String {
    failure.to_string()
}
