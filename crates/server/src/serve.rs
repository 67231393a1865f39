//! The server: everything put together and running until it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;

use account::Core;
use axum::{Router, middleware};
use axum_server::tls_rustls::RustlsConfig;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;
use crate::core::OpenCore;
use crate::data_folder::DataFolder;
use crate::failure::{Context, Failure};
use crate::listeners::{Listeners, Serving};
use crate::{logging, places, print, tls};

/// Where HTTP is listened for when nothing is configured.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// `hearthgate serve`.
pub(crate) async fn run(config: Config) -> Result<(), Failure> {
    let server = Server::start(config).await?;
    let (http, https) = (server.http.map(|a| a.to_string()), server.https.map(|a| a.to_string()));
    tracing::info!(http, https, data = %server.folder.path().display(), "listening");
    server.until_stopped().await
}

/// `hearthgate config check`: shows what is in force; what is wrong with it is an error.
pub(crate) async fn check(config: Config, json: bool) -> Result<(), Failure> {
    load_tls(&config)?;
    config.geoip.as_deref().map(places::open).transpose()?;
    if json {
        let shown = serde_json::to_value(&config).context(|| "cannot show the configuration".to_owned())?;
        print::answer(&shown, true);
    } else {
        print!("{}", toml::to_string(&config).context(|| "cannot show the configuration".to_owned())?);
    }
    Ok(())
}

/// A server that answers.
pub(crate) struct Server {
    pub open: OpenCore,
    pub folder: DataFolder,
    pub http: Option<SocketAddr>,
    pub https: Option<SocketAddr>,
    serving: Serving,
    terminate: Signal,
    interrupt: Signal,
}

impl Server {
    /// Opens the data folder, binds every address, and begins to answer.
    pub async fn start(mut config: Config) -> Result<Self, Failure> {
        logging::start(&config.log);
        // From here on a signal is not lost, however early it comes.
        let listen = |kind| signal(kind).context(|| "cannot listen for signals".to_owned());
        let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        if config.listen.http.is_none() && config.listen.https.is_none() {
            config.listen.http = Some(DEFAULT_HTTP);
        }
        let tls = load_tls(&config)?;
        let folder = DataFolder::at(&config.data);
        folder.make()?;
        let lock = folder.try_lock()?.ok_or_else(|| {
            let shown = folder.path().display();
            Failure::new(format!(
                "the data folder {shown} is in use by another hearthgate: stop it, or choose another with --data"
            ))
        })?;
        let open = OpenCore::open(&config, &folder, lock).await?;
        let listeners = Listeners::bind(&config, tls, &folder)?;
        let (http, https) = (listeners.http_address(), listeners.https_address());
        let public = router(&open.core, &config)?;
        let operator = admin::router(open.operator(&config));
        let serving = listeners.serve(&config, &public, operator)?;
        Ok(Self { open, folder, http, https, serving, terminate, interrupt })
    }

    /// Answers until SIGTERM or SIGINT, finishes what is in flight, and closes the store.
    pub async fn until_stopped(mut self) -> Result<(), Failure> {
        let stop = async move {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
        };
        self.serving.until(stop).await?;
        // The socket is left behind only by a crash; the next start removes it then.
        std::fs::remove_file(self.folder.socket()).context(|| "cannot remove the socket".to_owned())?;
        self.open.close().await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// A new vendor's login is one line here.
fn router(core: &Arc<Core>, config: &Config) -> Result<Router, Failure> {
    let body_timeout = config.listen.body_timeout;
    let ewelink = ewelink::Settings {
        hosts: config.hosts(),
        max_clock_skew: config.ewelink.max_clock_skew,
        body_timeout,
        places: config.geoip.as_deref().map(places::open).transpose()?,
    };
    let router = Router::new()
        .merge(ewelink::router(Arc::clone(core), ewelink))
        .merge(fantem::router(Arc::clone(core), fantem::Settings { body_timeout }))
        .layer(middleware::from_fn_with_state(Arc::clone(core), wire::name_requests));
    Ok(router)
}

fn load_tls(config: &Config) -> Result<Option<RustlsConfig>, Failure> {
    let listen = &config.listen;
    match (&listen.https, &listen.cert, &listen.key) {
        (None, None, None) => Ok(None),
        (Some(_), Some(cert), Some(key)) => tls::load(cert, key).map(Some),
        _ => Err("HTTPS needs all three: listen.https (--https), listen.cert (--cert) and listen.key (--key)".into()),
    }
}
