//! An unmodified client from the field: `ewelink-api` 3.1.1 from the npm registry, over TLS.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::Server;
use crate::support::calls::{APPID, SECRET};

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients");

/// Runs the client's login and returns what it made of the answers.
fn login(server: &Server, parameters: &Value) -> Value {
    let installed = Path::new(CLIENTS).join("node_modules/ewelink-api");
    assert!(installed.exists(), "the client is not installed: run ./test, or npm ci in tests/clients");
    let mut all = json!({ "APP_ID": APPID, "APP_SECRET": SECRET });
    all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
    let output = Command::new("node")
        .args(["--require", "./redirect.js", "login.js"])
        .current_dir(CLIENTS)
        .env("NODE_EXTRA_CA_CERTS", server.data().join("ca.pem"))
        .env("REDIRECT_TO", server.https.strip_prefix("https://").unwrap())
        .env("PARAMETERS", all.to_string())
        .output()
        .expect("node runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}\n{err}"))
}

#[test]
fn it_logs_in_over_tls() {
    let server = Server::dev();
    server.create_account(&["--email", "anna@example.com", "--region", "eu"], "correct horse");

    let by_phone = login(&server, &json!({ "region": "cn", "phoneNumber": "+8613123456789", "password": "12345678" }));
    assert_eq!((&by_phone["answer"]["region"], &by_phone["hosts"]), (&json!("cn"), &json!(["cn-api.coolkit.cc:8080"])));
    assert_eq!(by_phone["answer"]["at"], by_phone["client"]["at"], "it kept the token");
    assert_eq!(by_phone["answer"]["user"]["apikey"], by_phone["client"]["apiKey"]);

    let by_email = login(&server, &json!({ "region": "eu", "email": "Anna@example.com", "password": "correct horse" }));
    assert_eq!(by_email["answer"]["user"]["email"], "anna@example.com");

    // It asks its default region first and follows the 301.
    let redirected = login(&server, &json!({ "email": "anna@example.com", "password": "correct horse" }));
    assert_eq!(redirected["hosts"], json!(["us-api.coolkit.cc:8080", "eu-api.coolkit.cc:8080"]));
    assert_eq!((&redirected["answer"]["region"], &redirected["client"]["region"]), (&json!("eu"), &json!("eu")));

    let wrong = login(&server, &json!({ "region": "eu", "email": "anna@example.com", "password": "wrong horse" }));
    assert_eq!(wrong["answer"]["error"], 406, "what this client makes of 401: {wrong}");
    assert_eq!(wrong["client"]["at"], Value::Null);
}
