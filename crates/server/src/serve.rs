//! The server: everything put together and running until it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use account::{Core, Delivery, SystemClock};
use admin::UnderWay;
use axum::{Router, middleware};
use notify::Outbox;
use resource::{Feed, Keeper};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;
use wire::Naming;

use crate::addresses::Addresses;
use crate::certificate::Certificate;
use crate::config::Config;
use crate::core::OpenCore;
use crate::data_folder::DataFolder;
use crate::failure::{Context, Failure};
use crate::listeners::{Listeners, Serving};
use crate::traces::Traces;
use crate::watch::{Health, Watch};
use crate::{keys, logging, places, print, traces, watch};

/// How many messages are delivered at the same time.
const COURIERS: usize = 4;

/// How long the queue of messages is left alone when nothing is due, and when something is due right now.
const LONGEST_IDLE: Duration = Duration::from_mins(1);
const SHORTEST_IDLE: Duration = Duration::from_millis(50);

/// How long the server waits at its end until RabbitMQ was told which sessions ended last, and for operators' commands.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How often it is looked for what is of no more use.
const FORGETTING: Duration = Duration::from_mins(1);

/// How long refusals are gathered before they are written together.
const GATHERING: Duration = Duration::from_millis(500);

/// `hearthgate serve`.
pub(crate) async fn run(config: Config) -> Result<(), Failure> {
    // Caught whether or not there is a certificate, so that it never ends the server.
    let hangup = signal(SignalKind::hangup()).context(|| "cannot listen for signals".to_owned())?;
    let mut server = Server::start(config, async |_| Ok(())).await?;
    let shown = |addresses: &Addresses| (!addresses.0.is_empty()).then(|| addresses.to_string());
    let (http, https) = (shown(&server.http), shown(&server.https));
    let metrics = server.metrics.map(|address| address.to_string());
    tracing::info!(http, https, metrics, data = %server.folder.path().display(), "listening");
    let Some(certificate) = server.certificate.take() else { return server.until_stopped().await };
    tokio::select! {
        stopped = server.until_stopped() => stopped,
        never = certificate.keep_up(hangup) => match never {},
    }
}

/// `hearthgate config check`: shows what is in force; what is wrong with it is an error.
pub(crate) async fn check(config: Config, json: bool) -> Result<(), Failure> {
    load_certificate(&config)?;
    config.geoip.as_deref().map(places::open).transpose()?;
    config.messenger(&Outbox::at(DataFolder::at(&config.data).outbox(), Arc::new(SystemClock)))?;
    if json {
        let shown = serde_json::to_value(&config).context(|| "cannot show the configuration".to_owned())?;
        print::answer(&shown, true)
    } else {
        print::line(toml::to_string(&config).context(|| "cannot show the configuration".to_owned())?.trim_end())
    }
}

/// A server that answers.
pub(crate) struct Server {
    pub open: OpenCore,
    pub folder: DataFolder,
    pub http: Addresses,
    pub https: Addresses,
    pub metrics: Option<SocketAddr>,
    certificate: Option<Certificate>,
    traces: Option<Traces>,
    health: Arc<Health>,
    serving: Serving,
    feed: Arc<Feed>,
    commands: UnderWay,
    keeper: Option<JoinHandle<()>>,
    tasks: JoinSet<()>,
    terminate: Signal,
    interrupt: Signal,
}

