//! The audit trail's order.

use account::store::Page;
use account::{AuditQuery, Deed};
use sql::{Limits, SqlStore};
use tempfile::TempDir;

use crate::world::{ByHand, RULES};

fn deed(nth: usize, refused: bool) -> Deed {
    Deed {
        what: format!("deed {nth}"),
        outcome: "ended".into(),
        refused,
        account: None,
        identifier: None,
        audience: None,
        origin: None,
    }
}

/// The clock stands still: many deeds fall into one millisecond.
#[tokio::test]
async fn what_happens_at_once_is_in_its_order() {
    let folder = TempDir::new().unwrap();
    let store = SqlStore::sqlite(&folder.path().join("hearthgate.db"), Limits::default()).await.unwrap();
    let core = ByHand::new(&store, RULES).core;
    for nth in 0..40 {
        // What is done is written at once, what is refused a little later.
        let deed = deed(nth, nth % 2 == 0);
        if deed.refused { core.record_later(deed) } else { core.record(deed).await.unwrap() }
    }
    while core.write_waiting().await.unwrap() {}
    let trail = core.audit(&AuditQuery::default(), Page { after: None, limit: 100 }).await.unwrap();
    let order: Vec<_> = trail.iter().map(|entry| entry.what.clone()).collect();
    assert_eq!(order, (0..40).map(|nth| format!("deed {nth}")).collect::<Vec<_>>());
    let times = trail.iter().map(|entry| i64::from_str_radix(&entry.id.as_str()[..12], 16).unwrap());
    assert!(times.zip(&trail).all(|(begins, entry)| begins == entry.at.0), "an id begins with the time");
    store.close().await;
}
