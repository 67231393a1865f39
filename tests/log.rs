//! "Why did this login fail?" always has an answer.

use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use crate::support::calls::{TOUCH, md5};
use crate::support::server::{hearthgate, operate};
use crate::support::{Ewelink, Fantem, Server};

#[tokio::test]
async fn each_attempt_is_one_line() {
    let server = Server::dev();
    let (ewelink, fantem) = (Ewelink::new(&server), Fantem::new(&server));
    let wrong = md5("wrong");
    for (answer, dialect, outcome, identifier) in [
        (ewelink.login(json!({})).await, "ewelink-v8", "logged in", json!("+86***89")),
        (ewelink.login(json!({ "password": "wrong" })).await, "ewelink-v8", "wrong password", json!("+86***89")),
        (ewelink.login(json!({ "nonce": null })).await, "ewelink-v8", "nonce is missing", json!(null)),
        (ewelink.send("{").await, "ewelink-v8", "the body is not a JSON object without duplicate keys", json!(null)),
        (
            ewelink.clone().at_host("eu-api.coolkit.cc").login(json!({})).await,
            "ewelink-v8",
            "the account lives in region cn",
            json!("+86***89"),
        ),
        (fantem.login(&[]).await, "fantem", "logged in", json!("a***")),
        (fantem.login(&[("password", &wrong)]).await, "fantem", "wrong password", json!("a***")),
        (fantem.login(&[("username", "anna@example.com")]).await, "fantem", "there is no such account", json!("a***@e***.com")),
        (fantem.login(&[("uuid", "unknown")]).await, "fantem", "the device is not registered", json!("a***")),
        (fantem.login(&[("username", "13123456789")]).await, "fantem", "a phone number came without countryCode", json!(null)),
    ] {
        let line = server.log_line(&answer.request_id);
        assert_eq!(
            (&line["message"], &line["dialect"], &line["outcome"]),
            (&json!("login"), &json!(dialect), &json!(outcome)),
            "{line}"
        );
        assert_eq!(line.get("identifier").unwrap_or(&json!(null)), &identifier, "{line}");
        assert!(line["ms"].as_f64().unwrap() > 0.0, "{line}");
        let lines = server.log.all();
        assert_eq!(lines.iter().filter(|line| line.contains(&answer.request_id)).count(), 1);
    }
}

#[tokio::test]
async fn request_ids_are_the_servers_own() {
    let server = Server::dev();
    let ask = || crate::support::client().get(&server.http).header("x-request-id", "mine").send();
    let (one, two) = (ask().await.unwrap(), ask().await.unwrap());
    let id = |response: &reqwest::Response| response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(id(&one).len(), 16);
    assert!(id(&one) != id(&two) && id(&one) != "mine");
}

#[tokio::test]
async fn a_login_line_in_text() {
    let folder = Arc::new(TempDir::new().unwrap());
    let data = folder.path().join("data");
    operate(&data, &["device", "register", TOUCH, "--kind", "oomi_touch"], "");
    let server = Server::serve_in_text(folder);
    let answer = Fantem::new(&server).login(&[]).await;
    assert_eq!(answer.body["code"], 181);
    let line = server.log.wait_for(|line| line.contains(&answer.request_id));
    assert!(
        line.contains(" INFO login request_id=") && line.contains(r#"dialect="fantem" outcome="the gateway is not registered""#),
        "{line}"
    );
}

#[test]
fn an_unknown_format_is_refused() {
    let output = hearthgate(["serve", "--log-format", "xml"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("xml"));
}
