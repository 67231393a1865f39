//! `hearthgate dev`, as a newcomer meets it.

use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::answer::matches;
use crate::support::calls::{APPID, sign};
use crate::support::server::{operate, refuse};
use crate::support::{Ewelink, Fantem, Server, assert_answer};

fn success() -> Value {
    json!({
        "at": "<hex 40>", "rt": "<hex 40>", "region": "cn",
        "user": {
            "_id": "<hex 24>", "phoneNumber": "+8613123456789", "appId": APPID, "lang": "cn", "online": false, "onlineTime": "<time>",
            "ip": "127.0.0.1", "nickname": "eWelink", "createdAt": "<time>", "apikey": "<uuid>",
        },
    })
}

fn fantem_success() -> Value {
    json!({
        "code": 1, "note": "OPERATE_SUCCESS",
        "data": {
            "accountToken": "<hex 32>", "flushToken": "<hex 32>", "accountId": 2, "username": "apilogin", "displayName": null,
            "email": "apilogin@example.com", "emailStatus": 2, "phone": null, "phoneStatus": 0, "birthday": null, "address": null,
            "registerTime": "<number>", "country": null, "creditCard": null, "accountRank": null,
        },
    })
}

/// The printed lines can be pasted into a shell.
#[tokio::test]
async fn it_prints_two_calls_that_log_in() {
    let server = Server::dev();
    server.out.wait_for(|line| line.starts_with("curl ") && line.contains("/accounts/login"));
    let lines = server.out.all();
    let ready = format!("ready http={} https={}", server.http, server.https);
    let [authority, said_ready, ewelink, fantem] = &lines[..] else { panic!("{lines:#?}") };
    assert_eq!(*said_ready, ready);
    let authority = authority.strip_prefix("certificate authority: ").unwrap();

    let answer = |line: &str| -> Value {
        let output = Command::new("sh").arg("-c").arg(line.replacen("curl", "curl -s", 1)).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    for (line, expected) in [(ewelink, success()), (fantem, fantem_success())] {
        let plain = answer(line);
        assert!(matches(&expected, &plain), "{line}\n{plain}");
    }
    // The same over TLS, trusting the authority that was printed. Another login at the same audience replaces the session.
    let over_tls = ewelink.replacen("curl", &format!("curl --cacert {authority}"), 1).replace(&server.http, &server.https);
    let mut again = success();
    again["user"]["offlineTime"] = json!("<time>");
    let secured = answer(&over_tls);
    assert!(matches(&again, &secured), "{over_tls}\n{secured}");
}

/// The sample calls of the public documents, byte for byte as printed there.
#[tokio::test]
async fn the_documents_samples_log_in() {
    let server = Server::dev();
    let body = concat!(
        "{\n    \"appid\":\"McFJj4Noke1mGDZCR1QarGW7P9Ycp0Vr\",\n    \"phoneNumber\":\"+8613123456789\",\n",
        "    \"password\":\"12345678\",\n    \"ts\": 1558004249,\n    \"version\":8,\n    \"nonce\":\"q3wz95p6\"\n}",
    );
    assert_answer("eWeLink", &Ewelink::new(&server).send(body).await, 200, &success());
    let body = "username=apilogin&password=e10adc3949ba59abbe56e057f20f883e&uuid=touchfjsljdfksdjfksdfsdfsdfsdfs234sdfsd&cubeSn=A01011725020927";
    assert_answer("Fantem", &Fantem::new(&server).send(body).await, 200, &fantem_success());
}

/// The public test vectors of the signature, through the server.
#[tokio::test]
async fn the_public_vectors_log_in() {
    let server = Server::dev();
    let ewelink = Ewelink::new(&server);
    let fields = [
        ("appid", "\"McFJj4Noke1mGDZCR1QarGW7P9Ycp0Vr\""),
        ("nonce", "\"asbsedwq\""),
        ("password", "\"12345678\""),
        ("phoneNumber", "\"+8613123456789\""),
        ("ts", "1560306258"),
        ("version", "8"),
    ];
    for (between, signature) in
        [("", "XuOzGxtG50CiF4H3odUfZsvKVl5+qSPzhfLEuUd4eJw="), (" ", "XfWcNURxPxpk6Z+6I+WR/j9wHURhvTEK1qa3sAJFNR0=")]
    {
        let members = fields.map(|(name, value)| format!("\"{name}\":{between}{value}"));
        let body = format!("{{{}}}", members.join(&format!(",{between}")));
        assert_eq!(sign(&ewelink.secret, body.as_bytes()), signature, "{body}");
        let answer = ewelink.send(body).await;
        assert_eq!(answer.body["region"], "cn");
    }
}

#[tokio::test]
async fn it_serves_all_four_regions_by_host_name() {
    let server = Server::dev();
    for (host, region) in [
        ("as-api.coolkit.cc:8080", "as"),
        ("eu-api.coolkit.cc", "eu"),
        ("US-API.COOLKIT.CC:8080", "us"),
        ("eu-apia.coolkit.cc", "eu"),
    ] {
        let answer = Ewelink::new(&server).at_host(host).login(json!({})).await;
        assert_answer(host, &answer, 200, &json!({ "error": 301, "region": "cn" }));
        let email = format!("{region}@example.com");
        if host.ends_with("8080") {
            server.create_account(&["--email", &email, "--region", region], "correct horse");
            let answer = Ewelink::new(&server)
                .at_host(host)
                .login(json!({"phoneNumber": null, "email": email, "password": "correct horse"}))
                .await;
            assert_eq!(answer.body["region"], region);
        }
    }
    for host in ["cn-api.coolkit.cn:8080", "cn-api.coolkit.cc", "somewhere.example", "127.0.0.1"] {
        assert_eq!(Ewelink::new(&server).at_host(host).login(json!({})).await.body["region"], "cn", "{host}");
    }
}

#[tokio::test]
async fn a_second_start_finds_its_samples() {
    let first = Server::dev();
    let authority = std::fs::read(first.data().join("ca.pem")).unwrap();
    let accounts = first.operate(&["account", "list"]);
    let folder = first.stop();
    let second = Server::dev_in(folder, &[]);
    assert_eq!(second.operate(&["account", "list"]), accounts);
    assert_eq!(std::fs::read(second.data().join("ca.pem")).unwrap(), authority);
}

/// Everybody knows the samples' passwords.
#[test]
fn nothing_is_added_to_a_store_of_somebody_elses() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    operate(&data, &["account", "create", "--username", "anna"], "correct horse battery");
    let said = refuse(&data, &["dev", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0"], "");
    assert!(said.contains("has accounts or applications of its own") && said.contains("--data"), "{said}");
    assert_eq!(operate(&data, &["account", "list"], "").as_array().unwrap().len(), 1);
    assert_eq!(operate(&data, &["app", "list"], ""), json!([]));
}

#[test]
fn somebody_elses_certificate_is_left_alone() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("cert.pem"), "somebody's").unwrap();
    let said = refuse(folder.path(), &["dev", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0"], "");
    assert!(said.contains("cert.pem is there without ") && said.contains("key.pem"), "{said}");
    assert_eq!(std::fs::read_to_string(folder.path().join("cert.pem")).unwrap(), "somebody's");
}
