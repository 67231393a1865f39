//! Which region a host name means.

use account::Region;
use wildmatch::WildMatch;

/// Host names of regions, as patterns in which `*` stands for any letters.
#[derive(Debug, Clone)]
pub struct Hosts {
    patterns: Vec<(WildMatch, Region)>,
    default: Region,
}

impl Hosts {
    /// Takes each region with its patterns, and the region of a host that names none. The first pattern that fits wins.
    pub fn new<'a>(regions: impl IntoIterator<Item = (&'a Region, &'a [String])>, default: Region) -> Self {
        let pattern = |region: &Region, pattern: &String| (WildMatch::new(&pattern.to_ascii_lowercase()), region.clone());
        let patterns = regions.into_iter().flat_map(|(region, patterns)| patterns.iter().map(move |text| pattern(region, text)));
        Self { patterns: patterns.collect(), default }
    }

    /// The region that `host` (with or without a port) means.
    #[must_use]
    pub fn region(&self, host: Option<&str>) -> &Region {
        let named = host.and_then(|host| {
            let name = name_of(host).to_ascii_lowercase();
            self.patterns.iter().find(|(pattern, _)| pattern.matches(&name))
        });
        named.map_or(&self.default, |(_, region)| region)
    }
}

/// A host without its port, and without the dot that ends a complete name.
fn name_of(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_tells_the_region() {
        let (cn, eu): (Region, Region) = ("cn".parse().unwrap(), "eu".parse().unwrap());
        let patterns = [
            (&cn, ["cn-api*.coolkit.cn".to_owned(), "cn-*.coolkit.cc".to_owned()]),
            (&eu, ["EU-api.coolkit.cc".to_owned(), "::1".to_owned()]),
        ];
        let hosts = Hosts::new(patterns.iter().map(|(region, list)| (*region, &list[..])), cn.clone());
        for (host, region) in [
            (Some("eu-api.coolkit.cc:8080"), &eu),
            (Some("EU-API.coolkit.cc."), &eu),
            (Some("cn-apia.coolkit.cn"), &cn),
            (Some("eu-api.coolkit.cc.evil.example"), &cn),
            (Some("127.0.0.1:8080"), &cn),
            (Some("[::1]:8080"), &cn),
            (Some(""), &cn),
            (None, &cn),
        ] {
            assert_eq!(hosts.region(host), region, "{host:?}");
        }
    }
}
