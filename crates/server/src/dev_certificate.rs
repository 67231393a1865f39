//! The certificate of `dev`, with an authority of its own.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

use crate::data_folder::write_private;
use crate::failure::{Context, Failure};

/// The names that `dev`'s certificate is good for: this machine, and the vendors' hosts pointed here.
const DEV_NAMES: [&str; 6] = ["localhost", "127.0.0.1", "::1", "*.coolkit.cc", "*.coolkit.cn", "openapi.fantem-gateway.com"];

/// The files of `dev`'s authority.
pub(crate) struct DevCertificate {
    pub authority: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Makes an authority and a certificate in `folder` at the first start; later starts use the same, so that a client that trusts the
/// authority goes on doing so.
pub(crate) fn make(folder: &Path) -> Result<DevCertificate, Failure> {
    let [authority, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| folder.join(name));
    if !key.exists() {
        // Left by a start that was cut short, or somebody's own.
        if let Some(left) = [&authority, &cert].into_iter().find(|path| path.exists()) {
            let (left, key) = (left.display(), key.display());
            return Err(format!("{left} is there without {key}: move it away, or choose another folder with --data").into());
        }
        let made = make_certificate().context(|| "cannot make a certificate".to_owned())?;
        for (path, text) in [(&authority, &made.authority), (&cert, &made.cert), (&key, &made.key)] {
            write_private(path, text)?;
        }
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
