//! One account behind both dialects.

use serde_json::json;

use crate::support::calls::md5;
use crate::support::{Ewelink, Fantem, Server};

const PASSWORD: &str = "密码 correct horse";

/// The same person, the same password, by every name that a dialect has, in any region.
#[tokio::test]
async fn the_same_password_logs_in_through_both() {
    let server = Server::dev();
    let names = ["--username", "anna", "--email", "anna@example.com", "--phone", "+8618812345678", "--region", "eu"];
    let account = server.create_account(&names, PASSWORD)["account"].clone();
    server.operate(&["cube", "register", "CUBE"]);
    server.operate(&["cube", "bind", "CUBE", "anna"]);

    let ewelink = Ewelink::new(&server).at_host("eu-api.coolkit.cc");
    for changes in [json!({ "phoneNumber": "+8618812345678" }), json!({ "phoneNumber": null, "email": "Anna@Example.COM" })] {
        let mut changes = changes;
        changes["password"] = json!(PASSWORD);
        let answer = ewelink.login(changes.clone()).await;
        assert_eq!(answer.body["region"], "eu", "{changes}: {}", answer.body);
    }
    let password = md5(PASSWORD);
    for name in [
        &[("username", "anna")][..],
        &[("username", "Anna@example.com")],
        &[("username", "18812345678"), ("countryCode", "+86")],
        &[("username", "+8618812345678")],
    ] {
        let answer = Fantem::new(&server).login(&[name, &[("password", password.as_str())]].concat()).await;
        assert_eq!(answer.body["data"]["accountId"], account, "{name:?}: {}", answer.body);
    }
    let sessions = server.operate(&["session", "list", "--account", "anna"]);
    let kinds: Vec<_> = sessions.as_array().unwrap().iter().map(|session| &session["audience_kind"]).collect();
    assert_eq!(kinds.len(), 2, "one at the application, one at the touch panel: {sessions}");

    // One verifier: a new password is new in both, and ends the sessions of both.
    server.operate_with(&["account", "set-password", "anna"], "another password\n");
    assert_eq!(server.operate(&["session", "list"]), json!([]));
    assert_eq!(Fantem::new(&server).login(&[("username", "anna"), ("password", &password)]).await.body["code"], 108);
    let new = md5("another password");
    assert_eq!(Fantem::new(&server).login(&[("username", "anna"), ("password", &new)]).await.body["code"], 1);
    let by_phone = |password: &str| json!({ "phoneNumber": "+8618812345678", "password": password });
    assert_eq!(ewelink.login(by_phone(PASSWORD)).await.body, json!({ "error": 401 }));
    assert_eq!(ewelink.login(by_phone("another password")).await.body["region"], "eu");
}

/// A verifier made with other parameters is renewed by the login that proves it, and goes on working.
#[tokio::test]
async fn an_outdated_verifier_is_renewed() {
    let verifier = |server: &Server| -> String {
        let text = String::from_utf8_lossy(&server.kept()).into_owned();
        ["m=8,t=1", "m=16,t=1"].into_iter().filter(|cost| text.contains(cost)).collect::<Vec<_>>().join(" and ")
    };
    let folder = Server::dev().stop();
    let server = Server::dev_in(folder, &[("HEARTHGATE_HASH__MEMORY_KIB", "16")]);
    assert_eq!(verifier(&server), "m=8,t=1");
    for _ in 0..2 {
        assert_eq!(Ewelink::new(&server).login(json!({})).await.body["region"], "cn");
    }
    assert_eq!(verifier(&server), "m=8,t=1 and m=16,t=1", "the other account's is as it was");
    assert_eq!(Ewelink::new(&server).login(json!({ "password": "12345679" })).await.body, json!({ "error": 401 }));
}
