//! Clients at work: in a closed loop, each sends as soon as it is answered; in an open one, requests are due whether or not those before
//! are answered, and the time counts from when they are due.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::Outcome;
use crate::client::{Client, Verdict};
use crate::latency::Latency;
use crate::population::People;
use crate::progress::Progress;
use crate::requests::{Kind, Wanted};
use crate::ticks::Ticks;
use crate::usage::{self, Meter, Used};

/// How long answers are waited for after the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked what is due, at most: every tick of the kernel's timer interrupts the server.
const FINEST: Duration = Duration::from_millis(1);

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// By so many clients, each as soon as it is answered.
    Closed(usize),
    /// So many a second, by as many clients as it takes.
    Open(f64),
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub wanted: Wanted,
    pub pace: Pace,
    pub length: Duration,
}

/// What became of the requests of one kind.
#[derive(Default)]
pub(crate) struct Tally {
    pub right: Latency,
    pub refused: Latency,
    /// How many of the right answers came before the end.
    pub in_time: u64,
}

/// What came out.
#[derive(Default)]
pub(crate) struct Measured {
    pub kinds: BTreeMap<Kind, Tally>,
    /// Answers that should not be, with their number.
    pub wrong: BTreeMap<String, u64>,
    pub length: Duration,
    /// Until the end, without what is still answered after it.
    pub used: Used,
}

impl Measured {
    /// Right answers a second.
    pub fn rate(&self) -> f64 {
        self.kinds.values().map(|tally| tally.in_time as f64).sum::<f64>() / self.length.as_secs_f64()
    }

    /// How long right answers of all kinds took.
    pub fn right(&self) -> Latency {
        self.all(|tally| &tally.right)
    }

    /// How long it took to be refused.
    pub fn refused(&self) -> Latency {
        self.all(|tally| &tally.refused)
    }

    fn all(&self, of: impl Fn(&Tally) -> &Latency) -> Latency {
        let mut all = Latency::default();
        self.kinds.values().for_each(|tally| all.add(of(tally)));
        all
    }

    /// An error when any answer was one that should not be.
    pub fn check(&self) -> Outcome<()> {
        if self.wrong.is_empty() {
            return Ok(());
        }
        let told: Vec<_> = self.wrong.iter().map(|(what, count)| format!("{count} × {what}")).collect();
        Err(format!("unexpected answers: {}", told.join("; ")).into())
    }

    /// An error as well when anything was refused.
    pub fn check_all(&self) -> Outcome<()> {
        self.check()?;
        match self.refused().count() {
            0 => Ok(()),
            count => Err(format!("{count} requests were refused").into()),
        }
    }

    fn note(&mut self, kind: Kind, verdict: Verdict, took: Duration, in_time: bool) {
        let tally = self.kinds.entry(kind).or_default();
        match verdict {
            Verdict::Right => {
                tally.right.note(took);
                tally.in_time += u64::from(in_time);
            }
            Verdict::Refused => tally.refused.note(took),
            Verdict::Wrong(what) => *self.wrong.entry(what).or_default() += 1,
        }
    }

    fn add(&mut self, other: Self) {
        for (kind, tally) in other.kinds {
            let mine = self.kinds.entry(kind).or_default();
            mine.right.add(&tally.right);
            mine.refused.add(&tally.refused);
            mine.in_time += tally.in_time;
        }
        for (what, count) in other.wrong {
            *self.wrong.entry(what).or_default() += count;
        }
        if other.used.left > 0.0 {
            self.used = other.used;
        }
    }
}

/// The clients of one server.
pub(crate) struct Fleet {
    server: SocketAddr,
    process: u32,
    people: People,
    clients: Vec<Client>,
    /// The numbers of those that are not there yet, and how many there may be.
    next: AtomicI64,
    end: i64,
}

impl Fleet {
    /// Clients with these numbers, of which each is there when it is needed.
    pub fn new(server: SocketAddr, process: u32, people: People, numbers: std::ops::Range<i64>) -> Self {
        Self { server, process, people, clients: Vec::new(), next: AtomicI64::new(numbers.start), end: numbers.end }
    }

    /// Goes on with another server on the same database.
    pub fn turn_to(&mut self, server: SocketAddr, process: u32) {
        (self.server, self.process) = (server, process);
        self.clients.iter_mut().for_each(|client| client.turn_to(server));
    }

    fn another(&self) -> Option<Client> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.end).then(|| Client::new(number, self.server, self.people))
    }

    /// Does it, and waits for the last answer.
    pub fn drive(&mut self, load: Load, progress: &Progress) -> Outcome<Measured> {
        // The server needs the rest; one thread sends what two cores answer.
        let threads = (usage::cores()? / 2).max(1);
        let shares = self.shares(load.pace, threads)?;
        let (start, done) = (Barrier::new(threads), Arc::<AtomicU64>::default());
        let mut all = Measured { length: load.length, ..Measured::default() };
        let fleet = &*self;
        let worked = std::thread::scope(|scope| {
            let start = &start;
            let threads: Vec<_> = shares
                .into_iter()
                .enumerate()
                .map(|(number, clients)| {
                    let thread = Thread { number, threads, fleet, load, start, done: Arc::clone(&done) };
                    scope.spawn(move || thread.work(clients))
                })
                .collect();
            progress.follow(load.length, &done, || threads.iter().all(std::thread::ScopedJoinHandle::is_finished));
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect::<Vec<_>>()
        });
        for thread in worked {
            let (clients, measured) = thread?;
            self.clients.extend(clients);
            all.add(measured);
        }
        Ok(all)
    }

    /// The clients that each thread begins with.
    fn shares(&mut self, pace: Pace, threads: usize) -> Outcome<Vec<Vec<Client>>> {
        let mut clients = std::mem::take(&mut self.clients);
        if let Pace::Closed(count) = pace {
            while clients.len() < count {
                clients.push(self.another().ok_or("there are not enough people for so many clients")?);
            }
            self.clients = clients.split_off(count);
        }
        let mut shares: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        for (index, client) in clients.into_iter().enumerate() {
            shares[index % threads].push(client);
        }
        Ok(shares)
    }
}

