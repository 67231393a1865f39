//! The core on a real database, with a clock that is set by hand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use account::{
    ApplicationSecret, Authenticated, Clock, Core, DeliveryError, Details, Directory, DirectoryKey, Keys, MasterKey, Message,
    NewAccount, Notice, Notifier, ObjectId, Password, PasswordHasher, Ports, Profile, Region, Rules, Standing, StoreError,
    SystemRng, Terms, Timestamp, TokenLength,
};
use argon::{Cost, Hasher, Settings};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sql::SqlStore;

/// As when nothing is configured.
pub const RULES: Rules = Rules {
    failures: 5,
    source_failures: 5,
    first_pause: Duration::from_secs(30),
    longest_pause: Duration::from_hours(1),
    daily: 100,
};
pub const TERMS: Terms = Terms {
    token_length: TokenLength::Bits160,
    access_lifetime: Duration::from_hours(2),
    refresh_lifetime: Duration::from_hours(48),
    repeatable: Some(Duration::from_mins(1)),
};

/// How many may register from one source without having proven anything: as when nothing is configured.
pub const REGISTRATIONS: u32 = 20;

const SECRET: &str = "a-secret-of-16-letters-or-more";

/// A clock that is set by hand, in milliseconds.
pub struct HandClock(pub AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// A mailbox, with the newest code or link.
#[derive(Default)]
pub struct Mailbox(pub Mutex<Option<String>>);

#[async_trait::async_trait]
impl Notifier for Mailbox {
    async fn deliver(&self, _: &ObjectId, message: &Message) -> Result<(), DeliveryError> {
        if let Notice::Code { code: text, .. } | Notice::Activation { url: text, .. } | Notice::Reset { url: text, .. } =
            &message.notice
        {
            *self.0.lock().unwrap() = Some(text.0.clone());
        }
        Ok(())
    }

    fn wake(&self) {}
}

/// A directory in memory, and the master keys that its regions share.
pub struct Regions {
    keys: Arc<Keys>,
    known: Mutex<BTreeMap<DirectoryKey, Region>>,
}

impl Regions {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { keys: Arc::new(Keys::only(MasterKey::draw(&SystemRng))), known: Mutex::default() })
    }
}

#[async_trait::async_trait]
impl Directory for Regions {
    async fn claim(&self, keys: &[DirectoryKey], region: &Region, _: Timestamp) -> Result<bool, StoreError> {
        let mut known = self.known.lock().unwrap();
        let free = keys.iter().all(|key| known.get(key).is_none_or(|holder| holder == region));
        if free {
            known.extend(keys.iter().map(|key| (key.clone(), region.clone())));
        }
        Ok(free)
    }

    async fn release(&self, keys: &[DirectoryKey], region: &Region, _: Timestamp) -> Result<(), StoreError> {
        self.known.lock().unwrap().retain(|key, holder| !(keys.contains(key) && holder == region));
        Ok(())
    }

    async fn hand_over(&self, keys: &[DirectoryKey], to: &Region, _: Timestamp) -> Result<(), StoreError> {
        self.known.lock().unwrap().extend(keys.iter().map(|key| (key.clone(), to.clone())));
        Ok(())
    }

    async fn sweep(&self, _: &Region, _: Timestamp) -> Result<u64, StoreError> {
        // When something was claimed is not kept.
        Ok(0)
    }

    async fn region_of(&self, key: &DirectoryKey) -> Result<Option<Region>, StoreError> {
        Ok(self.known.lock().unwrap().get(key).cloned())
    }
}

/// A core and what it cannot tell from the world.
pub struct ByHand {
    pub core: Core,
    /// The region of its accounts.
    pub region: Region,
    pub clock: Arc<HandClock>,
    pub mailbox: Arc<Mailbox>,
}

pub fn password(text: &str) -> Password {
    Password::given(text.to_owned()).unwrap()
}

impl ByHand {
    pub fn new(store: &SqlStore, throttle: Rules) -> Self {
        Self::hashing_by(store, throttle, |hasher| Arc::new(hasher))
    }

    /// With something before the hasher. Nobody is turned away for having to wait for it.
    pub fn hashing_by(store: &SqlStore, throttle: Rules, by: impl FnOnce(Hasher) -> Arc<dyn PasswordHasher>) -> Self {
        Self::put_together("eu", store, throttle, by, Arc::new(Keys::only(MasterKey::draw(&SystemRng))), None, false)
    }

    /// One that does not tell whether there is an account.
    pub fn with_uniform_errors(store: &SqlStore, throttle: Rules) -> Self {
        let keys = Arc::new(Keys::only(MasterKey::draw(&SystemRng)));
        Self::put_together("eu", store, throttle, |hasher| Arc::new(hasher), keys, None, true)
    }

    /// One of several regions that have a store each.
    pub fn in_region(region: &str, store: &SqlStore, throttle: Rules, regions: &Arc<Regions>) -> Self {
        let (keys, directory) = (Arc::clone(&regions.keys), Arc::clone(regions));
        Self::put_together(region, store, throttle, |hasher| Arc::new(hasher), keys, Some(directory), false)
    }

    fn put_together(
        region: &str,
        store: &SqlStore,
        throttle: Rules,
        by: impl FnOnce(Hasher) -> Arc<dyn PasswordHasher>,
        keys: Arc<Keys>,
        directory: Option<Arc<dyn Directory>>,
        uniform_errors: bool,
    ) -> Self {
        let cost = Cost { memory_kib: 8, iterations: 1 };
        let hashing = Settings { cost, threads: 1, max_wait: Duration::from_hours(1) };
        let clock = Arc::new(HandClock(AtomicI64::new(0)));
        let mailbox = Arc::new(Mailbox::default());
        let ports = Ports {
            store: Arc::new(store.clone()),
            hasher: by(Hasher::start(hashing, keys.clone(), Arc::new(SystemRng)).unwrap()),
            clock: clock.clone(),
            rng: Arc::new(SystemRng),
            notifier: mailbox.clone(),
            directory,
        };
        let region: Region = region.parse().unwrap();
        let settings = account::Settings {
            regions: vec![region.clone()],
            retry_pause: Duration::from_secs(1),
            registrations: REGISTRATIONS,
            longest_wait: Duration::from_hours(1),
            throttle,
            audit_keep: Duration::from_hours(24),
            uniform_errors,
        };
        Self { core: Core::new(ports, settings, keys), region, clock, mailbox }
    }

    /// Makes an application.
    pub async fn make_application(&self, id: &str) {
        self.make_application_of(id, Profile::Compat).await;
    }

    /// Makes an application with a profile.
    pub async fn make_application_of(&self, id: &str, profile: Profile) {
        let secret = ApplicationSecret::parse(SECRET).unwrap();
        self.core.create_application(None, Some(id.parse().unwrap()), Some(secret), profile).await.unwrap();
    }

    /// The application, if it may call.
    pub async fn authenticated(&self, id: &str) -> Option<Authenticated> {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(b"x");
        self.core.authenticate(id, &[b"x"], &mac.finalize().into_bytes()).await.ok()
    }

    /// Makes an account.
    pub async fn make_account(&self, email: &str, text: &str) {
        let new = NewAccount {
            region: self.region.clone(),
            user_name: None,
            email: Some(email.parse().unwrap()),
            phone: None,
            password: password(text).digest(),
            standing: Standing::Active,
            details: Details::default(),
        };
        self.core.create_account(new).await.unwrap();
    }

    /// Sets the clock.
    pub fn at(&self, milliseconds: i64) {
        self.clock.0.store(milliseconds, Ordering::SeqCst);
    }
}
