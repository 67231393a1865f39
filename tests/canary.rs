//! After a run, no secret can be found in the data folder or the log.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::support::app::App;
use crate::support::calls::{APPID, CUBE, SECRET, TOUCH, md5};
use crate::support::panel::Panel;
use crate::support::{Ewelink, Fantem, Server, client};

const PASSWORD: &str = "canary-password-7391";
const WRONG: &str = "canary-wrong-5512";

/// The forms in which a secret could have been written down.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let bytes = secret.as_bytes();
    let mut forms =
        vec![bytes.to_vec(), hex::encode(bytes).into(), hex::encode_upper(bytes).into(), secret.to_uppercase().into()];
    forms.extend([STANDARD.encode(bytes), STANDARD_NO_PAD.encode(bytes), URL_SAFE_NO_PAD.encode(bytes)].map(String::into_bytes));
    // What is hex may also have been written as the bytes that it stands for.
    forms.extend(hex::decode(secret).ok());
    forms
}

fn found(haystack: &[u8], secret: &str) -> bool {
    forms(secret).iter().any(|form| haystack.windows(form.len()).any(|window| window == form))
}

#[tokio::test]
async fn no_secret_is_written_down() {
    let server = Server::dev_with(&[("HEARTHGATE_LISTEN__METRICS", "127.0.0.1:0")]);
    let made = server.operate(&["app", "create", "--name", "canary"]);
    server.create_account(&["--username", "canary", "--email", "canary@example.com"], PASSWORD);
    let mut ewelink = Ewelink::new(&server);
    // The sample account's password is part of its phone number, which may be written down; its MD5 may not.
    let mut secrets: Vec<String> = [PASSWORD, WRONG, SECRET].map(str::to_owned).into();
    secrets.extend([PASSWORD, WRONG, "12345678", "123456"].map(md5));

    let mut keep = |answer: &crate::support::Answer, names: [&str; 2]| secrets.extend(names.map(|name| answer.text(name)));
    keep(&ewelink.login(json!({})).await, ["/at", "/rt"]);
    keep(&ewelink.login(json!({})).await, ["/at", "/rt"]);
    ewelink.secret = made["secret"].as_str().unwrap().into();
    let own = json!({ "appid": made["appid"], "phoneNumber": null, "email": "canary@example.com", "password": PASSWORD });
    keep(&ewelink.login(own.clone()).await, ["/at", "/rt"]);
    let tokens = ["/data/accountToken", "/data/flushToken"];
    keep(&Fantem::new(&server).login(&[]).await, tokens);
    keep(&Fantem::new(&server).login(&[]).await, tokens);
    // A wrong password, a password typed into the wrong field, a password of a request that is refused.
    let mut wrong = own;
    wrong["password"] = json!(WRONG);
    assert_eq!(ewelink.login(wrong.clone()).await.body["error"], 401);
    wrong["email"] = json!(format!("{WRONG}@example.com"));
    assert_eq!(ewelink.login(wrong.clone()).await.body["error"], 404);
    wrong["nonce"] = json!("x");
    assert_eq!(ewelink.login(wrong).await.body["error"], 400);
    assert_eq!(Fantem::new(&server).login(&[("username", PASSWORD), ("password", &md5(WRONG))]).await.body["code"], 106);
    secrets.push(ewelink.secret);
    secrets.extend(live(&server).await);
    secrets.push(std::fs::read_to_string(server.data().join("master.key")).unwrap().trim().to_owned());

    let metrics = client().get(format!("{}/metrics", server.metrics)).send().await.unwrap().bytes().await.unwrap();
    assert!(found(&metrics, "wrong password"), "the metrics were read");
    for identifier in ["canary@example.com", "walker", "3123456789", "apilogin", APPID, TOUCH, CUBE, "127.0.0.1"] {
        assert!(!found(&metrics, identifier), "{identifier} is in the metrics");
    }
    // Read while it runs (the write-ahead log is full then) and after it has stopped (everything is in the database).
    let (running, log) = (server.kept(), server.log.clone());
    let stopped = Server::kept_by(&server.stop());
    let log = log.all().join("\n").into_bytes();
    assert!(running.len() > 10_000 && found(&stopped, "canary@example.com"), "the search finds what is there");
    assert!(String::from_utf8_lossy(&log).contains("wrong password"), "the log was read");
    for secret in &secrets {
        assert!(!found(&running, secret), "{secret} is kept by a running server");
        assert!(!found(&stopped, secret), "{secret} is in the database");
        assert!(!found(&log, secret), "{secret} is in the log");
        assert!(!found(&metrics, secret), "{secret} is in the metrics");
    }
}

/// The life around a login, with every secret that comes up in it.
async fn live(server: &Server) -> Vec<String> {
    let (panel, app) = (Panel::new(server), App::new(server));
    let (first, second) = (md5("canary-first-3307"), md5("canary-second-9921"));
    let mut secrets = vec!["canary-first-3307".into(), "canary-second-9921".into(), first.clone(), second.clone()];
    let email = "walker@example.com";
    let form = [("username", "walker"), ("email", email), ("password", &first), ("rePassword", &first)];
    panel.form("/accounts", &form).await.number(json!({ "accountId": "<number>" }));
    let token = |link: &str| link.rsplit_once("code=").unwrap().1.to_owned();
    let link = server.link_for(email);
    secrets.push(token(&link));
    crate::support::client().get(link).send().await.unwrap();
    panel.get("/accounts/forgetPw", &[("email", email)]).await.number(json!(null));
    let reset = token(&server.link_for(email));
    panel
        .form("/accounts/updatepw", &[("email", email), ("password", &second), ("code", &reset)])
        .await
        .is(200, &json!({ "str": "1" }));
    secrets.push(reset);

    let login = json!({ "email": email, "password": "canary-second-9921" });
    let mut answer = app.v8("/api/user/login", login.clone()).await;
    for _ in 0..2 {
        secrets.extend([answer.text("/at"), answer.text("/rt")]);
        // The refresh token travels in the query.
        answer = app.v8_get("/api/user/refresh", &[("rt", &answer.text("/rt"))]).await;
    }
    secrets.extend([answer.text("/at"), answer.text("/rt")]);
    let at = answer.text("/at");
    let change = json!({ "oldPassword": "canary-second-9921", "newPassword": "canary-third-1203" });
    assert_eq!(app.v2_as(&at, reqwest::Method::POST, "/v2/user/change-pwd", change).await.body["error"], 0);
    secrets.extend(["canary-third-1203".into(), md5("canary-third-1203")]);
    let wrong = json!({ "phoneNumber": "+8613123456789", "verificationCode": "canary-code-4415", "password": PASSWORD });
    assert_eq!(app.v2("/v2/user/reset-pwd", wrong).await.body["error"], 10002);
    secrets.push("canary-code-4415".into());
    secrets
}
