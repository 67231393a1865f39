//! The directory: which region has an identifier, where regions are databases of their own. It is all that regions share, and it knows
//! identifiers by a keyed hash only.

use async_trait::async_trait;

use crate::account::{Account, AccountNumber};
use crate::core::Core;
use crate::identifier::Identifier;
use crate::master_key::MasterKey;
use crate::operator::OperatorError;
use crate::region::Region;
use crate::store::{Imported, Page, Store, StoreError};
use crate::time::Timestamp;

/// An identifier as the directory knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryKey(String);

impl DirectoryKey {
    fn of(identifier: &Identifier, key: &MasterKey) -> Self {
        let kind = match identifier {
            Identifier::UserName(_) => "user name",
            Identifier::Email(_) => "email",
            Identifier::Phone(_) => "phone",
        };
        Self(hex::encode(key.mac("directory", &[kind, identifier.as_str()])))
    }

    /// What the directory keeps: 64 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where it is kept which region has an identifier. One place decides (the primary), so that of two regions one gets it; every region
/// has a copy, which follows.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Claims all of these identifiers for a region, or none. `false` when another region has one of them.
    async fn claim(&self, keys: &[DirectoryKey], region: &Region, now: Timestamp) -> Result<bool, StoreError>;
    /// Gives back what a region claimed of these until then.
    async fn release(&self, keys: &[DirectoryKey], region: &Region, until: Timestamp) -> Result<(), StoreError>;
    /// Hands these over to a region, whoever has them.
    async fn hand_over(&self, keys: &[DirectoryKey], to: &Region, now: Timestamp) -> Result<(), StoreError>;
    /// Gives back what a region has not claimed since, and returns how many identifiers that were.
    async fn sweep(&self, region: &Region, since: Timestamp) -> Result<u64, StoreError>;
    /// The region that has an identifier, as far as the copy knows.
    async fn region_of(&self, key: &DirectoryKey) -> Result<Option<Region>, StoreError>;
}

/// Where somebody's account is, seen from the region that was asked.
pub(crate) enum Whereabouts {
    /// Here.
    Here(Box<Account>),
    /// In another region.
    In(Region),
    /// In none, or none that may be told.
    Nowhere,
}

/// Why an account does not move.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The operator's mistake, or the store's failure.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The region is not served by this store, and no other was named.
    #[error("region {0} is not served here: name the file with its store's URL with --store-file")]
    StoreMissing(Region),
    /// The other store was made with another key.
    #[error("the other region's store was made with another master key")]
    OtherKey,
    /// The other store holds one of its identifiers, ids or gateways already.
    #[error("something of it is registered in the other region already")]
    Taken,
}

impl From<StoreError> for MoveError {
    fn from(error: StoreError) -> Self {
        Self::Operator(error.into())
    }
}

impl Core {
    /// Whether accounts of a region are in this core's store.
    #[must_use]
    pub fn serves(&self, region: &Region) -> bool {
        self.settings.regions.contains(region)
    }

    /// Where the account with an identifier is. `asked` is the region that was asked; `None` means every one that is served here.
    pub(crate) async fn whereabouts(&self, identifier: &Identifier, asked: Option<&Region>) -> Result<Whereabouts, StoreError> {
        let region = match self.store.account_named(identifier).await? {
            Some(account) if asked.map_or_else(|| self.serves(&account.region), |asked| *asked == account.region) => {
                return Ok(Whereabouts::Here(Box::new(account)));
            }
            Some(account) => Some(account.region),
            None => self.elsewhere(identifier).await?,
        };
        Ok(match (region, asked) {
            (Some(region), Some(_)) => Whereabouts::In(region),
            _ => Whereabouts::Nowhere,
        })
    }

    /// The region, served by another store, that has an identifier.
    pub(crate) async fn elsewhere(&self, identifier: &Identifier) -> Result<Option<Region>, StoreError> {
        let Some(directory) = &self.directory else { return Ok(None) };
        let region = directory.region_of(&DirectoryKey::of(identifier, &self.keys.first())).await?;
        Ok(region.filter(|region| !self.serves(region)))
    }

    fn directory_keys(&self, account: &Account) -> Vec<DirectoryKey> {
        let first = self.keys.first();
        let mut keys: Vec<_> = account.identifiers().map(|identifier| DirectoryKey::of(&identifier, &first)).collect();
        // In one order everywhere, so that two claims never wait for each other.
        keys.sort();
        keys
    }

    /// Claims a newcomer's identifiers at a time. `false` when another region has one of them.
    pub(crate) async fn claim(&self, account: &Account, at: Timestamp) -> Result<bool, StoreError> {
        let Some(directory) = &self.directory else { return Ok(true) };
        directory.claim(&self.directory_keys(account), &account.region, at).await
    }

    /// Gives back the claims that were made at a time for a newcomer who was not admitted, but for those that are somebody's here.
    /// Where that fails, [`Core::sweep_directory`] makes up for it.
    pub(crate) async fn unclaim(&self, account: &Account, at: Timestamp) {
        let Some(directory) = &self.directory else { return };
        for identifier in account.identifiers() {
            let free = self.store.account_named(&identifier).await.is_ok_and(|holder| holder.is_none());
            let key = DirectoryKey::of(&identifier, &self.keys.first());
            if free && let Err(error) = directory.release(&[key], &account.region, at).await {
                tracing::warn!(%error, "cannot give a claim in the directory back");
            }
        }
    }