impl Server {
    /// Opens the data folder, has the core prepared, binds every address, and begins to answer.
    pub async fn start(config: Config, prepare: impl AsyncFnOnce(&Core) -> Result<(), Failure>) -> Result<Self, Failure> {
        let traces = config.traces.as_ref().map(Traces::start).transpose()?;
        logging::start(&config.log, traces.as_ref());
        // From here on a signal is not lost, however early it comes.
        let listen = |kind| signal(kind).context(|| "cannot listen for signals".to_owned());
        let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let certificate = load_certificate(&config)?;
        let folder = DataFolder::at(&config.data);
        folder.make()?;
        let lock = folder.lock()?;
        let open = OpenCore::open(&config, &folder, lock).await?;
        prepare(&open.core).await?;
        let listeners = Listeners::bind(&config, certificate.as_ref().map(Certificate::tls), &folder)?;
        let (http, https) = (listeners.http_addresses(), listeners.https_addresses());
        let metrics = listeners.metrics_address();
        let public_url = match config.public_url()? {
            Some(url) => Some(url),
            None => links_without_configuration(&config, http.0.first()),
        };
        let health = Arc::new(Health::of(&open));
        let feed = Arc::new(Feed::new(Arc::clone(&open.core)));
        let watch = metrics.map(|_| Watch::start(&open, certificate.as_ref())).transpose()?;
        let public = router(&open.core, &feed, &config, public_url)?;
        let public = match &traces {
            Some(traces) => public.layer(middleware::from_fn_with_state(traces.clone(), traces::trace)),
            None => public,
        };
        // What takes no state is made ready here, once, and not for every request.
        let public = public.merge(watch::public(&health)).with_state(());
        // Around the whole: a layer of routes would be boxed for every request.
        let public = Naming::begin(config.proxies(), open.core.rng()).around(public);
        let mut tasks = start_couriers(&open);
        tasks.spawn(Arc::clone(&feed).run());
        tasks.spawn(write_waiting(Arc::clone(&open.core)));
        tasks.spawn(forget_old(Arc::clone(&open.core)));
        tasks.spawn(keys::follow(open.key_folder.clone(), Arc::clone(&open.core), Arc::clone(&open.keys), open.store.clone()));
        let keeper = keeper(&open.core, &feed, &config)?.map(|keeper| tokio::spawn(keeper.run()));
        let commands = UnderWay::default();
        let operator = admin::router(open.operator(&config), commands.clone());
        let watching = watch::router(&health, watch, &mut tasks);
        let serving = listeners.serve(&config, &public, watching, operator)?;
        Ok(Self {
            open,
            folder,
            http,
            https,
            metrics,
            certificate,
            traces,
            health,
            serving,
            feed,
            commands,
            keeper,
            tasks,
            terminate,
            interrupt,
        })
    }

