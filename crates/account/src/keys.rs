//! The master keys of a store: the one in force, those before it, and those that may come next.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::SecretBox;
use zeroize::Zeroizing;

use crate::account::AccountNumber;
use crate::core::Core;
use crate::master_key::{MasterKey, Sealed};
use crate::random::Rng;
use crate::store::{FormerKey, Page, Store, StoreError};
use crate::text::Malformed;
use crate::time::Timestamp;

/// How many rows are looked at at once.
const ROWS: u32 = 500;

/// The master keys that this process knows. They are exchanged together when the key is rotated, here or on another node.
#[derive(Debug)]
pub struct Keys(RwLock<Arc<Ring>>);

#[derive(Debug)]
struct Ring {
    current: Arc<MasterKey>,
    /// Those that were in force before it, the oldest first, with the time of their rotation.
    former: Vec<(Arc<MasterKey>, Timestamp)>,
    /// Those that were given to this process and never were in force.
    next: Vec<Arc<MasterKey>>,
}

/// What verifiers call the pepper in them: the fingerprint of its master key.
pub type PepperName = [u8; MasterKey::FINGERPRINT];

/// The secret that goes into verifiers under one master key.
pub struct Pepper {
    /// What verifiers call it.
    pub name: PepperName,
    /// The secret itself.
    pub secret: SecretBox<[u8; 32]>,
    /// Whether the key is in force.
    pub is_current: bool,
}

impl Pepper {
    fn of(key: &MasterKey, is_current: bool) -> Self {
        Self { name: key.fingerprint_bytes(), secret: key.pepper(), is_current }
    }
}

/// Why a store cannot be used with the keys that were given.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// None of them is the one in force.
    #[error(
        "the master key is not the one that the database was made with, or was rotated to: put back the right one, or copy another node's"
    )]
    Other,
    /// A former key does not open with the one in force.
    #[error("the former master key {0} is damaged in the database: restore a backup")]
    Damaged(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the key is not rotated. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The new key is or was in force.
    #[error("the next master key {0} is in force already, or was before: draw another")]
    Used(String),
    /// Somebody else rotated the key meanwhile.
    #[error("the master key was rotated by another node meanwhile: see key list")]
    Stale,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a master key is to its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// The one in force.
    InForce,
    /// One that was in force until then.
    Former(Timestamp),
    /// One that may be in force later.
    Next,
}

/// A master key, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its fingerprint.
    pub fingerprint: String,
    /// What it is.
    pub state: KeyState,
    /// How many accounts' verifiers are peppered by it.
    pub verifiers: u64,
}

impl Ring {
    async fn load(store: &dyn Store, mut given: Vec<Arc<MasterKey>>) -> Result<Self, KeysError> {
        let kept = store.keys().await?;
        let in_force = |key: &Arc<MasterKey>| kept.current.as_deref() == Some(&*key.fingerprint());
        let current = given.iter().find(|key| in_force(key)).cloned().ok_or(KeysError::Other)?;
        let open = |former: &FormerKey| match current.open_key(&former.fingerprint, &former.sealed) {
            Ok(key) => Ok((Arc::new(key), former.retired_at)),
            Err(_) => Err(KeysError::Damaged(former.fingerprint.clone())),
        };
        let former: Vec<_> = kept.former.iter().map(open).collect::<Result<_, _>>()?;
        let used = |key: &Arc<MasterKey>| in_force(key) || former.iter().any(|(former, _)| former.is(key));
        // One key may have been given several times.
        let mut seen = HashSet::new();
        given.retain(|key| !used(key) && seen.insert(key.fingerprint_bytes()));
        Ok(Self { current, former, next: given })
    }

    /// The first key that was ever in force.
    fn first(&self) -> &Arc<MasterKey> {
        self.former.first().map_or(&self.current, |(key, _)| key)
    }

    /// All of them, the one in force first, then those before it, the newest first.
    fn all(&self) -> impl Iterator<Item = &Arc<MasterKey>> {
        let former = self.former.iter().rev().map(|(key, _)| key);
        std::iter::once(&self.current).chain(former).chain(&self.next)
    }
}

