//! Unmodified clients from the field, over TLS: `ewelink-api` 3.1.1 (version 8) and `ewelink-api-next` 1.0.4 (v2) from npm, `ewelink`
//! 0.2.1 (v2) from PyPI.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::Server;
use crate::support::calls::{APPID, SECRET};
use crate::support::sinks::python;

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients");

/// Runs a script of Node's, and returns what it printed.
fn node(server: &Server, script: &str, steps: &str, parameters: &Value) -> Value {
    let installed = Path::new(CLIENTS).join("node_modules/ewelink-api-next");
    assert!(installed.exists(), "the clients are not installed: run ./test, or npm ci in tests/clients");
    let mut command = Command::new("node");
    command.args(["--require", "./redirect.js", script]).current_dir(CLIENTS);
    printed(command.env("NODE_EXTRA_CA_CERTS", server.data().join("ca.pem")).env("STEPS", steps), server, parameters)
}

fn printed(command: &mut Command, server: &Server, parameters: &Value) -> Value {
    let address = server.https.strip_prefix("https://").unwrap();
    let output = command.env("REDIRECT_TO", address).env("PARAMETERS", parameters.to_string()).output().expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}\n{err}"))
}

/// Runs the login of `ewelink-api` and returns what it made of the answers.
fn login(server: &Server, parameters: &Value) -> Value {
    let mut all = json!({ "APP_ID": APPID, "APP_SECRET": SECRET });
    all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
    node(server, "login.js", "", &all)
}

#[test]
fn ewelink_api_logs_in() {
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

#[test]
fn ewelink_api_next_logs_in_refreshes_and_logs_out() {
    let server = Server::dev();
    server.create_account(&["--email", "anna@example.com", "--region", "eu"], "correct horse ä");
    let parameters = |region: &str, account: &str, password: &str| {
        json!({
            "appId": APPID, "appSecret": SECRET, "region": region, "account": account, "password": password, "areaCode": "+86",
        })
    };
    let all = node(&server, "login_v2.js", "refresh,region,logout", &parameters("cn", "+8613123456789", "12345678"));
    let answer = |step: &str| (all[step]["error"].clone(), all[step]["data"].clone());
    assert_eq!(all["answer"]["data"]["user"]["phoneNumber"], "+8613123456789", "{all}");
    assert_eq!((&all["client"]["at"], &all["client"]["rt"]), (&all["answer"]["data"]["at"], &all["answer"]["data"]["rt"]));
    assert_eq!(all["client"]["userApiKey"], all["answer"]["data"]["user"]["apikey"]);
    let (error, pair) = answer("refresh");
    assert_eq!(error, 0);
    assert!(pair["at"] != all["answer"]["data"]["at"] && pair["rt"].is_string(), "{all}");
    assert_eq!(answer("region"), (json!(0), json!({ "region": "cn" })));
    assert_eq!(answer("logout"), (json!(0), json!({})));
    assert_eq!(server.operate(&["session", "list"]), json!([]));

    let by_email = node(&server, "login_v2.js", "", &parameters("eu", "anna@example.com", "correct horse ä"));
    assert_eq!(by_email["answer"]["data"]["region"], "eu");
    let elsewhere = node(&server, "login_v2.js", "", &parameters("us", "anna@example.com", "correct horse ä"));
    assert_eq!((&elsewhere["answer"]["error"], &elsewhere["answer"]["data"]), (&json!(10004), &json!({ "region": "eu" })));
    let wrong = node(&server, "login_v2.js", "", &parameters("eu", "anna@example.com", "wrong"));
    assert_eq!((&wrong["answer"]["error"], &wrong["client"]["at"]), (&json!(10001), &json!("")));
}

#[test]
fn the_python_client_logs_in_follows_the_region_and_logs_out() {
    let server = Server::dev();
    server.create_account(&["--email", "anna@example.com", "--region", "eu"], "correct horse ä");
    let run = |region: &str, password: &str| {
        let parameters = json!({
            "appid": APPID, "appsecret": SECRET, "region": region, "email": "anna@example.com", "password": password,
            "countryCode": "+49",
        });
        let mut command = python("login.py");
        printed(command.env("CA_FILE", server.data().join("ca.pem")).env("STEPS", "logout"), &server, &parameters)
    };
    let redirected = run("us", "correct horse ä");
    assert_eq!((&redirected["answer"]["region"], &redirected["logout"]), (&json!("eu"), &Value::Null), "{redirected}");
    assert_eq!(redirected["hosts"], json!(["us-apia.coolkit.cc:443", "eu-apia.coolkit.cc:443"]));
    assert_eq!(server.operate(&["session", "list"]), json!([]), "logged out");
    assert_eq!(run("eu", "wrong")["answer"], json!({ "error": 10001, "msg": "wrong password", "data": {} }));
}
