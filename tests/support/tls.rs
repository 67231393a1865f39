//! Certificates, files that hold them, and connections that say which one they were given.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SerialNumber};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An authority that tests trust.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate chain and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    pub serial: u8,
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for this machine, good for very long.
    pub fn issue(&self, serial: u8) -> Pair {
        self.issue_with(serial, |_| {})
    }

    pub fn issue_with(&self, serial: u8, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Pair { serial, cert: format!("{}{}", cert.pem(), self.0.pem()), key: key.serialize_pem() }
    }

    /// A client that trusts this authority and speaks `protocol` (as ALPN names it).
    pub fn client(&self, protocol: &str) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Arc::new(config)
    }
}

/// Where a server finds its certificate and key: behind two symbolic links each, `cert.pem -> current/cert.pem`, `current -> 1`.
pub struct Home(PathBuf);

impl Home {
    pub fn new(folder: &Path, pair: &Pair) -> Self {
        let home = Self(folder.join("tls"));
        fs::create_dir(&home.0).unwrap();
        home.swap_folder(pair);
        for name in ["cert.pem", "key.pem"] {
            symlink(Path::new("current").join(name), home.0.join(name)).unwrap();
        }
        home
    }

    pub fn cert(&self) -> PathBuf {
        self.0.join("cert.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.0.join("key.pem")
    }

    /// Turns the link to the folder, as Kubernetes does with a secret.
    pub fn swap_folder(&self, pair: &Pair) {
        let folder = self.0.join(pair.serial.to_string());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("cert.pem"), &pair.cert).unwrap();
        fs::write(folder.join("key.pem"), &pair.key).unwrap();
        self.turn(&self.0.join("current"), Path::new(&pair.serial.to_string()));
    }

    /// Turns the link to one file, as certbot does.
    pub fn swap_link(&self, file: &Path, text: &str, serial: u8) {
        let archived = self.0.join(format!("{serial}-{}", file.file_name().unwrap().to_str().unwrap()));
        fs::write(&archived, text).unwrap();
        self.turn(file, &archived);
    }

    /// Puts a file in the place of another.
    pub fn rename_over(&self, file: &Path, text: &str) {
        let new = self.0.join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, file).unwrap();
    }

    fn turn(&self, link: &Path, target: &Path) {
        let new = self.0.join("new");
        symlink(target, &new).unwrap();
        fs::rename(new, link).unwrap();
    }
}

/// One connection over TLS, which is never opened again.
pub struct Connection {
    sender: Sender,
    /// The serial number of the server's certificate.
    pub serial: u8,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Connection {
    pub async fn open(address: &str, client: &Arc<ClientConfig>) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(Arc::clone(client)).connect(name, tcp).await.unwrap();
        let (_, session) = tls.get_ref();
        let (_, leaf) = x509_parser::parse_x509_certificate(&session.peer_certificates().unwrap()[0]).unwrap();
        let serial = *leaf.raw_serial().last().unwrap();
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let sender = if is_http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
            tokio::spawn(connection);
            Sender::Http1(sender)
        };
        Self { sender, serial }
    }

    /// Posts JSON, signed for the eWeLink dialect, and returns what is answered.
    pub async fn post(&mut self, path: &str, body: &str, authorization: &str) -> (StatusCode, String) {
        let request = match &self.sender {
            Sender::Http1(_) => Request::post(path).header("host", "localhost"),
            Sender::Http2(_) => Request::post(format!("https://localhost{path}")),
        };
        let request = request.header("authorization", authorization).header("content-type", "application/json");
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
            Sender::Http2(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
        };
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}
