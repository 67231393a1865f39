//! The core with its ports, on a locked data folder.

use std::sync::Arc;

use account::{Core, Ports, Store, SystemClock, SystemRng};
use admin::Operator;
use argon::Hasher;
use notify::{Messenger, Outbox};
use sql::SqlStore;

use crate::config::Config;
use crate::data_folder::{DataFolder, FolderLock};
use crate::failure::{Context, Failure};

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
        let key = match config.master_key()? {
            Some(key) => key,
            None => folder.master_key()?,
        };
        folder.make_database()?;
        let store = SqlStore::sqlite(&folder.database()).await.map_err(|error| Failure::new(error.to_string()))?;
        let ours = key.fingerprint();
        let theirs = store.key_fingerprint(&ours).await.context(|| "cannot use the database".to_owned())?;
        if ours != theirs {
            return Err(format!(
                "the master key is not the one that the database {} was made with: give back the old key",
                folder.database().display()
            )
            .into());
        }
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
