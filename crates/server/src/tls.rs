//! TLS: the operator's certificate, or one of an authority of `dev`'s own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::data_folder::write_private;
use crate::failure::{Context, Failure};

/// The names that `dev`'s certificate is good for: this machine, and the vendors' hosts pointed here.
const DEV_NAMES: [&str; 6] = ["localhost", "127.0.0.1", "::1", "*.coolkit.cc", "*.coolkit.cn", "openapi.fantem-gateway.com"];

/// Reads a certificate chain and its key: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
pub(crate) fn load(cert: &Path, key: &Path) -> Result<RustlsConfig, Failure> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
    let chain = chain.context(|| format!("cannot read the certificate {}", cert.display()))?;
    let private = PrivateKeyDer::from_pem_file(key).context(|| format!("cannot read the private key {}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private));
    let mut config = config.context(|| format!("the certificate {} and key {} do not work", cert.display(), key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(RustlsConfig::from_config(Arc::new(config)))
}

/// The files of `dev`'s authority.
pub(crate) struct DevCertificate {
    pub authority: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Makes an authority and a certificate in `folder` at the first start; later starts use the same, so that a client that trusts the
/// authority goes on doing so.
pub(crate) fn dev_certificate(folder: &Path) -> Result<DevCertificate, Failure> {
    let [authority, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| folder.join(name));
    if !key.exists() {
        let made = make_certificate().context(|| "cannot make a certificate".to_owned())?;
        let write = |path: &Path, text: &str| fs::write(path, text).context(|| format!("cannot write {}", path.display()));
        write(&authority, &made.authority)?;
        write(&cert, &made.cert)?;
        write_private(&key, &made.key)?;
    }
    Ok(DevCertificate { authority, cert, key })
}

struct Made {
    authority: String,
    cert: String,
    key: String,
}

fn make_certificate() -> Result<Made, rcgen::Error> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "Hearthgate development authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // The authority's key is thrown away: nothing but this one certificate can ever be signed with it.
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let mut server = CertificateParams::new(DEV_NAMES.map(str::to_owned))?;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let cert = server.signed_by(&key, &authority)?;
    Ok(Made { authority: authority.pem(), cert: cert.pem(), key: key.serialize_pem() })
}