impl Keys {
    /// One key, which was never rotated.
    #[must_use]
    pub fn only(key: MasterKey) -> Self {
        Self(RwLock::new(Arc::new(Ring { current: Arc::new(key), former: Vec::new(), next: Vec::new() })))
    }

    /// Finds the key in force among those that were given, and opens the former ones.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn load(store: &dyn Store, given: Vec<Arc<MasterKey>>) -> Result<Self, KeysError> {
        Ok(Self(RwLock::new(Arc::new(Ring::load(store, given).await?))))
    }

    /// The same again, for this process has been given other keys, or the key was rotated.
    ///
    /// # Errors
    /// [`KeysError`]; then the keys are those of before.
    pub async fn reload(&self, store: &dyn Store, mut given: Vec<Arc<MasterKey>>) -> Result<(), KeysError> {
        given.extend(self.ring().all().cloned());
        self.exchange(Ring::load(store, given).await?);
        Ok(())
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn exchange(&self, ring: Ring) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
    }

    /// The fingerprint of the key in force.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.ring().current.fingerprint()
    }

    /// The fingerprint of the first key that was ever in force, which the directory stays under.
    #[must_use]
    pub fn first_fingerprint(&self) -> String {
        self.first().fingerprint()
    }

    /// Whether one of them has this fingerprint.
    #[must_use]
    pub fn knows(&self, fingerprint: &str) -> bool {
        self.ring().all().any(|key| key.fingerprint() == fingerprint)
    }

    /// The fingerprints of those that may be in force later.
    #[must_use]
    pub fn next(&self) -> Vec<String> {
        self.ring().next.iter().map(|key| key.fingerprint()).collect()
    }

    /// The pepper of new verifiers.
    #[must_use]
    pub fn pepper(&self) -> Pepper {
        Pepper::of(&self.ring().current, true)
    }

    /// The pepper of verifiers that name it so, if its key is known. Verifiers that name none are of the time when there was one key only,
    /// and always outdated.
    #[must_use]
    pub fn pepper_named(&self, name: &[u8]) -> Option<Pepper> {
        let ring = self.ring();
        if name.is_empty() {
            return Some(Pepper::of(ring.first(), false));
        }
        let key = ring.all().find(|key| key.fingerprint_bytes() == name)?;
        Some(Pepper::of(key, Arc::ptr_eq(key, &ring.current)))
    }

    /// The key in force.
    pub(crate) fn current(&self) -> Arc<MasterKey> {
        Arc::clone(&self.ring().current)
    }

    /// The first key that was ever in force: for what has to be the same for ever.
    pub(crate) fn first(&self) -> Arc<MasterKey> {
        Arc::clone(self.ring().first())
    }

    /// What `made` makes with one of the keys, where that is what is looked for.
    pub(crate) fn find<T>(&self, made: impl FnMut(&MasterKey) -> Option<T>) -> Option<T> {
        let ring = self.ring();
        ring.all().map(|key| &**key).find_map(made)
    }

    pub(crate) fn seal(&self, rng: &dyn Rng, owner: &str, secret: &[u8]) -> Sealed {
        self.ring().current.seal(rng, owner, secret)
    }

    /// Opens what was sealed under any of them.
    pub(crate) fn open(&self, owner: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        let opened = self.find(|key| key.open(owner, sealed).ok());
        opened.ok_or(Malformed("does not open with this master key"))
    }

    /// Seals anew what is not sealed under the key in force; `None` when it is, or does not open.
    fn reseal(&self, rng: &dyn Rng, owner: &str, sealed: &Sealed) -> Option<Sealed> {
        let current = self.current();
        if current.open(owner, sealed).is_ok() {
            return None;
        }
        let plain = self.open(owner, sealed).inspect_err(|wrong| tracing::warn!(owner, %wrong, "cannot seal it anew")).ok()?;
        Some(current.seal(rng, owner, &plain))
    }
}

