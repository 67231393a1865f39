//! The place of an address, from a MaxMind DB file that the operator has.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use ewelink::Places;
use maxminddb::{Reader, geoip2};

use crate::failure::{Context, Failure};

/// Reads a GeoIP2 or GeoLite2 City database.
pub(crate) fn open(path: &Path) -> Result<Places, Failure> {
    let reader = Reader::open_readfile(path).context(|| format!("cannot read the GeoIP database {}", path.display()))?;
    Ok(Arc::new(move |address, language| place(&reader, address, language)))
}

/// The province or state, else the country, in Chinese for people whose language is Chinese, else in English.
fn place(reader: &Reader<Vec<u8>>, address: IpAddr, language: Option<&str>) -> Option<String> {
    let city: geoip2::City<'_> = reader.lookup(address).ok()?.decode().ok()??;
    let chinese = language.is_some_and(|language| language == "cn" || language.starts_with("zh"));
    let names = |names: &geoip2::Names<'_>| {
        let name = if chinese { names.simplified_chinese.or(names.english) } else { names.english };
        name.map(str::to_owned)
    };
    city.subdivisions.first().and_then(|division| names(&division.names)).or_else(|| names(&city.country.names))
}
