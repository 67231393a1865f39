//! A folder in which messages are left instead of being sent.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use account::{Address, Clock, ObjectId};
use serde::{Deserialize, Serialize};

use crate::Text;

/// The outbox folder: a file for each message, readable by its owner only.
#[derive(Clone)]
pub struct Outbox {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
}

/// A message in the folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shown {
    /// Its id.
    pub id: ObjectId,
    /// When it was left there: ISO 8601, UTC.
    pub time: String,
    /// Where it was to go.
    pub to: String,
    /// The subject of a mail.
    pub subject: Option<String>,
    /// What it says.
    pub text: String,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Outbox").field(&self.folder).finish()
    }
}

impl Outbox {
    /// An outbox in this folder, which need not exist yet.
    pub fn at(folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { folder, clock }
    }

    pub(crate) fn put(&self, id: &ObjectId, to: &Address, text: &Text) -> Result<(), String> {
        let shown = Shown {
            id: id.clone(),
            time: self.clock.now().iso8601(),
            to: to.as_str().to_owned(),
            subject: text.subject.clone(),
            text: text.body.clone(),
        };
        self.write(&shown).map_err(|error| format!("cannot write to the outbox {}: {error}", self.folder.display()))
    }

    fn write(&self, shown: &Shown) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        // Whole or not at all: whoever lists the folder finds no half a message.
        let (new, path) = (self.folder.join(format!(".{}", shown.id)), self.path(&shown.id));
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(shown)?)?;
        fs::rename(new, path)
    }

    fn path(&self, id: &ObjectId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    /// The messages in the folder, the oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read, or holds what is no message.
    pub fn list(&self) -> io::Result<Vec<Shown>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut messages: Vec<Shown> = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                messages.push(serde_json::from_slice(&fs::read(path)?)?);
            }
        }
        messages.sort_by(|a, b| (&a.time, &a.id).cmp(&(&b.time, &b.id)));
        Ok(messages)
    }

    /// The message with this id; `None` when it is not in the folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn show(&self, id: &ObjectId) -> io::Result<Option<Shown>> {
        match fs::read(self.path(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => Ok(Some(serde_json::from_slice(&bytes?)?)),
        }
    }
}