/// What an operator does with keys.
impl Core {
    /// Puts `next` in the place of the master key, which is kept, sealed under `next`, for the verifiers that are peppered by it.
    /// What is sealed under it still opens; [`Core::reseal`] ends that.
    ///
    /// # Errors
    /// [`RotateError`].
    pub async fn rotate_key(&self, next: Arc<MasterKey>) -> Result<(), RotateError> {
        let ring = self.keys.ring();
        let fingerprint = next.fingerprint();
        let mut former = ring.former.clone();
        // Their order is that of these times, whatever each node's clock says.
        let now = self.clock.now();
        let retired_at = former.last().map_or(now, |(_, last)| now.max(Timestamp(last.0 + 1)));
        former.push((Arc::clone(&ring.current), retired_at));
        if former.iter().any(|(key, _)| key.is(&next)) {
            return Err(RotateError::Used(fingerprint));
        }
        let seal = |(key, retired_at): &(Arc<MasterKey>, Timestamp)| FormerKey {
            fingerprint: key.fingerprint(),
            sealed: next.seal_key(self.rng(), key),
            retired_at: *retired_at,
        };
        let kept: Vec<_> = former.iter().map(seal).collect();
        if !self.store.rotate_key(&ring.current.fingerprint(), &fingerprint, &kept).await? {
            return Err(RotateError::Stale);
        }
        self.keys.exchange(Ring { current: next, former, next: Vec::new() });
        Ok(())
    }

    /// Seals anew what is sealed under a former key, and returns how much that was. It may be broken off and begun again at any time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reseal(&self) -> Result<u64, StoreError> {
        Ok(self.reseal_applications().await? + self.reseal_messages().await?)
    }

    /// Refuses to judge by keyed hashes on a node that has not been given the key in force: what was made under it would look wrong.
    pub(crate) async fn expect_key_in_force(&self) -> Result<(), StoreError> {
        match self.store.keys().await?.current {
            Some(current) if !self.keys.knows(&current) => Err(StoreError::OtherKey),
            _ => Ok(()),
        }
    }

    async fn reseal_applications(&self) -> Result<u64, StoreError> {
        let (mut after, mut count) = (None, 0);
        loop {
            let page = self.store.applications(Page { after: after.take(), limit: ROWS }).await?;
            for application in &page {
                if let Some(sealed) = self.keys.reseal(self.rng(), application.id.as_str(), &application.secret) {
                    count += u64::from(self.store.reseal_application(&application.id, &application.secret, &sealed).await?);
                }
            }
            let Some(last) = page.into_iter().last() else { return Ok(count) };
            after = Some(last.id);
        }
    }

    async fn reseal_messages(&self) -> Result<u64, StoreError> {
        let (mut after, mut count) = (None, 0);
        loop {
            let page = self.store.messages(Page { after: after.take(), limit: ROWS }).await?;
            for message in &page {
                if let Some(sealed) = self.keys.reseal(self.rng(), message.id.as_str(), &message.sealed) {
                    count += u64::from(self.store.reseal_message(&message.id, &message.sealed, &sealed).await?);
                }
            }
            let Some(last) = page.into_iter().last() else { return Ok(count) };
            after = Some(last.id);
        }
    }

    /// The master keys: the one in force, those before it, the newest first, and those that may come next. Every account is looked at.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn key_list(&self) -> Result<Vec<KeyInfo>, StoreError> {
        let ring = self.keys.ring();
        let info = |key: &MasterKey, state| KeyInfo { fingerprint: key.fingerprint(), state, verifiers: 0 };
        let former = ring.former.iter().rev().map(|(key, until)| info(key, KeyState::Former(*until)));
        let next = ring.next.iter().map(|key| info(key, KeyState::Next));
        let mut keys: Vec<_> = std::iter::once(info(&ring.current, KeyState::InForce)).chain(former).chain(next).collect();
        let mut after: Option<AccountNumber> = None;
        loop {
            let page = self.store.accounts(Page { after, limit: ROWS }).await?;
            for account in &page {
                let pepper = self.hasher.pepper_of(&account.verifier).map(hex::encode);
                if let Some(key) = keys.iter_mut().find(|key| Some(&key.fingerprint) == pepper.as_ref()) {
                    key.verifiers += 1;
                }
            }
            let Some(last) = page.last() else { return Ok(keys) };
            after = Some(last.number);
        }
    }

    /// The fingerprint of the master key in force. The store says it: another node may have rotated the key a moment ago.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn key_in_force(&self) -> Result<String, StoreError> {
        Ok(self.store.keys().await?.current.unwrap_or_else(|| self.keys.fingerprint()))
    }
}
