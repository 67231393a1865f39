//! A queue of work for a fixed set of threads, bounded by the time that it would take.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use account::{HashError, Mean, Place};
use tokio::sync::oneshot;
use tracing::Instrument;

/// Of how many pieces of work the mean is: many, for each is slowed down by something else, and whenever the mean is too low, more are
/// let in than can be served in time.
const MEMORY: u64 = 64;

/// How busy the hasher is.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many passwords wait for a thread.
    pub waiting: usize,
    /// How long the next one is expected to wait.
    pub expected_wait: Duration,
    /// How many threads hash.
    pub threads: usize,
    /// Whether the next one would be refused.
    pub overloaded: bool,
}

/// How far hashing stands back behind everything else the server does, in steps of `nice`: what waits for a hash waits for a long time
/// anyhow, and what does not must not wait behind it.
const NICENESS: i32 = 10;

type Work<M> = Box<dyn FnOnce(&mut M) + Send>;

/// Threads that work off a queue, each with an `M` of its own. They end when the queue is dropped.
pub(crate) struct Queue<M> {
    sender: flume::Sender<Work<M>>,
    /// How many places are taken by those for whom no thread works yet.
    waiting: Arc<AtomicUsize>,
    threads: usize,
    max_wait: Duration,
    /// How long one piece of work takes on a thread.
    mean: Arc<Mean>,
}

impl<M: Default + 'static> Queue<M> {
    pub fn start(threads: usize, max_wait: Duration) -> io::Result<Self> {
        let (sender, receiver) = flume::unbounded::<Work<M>>();
        for number in 0..threads {
            let receiver = receiver.clone();
            std::thread::Builder::new().name(format!("hash-{number}")).spawn(move || {
                stand_back();
                let mut own = M::default();
                for work in receiver {
                    // A panic is one caller's, who hears of it; the others go on with a thread whose own is whole.
                    if catch_unwind(AssertUnwindSafe(|| work(&mut own))).is_err() {
                        own = M::default();
                    }
                }
            })?;
        }
        Ok(Self { sender, waiting: Arc::default(), threads, max_wait, mean: Arc::new(Mean::new(MEMORY)) })
    }

    /// How long whoever comes next is expected to wait, unless that is longer than `max_wait`.
    pub fn wait(&self) -> Result<Duration, HashError> {
        let wait = self.expected_wait(self.waiting.load(Ordering::Relaxed));
        if wait <= self.max_wait {
            return Ok(wait);
        }
        metrics::counter!("hearthgate_hash_refused_total").increment(1);
        Err(HashError::Overloaded { retry_after: wait })
    }

    /// Takes a place, however long it is to be waited there.
    pub fn reserve(&self) -> Place {
        Place::take(&self.waiting)
    }

    /// Runs `work` on one of the threads, for whoever has a place. When the caller stops waiting (its future is dropped), work that has
    /// not begun is not done.
    pub async fn run<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce(&mut M) -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let (answer, answered) = oneshot::channel();
        let mean = Arc::clone(&self.mean);
        let queued = Instant::now();
        let span = tracing::info_span!("hash");
        let hashing = span.clone();
        let job = move |own: &mut M| {
            drop(place);
            if answer.is_closed() {
                return;
            }
            let begun = Instant::now();
            metrics::histogram!("hearthgate_hash_wait_seconds").record(begun - queued);
            let result = tracing::info_span!(parent: &hashing, "hash.work").in_scope(|| work(own));
            // Whoever is answered goes on: nothing of the span must be left here then.
            drop(hashing);
            let took = begun.elapsed();
            metrics::histogram!("hearthgate_hash_duration_seconds").record(took);
            mean.note(took);
            // Whoever asked may have gone away meanwhile.
            drop(answer.send(result));
        };
        self.sender.send(Box::new(job)).map_err(|_| HashError::Broken("the hashing threads have ended".into()))?;
        answered.instrument(span).await.map_err(|_| HashError::Broken("it panicked".into()))
    }

    pub fn load(&self) -> Load {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let expected_wait = self.expected_wait(waiting);
        Load { waiting, expected_wait, threads: self.threads, overloaded: expected_wait > self.max_wait }
    }

    fn expected_wait(&self, before: usize) -> Duration {
        self.mean.times(u64::try_from(before / self.threads).unwrap_or(u64::MAX))
    }
}

/// Lowers the priority of this thread, where the system knows priorities of threads and lets it.
fn stand_back() {
    // Elsewhere it would be the whole process that stands back.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::warn!(%error, "a hashing thread keeps the priority of the others");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A queue with one thread that is busy until the returned sender is dropped, and has measured that work takes a second.
    async fn busy(max_wait: Duration) -> (Arc<Queue<()>>, mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
        let queue = Arc::new(Queue::start(1, max_wait).unwrap());
        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let blocked = Arc::clone(&queue);
        let holder = tokio::spawn(async move {
            let work = move |(): &mut ()| {
                begun.send(()).unwrap();
                assert!(released.recv().is_err(), "the sender is dropped");
            };
            blocked.run(blocked.reserve(), work).await.unwrap();
        });
        has_begun.await.unwrap();
        queue.mean.note(Duration::from_secs(1));
        (queue, release, holder)
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn hashing_stands_back_behind_the_rest() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let queue = Queue::<()>::start(1, Duration::from_secs(2)).unwrap();
        let hashing = queue.run(queue.reserve(), move |(): &mut ()| niceness()).await.unwrap();
        assert_eq!(hashing, (niceness() + NICENESS).min(19));
    }

    #[tokio::test]
    async fn past_the_longest_wait_it_refuses_at_once() {
        let (queue, release, holder) = busy(Duration::from_secs(2)).await;
        let waiting: Vec<_> = (0..3).map(|_| queue.reserve()).collect();
        let after_3s = |refused: &HashError| refused.retry_after() == Some(Duration::from_secs(3));
        assert!(queue.wait().is_err_and(|refused| after_3s(&refused)));
        drop(waiting);
        assert_eq!(queue.wait().unwrap(), Duration::ZERO, "and recovers");
        drop(release);
        holder.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_one_callers_only() {
        let queue = Queue::<()>::start(1, Duration::from_secs(60)).unwrap();
        let panicked = queue.run(queue.reserve(), |(): &mut ()| -> () { panic!("on purpose") }).await;
        assert!(matches!(panicked, Err(HashError::Broken(_))));
        queue.run(queue.reserve(), |(): &mut ()| ()).await.unwrap();
    }

    #[tokio::test]
    async fn whoever_goes_away_is_not_worked_for() {
        let (queue, release, holder) = busy(Duration::from_secs(60)).await;
        let (did, done) = mpsc::channel();
        let mut departed = Box::pin(queue.run(queue.reserve(), move |(): &mut ()| did.send(()).unwrap()));
        tokio::select! {
            biased;
            _ = &mut departed => panic!("the thread is busy"),
            () = std::future::ready(()) => drop(departed),
        }
        drop(release);
        holder.await.unwrap();
        queue.run(queue.reserve(), |(): &mut ()| ()).await.unwrap();
        assert!(done.recv().is_err(), "the departed's work was dropped undone");
    }
}
