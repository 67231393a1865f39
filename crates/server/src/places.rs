//! The place of an address, from a MaxMind DB file that the operator has.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use account::Language;
use ewelink::{Place, Places};
use maxminddb::{Reader, geoip2};

use crate::failure::{Context, Failure};

/// Reads a GeoIP2 or GeoLite2 City database.
pub(crate) fn open(path: &Path) -> Result<Places, Failure> {
    let reader = Reader::open_readfile(path).context(|| format!("cannot read the GeoIP database {}", path.display()))?;
    Ok(Arc::new(move |address, language| place(&reader, address, language)))
}

/// The names are in Chinese for people whose language is Chinese, else in English.
fn place(reader: &Reader<Vec<u8>>, address: IpAddr, language: Option<&str>) -> Place {
    let found = reader.lookup(address).ok().and_then(|found| found.decode::<geoip2::City<'_>>().ok().flatten());
    let Some(city) = found else { return Place::default() };
    let language = Language::of(language);
    let names = |names: &geoip2::Names<'_>| {
        let name = match language {
            Language::Chinese => names.simplified_chinese.or(names.english),
            Language::English => names.english,
        };
        name.map(str::to_owned)
    };
    let name = city.subdivisions.first().and_then(|division| names(&division.names)).or_else(|| names(&city.country.names));
    Place { name, country: city.country.iso_code.map(str::to_owned) }
}
