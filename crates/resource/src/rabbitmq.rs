//! What a RabbitMQ has granted is taken back when it is not the client's any more.
//!
//! The broker asks when a client connects, subscribes, and publishes to a topic for the first time, and remembers what it was told:
//! subscriptions for as long as there is a queue for them, topics for as long as the connection lasts. So clients are thrown out, also
//! those that only listen, and queues are deleted, when an event of a session says so. What no event says, such as the end of a token's
//! time, and what went wrong, is found by looking the broker through from time to time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use account::{Core, SessionChange, SessionEvent, StoreError};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep, sleep_until};

use crate::feed::{Feed, Follower, News};
use crate::management::{Binding, CallError, Management};
use crate::mqtt::{Mqtt, QUEUE, user_name};
use crate::topics::Action;

/// How long a failing broker is left alone, at first and after many failures.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a failing store is left alone.
const RESPITE: Duration = Duration::from_secs(2);

/// How soon the queues of ended sessions are deleted: together, for to find them takes a list of all.
const SOON: Duration = Duration::from_secs(5);

/// How many events are heard before something is done.
const AT_ONCE: usize = 500;

/// How many user names are closed at the same time.
const CLOSERS: usize = 8;

/// How many user names wait to be closed at most. Where there would be more, everybody is thrown out.
const MOST_OWED: usize = 100_000;

/// Keeps a RabbitMQ to what sessions allow.
pub struct Keeper {
    core: Arc<Core>,
    feed: Arc<Feed>,
    management: Management,
    mqtt: Mqtt,
    /// How often it is looked through.
    every: Duration,
    owed: Owed,
    /// Up to which event everything is done, as far as it was noted.
    told: Option<i64>,
    pause: Duration,
    /// Until when a failing broker is left alone.
    rests_until: Instant,
}

/// What is still to be done at the broker.
struct Owed {
    /// Whose connections are to be closed.
    closings: BTreeSet<String>,
    /// Whether everybody's are.
    everybody: bool,
    /// Whose subscriptions are to be looked at.
    subscribers: BTreeSet<String>,
    /// When they are.
    sweep_at: Instant,
    /// When the whole broker is looked through.
    look_at: Instant,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Broker(#[from] CallError),
}

impl Keeper {
    /// A keeper who does nothing until it [runs](Self::run). The broker is looked through as often as `every` says.
    #[must_use]
    pub fn new(core: Arc<Core>, feed: Arc<Feed>, management: Management, mqtt: Mqtt, every: Duration) -> Self {
        let now = Instant::now();
        let (closings, subscribers) = (BTreeSet::new(), BTreeSet::new());
        let owed = Owed { closings, everybody: false, subscribers, sweep_at: now, look_at: now };
        Self { core, feed, management, mqtt, every, owed, told: None, pause: PAUSE, rests_until: now }
    }

    /// Goes on until the feed is [finished](Feed::finish) and everything is done.
    pub async fn run(mut self) {
        while let Err(error) = self.follow().await {
            tracing::warn!(%error, "cannot follow what becomes of sessions");
            sleep(RESPITE).await;
        }
    }

    /// Events are taken up where they were left, also by another node or before a restart.
    async fn follow(&mut self) -> Result<(), StoreError> {
        let follower = format!("rabbitmq {}", self.management.url());
        self.told = self.core.told_up_to(&follower).await?;
        let mut news = self.feed.follow_to_the_end(self.told).await?;
        if self.told.is_none() {
            self.core.note_told(&follower, news.cursor()).await?;
        }
        loop {
            let goes_on = tokio::select! {
                goes_on = news.wait() => goes_on,
                () = sleep_until(self.due()) => true,
            };
            if goes_on {
                self.hear(&mut news).await?;
            } else {
                self.owed.sweep_at = Instant::now();
            }
            let done = self.work().await;
            if done && self.told != Some(news.cursor()) {
                self.core.note_told(&follower, news.cursor()).await?;
                self.told = Some(news.cursor());
            }
            match (goes_on, done) {
                (false, true) => return Ok(()),
                (false, false) => sleep_until(self.due()).await,
                (true, _) => {}
            }
        }
    }

    /// When something is to be done next.
    fn due(&self) -> Instant {
        let Owed { closings, everybody, subscribers, sweep_at, look_at } = &self.owed;
        let closing = if closings.is_empty() && !everybody { *look_at } else { self.rests_until };
        let sweep = if subscribers.is_empty() { *look_at } else { *sweep_at };
        closing.min(sweep).min(*look_at).max(self.rests_until)
    }

    async fn hear(&mut self, news: &mut Follower) -> Result<(), StoreError> {
        for _ in 0..AT_ONCE {
            match news.next().await? {
                Some(News::Event(event)) => self.owed.note(&event),
                Some(News::Missed(_)) => {
                    tracing::warn!("it is not known what became of sessions meanwhile: all clients are thrown out of RabbitMQ");
                    self.owed.throw_everybody_out();
                }
                None => break,
            }
        }
        Ok(())
    }

    /// Does what is due, and says whether nothing is left of what events demand.
    async fn work(&mut self) -> bool {
        if Instant::now() < self.rests_until {
            return false;
        }
        match self.try_work().await {
            Ok(()) => {
                self.pause = PAUSE;
                self.owed.closings.is_empty() && self.owed.subscribers.is_empty()
            }
            Err(trouble) => {
                if let Trouble::Broker(_) = trouble {
                    metrics::counter!("hearthgate_rabbitmq_failures_total").increment(1);
                }
                tracing::error!(error = %trouble, "cannot throw clients out of RabbitMQ; it is tried again");
                self.rests_until = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                false
            }
        }
    }

