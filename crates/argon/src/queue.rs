//! A queue of work for a fixed set of threads, bounded by the time that it would take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use account::HashError;
use tokio::sync::oneshot;
use tracing::Instrument;

/// How much of the mean the newest measurement makes: one eighth.
const WEIGHT: u64 = 8;

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

type Work<M> = Box<dyn FnOnce(&mut M) + Send>;

/// Threads that work off a queue, each with an `M` of its own. They end when the queue is dropped.
pub(crate) struct Queue<M> {
    sender: flume::Sender<Work<M>>,
    threads: usize,
    max_wait: Duration,
    /// How long one piece of work takes on a thread, in nanoseconds; 0 until the first is done.
    mean: Arc<AtomicU64>,
}

impl<M: Default + 'static> Queue<M> {
    pub fn start(threads: usize, max_wait: Duration) -> Self {
        let (sender, receiver) = flume::unbounded::<Work<M>>();
        let mean = Arc::new(AtomicU64::new(0));
        for number in 0..threads {
            let receiver = receiver.clone();
            std::thread::Builder::new()
                .name(format!("hash-{number}"))
                .spawn(move || {
                    let mut own = M::default();
                    for work in receiver {
                        work(&mut own);
                    }
                })
                .expect("the system gives a few threads at the start");
        }
        Self { sender, threads, max_wait, mean }
    }

    /// Runs `work` on one of the threads, unless it would have to wait for longer than `max_wait`. When the caller stops waiting
    /// (its future is dropped), work that has not begun is not done.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut M) -> T + Send + 'static) -> Result<T, HashError> {
        let wait = self.expected_wait();
        if wait > self.max_wait {
            metrics::counter!("hearthgate_hash_refused_total").increment(1);
            return Err(HashError::Overloaded { retry_after: wait });
        }
        let (answer, answered) = oneshot::channel();
        let mean = Arc::clone(&self.mean);
        let queued = Instant::now();
        let span = tracing::info_span!("hash");
        let hashing = span.clone();
        let job = move |own: &mut M| {
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
            note(&mean, took);
            // Whoever asked may have gone away meanwhile.
            drop(answer.send(result));
        };
        self.sender.send(Box::new(job)).map_err(|_| HashError::Broken("the hashing threads have ended".into()))?;
        answered.instrument(span).await.map_err(|_| HashError::Broken("a hashing thread has died".into()))
    }

    pub fn load(&self) -> Load {
        let (waiting, expected_wait) = (self.sender.len(), self.expected_wait());
        Load { waiting, expected_wait, threads: self.threads, overloaded: expected_wait > self.max_wait }
    }

    fn expected_wait(&self) -> Duration {
        let waiting = u64::try_from(self.sender.len() / self.threads).unwrap_or(u64::MAX);
        Duration::from_nanos(self.mean.load(Ordering::Relaxed).saturating_mul(waiting))
    }
}

/// Takes a measurement into the mean. Two threads that do so at once may lose one of the two: it is an estimate.
fn note(mean: &AtomicU64, took: Duration) {
    let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    let next = match mean.load(Ordering::Relaxed) {
        0 => took,
        old => old - old / WEIGHT + took / WEIGHT,
    };
    mean.store(next, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A queue with one thread that is busy until the returned sender is dropped, and has measured that work takes a second.
    async fn busy(max_wait: Duration) -> (Arc<Queue<()>>, mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
        let queue = Arc::new(Queue::start(1, max_wait));
        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let blocked = Arc::clone(&queue);
        let holder = tokio::spawn(async move {
            let work = move |(): &mut ()| {
                begun.send(()).unwrap();
                assert!(released.recv().is_err(), "the sender is dropped");
            };
            blocked.run(work).await.unwrap();
        });
        has_begun.await.unwrap();
        queue.mean.store(1_000_000_000, Ordering::Relaxed);
        (queue, release, holder)
    }

    #[tokio::test]
    async fn past_the_longest_wait_it_refuses_at_once() {
        let (queue, release, holder) = busy(Duration::from_secs(2)).await;
        let waiting: Vec<_> = (0..3).map(|_| queue.sender.send(Box::new(|(): &mut ()| ()))).collect();
        assert!(waiting.iter().all(Result::is_ok));
        let refused = queue.run(|(): &mut ()| ()).await;
        assert!(
            matches!(refused, Err(HashError::Overloaded { retry_after }) if retry_after == Duration::from_secs(3)),
            "{refused:?}"
        );
        drop(release);
        holder.await.unwrap();
        queue.mean.store(0, Ordering::Relaxed);
        assert!(queue.run(|(): &mut ()| ()).await.is_ok(), "and recovers");
    }

    #[tokio::test]
    async fn whoever_goes_away_is_not_worked_for() {
        let (queue, release, holder) = busy(Duration::from_secs(60)).await;
        let (did, done) = mpsc::channel();
        let mut departed = Box::pin(queue.run(move |(): &mut ()| did.send(()).unwrap()));
        tokio::select! {
            biased;
            _ = &mut departed => panic!("the thread is busy"),
            () = std::future::ready(()) => drop(departed),
        }
        drop(release);
        holder.await.unwrap();
        queue.run(|(): &mut ()| ()).await.unwrap();
        assert!(done.recv().is_err(), "the departed's work was dropped undone");
    }
}
