//! The core with its ports, on a locked data folder.

use std::sync::Arc;

use account::{Core, MasterKey, Ports, Store, SystemClock, SystemRng};
use admin::Operator;
use argon::Hasher;
use notify::{Messenger, Outbox};
use secrecy::ExposeSecret;
use sql::SqlStore;

use crate::config::Config;
use crate::data_folder::{DataFolder, FolderLock};
use crate::failure::{Context, Failure};

const OTHER_KEY: &str = "the master key is not the one that the database was made with: give back the old key";

/// The core, opened. Nobody else has the data folder meanwhile.
pub(crate) struct OpenCore {
    pub core: Arc<Core>,
    pub messenger: Arc<Messenger>,
    outbox: Outbox,
    store: SqlStore,
    _lock: FolderLock,
}

impl OpenCore {
    /// Opens store, key and hasher in `folder`, which `lock` holds.
    pub async fn open(config: &Config, folder: &DataFolder, lock: FolderLock) -> Result<Self, Failure> {
        let store = open_store(config, folder).await?;
        let key = master_key(config, folder, &store).await?;
        let rng = Arc::new(SystemRng);
        let hasher = Hasher::start(config.hash_settings(), key.pepper(), rng.clone());
        let hasher = hasher.context(|| "the configuration is wrong: [hash]".to_owned())?;
        let outbox = Outbox::at(folder.outbox(), Arc::new(SystemClock));
        let messenger = Arc::new(config.messenger(&outbox)?);
        let ports = Ports {
            store: Arc::new(store.clone()),
            hasher: Arc::new(hasher),
            clock: Arc::new(SystemClock),
            rng,
            notifier: messenger.clone(),
        };
        let core = Core::new(ports, config.messages.retry_pause, key);
        Ok(Self { core: Arc::new(core), messenger, outbox, store, _lock: lock })
    }

    /// Who carries out operators' commands.
    pub fn operator(&self, config: &Config) -> Operator {
        Operator { core: Arc::clone(&self.core), regions: config.served_regions(), outbox: self.outbox.clone() }
    }

    /// Closes the store, then frees the folder.
    pub async fn close(self) {
        self.store.close().await;
    }
}

/// Opens the configured database, or the file in the data folder.
async fn open_store(config: &Config, folder: &DataFolder) -> Result<SqlStore, Failure> {
    let opened = match config.store() {
        Some(url) => SqlStore::postgres(url.expose_secret(), config.limits()).await,
        None => {
            folder.make_database()?;
            SqlStore::sqlite(&folder.database(), config.limits()).await
        }
    };
    opened.map_err(|error| Failure::new(error.to_string()))
}

/// The master key that the database was made with; a new one for a new database.
async fn master_key(config: &Config, folder: &DataFolder, store: &SqlStore) -> Result<MasterKey, Failure> {
    let unusable = || "cannot use the database".to_owned();
    let key = match (given_key(config, folder)?, store.remembered_key().await.context(unusable)?) {
        (Some(key), _) => key,
        (None, None) => folder.draw_master_key()?,
        (None, Some(_)) => return Err(missing(folder)),
    };
    let ours = key.fingerprint();
    if store.key_fingerprint(&ours).await.context(unusable)? != ours {
        return Err(OTHER_KEY.into());
    }
    Ok(key)
}

/// The master key that is there to a database which was made with the key of this `fingerprint`.
pub(crate) fn key_of(fingerprint: Option<&str>, config: &Config, folder: &DataFolder) -> Result<MasterKey, Failure> {
    let key = given_key(config, folder)?.ok_or_else(|| missing(folder))?;
    if fingerprint.is_some_and(|fingerprint| fingerprint != key.fingerprint()) { Err(OTHER_KEY.into()) } else { Ok(key) }
}

fn given_key(config: &Config, folder: &DataFolder) -> Result<Option<MasterKey>, Failure> {
    match config.master_key()? {
        Some(key) => Ok(Some(key)),
        None => folder.master_key(),
    }
}

fn missing(folder: &DataFolder) -> Failure {
    let shown = folder.master_key_file().display().to_string();
    Failure::new(format!(
        "the master key {shown} is missing, and without it the database is of no use: put it back, or copy another node's"
    ))
}
