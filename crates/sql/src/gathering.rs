//! Questions that come at the same time are asked together: one look at the database answers all of them.
//!
//! A question is asked after it came, never answered by a look that was under way already: so the answer is as fresh as if it had been
//! asked alone.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use account::{Holder, StoreError, TokenHash};
use futures_util::FutureExt;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::engine::{Operation, Pool, Readers};
use crate::{Failed, Limits, holders};

/// The most tokens in one look.
const MOST: usize = 128;

/// How many look at the same time: while one waits for the database, the other gathers.
const LOOKS: usize = 2;

type Answer = Result<Option<Arc<Holder>>, StoreError>;

/// Looks up who holds access tokens. It ends with the last of its clones.
#[derive(Debug, Clone)]
pub(crate) struct Gathering {
    questions: mpsc::UnboundedSender<Question>,
    limits: Limits,
}

struct Question {
    access: TokenHash,
    reply: oneshot::Sender<Answer>,
}

impl Gathering {
    /// Starts to look, on connections of `pool` where there are no `readers`.
    pub fn start(readers: Option<&Readers>, pool: &Pool, limits: Limits) -> Self {
        let (questions, receiver) = mpsc::unbounded_channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..LOOKS {
            tokio::spawn(look(Arc::clone(&receiver), readers.cloned(), pool.clone()));
        }
        Self { questions, limits }
    }

    /// Finds who holds an access token.
    pub async fn ask(&self, access: TokenHash) -> Answer {
        let (reply, answered) = oneshot::channel();
        let gone = |_| StoreError::Unavailable("it is closed".into());
        self.questions.send(Question { access, reply }).map_err(|_| gone(()))?;
        let Ok(answer) = tokio::time::timeout(self.limits.timeout, answered).await else {
            return Err(StoreError::Unavailable("it took too long".into()));
        };
        answer.map_err(|_| gone(()))?
    }
}

async fn look(questions: Arc<Mutex<mpsc::UnboundedReceiver<Question>>>, readers: Option<Readers>, pool: Pool) {
    let mut asked = Vec::with_capacity(MOST);
    loop {
        // Whoever waits for the next question holds the line; the other is looking.
        if questions.lock().await.recv_many(&mut asked, MOST).await == 0 {
            return;
        }
        asked.retain(|question| !question.reply.is_closed());
        if asked.is_empty() {
            continue;
        }
        let hashes: Arc<[TokenHash]> = asked.iter().map(|question| question.access.clone()).collect();
        let found = AssertUnwindSafe(find(readers.as_ref(), &pool, hashes, &mut asked)).catch_unwind().await;
        let found = found.unwrap_or_else(|_| Err(StoreError::Failed("a look panicked".into())));
        for question in asked.drain(..) {
            let answer = match &found {
                Ok(holders) => Ok(holders.get(&question.access).cloned()),
                Err(error) => Err(error.clone()),
            };
            // Whoever asked may have gone away meanwhile.
            drop(question.reply.send(answer));
        }
    }
}

/// Looks, unless nobody waits for it any more.
async fn find(
    readers: Option<&Readers>,
    pool: &Pool,
    hashes: Arc<[TokenHash]>,
    asked: &mut [Question],
) -> Result<HashMap<TokenHash, Arc<Holder>>, StoreError> {
    let operation: Operation<_> = Arc::new(move |connection| {
        let hashes = Arc::clone(&hashes);
        Box::pin(async move { holders::find(connection, &hashes).await })
    });
    let looking = async {
        if let Some(readers) = readers {
            return readers.ask(operation).await;
        }
        let mut used = pool.acquire().await?;
        let found = operation(&mut used).await;
        used.sound = !found.as_ref().is_err_and(Failed::has_failed);
        found
    };
    let nobody_waits = futures_util::future::join_all(asked.iter_mut().map(|question| question.reply.closed()));
    let found = tokio::select! {
        found = looking => found?,
        _ = nobody_waits => return Err(StoreError::Unavailable("nobody waits for it any more".into())),
    };
    let by_token = |holder: Holder| (holder.session.access_hash.clone(), Arc::new(holder));
    Ok(found.into_iter().map(by_token).collect())
}