    /// Gives back the identifiers of an account that is gone.
    pub(crate) async fn forget_in_directory(&self, account: &Account, until: Timestamp) {
        let Some(directory) = &self.directory else { return };
        if let Err(error) = directory.release(&self.directory_keys(account), &account.region, until).await {
            tracing::warn!(%error, "cannot take an account out of the directory");
        }
    }

    /// Claims the identifiers of a page of accounts, as every account's should be, and returns the last account's number and those
    /// that another region has one of.
    ///
    /// # Errors
    /// [`OperatorError::NoDirectory`], [`OperatorError::Store`].
    pub async fn claim_page(
        &self,
        page: Page<AccountNumber>,
    ) -> Result<(Option<AccountNumber>, u64, Vec<AccountNumber>), OperatorError> {
        let directory = self.directory.as_ref().ok_or(OperatorError::NoDirectory)?;
        let (mut last, mut count, mut refused) = (None, 0, Vec::new());
        for account in self.store.accounts(page).await? {
            if !directory.claim(&self.directory_keys(&account), &account.region, self.clock.now()).await? {
                refused.push(account.number);
            }
            (last, count) = (Some(account.number), count + 1);
        }
        Ok((last, count, refused))
    }

    /// Gives back what this store's regions have in the directory without having claimed it since: what nobody has here any more.
    ///
    /// # Errors
    /// [`OperatorError::NoDirectory`], [`OperatorError::Store`].
    pub async fn sweep_directory(&self, since: Timestamp) -> Result<u64, OperatorError> {
        let directory = self.directory.as_ref().ok_or(OperatorError::NoDirectory)?;
        let mut swept = 0;
        for region in &self.settings.regions {
            swept += directory.sweep(region, since).await?;
        }
        Ok(swept)
    }

    /// Moves an account to another region, with its verifier and gateways; its sessions end. `there` is the region's store, where it
    /// has one of its own. What was interrupted is finished by asking again.
    ///
    /// # Errors
    /// [`MoveError`]; then the account is where it was, unless the store failed on the way.
    pub async fn move_account(
        &self,
        number: AccountNumber,
        region: &Region,
        there: Option<&dyn Store>,
    ) -> Result<Account, MoveError> {
        let account = self.find_account(&number.to_string()).await?;
        match there {
            None if !self.serves(region) => Err(MoveError::StoreMissing(region.clone())),
            None => {
                self.leave_region(&account, region).await?;
                self.hand_over(&account, region).await?;
                Ok(self.find_account(&number.to_string()).await?)
            }
            Some(there) => self.move_across(&account, region, there).await,
        }
    }

    /// From the first step on nobody logs in here, and from the second on there: at no time in both.
    async fn move_across(&self, account: &Account, region: &Region, there: &dyn Store) -> Result<Account, MoveError> {
        if !self.shares_key(account, there).await? {
            return Err(MoveError::OtherKey);
        }
        // A move that was interrupted has set the region already.
        let home =
            if self.serves(&account.region) { &account.region } else { self.settings.regions.first().unwrap_or(&account.region) };
        self.leave_region(account, region).await?;
        // As it was left: nobody changes it here any more.
        let moved = self.find_account(&account.number.to_string()).await?;
        let gateways = self.store.gateways_of(account.number).await?;
        if there.take_in(&moved, &gateways).await? == Imported::Taken {
            self.leave_region(&moved, home).await?;
            return Err(MoveError::Taken);
        }
        self.hand_over(&moved, region).await?;
        self.store.remove_account(account.number, self.clock.now()).await?;
        let arrived = match account.identifiers().next() {
            Some(identifier) => there.account_named(&identifier).await?,
            None => None,
        };
        arrived.ok_or_else(|| OperatorError::NotFound(format!("such account in region {region} any more")).into())
    }

    /// Whether the other store is under the same master key, and knows the one that the account's verifier is peppered by.
    async fn shares_key(&self, account: &Account, there: &dyn Store) -> Result<bool, StoreError> {
        let ours = self.keys.fingerprint();
        if there.key_fingerprint(&ours).await? != ours {
            return Ok(false);
        }
        let pepper = self.hasher.pepper_of(&account.verifier).map(hex::encode);
        let former = there.keys().await?.former;
        Ok(pepper.is_none_or(|pepper| pepper == ours || former.iter().any(|key| key.fingerprint == pepper)))
    }

    async fn leave_region(&self, account: &Account, region: &Region) -> Result<(), OperatorError> {
        let there = self.store.set_region(account.number, region, self.clock.now()).await?;
        if there { Ok(()) } else { Err(OperatorError::NotFound(format!("account {}", account.number))) }
    }

    async fn hand_over(&self, account: &Account, region: &Region) -> Result<(), StoreError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        directory.hand_over(&self.directory_keys(account), region, self.clock.now()).await
    }
}
