//! Listening: HTTP, HTTPS and the operator's socket, all of which stop gracefully.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use axum::extract::Request;
use axum::{Router, ServiceExt};
use axum_server::tls_rustls::RustlsConfig;
use axum_server::{Address, Handle, Server};
use hyper_util::rt::TokioTimer;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use wire::{Named, Proxies};

use crate::addresses::Addresses;
use crate::config::Config;
use crate::connections::Connections;
use crate::data_folder::{DataFolder, make_private};
use crate::failure::{Context, Failure};
use crate::preface::PrefaceAcceptor;
use crate::prompt::PromptAcceptor;

/// The most that one connection may keep waiting in its headers, in bytes.
const HEADER_LIMIT: usize = 32 * 1024;

/// How many headers one request may have.
const HEADERS: usize = 100;

/// How many requests one HTTP/2 connection may have under way.
const STREAMS: u32 = 64;

/// How many requests one HTTP/2 connection may have taken back, or got wrong, before it is ended.
const RESETS: usize = 32;

/// How much one HTTP/2 connection may send of bodies that nobody has read yet, and how much at once, in bytes.
const WINDOW: u32 = 128 * 1024;
const FRAME: u32 = 16 * 1024;

/// How much of its answers a client may leave unread, in bytes; the kernel counts its own needs in addition.
const UNREAD: u32 = 64 * 1024;

/// How many connections may wait to be accepted: when everybody comes at once, nobody is left out.
const BACKLOG: u32 = 4096;

/// How many connections there may be of those that watch, and how many of operators.
const ASIDE: usize = 64;

/// What is listened at, before anything is answered.
pub(crate) struct Listeners {
    http: Vec<TcpListener>,
    https: Vec<(TcpListener, RustlsConfig)>,
    metrics: Option<TcpListener>,
    socket: UnixListener,
}

/// What is being answered.
pub(crate) struct Serving {
    tasks: JoinSet<io::Result<()>>,
    tcp: Handle<SocketAddr>,
    unix: Handle<std::os::unix::net::SocketAddr>,
    /// Answers until everything else has stopped, so that it can be watched how it stops.
    watching: JoinSet<io::Result<()>>,
    grace: Duration,
}

impl Listeners {
    /// Binds every address; nothing is answered yet.
    pub fn bind(config: &Config, tls: Option<RustlsConfig>, folder: &DataFolder) -> Result<Self, Failure> {
        let bind_all = |addresses: &Addresses| addresses.0.iter().copied().map(bind).collect::<Result<Vec<_>, _>>();
        let http = bind_all(&config.listen.http)?;
        let https = bind_all(&config.listen.https)?.into_iter().zip(tls.into_iter().cycle()).collect();
        let metrics = config.listen.metrics.map(bind).transpose()?;
        Ok(Self { http, https, metrics, socket: bind_socket(folder)? })
    }

    /// Where HTTP is listened for: the ports that were picked in place of 0.
    pub fn http_addresses(&self) -> Addresses {
        addresses(self.http.iter())
    }

    /// Where HTTPS is listened for, likewise.
    pub fn https_addresses(&self) -> Addresses {
        addresses(self.https.iter().map(|(listener, _)| listener))
    }

    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.local_addr().ok()
    }

    /// Begins to answer.
    pub fn serve(self, config: &Config, public: &Named<Router>, watching: Router, operator: Router) -> Result<Serving, Failure> {
        let failed = || "cannot listen".to_owned();
        let (tcp, unix) = (Handle::new(), Handle::new());
        let patience = config.listen.header_timeout;
        let visitors = PromptAcceptor(config.connections());
        let aside = || PromptAcceptor(Connections::new(patience, ASIDE, ASIDE, Proxies::default()));
        let service = || ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(public.clone());
        let mut tasks = JoinSet::new();
        for listener in self.http {
            let server = axum_server::from_tcp(listener).context(failed)?.acceptor(visitors.clone());
            tasks.spawn(bounded(server, patience).handle(tcp.clone()).serve(service()));
        }
        for (listener, tls) in self.https {
            let server = axum_server::from_tcp_rustls(listener, tls).context(failed)?;
            let server = server.map(|tls| tls.handshake_timeout(patience).acceptor(visitors.clone()));
            tasks.spawn(bounded(server, patience).handle(tcp.clone()).serve(service()));
        }
        let server = axum_server::from_unix(self.socket).context(failed)?.acceptor(aside());
        tasks.spawn(bounded(server, patience).handle(unix.clone()).serve(operator.into_make_service()));
        let mut watched = JoinSet::new();
        if let Some(listener) = self.metrics {
            let server = axum_server::from_tcp(listener).context(failed)?.acceptor(aside());
            watched.spawn(bounded(server, patience).serve(watching.into_make_service()));
        }
        Ok(Serving { tasks, tcp, unix, watching: watched, grace: config.listen.shutdown_grace })
    }
}

impl Serving {
    /// Answers until `stop`: then nothing new is accepted, and requests in flight have the configured grace to finish.
    pub async fn until(mut self, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        tokio::select! {
            () = stop => {}
            Some(ended) = self.tasks.join_next() => return Err(Failure::new(format!("a listener ended: {ended:?}"))),
        }
        tracing::info!(connections = self.tcp.connection_count(), "stopping");
        self.tcp.graceful_shutdown(Some(self.grace));
        self.unix.graceful_shutdown(Some(self.grace));
        while self.tasks.join_next().await.is_some() {}
        self.watching.shutdown().await;
        Ok(())
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // What an earlier process left behind of its connections is nobody's.
        socket.set_reuseaddr(true)?;
        // Each connection inherits it.
        socket.set_send_buffer_size(UNREAD)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std()
    };
    bind().map_err(|error| Failure::new(format!("cannot listen at {address}: {error}{}", remedy(&error))))
}

/// What to do about an address that cannot be had.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; stop whoever listens there, or choose another ([::] takes in every IPv4 address as well)",
        io::ErrorKind::AddrNotAvailable => "; choose an address of this machine",
        io::ErrorKind::PermissionDenied => "; choose a port from 1024 on, or give the server CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

fn addresses<'a>(listeners: impl Iterator<Item = &'a TcpListener>) -> Addresses {
    Addresses(listeners.filter_map(|listener| listener.local_addr().ok()).collect())
}

fn bind_socket(folder: &DataFolder) -> Result<UnixListener, Failure> {
    let path = folder.socket();
    // Whoever left it is gone: the folder is locked.
    let removed =
        std::fs::remove_file(&path).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) });
    removed.context(|| format!("cannot remove {}", path.display()))?;
    let listener = UnixListener::bind(&path).context(|| {
        format!("cannot listen at {} (a socket's path has at most 107 bytes; choose a shorter data folder)", path.display())
    })?;
    make_private(&path)?;
    listener.set_nonblocking(true).context(|| format!("cannot listen at {}", path.display()))?;
    Ok(listener)
}

/// Finds out which version of HTTP a connection speaks, and bounds what it may take. All that HTTP bounds is here; how long it may wait, and
/// how many there are, is up to [`Connections`].
fn bounded<A: Address, S>(mut server: Server<A, S>, patience: Duration) -> Server<A, PrefaceAcceptor<S>> {
    let builder = server.http_builder();
    builder.http1().header_read_timeout(None).max_headers(HEADERS).max_buf_size(HEADER_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(patience)
        .keep_alive_timeout(patience)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(HEADER_LIMIT).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME)
        .max_send_buf_size(HEADER_LIMIT);
    server.map(PrefaceAcceptor)
}
