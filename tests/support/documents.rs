//! The tables of requests and codes in `docs/dialects/`: what the tests must have seen.

use std::collections::{BTreeMap, BTreeSet};

/// For each documented request (`POST /accounts/login`) the codes that it can answer; none for what answers no codes.
pub fn codes_of(document: &str) -> BTreeMap<String, BTreeSet<u32>> {
    let path = format!("{}/../../docs/dialects/{document}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut requests = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let request = cells[0].trim_matches('`');
        let is_request = ["GET /", "POST /", "DELETE /"].iter().any(|method| request.starts_with(method));
        if is_request {
            let codes = cells.last().unwrap().split(", ").filter_map(|code| code.parse().ok()).collect();
            assert!(requests.insert(request.to_owned(), codes).is_none(), "{request} is documented twice");
        }
    }
    requests
}

/// Every documented request is a route, and every route is documented.
pub fn assert_routes(routes: &[String], documented: &BTreeMap<String, BTreeSet<u32>>) {
    let routes: BTreeSet<_> = routes.iter().collect();
    assert_eq!(routes, documented.keys().collect::<BTreeSet<_>>());
}

/// Every documented code was seen, and nothing else.
pub fn assert_seen(seen: &BTreeSet<(String, u32)>, documented: &BTreeMap<String, BTreeSet<u32>>) {
    let all: BTreeSet<_> =
        documented.iter().flat_map(|(request, codes)| codes.iter().map(|code| (request.clone(), *code))).collect();
    let missing: Vec<_> = all.difference(seen).collect();
    let surplus: Vec<_> = seen.difference(&all).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "not seen: {missing:#?}\nnot documented: {surplus:#?}");
}
