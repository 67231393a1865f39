//! Many at once.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::acknowledged::log_in;
use crate::support::app::App;
use crate::support::calls::{APPID, md5};
use crate::support::{Ewelink, Fantem, Server};

/// Nobody is turned away here: the queue for hashing may be as long as it gets.
const PATIENT: [(&str, &str); 3] = [
    ("HEARTHGATE_HASH__MAX_WAIT", "1h"),
    ("HEARTHGATE_DATABASE__ACQUIRE_TIMEOUT", "10m"),
    ("HEARTHGATE_DATABASE__TIMEOUT", "10m"),
];

#[tokio::test]
async fn a_thousand_logins_leave_one_session() {
    let server = Server::dev_with(&PATIENT);
    let ewelink = Ewelink::new(&server);
    let mut logins = JoinSet::new();
    for _ in 0..1000 {
        let ewelink = ewelink.clone();
        logins.spawn(async move { ewelink.login(json!({})).await.text("/at") });
    }
    let mut tokens = logins.join_all().await;
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 1000, "each login has a token of its own");
    let sessions = server.operate(&["session", "list"]);
    assert_eq!(sessions.as_array().unwrap().len(), 1, "{sessions}");
}

#[tokio::test]
async fn a_hundred_logins_bind_a_free_cube_once() {
    const PEOPLE: usize = 100;
    let server = Server::dev_with(&PATIENT);
    for person in 0..PEOPLE {
        server.create_account(&["--username", &format!("person{person}")], "correct horse");
    }
    server.operate(&["device", "register", "phone", "--kind", "android_phone"]);
    server.operate(&["cube", "register", "FREE"]);
    let fantem = Fantem::new(&server);
    let mut logins = JoinSet::new();
    for person in 0..PEOPLE {
        let fantem = fantem.clone();
        logins.spawn(async move {
            let (name, password) = (format!("person{person}"), md5("correct horse"));
            let answer =
                fantem.login(&[("username", &name), ("password", &password), ("uuid", "phone"), ("cubeSn", "FREE")]).await;
            (answer.body["code"].as_i64().unwrap(), answer.body["data"]["accountId"].clone())
        });
    }
    let answers = logins.join_all().await;
    let winners: Vec<&Value> = answers.iter().filter(|(code, _)| *code == 1).map(|(_, account)| account).collect();
    let [winner] = winners[..] else { panic!("{answers:?}") };
    assert_eq!(answers.iter().filter(|(code, _)| *code == 114).count(), PEOPLE - 1, "{answers:?}");
    let cubes = server.operate(&["cube", "list"]);
    let free = cubes.as_array().unwrap().iter().find(|cube| cube["sn"] == "FREE").unwrap();
    assert_eq!(free["account"], *winner);
    assert_eq!(server.operate(&["session", "list"]).as_array().unwrap().len(), 1, "who got no cube got no session");
}

/// Past the longest wait for a hash, the answer is an immediate 503 in the dialect's own form. An unknown account waits for a hash
/// like a known one; what needs none is done all the same.
#[tokio::test]
async fn overload_is_refused() {
    let costly =
        [("HEARTHGATE_HASH__MEMORY_KIB", "65536"), ("HEARTHGATE_HASH__THREADS", "1"), ("HEARTHGATE_HASH__MAX_WAIT", "0s")];
    let server = Server::dev_with(&costly);
    let (ewelink, fantem) = (Ewelink::new(&server), Fantem::new(&server));
    // Only from the first one on is it known how long they take.
    assert_eq!(ewelink.login(json!({})).await.body["region"], "cn");
    let app = App::new(&server);
    server.create_account(&["--email", "person0@example.com"], "correct horse");
    let mut rt = log_in(&app, 0, "correct horse").await.text("/rt");
    let mut logins = JoinSet::new();
    for _ in 0..20 {
        let (ewelink, fantem) = (ewelink.clone(), fantem.clone());
        logins.spawn(async move {
            let unknown = ewelink.login(json!({ "phoneNumber": "+8613123456780" })).await;
            [("unknown", unknown), ("known", ewelink.login(json!({})).await), ("fantem", fantem.login(&[]).await)]
        });
    }
    for _ in 0..20 {
        rt = app.v8_get("/api/user/refresh", &[("rt", &rt)]).await.text("/rt");
    }
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    for (what, answer) in logins.join_all().await.into_iter().flatten() {
        if answer.status == 503 {
            *refused.entry(what).or_default() += 1;
            let busy = json!({ "code": 2, "note": "SERVER_BUSY", "data": null });
            assert_eq!(answer.body, if what == "fantem" { busy } else { json!({ "error": 500 }) });
            assert!(answer.retry_after.unwrap() >= 1);
            continue;
        }
        let served = match what {
            "unknown" => answer.body["error"] == 404,
            "known" => answer.body["region"] == "cn",
            _ => answer.body["code"] == 1,
        };
        assert!(answer.status == 200 && served, "{what}: {} {}", answer.status, answer.body);
    }
    for what in ["unknown", "known", "fantem"] {
        assert!(refused.contains_key(what), "{what}: {refused:?}");
    }
    assert!(refused.values().sum::<usize>() < 60, "some are served: {refused:?}");
    assert_eq!(ewelink.login(json!({})).await.body["region"], "cn", "and it recovers");
}

/// An application that is disabled while logins are under way keeps none of them.
#[tokio::test]
async fn no_login_outlives_its_application() {
    let costly = [("HEARTHGATE_HASH__MEMORY_KIB", "16384"), ("HEARTHGATE_HASH__THREADS", "1"), PATIENT[0]];
    let server = Server::dev_with(&costly);
    let ewelink = Ewelink::new(&server);
    let mut logins = JoinSet::new();
    for _ in 0..50 {
        let ewelink = ewelink.clone();
        logins.spawn(async move { ewelink.login(json!({})).await.body["error"].clone() });
    }
    let first = logins.join_next().await.unwrap().unwrap();
    assert!(first.is_null(), "{first}");
    server.operate(&["app", "disable", APPID]);
    let rest = logins.join_all().await;
    assert!(rest.iter().all(|error| error.is_null() || *error == 406), "{rest:?}");
    assert!(rest.iter().any(|error| *error == 406), "some were under way: {rest:?}");
    assert_eq!(server.operate(&["session", "list"]), json!([]));
}