    /// Answers until SIGTERM or SIGINT, finishes what is in flight, and closes the store.
    pub async fn until_stopped(mut self) -> Result<(), Failure> {
        let feed = Arc::clone(&self.feed);
        let stop = async move {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            self.health.stop();
            // Whoever follows it would hold the server up.
            feed.stop();
        };
        self.serving.until(stop).await?;
        if let Some(keeper) = self.keeper {
            finish(&self.feed, keeper).await;
        }
        if tokio::time::timeout(LAST_WORDS, self.commands.end()).await.is_err() {
            tracing::warn!("an operator's command is cut short");
        }
        self.tasks.shutdown().await;
        write_last(&self.open.core).await;
        // The socket is left behind only by a crash; the next start removes it then.
        std::fs::remove_file(self.folder.socket()).context(|| "cannot remove the socket".to_owned())?;
        self.open.close().await;
        if let Some(traces) = self.traces {
            traces.stop().await;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// In `dev`, links lead back to this machine. Elsewhere nobody but the operator knows where people reach the server.
fn links_without_configuration(config: &Config, http: Option<&SocketAddr>) -> Option<String> {
    if !config.messages.outbox {
        tracing::warn!("public_url is not configured: no activation or reset link can be mailed");
        return None;
    }
    http.map(|address| format!("http://{address}"))
}

/// Who keeps the broker to what sessions allow, if there is one.
fn keeper(core: &Arc<Core>, feed: &Arc<Feed>, config: &Config) -> Result<Option<Keeper>, Failure> {
    let (Some(mqtt), Some((management, every))) = (config.mqtt()?, config.rabbitmq()?) else { return Ok(None) };
    Ok(Some(Keeper::new(Arc::clone(core), Arc::clone(feed), management, mqtt, every)))
}

/// Has done at the broker what is still to be done: requests that were in flight may have ended sessions.
async fn finish(feed: &Feed, mut keeper: JoinHandle<()>) {
    feed.finish().await;
    if tokio::time::timeout(LAST_WORDS, &mut keeper).await.is_err() {
        keeper.abort();
        tracing::warn!("RabbitMQ has not thrown out everybody whose session has ended: the next server to start does so");
    }
}

/// Starts to work the queue of messages off.
fn start_couriers(open: &OpenCore) -> JoinSet<()> {
    let mut couriers = JoinSet::new();
    for _ in 0..COURIERS {
        let (core, messenger) = (Arc::clone(&open.core), Arc::clone(&open.messenger));
        couriers.spawn(async move {
            loop {
                let wait = match core.deliver_next().await {
                    Ok(Delivery::Tried) => continue,
                    Ok(Delivery::Idle(due)) => {
                        due.map_or(LONGEST_IDLE, |due| due.since(core.clock().now()).clamp(SHORTEST_IDLE, LONGEST_IDLE))
                    }
                    Err(error) => {
                        tracing::error!(%error, "cannot work off the queue of messages");
                        LONGEST_IDLE
                    }
                };
                // Woken or not, the queue is looked at again.
                drop(tokio::time::timeout(wait, messenger.woken()).await);
            }
        });
    }
    couriers
}

/// Brings refusals into the audit trail.
async fn write_waiting(core: Arc<Core>) {
    loop {
        match core.write_waiting().await {
            Ok(true) => {}
            Ok(false) => tokio::time::sleep(GATHERING).await,
            Err(error) => {
                tracing::error!(%error, "the audit trail lacks refusals");
                tokio::time::sleep(SHORTEST_IDLE).await;
            }
        }
    }
}

/// Brings what was refused last into the audit trail.
async fn write_last(core: &Core) {
    loop {
        match core.write_waiting().await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::error!(%error, "the audit trail lacks what was refused last"),
        }
    }
}

/// Forgets what is of no more use.
async fn forget_old(core: Arc<Core>) {
    let mut every = tokio::time::interval(FORGETTING);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if let Err(error) = core.forget_old().await {
            tracing::error!(%error, "cannot forget what is of no more use");
        }
    }
}

/// A new vendor's login is one line here.
fn router(core: &Arc<Core>, feed: &Arc<Feed>, config: &Config, public_url: Option<String>) -> Result<Router, Failure> {
    let body_timeout = config.listen.body_timeout;
    let ewelink = ewelink::Settings {
        hosts: config.hosts(),
        regions: config.served_regions(),
        max_clock_skew: config.ewelink.max_clock_skew,
        body_timeout,
        places: config.geoip.as_deref().map(places::open).transpose()?,
    };
    let fantem = fantem::Settings {
        body_timeout,
        region: config.default_region.clone(),
        public_url,
        allow_forced_rebind: config.fantem.allow_forced_rebind,
    };
    let refusals = resource::Refusals { bearer: ewelink::refuse_token, cookie: fantem::refuse_token };
    let resource = resource::Settings { body_timeout, refusals, mqtt: config.mqtt()? };
    let router = Router::new()
        .merge(ewelink::router(Arc::clone(core), ewelink))
        .merge(fantem::router(Arc::clone(core), fantem))
        .merge(resource::router(Arc::clone(core), Arc::clone(feed), resource));
    Ok(router)
}

pub(crate) fn load_certificate(config: &Config) -> Result<Option<Certificate>, Failure> {
    let listen = &config.listen;
    match (listen.https.0.is_empty(), &listen.cert, &listen.key) {
        (true, None, None) => Ok(None),
        (false, Some(cert), Some(key)) => Certificate::load(cert, key).map(Some),
        (no_https, cert, key) => {
            let given = [("listen.https", !no_https), ("listen.cert", cert.is_some()), ("listen.key", key.is_some())];
            let missing: Vec<_> = given.into_iter().filter(|(_, given)| !given).map(|(name, _)| name).collect();
            Err(format!(
                "HTTPS needs all three: listen.https (--https), listen.cert (--cert) and listen.key (--key); not given: {}",
                missing.join(", ")
            )
            .into())
        }
    }
}