    /// What one client's sake fails for does not keep others from being thrown out.
    async fn try_work(&mut self) -> Result<(), Trouble> {
        let now = Instant::now();
        let looks = self.owed.everybody || now >= self.owed.look_at;
        if looks {
            self.look().await?;
        }
        let sweeps = looks || (now >= self.owed.sweep_at && !self.owed.subscribers.is_empty());
        let swept = if sweeps { self.sweep(looks).await } else { Ok(()) };
        self.close().await?;
        swept?;
        if looks {
            self.owed.look_at = Instant::now() + self.every;
        }
        Ok(())
    }

    /// Finds the clients that have no good session.
    async fn look(&mut self) -> Result<(), Trouble> {
        let connections = self.management.connections().await?;
        let here = connections.into_iter().filter(|connection| connection.vhost == self.mqtt.vhost);
        let users: BTreeSet<_> = here.map(|connection| connection.user).collect();
        for user in users {
            // RabbitMQ's own users are not ours to judge.
            let Some((apikey, client)) = user.split_once('/') else { continue };
            if self.owed.everybody || self.core.holder_at(apikey, client).await?.is_none() {
                self.owed.closings.insert(user);
            }
        }
        self.owed.everybody = false;
        Ok(())
    }

    /// Deletes the queues that get what their clients may not subscribe to: those of everybody, or of whom it is owed.
    async fn sweep(&mut self, all: bool) -> Result<(), Trouble> {
        let bindings = self.management.bindings(&self.mqtt.vhost).await?;
        let mut queues: HashMap<&str, Vec<&str>> = HashMap::new();
        for Binding { destination, routing_key } in &bindings {
            queues.entry(destination).or_default().push(routing_key);
        }
        for (queue, topics) in queues {
            let users = users_of(queue);
            let looked_at = all || users.iter().any(|user| self.owed.subscribers.contains(*user));
            if users.is_empty() || !looked_at || self.may_subscribe(&users, &topics).await? {
                continue;
            }
            self.management.delete_queue(&self.mqtt.vhost, queue).await?;
            self.owed.closings.extend(users.into_iter().map(str::to_owned));
        }
        self.owed.subscribers.clear();
        Ok(())
    }

    /// Whether one of these user names, which are all one account's, may subscribe to each of the topics. A token whose time is up may be
    /// refreshed, and what is subscribed to waits for that.
    async fn may_subscribe(&self, users: &[&str], topics: &[&str]) -> Result<bool, StoreError> {
        let mut holders = Vec::new();
        for (apikey, client) in users.iter().filter_map(|user| user.split_once('/')) {
            holders.extend(self.core.holders_at(apikey, client).await?);
        }
        let may = |topic: &str| holders.iter().any(|holder| self.mqtt.topics.allow(holder, Action::Subscribe, topic, '.'));
        Ok(topics.iter().all(|topic| may(topic)))
    }

    async fn close(&mut self) -> Result<(), CallError> {
        let names: Vec<_> = self.owed.closings.iter().cloned().collect();
        let (management, owed) = (&self.management, &mut self.owed.closings);
        let closing = names.into_iter().map(|name| async move { (management.close(&name).await, name) });
        let mut closing = stream::iter(closing).buffer_unordered(CLOSERS);
        let mut wrong = None;
        while let Some((closed, name)) = closing.next().await {
            match closed {
                Ok(()) => drop(owed.remove(&name)),
                Err(error @ CallError::Unreachable(_)) => return Err(error),
                Err(error) => wrong = Some(error),
            }
        }
        wrong.map_or(Ok(()), Err)
    }
}

impl Owed {
    fn note(&mut self, event: &SessionEvent) {
        let sweep_at = match event.change {
            // What was granted stays so, and what was denied is asked anew.
            SessionChange::Refreshed | SessionChange::GatewayGained => return,
            SessionChange::Ended(_) => Instant::now() + SOON,
            SessionChange::GatewayLost | SessionChange::Other => Instant::now(),
        };
        let name = user_name(event.apikey.as_str(), event.audience.id());
        self.sweep_at = if self.subscribers.is_empty() { sweep_at } else { self.sweep_at.min(sweep_at) };
        self.subscribers.insert(name.clone());
        self.closings.insert(name);
        if self.closings.len().max(self.subscribers.len()) > MOST_OWED {
            self.throw_everybody_out();
        }
    }

    fn throw_everybody_out(&mut self) {
        self.everybody = true;
        self.closings.clear();
        // All are looked at then.
        self.subscribers.clear();
        self.look_at = Instant::now();
    }
}

/// The user names whose client this queue of RabbitMQ's MQTT plugin may belong to: a client's id is its user name, or begins with it and a
/// slash.
fn users_of(queue: &str) -> Vec<&str> {
    let client = queue.strip_prefix(QUEUE).and_then(|rest| rest.strip_suffix("qos0").or_else(|| rest.strip_suffix("qos1")));
    let Some(client) = client else { return Vec::new() };
    let ends = client.match_indices('/').map(|(place, _)| place).skip(1).chain([client.len()]);
    let users = ends.map(|end| &client[..end]);
    users.filter(|user| user.contains('/')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_of_its_clients_user_names() {
        assert_eq!(users_of("mqtt-subscription-key/appqos1"), ["key/app"]);
        assert_eq!(users_of("mqtt-subscription-key/app/2/3qos0"), ["key/app", "key/app/2", "key/app/2/3"]);
        for other in ["mqtt-subscription-guestqos1", "mqtt-subscription-key/app", "key/appqos1", ""] {
            assert_eq!(users_of(other), <[&str; 0]>::default(), "{other}");
        }
    }
}
