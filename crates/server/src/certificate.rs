//! The operator's certificate and key: read, checked, and taken anew when their files change.
//!
//! Files are replaced in many ways: renamed over, written in place, behind a symbolic link that is turned, one before the other. So
//! what counts is what they hold: a change is taken once both have stayed as they are from one look to the next, and only if they work
//! together. Connections keep what they began with.

use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use account::{Clock, SystemClock, Timestamp};
use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::zeroize::Zeroizing;
use sha2::{Digest, Sha256};
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, sleep};

use crate::failure::{Context, Failure};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long before its end a certificate is warned of, and how often.
const NEAR: Duration = Duration::from_hours(14 * 24);
const REMIND_EVERY: Duration = Duration::from_hours(24);

/// A certificate in service, with the files that it came from.
pub(crate) struct Certificate {
    files: Files,
    tls: RustlsConfig,
    validity: watch::Sender<Validity>,
    /// What was last found good or bad.
    judged: Print,
}

/// From when until when the certificate in service is good.
#[derive(Debug, Clone)]
pub(crate) struct Validity {
    serial: String,
    not_before: Timestamp,
    pub not_after: Timestamp,
}

#[derive(Debug, Clone)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

/// What the two files held at one moment, or why they could not be read.
struct Look {
    held: Result<Held, Failure>,
    print: Print,
}

struct Held {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

/// Tells one [`Look`] from another.
type Print = [u8; 32];

/// A certificate and key that work together.
struct Pair {
    config: Arc<ServerConfig>,
    validity: Validity,
}

impl Certificate {
    /// Reads a certificate chain and its key.
    ///
    /// # Errors
    ///
    /// A file cannot be read or is not what it should be, or the key is not the certificate's.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, Failure> {
        let files = Files { cert: cert.to_owned(), key: key.to_owned() };
        let look = files.look();
        let pair = files.pair(look.held?)?;
        Ok(Self {
            files,
            tls: RustlsConfig::from_config(pair.config),
            validity: watch::Sender::new(pair.validity),
            judged: look.print,
        })
    }

    /// What listeners serve with: always the certificate in service.
    pub fn tls(&self) -> RustlsConfig {
        self.tls.clone()
    }

    /// How long the certificate in service is good, whichever that is.
    pub fn validity(&self) -> watch::Receiver<Validity> {
        self.validity.subscribe()
    }

    /// Takes what is put into the files, at once when `hangup` says so, and warns of the certificate's end.
    pub async fn keep_up(mut self, mut hangup: Signal) -> Infallible {
        self.validity.borrow().announce();
        let mut before = self.judged;
        let mut reminder = interval_at(Instant::now() + REMIND_EVERY, REMIND_EVERY);
        loop {
            let told = tokio::select! {
                () = sleep(LOOK_EVERY) => false,
                Some(()) = hangup.recv() => true,
                _ = reminder.tick() => {
                    self.validity.borrow().remind();
                    continue;
                }
            };
            let files = self.files.clone();
            let Ok(look) = tokio::task::spawn_blocking(move || files.look()).await else { continue };
            let settled = look.print == before;
            before = look.print;
            if told || (settled && look.print != self.judged) {
                self.judge(look);
            }
        }
    }

    /// Puts into service what works; what does not is told, and changes nothing.
    fn judge(&mut self, look: Look) {
        self.judged = look.print;
        match look.held.and_then(|held| self.files.pair(held)) {
            Ok(pair) => {
                self.tls.reload_from_config(pair.config);
                self.validity.send_replace(pair.validity);
                self.validity.borrow().announce();
            }
            Err(failure) => tracing::warn!("the certificate stays as it was: {failure}"),
        }
    }
}

impl Validity {
    fn announce(&self) {
        tracing::info!(serial = self.serial, not_after = self.not_after.iso8601(), "the certificate is in service");
        self.remind();
    }

    /// What clients refuse of the certificate, or soon will.
    pub fn concern(&self) -> Option<&'static str> {
        let now = SystemClock.now();
        if now < self.not_before {
            Some("the certificate is not valid yet")
        } else if now > self.not_after {
            Some("the certificate has expired")
        } else if self.not_after.since(now) < NEAR {
            Some("the certificate expires soon")
        } else {
            None
        }
    }

    fn remind(&self) {
        if let Some(concern) = self.concern() {
            let (not_before, not_after) = (self.not_before.iso8601(), self.not_after.iso8601());
            tracing::warn!(serial = self.serial, not_before, not_after, "{concern}");
        }
    }
}

impl Files {
    fn look(&self) -> Look {
        let read = |what: &str, path: &Path| fs::read(path).context(|| format!("cannot read {what} {}", path.display()));
        let held = read("the certificate", &self.cert)
            .and_then(|cert| Ok(Held { cert, key: read("the private key", &self.key)?.into() }));
        let parts = match &held {
            Ok(held) => [Sha256::digest(&held.cert), Sha256::digest(&*held.key)],
            Err(failure) => [Sha256::digest(failure.to_string()), Sha256::digest([])],
        };
        Look { held, print: Sha256::digest(parts.concat()).into() }
    }

    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    fn pair(&self, held: Held) -> Result<Pair, Failure> {
        let (cert, key) = (self.cert.display(), self.key.display());
        let chain = chain(&held.cert).map_err(|wrong| Failure::new(format!("the certificate {cert} {wrong}")))?;
        let private = private_key(&held.key).map_err(|wrong| Failure::new(format!("the private key {key} {wrong}")))?;
        let validity = validity(&chain[0]).map_err(|wrong| Failure::new(format!("the certificate {cert} {wrong}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private));
        let mut config = config.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                Failure::new(format!("the private key {key} is not that of the first certificate in {cert}"))
            }
            error => Failure::new(format!("the certificate {cert} and key {key} do not work: {error}")),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Pair { config: Arc::new(config), validity })
    }
}

/// What is wrong with a file: a sentence's end.
enum Wrong {
    Empty,
    /// It holds nothing of what is looked for.
    Lacking(&'static str),
    Damaged,
    Encrypted,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::Lacking(thing) => write!(f, "holds no {thing} in PEM form"),
            Self::Damaged => f.write_str("is damaged or only partly written"),
            Self::Encrypted => f.write_str("is encrypted: give it without a passphrase (openssl pkey -in OLD -out NEW)"),
        }
    }
}

/// The certificates in a PEM file, of which there is at least one.
fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(lacking("certificate", pem)),
        Ok(chain) => Ok(chain),
        Err(_) => Err(Wrong::Damaged),
    }
}

/// The first private key in a PEM file.
fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Wrong> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        // So it says in PKCS #8 (RFC 5958) as well as in the headers of RFC 1421.
        _ if pem.windows(9).any(|word| word == b"ENCRYPTED") => Wrong::Encrypted,
        rustls::pki_types::pem::Error::NoItemsFound => lacking("private key", pem),
        _ => Wrong::Damaged,
    })
}

fn lacking(thing: &'static str, pem: &[u8]) -> Wrong {
    if pem.trim_ascii().is_empty() { Wrong::Empty } else { Wrong::Lacking(thing) }
}

fn validity(leaf: &CertificateDer<'_>) -> Result<Validity, Wrong> {
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).map_err(|_| Wrong::Damaged)?;
    let point = |time: x509_parser::time::ASN1Time| Timestamp(time.timestamp().saturating_mul(1000));
    Ok(Validity {
        serial: leaf.raw_serial_as_string(),
        not_before: point(leaf.validity().not_before),
        not_after: point(leaf.validity().not_after),
    })
}
