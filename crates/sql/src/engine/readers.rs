//! Threads that read from a SQLite database for whoever comes: what is asked waits for the first that is free, and for nobody's task.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use account::StoreError;
use tokio::sync::oneshot;

use super::thread::{Access, open};
use super::{Connection, Link, Operation, at_once};
use crate::Failed;

/// What is asked. Returns whether the connection may be used again.
type Question = Box<dyn FnOnce(Result<&mut Connection, StoreError>) -> bool + Send>;

enum Order {
    Ask(Question),
    End(oneshot::Sender<()>),
}

/// Threads that read, each with a connection of its own. They end with the last of its clones.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    orders: flume::Sender<Order>,
    threads: usize,
    patience: Duration,
}

impl Readers {
    /// Starts so many threads, which open the database `path`, and do `settings` there, when they are needed.
    pub fn start(path: &Path, settings: &'static str, threads: usize, patience: Duration) -> Self {
        let (orders, ordered) = flume::unbounded();
        for _ in 0..threads {
            let (path, ordered) = (path.to_owned(), ordered.clone());
            let read = move || read(&path, settings, &ordered);
            std::thread::Builder::new().name("read".into()).spawn(read).expect("the system gives a few threads at the start");
        }
        Self { orders, threads, patience }
    }

    /// Does an operation that only reads.
    pub async fn ask<T: Send + 'static>(&self, operation: Operation<T>) -> Result<T, StoreError> {
        let (reply, answered) = oneshot::channel();
        let question = move |connection: Result<&mut Connection, StoreError>| {
            if reply.is_closed() {
                return true;
            }
            let answer = connection.and_then(|connection| at_once(operation(connection))?);
            let is_sound = !answer.as_ref().is_err_and(Failed::has_failed);
            // Whoever asked may have gone away meanwhile.
            drop(reply.send(answer));
            is_sound
        };
        let gone = |_| StoreError::Unavailable("it is closed".into());
        self.orders.send(Order::Ask(Box::new(question))).map_err(|_| gone(()))?;
        match tokio::time::timeout(self.patience, answered).await {
            // Nobody answers when it panicked.
            Ok(answer) => answer.map_err(|_| StoreError::Failed("an operation panicked".into()))?,
            Err(_) => Err(StoreError::Unavailable("it took too long".into())),
        }
    }

    /// Closes the connections, after what they are asked already.
    pub async fn close(&self) {
        for _ in 0..self.threads {
            let (reply, ended) = oneshot::channel();
            // Those that have ended are closed.
            drop(self.orders.send(Order::End(reply)));
            drop(ended.await);
        }
    }
}

fn read(path: &Path, settings: &str, ordered: &flume::Receiver<Order>) {
    let mut connection = None;
    for order in ordered {
        let question = match order {
            Order::Ask(question) => question,
            Order::End(reply) => {
                drop(connection);
                return reply.send(()).unwrap_or(());
            }
        };
        let here = match connection.take() {
            Some(here) => Ok(here),
            None => open(path, Access::Make, settings).map(|sqlite| Connection::new(Link::Here(sqlite))),
        };
        match here {
            Ok(mut here) => {
                // One on which something failed or panicked may be in the middle of anything: it is closed.
                let is_sound = catch_unwind(AssertUnwindSafe(|| question(Ok(&mut here)))).unwrap_or(false);
                connection = is_sound.then_some(here);
            }
            Err(error) => drop(question(Err(error.into()))),
        }
    }
}
