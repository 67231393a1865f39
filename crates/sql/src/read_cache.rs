//! What is asked again and again, remembered on the embedded store, where this process is the only writer: who holds access tokens, and
//! applications.
//!
//! What is remembered is used only while nothing that could change it has been written, or is being written, since it was read. Each
//! operation that writes says beforehand what it may change; one that says nothing may change everything. As long as it is not known
//! how an operation ended, what it may have changed stays in *doubt*, and is asked of the database.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use account::{AccountNumber, Application, ApplicationId, Holder, ObjectId, Serial, TokenHash};
use quick_cache::sync::Cache;

/// How many holders are remembered: a few megabytes.
const HOLDERS: usize = 8192;

/// How many applications are.
const APPLICATIONS: usize = 256;

/// Into how many marks all that may change is divided. Two that share one are only asked for once too often.
const MARKS: usize = 4096;

/// What an operation may change of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Touched<'a> {
    /// Nothing that is remembered of anybody.
    Nothing,
    /// An account, its sessions and gateways.
    Account(AccountNumber),
    /// A session.
    Session(&'a ObjectId),
    /// A device, and the sessions there.
    Device(&'a Serial),
    /// An application, but not the sessions there.
    Application(&'a ApplicationId),
    /// Anything.
    Everything,
}

/// When something was last changed, and whether it is being changed.
#[derive(Debug, Default)]
struct Mark {
    /// The time of the last change, by the cache's own clock.
    changed: AtomicU64,
    /// How many are changing it, or may have changed it.
    in_doubt: AtomicU32,
}

#[derive(Debug)]
struct Remembered<T> {
    what: Arc<T>,
    /// What may change it, besides what may change anything.
    marks: Vec<usize>,
    /// Before it was read, by the cache's own clock.
    read: u64,
}

/// What is remembered, as it was read last.
#[derive(Debug)]
pub(crate) struct ReadCache {
    holders: Cache<TokenHash, Arc<Remembered<Holder>>>,
    applications: Cache<ApplicationId, Arc<Remembered<Application>>>,
    marks: Box<[Mark]>,
    /// For what may change anything.
    everything: Mark,
    /// Counts changes: the cache's clock.
    clock: AtomicU64,
    names: RandomState,
    /// How many connections were opened that write, one after the other.
    opened: AtomicU64,
    /// The marks that are in doubt because it is not known how an operation ended.
    unsettled: Mutex<Vec<Option<usize>>>,
}

/// That an operation is under way. Dropped without being settled, what it may have changed stays in doubt.
#[derive(Debug)]
pub(crate) struct Doubt(Option<(Arc<ReadCache>, Option<usize>)>);

impl Doubt {
    /// About nothing.
    pub const NONE: Self = Self(None);

    /// Whether it is about nothing.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The operation is over and has done what it says.
    pub fn settle(mut self) {
        if let Some((cache, mark)) = self.0.take() {
            cache.mark(mark).settle(&cache.clock);
        }
    }
}

impl Drop for Doubt {
    fn drop(&mut self) {
        if let Some((cache, mark)) = self.0.take() {
            cache.unsettled.lock().unwrap_or_else(PoisonError::into_inner).push(mark);
        }
    }
}

impl Mark {
    fn settle(&self, clock: &AtomicU64) {
        // In this order: in between it is in doubt still.
        self.changed.fetch_max(clock.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        self.in_doubt.fetch_sub(1, Ordering::SeqCst);
    }

    fn is_as_it_was(&self, at: u64) -> bool {
        self.in_doubt.load(Ordering::SeqCst) == 0 && self.changed.load(Ordering::SeqCst) <= at
    }
}

impl ReadCache {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            holders: Cache::new(HOLDERS),
            applications: Cache::new(APPLICATIONS),
            marks: (0..MARKS).map(|_| Mark::default()).collect(),
            everything: Mark::default(),
            clock: AtomicU64::new(0),
            names: RandomState::new(),
            opened: AtomicU64::new(0),
            unsettled: Mutex::default(),
        })
    }

    /// An operation begins that may change this.
    pub fn touch(self: &Arc<Self>, touched: Touched<'_>) -> Doubt {
        let mark = match touched {
            Touched::Nothing => return Doubt::NONE,
            Touched::Account(number) => Some(self.of_account(number)),
            Touched::Session(id) => Some(self.of_session(id)),
            Touched::Device(serial) => Some(self.of_device(serial)),
            Touched::Application(id) => Some(self.of_application(id)),
            Touched::Everything => None,
        };
        self.mark(mark).in_doubt.fetch_add(1, Ordering::SeqCst);
        Doubt(Some((Arc::clone(self), mark)))
    }

    /// How many operations there are of which it is not known how they ended.
    pub fn doubts(&self) -> usize {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The first `count` of these have ended by now, whichever way.
    pub fn settle(&self, count: usize) {
        if count > 0 {
            let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
            unsettled.drain(..count).for_each(|mark| self.mark(mark).settle(&self.clock));
        }
    }

    /// A connection was opened that writes, in the place of the one before.
    pub fn open(&self) {
        self.opened.fetch_add(1, Ordering::SeqCst);
    }

    /// How many connections were opened that write.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::SeqCst)
    }

    /// The present, to be asked for before something is read.
    pub fn now(&self) -> u64 {
        self.clock.load(Ordering::SeqCst)
    }

    /// Who holds an access token, if that is remembered and still so.
    pub fn holder(&self, access: &TokenHash) -> Option<Arc<Holder>> {
        self.holders.get(access).and_then(|remembered| self.if_still_so(&remembered))
    }

    /// Remembers who holds an access token, as it was read after `read`.
    pub fn put_holder(&self, holder: &Arc<Holder>, read: u64) {
        let session = &holder.session;
        let mut marks = vec![self.of_account(session.account), self.of_session(&session.id)];
        if let account::Audience::Device(serial) = &session.audience {
            marks.push(self.of_device(serial));
        }
        self.holders.insert(session.access_hash.clone(), Arc::new(Remembered { what: Arc::clone(holder), marks, read }));
    }

    /// An application, if it is remembered and still so.
    pub fn application(&self, id: &ApplicationId) -> Option<Arc<Application>> {
        self.applications.get(id).and_then(|remembered| self.if_still_so(&remembered))
    }

    /// Remembers an application, as it was read after `read`.
    pub fn put_application(&self, application: &Application, read: u64) {
        let marks = vec![self.of_application(&application.id)];
        let what = Arc::new(application.clone());
        self.applications.insert(application.id.clone(), Arc::new(Remembered { what, marks, read }));
    }

    fn if_still_so<T>(&self, remembered: &Remembered<T>) -> Option<Arc<T>> {
        let mut marks = remembered.marks.iter().map(|mark| &self.marks[*mark]).chain([&self.everything]);
        marks.all(|mark| mark.is_as_it_was(remembered.read)).then(|| Arc::clone(&remembered.what))
    }

    fn mark(&self, mark: Option<usize>) -> &Mark {
        mark.map_or(&self.everything, |mark| &self.marks[mark])
    }

    fn of_account(&self, number: AccountNumber) -> usize {
        self.place(("account", number.0))
    }

    fn of_session(&self, id: &ObjectId) -> usize {
        self.place(("session", id.as_str()))
    }

    fn of_device(&self, serial: &Serial) -> usize {
        self.place(("device", serial.as_str()))
    }

    fn of_application(&self, id: &ApplicationId) -> usize {
        self.place(("application", id.as_str()))
    }

    fn place(&self, name: impl Hash) -> usize {
        let hash = self.names.hash_one(name);
        usize::try_from(hash % (MARKS as u64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use account::{
        Account, Activation, Audience, Client, Details, Sealed, Session, SystemRng, Timestamp, Token, TokenLength, Verifier,
    };

    use super::*;

    fn a_holder() -> Arc<Holder> {
        let at = Timestamp(0);
        let account = Account {
            number: AccountNumber(1),
            id: ObjectId::draw(&SystemRng),
            apikey: account::ApiKey::draw(&SystemRng),
            region: "eu".parse().unwrap(),
            user_name: None,
            email: None,
            phone: None,
            verifier: Verifier::from_phc("none".into()),
            activation: Activation::Active,
            enabled: true,
            details: Details::default(),
            registered_at: at,
            last_login_at: None,
            revision: 0,
        };
        let hash = || Token::draw(&SystemRng, TokenLength::Bits160).hash();
        let session = Session {
            id: ObjectId::draw(&SystemRng),
            account: account.number,
            audience: Audience::Device("phone".parse().unwrap()),
            access_hash: hash(),
            access_issued_at: at,
            access_expires_at: at,
            refresh_hash: hash(),
            refresh_expires_at: at,
            created_at: at,
            client: Client { address: [127, 0, 0, 1].into(), app_version: None, os: None },
        };
        Arc::new(Holder { account, session, device: None, gateways: Vec::new() })
    }

    fn is_remembered(cache: &ReadCache, holder: &Holder) -> bool {
        cache.holder(&holder.session.access_hash).is_some()
    }

    #[test]
    fn what_may_have_changed_is_not_used() {
        let holder = a_holder();
        let phone: Serial = "phone".parse().unwrap();
        for touched in [
            Touched::Account(AccountNumber(1)),
            Touched::Session(&holder.session.id),
            Touched::Device(&phone),
            Touched::Everything,
        ] {
            let cache = ReadCache::new();
            cache.put_holder(&holder, cache.now());
            assert!(is_remembered(&cache, &holder));
            let doubt = cache.touch(touched);
            assert!(!is_remembered(&cache, &holder), "{touched:?} is under way");
            // Read while it was under way: before or after it, nobody knows.
            cache.put_holder(&holder, cache.now());
            assert!(!is_remembered(&cache, &holder), "{touched:?} is under way");
            doubt.settle();
            assert!(!is_remembered(&cache, &holder), "{touched:?} may have changed it");
            cache.put_holder(&holder, cache.now());
            assert!(is_remembered(&cache, &holder), "it was read after {touched:?}");
        }
    }

    #[test]
    fn an_application_that_may_have_changed_is_not_used() {
        let id: ApplicationId = "app".parse().unwrap();
        let application = Application {
            id: id.clone(),
            name: "App".into(),
            secret: Sealed::from_stored("sealed".into()),
            profile: "strict".parse().unwrap(),
            enabled: true,
            created_at: Timestamp(0),
        };
        let cache = ReadCache::new();
        for touched in [Touched::Application(&id), Touched::Everything] {
            cache.put_application(&application, cache.now());
            assert!(cache.application(&id).is_some());
            let doubt = cache.touch(touched);
            assert!(cache.application(&id).is_none(), "{touched:?} is under way");
            doubt.settle();
            assert!(cache.application(&id).is_none(), "{touched:?} may have changed it");
        }
    }

    #[test]
    fn what_others_change_does_not_matter() {
        let (cache, holder) = (ReadCache::new(), a_holder());
        cache.put_holder(&holder, cache.now());
        // Of some marks one may be shared.
        let others = (2..5).filter(|number| {
            cache.touch(Touched::Account(AccountNumber(*number))).settle();
            is_remembered(&cache, &holder)
        });
        assert!(others.count() > 0);
        cache.touch(Touched::Nothing).settle();
    }

    #[test]
    fn what_was_read_before_a_change_is_never_used() {
        let (cache, holder) = (ReadCache::new(), a_holder());
        let before = cache.now();
        cache.touch(Touched::Account(AccountNumber(1))).settle();
        cache.put_holder(&holder, before);
        assert!(!is_remembered(&cache, &holder));
    }

    #[test]
    fn an_end_that_is_not_known_leaves_a_doubt() {
        let (cache, holder) = (ReadCache::new(), a_holder());
        drop(cache.touch(Touched::Account(AccountNumber(1))));
        cache.put_holder(&holder, cache.now());
        assert!(!is_remembered(&cache, &holder));
        let doubts = cache.doubts();
        drop(cache.touch(Touched::Everything));
        cache.settle(doubts);
        cache.put_holder(&holder, cache.now());
        assert!(!is_remembered(&cache, &holder), "the second came after they were counted");
        cache.settle(cache.doubts());
        cache.put_holder(&holder, cache.now());
        assert!(is_remembered(&cache, &holder));
    }
}
