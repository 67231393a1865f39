//! The core with its ports, on a locked data folder.

use std::sync::Arc;

use account::{Core, Directory, Keys, Ports, Store, StoreError, SystemClock, SystemRng};
use admin::{Operator, StoreOpener};
use argon::Hasher;
use notify::{Messenger, Outbox};
use secrecy::{ExposeSecret, SecretString};
use sql::{Limits, SqlDirectory, SqlStore};

use crate::config::Config;
use crate::data_folder::{DataFolder, FolderLock};
use crate::failure::{Context, Failure};
use crate::keys::KeyFolder;

/// The core, opened. Nobody else has the data folder meanwhile.
pub(crate) struct OpenCore {
    pub core: Arc<Core>,
    pub messenger: Arc<Messenger>,
    pub hasher: Arc<Hasher>,
    pub store: SqlStore,
    pub keys: Arc<Keys>,
    pub key_folder: KeyFolder,
    outbox: Outbox,
    directory: Option<SqlDirectory>,
    _lock: FolderLock,
}

impl OpenCore {
    /// Opens store, key and hasher in `folder`, which `lock` holds.
    pub async fn open(config: &Config, folder: &DataFolder, lock: FolderLock) -> Result<Self, Failure> {
        let store = open_store(config, folder).await?;
        let key_folder = KeyFolder::new(config, folder)?;
        let keys = key_folder.open(&store).await?;
        let directory = open_directory(config, &store, &keys).await?;
        let rng = Arc::new(SystemRng);
        let hasher = Hasher::start(config.hash_settings(), Arc::clone(&keys), rng.clone());
        let hasher = Arc::new(hasher.context(|| "cannot hash passwords".to_owned())?);
        let outbox = Outbox::at(folder.outbox(), Arc::new(SystemClock));
        let messenger = Arc::new(config.messenger(&outbox)?);
        let ports = Ports {
            store: Arc::new(store.clone()),
            hasher: hasher.clone(),
            clock: Arc::new(SystemClock),
            rng,
            notifier: messenger.clone(),
            directory: directory.clone().map(|directory| Arc::new(directory) as Arc<dyn Directory>),
        };
        let core = Core::new(ports, config.core_settings(), Arc::clone(&keys));
        Ok(Self { core: Arc::new(core), messenger, hasher, store, keys, key_folder, outbox, directory, _lock: lock })
    }

    /// Who carries out operators' commands.
    pub fn operator(&self, config: &Config) -> Operator {
        Operator {
            core: Arc::clone(&self.core),
            regions: config.served_regions(),
            outbox: self.outbox.clone(),
            open_elsewhere: open_elsewhere(config.database_limits()),
            key_files: Arc::new(self.key_folder.clone()),
        }
    }

    /// Closes the store, then frees the folder.
    pub async fn close(self) {
        self.store.close().await;
        if let Some(directory) = &self.directory {
            directory.close().await;
        }
    }
}

/// Opens the configured database, or the file in the data folder.
async fn open_store(config: &Config, folder: &DataFolder) -> Result<SqlStore, Failure> {
    let opened = match config.store() {
        Some(url) => SqlStore::postgres(url.expose_secret(), config.database_limits()).await,
        None => {
            folder.make_database()?;
            SqlStore::sqlite(&folder.database(), config.database_limits()).await
        }
    };
    opened.map_err(|error| Failure::new(error.to_string()))
}

/// The directory that this region shares with others.
async fn open_directory(config: &Config, store: &SqlStore, keys: &Keys) -> Result<Option<SqlDirectory>, Failure> {
    let Some(url) = config.directory() else { return Ok(None) };
    let directory = SqlDirectory::connect(url.expose_secret(), store, keys.first_fingerprint(), config.database_limits());
    let directory = directory.map_err(|error| Failure::new(format!("directory: {error}")))?;
    match directory.check_key().await {
        Ok(()) => {}
        Err(StoreError::Inconsistent { column, problem, .. }) => {
            return Err(Failure::new(format!(
                "the directory's {column} {problem}: begin this region's store with the master key that the other regions began with, and rotate to theirs"
            )));
        }
        // Without its primary, everything but registering goes on, which asks again.
        Err(error) => tracing::warn!(%error, "the directory does not say which master key it was made under"),
    }
    Ok(Some(directory))
}

/// Opens the store of another region, to move accounts there.
fn open_elsewhere(limits: Limits) -> StoreOpener {
    Arc::new(move |url: SecretString| {
        Box::pin(async move {
            let opened = SqlStore::postgres(url.expose_secret(), limits).await;
            opened.map(|store| Arc::new(store) as Arc<dyn Store>).map_err(|error| error.to_string())
        })
    })
}