/// One of the threads that send.
struct Thread<'a> {
    number: usize,
    threads: usize,
    fleet: &'a Fleet,
    load: Load,
    start: &'a Barrier,
    done: Arc<AtomicU64>,
}

/// What a thread's tasks share.
struct Shared {
    wanted: Wanted,
    end: Instant,
    done: Arc<AtomicU64>,
    measured: RefCell<Measured>,
    idle: RefCell<Vec<Client>>,
    /// Requests that are due and for which there was no client.
    late: RefCell<VecDeque<Instant>>,
}

impl Thread<'_> {
    fn work(self, clients: Vec<Client>) -> Outcome<(Vec<Client>, Measured)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tasks = LocalSet::new();
        runtime.block_on(tasks.run_until(self.run(clients, &tasks)))
    }

    async fn run(&self, mut clients: Vec<Client>, tasks: &LocalSet) -> Outcome<(Vec<Client>, Measured)> {
        let connected = self.connect(&mut clients).await;
        // All wait for one another, whatever went wrong.
        self.start.wait();
        connected?;
        let meter = Meter::start(self.fleet.process)?;
        let begun = Instant::now();
        let shared = Rc::new(Shared {
            wanted: self.load.wanted,
            end: begun + self.load.length,
            done: Arc::clone(&self.done),
            measured: RefCell::default(),
            idle: RefCell::new(clients),
            late: RefCell::default(),
        });
        match self.load.pace {
            Pace::Closed(_) => Self::closed(&shared, tasks).await,
            Pace::Open(rate) => self.open(&shared, tasks, rate / self.threads as f64).await?,
        }
        // What all threads use is counted by one.
        let used = if self.number == 0 { meter.used()? } else { Used::default() };
        Self::last_answers(&shared).await?;
        let shared = Rc::into_inner(shared).ok_or("a client is still at work")?;
        let measured = Measured { used, ..shared.measured.into_inner() };
        let mut clients = shared.idle.into_inner();
        // Connections do not outlive the runtime, and the server closes those on which nothing comes.
        clients.iter_mut().for_each(Client::disconnect);
        Ok((clients, measured))
    }

    /// Connects those who begin at once.
    async fn connect(&self, clients: &mut [Client]) -> std::io::Result<()> {
        if let Pace::Closed(_) = self.load.pace {
            for client in clients {
                client.connect().await?;
            }
        }
        Ok(())
    }

    async fn last_answers(shared: &Rc<Shared>) -> Outcome<()> {
        let until = Instant::now() + PATIENCE;
        while Rc::strong_count(shared) > 1 {
            if Instant::now() > until {
                return Err(format!("requests are not answered after {PATIENCE:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn closed(shared: &Rc<Shared>, tasks: &LocalSet) {
        let clients = std::mem::take(&mut *shared.idle.borrow_mut());
        for mut client in clients {
            let shared = Rc::clone(shared);
            tasks.spawn_local(async move {
                while Instant::now() < shared.end {
                    shared.ask(&mut client, Instant::now()).await;
                }
                shared.idle.borrow_mut().push(client);
            });
        }
        tokio::time::sleep_until(shared.end.into()).await;
    }

    async fn open(&self, shared: &Rc<Shared>, tasks: &LocalSet, rate: f64) -> Outcome<()> {
        let period = Duration::from_secs_f64(1.0 / rate);
        let (mut due, mut ticks) = (Instant::now() + period, Ticks::start(period.max(FINEST))?);
        loop {
            ticks.next().await?;
            while due <= Instant::now() {
                if due >= shared.end {
                    return Ok(());
                }
                // Whoever came back last: no more connections are in use than it takes.
                let client = shared.idle.borrow_mut().pop().or_else(|| self.fleet.another());
                match client {
                    Some(client) => drop(tasks.spawn_local(Rc::clone(shared).ask_from(client, due))),
                    None => shared.late.borrow_mut().push_back(due),
                }
                due += period;
            }
        }
    }
}

impl Shared {
    /// Sends the request that was due then, and all that could not be sent meanwhile.
    async fn ask_from(self: Rc<Self>, mut client: Client, due: Instant) {
        let mut next = Some(due);
        while let Some(due) = next {
            self.ask(&mut client, due).await;
            next = self.late.borrow_mut().pop_front();
        }
        self.idle.borrow_mut().push(client);
    }

    async fn ask(&self, client: &mut Client, due: Instant) {
        let (kind, verdict) = client.ask(self.wanted).await;
        let now = Instant::now();
        self.measured.borrow_mut().note(kind, verdict, now - due, now <= self.end);
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}
