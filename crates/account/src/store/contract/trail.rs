//! The audit trail.

use super::life::later;
use super::*;
use crate::Entry;

pub(super) fn an_entry(at: Timestamp, outcome: &str, account: Option<i64>) -> Entry {
    Entry {
        id: ObjectId::at(at, 0, &SystemRng),
        at,
        what: "login".into(),
        outcome: outcome.into(),
        refused: account.is_none(),
        account: account.map(AccountNumber),
        identifier: account.map(|_| "a***".into()),
        audience: account.map(|_| "phone".into()),
        address: account.map(|_| "2001:db8::1".parse().unwrap()),
        request: account.map(|_| "id".into()),
        times: i64::MAX,
    }
}

pub async fn audit_trail(store: AnyStore) {
    let mut entries = [
        an_entry(NOW, "logged in", Some(1)),
        an_entry(later(1), "Wrong Password", Some(2)),
        an_entry(later(2), "100% wrong", None),
        an_entry(later(3), "logged in", Some(2)),
    ];
    store.append_audit(entries[2..].to_vec()).await.unwrap();
    store.append_audit(entries[..2].to_vec()).await.unwrap();
    let more = Entry { times: 5, ..entries[1].clone() };
    store.append_audit(vec![more.clone(), entries[2].clone()]).await.unwrap();
    entries[1] = more;
    store.append_audit(Vec::new()).await.unwrap();
    let everything = AuditQuery::default();
    assert_pages(&entries, |entry| entry.id.clone(), async |page| store.audit(&everything, page).await.unwrap()).await;

    let search = async |query: AuditQuery| {
        let found = store.audit(&query, page(None, 100)).await.unwrap();
        found.iter().map(|found| entries.iter().position(|entry| entry.id == found.id).unwrap()).collect::<Vec<_>>()
    };
    let account = Some(AccountNumber(2));
    let reason = |words: &str| Some(words.to_owned());
    assert_eq!(search(AuditQuery { account, ..AuditQuery::default() }).await, [1, 3]);
    assert_eq!(search(AuditQuery { reason: reason("wrong"), ..AuditQuery::default() }).await, [1, 2]);
    assert_eq!(search(AuditQuery { reason: reason("0% w"), ..AuditQuery::default() }).await, [2]);
    assert_eq!(search(AuditQuery { reason: reason("w_ong"), ..AuditQuery::default() }).await, [0; 0]);
    assert_eq!(search(AuditQuery { since: Some(later(2)), ..AuditQuery::default() }).await, [2, 3]);
    assert_eq!(search(AuditQuery { account, reason: reason("in"), since: Some(later(1)) }).await, [3]);

    store.forget(&Forget { audit: later(1), ..forget(NOW, NOW, NOW) }).await.unwrap();
    assert_eq!(search(AuditQuery::default()).await, [2, 3]);
}
