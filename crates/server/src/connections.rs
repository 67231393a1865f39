//! How many connections there may be, in all and from one source. Where there are too many, whoever has kept the server waiting for
//! longest makes room.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use account::Source;
use futures_util::task::AtomicWaker;
use metrics::{counter, gauge};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::Instant;
use wire::Proxies;

/// How many open files are left for everything that is no connection: the store, mail, certificates, whoever watches.
const RESERVED_FILES: u64 = 256;

/// How long somebody who was told that it is too slow has to read that.
const FAREWELL: Duration = Duration::from_secs(1);

/// The connections of some listeners.
pub(crate) struct Connections {
    patience: Duration,
    most: usize,
    most_per_source: usize,
    proxies: Proxies,
    present: Mutex<Present>,
}

#[derive(Default)]
struct Present {
    connections: HashMap<u64, Connection>,
    by_source: HashMap<Source, usize>,
    /// Those that keep the server waiting, by the end of their time.
    waited_for: BTreeSet<(Instant, u64)>,
    next: u64,
}

struct Connection {
    source: Option<Source>,
    /// How much is being done for it. While that is nothing, it is the client's turn.
    under_way: usize,
    /// Then the client must have had its turn.
    until: Instant,
    dismissal: Arc<Dismissal>,
}

/// What is known of a connection's end without looking at all the others.
#[derive(Default)]
struct Dismissal {
    dismissed: AtomicBool,
    told: AtomicWaker,
    /// Whether the client was, or will be, given less time than usual.
    hurried: AtomicBool,
}

/// One connection's place among the others. It is given back when this is dropped.
pub(crate) struct Place(Seat);

/// Whoever works for a connection has one of these.
#[derive(Clone)]
pub(crate) struct Seat {
    connections: Arc<Connections>,
    number: u64,
    dismissal: Arc<Dismissal>,
}

/// Something that is being done for a connection; over when this is dropped.
pub(crate) struct Work {
    seat: Seat,
    /// How long the client may take afterwards.
    patience: Duration,
}

impl Connections {
    /// At most `most` connections, and at most `most_per_source` from one source that is no proxy. None of them may keep the server
    /// waiting for longer than `patience`.
    pub fn new(patience: Duration, most: usize, most_per_source: usize, proxies: Proxies) -> Arc<Self> {
        Arc::new(Self { patience, most, most_per_source, proxies, present: Mutex::default() })
    }

    /// Gives a new connection its place; `None` when its source has its share, or when everybody else is being served. Where it comes
    /// from is not known of somebody on this machine.
    pub fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Place> {
        let source = peer.filter(|peer| !self.proxies.trusts(*peer)).map(Source::of);
        let mut present = self.present();
        if source.is_some_and(|source| present.by_source.get(&source).is_some_and(|count| *count >= self.most_per_source)) {
            counter!("hearthgate_connections_refused_total", "reason" => "source").increment(1);
            return None;
        }
        if present.connections.len() >= self.most && !present.dismiss_one() {
            counter!("hearthgate_connections_refused_total", "reason" => "all").increment(1);
            return None;
        }
        let dismissal = Arc::<Dismissal>::default();
        let number =
            present.enter(Connection { source, under_way: 0, until: self.deadline(), dismissal: Arc::clone(&dismissal) });
        Some(Place(Seat { connections: Arc::clone(self), number, dismissal }))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present {
    fn enter(&mut self, new: Connection) -> u64 {
        let number = self.next;
        self.next += 1;
        if let Some(source) = new.source {
            *self.by_source.entry(source).or_default() += 1;
        }
        self.waited_for.insert((new.until, number));
        self.connections.insert(number, new);
        gauge!("hearthgate_connections").increment(1);
        number
    }

    /// Nothing when it was dismissed before.
    fn leave(&mut self, number: u64) -> Option<Connection> {
        let gone = self.connections.remove(&number)?;
        self.waited_for.remove(&(gone.until, number));
        if let Some(source) = gone.source
            && let Some(count) = self.by_source.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
        gauge!("hearthgate_connections").decrement(1);
        Some(gone)
    }

    /// Ends the connection that has kept the server waiting for longest, if any does.
    fn dismiss_one(&mut self) -> bool {
        let longest = self.waited_for.first().copied().and_then(|(_, number)| self.leave(number));
        let Some(Connection { dismissal, .. }) = longest else { return false };
        counter!("hearthgate_connections_dismissed_total").increment(1);
        dismissal.dismissed.store(true, Ordering::Release);
        dismissal.told.wake();
        true
    }
}

impl Place {
    pub fn seat(&self) -> Seat {
        self.0.clone()
    }

    /// Whether somebody else needed the place. `waker` is woken when that happens.
    pub fn is_dismissed(&self, waker: &std::task::Waker) -> bool {
        self.0.dismissal.told.register(waker);
        self.0.dismissal.dismissed.load(Ordering::Acquire)
    }

    /// Whether the client's time may be over earlier than could be told before.
    pub fn is_hurried(&self) -> bool {
        self.0.dismissal.hurried.load(Ordering::Acquire)
    }

    /// When the client's time is over, as far as can be told now.
    pub fn deadline(&self) -> Instant {
        let Seat { connections, number, .. } = &self.0;
        let present = connections.present();
        let waited_for = present.connections.get(number).filter(|own| own.under_way == 0);
        waited_for.map_or_else(|| connections.deadline(), |own| own.until)
    }

    /// Gives the place back, after which nothing is waited for.
    pub fn leave(&self) {
        self.0.connections.present().leave(self.0.number);
        self.0.dismissal.dismissed.store(true, Ordering::Release);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Seat {
    /// Begins to work for the connection: meanwhile it keeps nobody waiting.
    pub fn work(&self) -> Work {
        let mut present = self.connections.present();
        let Present { connections, waited_for, .. } = &mut *present;
        if let Some(own) = connections.get_mut(&self.number) {
            own.under_way += 1;
            waited_for.remove(&(own.until, self.number));
        }
        Work { seat: self.clone(), patience: self.connections.patience }
    }
}

impl Work {
    pub fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Afterwards the client has just the time to read that it was too slow.
    pub fn bid_farewell(&mut self) {
        self.patience = self.patience.min(FAREWELL);
        self.seat.dismissal.hurried.store(true, Ordering::Release);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let mut present = self.seat.connections.present();
        let Present { connections, waited_for, .. } = &mut *present;
        if let Some(own) = connections.get_mut(&self.seat.number) {
            own.under_way -= 1;
            if own.under_way == 0 {
                own.until = Instant::now() + self.patience;
                waited_for.insert((own.until, self.seat.number));
            }
        }
    }
}

/// Has as many files opened as this process may, and says for how many connections there is room then.
pub(crate) fn make_room() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // What cannot be raised stays as it is.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let Some(files) = (if raised { maximum } else { current }) else { return usize::MAX };
    usize::try_from(files.saturating_sub(RESERVED_FILES).max(files / 2)).unwrap_or(usize::MAX)
}
