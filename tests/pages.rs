//! The pages that mailed links lead to, in a real browser and at the wire.

use std::path::Path;
use std::process::Command;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::support::Server;
use crate::support::calls::md5;
use crate::support::panel::Panel;

const PASSWORD: &str = "correct horse battery";
const NEW_PASSWORD: &str = "密码 another horse 🐴";

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients");

/// Where pictures of the pages are left.
const PICTURES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/pages");

/// Opens a link in Chromium without scripts, and fills the forms in.
fn walk(name: &str, language: &str, link: &str, forms: &Value) -> Value {
    std::fs::create_dir_all(PICTURES).unwrap();
    let browser = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let browser = browser.into_iter().find(|path| Path::new(path).exists()).expect("no Chromium is installed: run ./test");
    let output = Command::new("node")
        .arg("walk.js")
        .current_dir(CLIENTS)
        .envs([("URL", link), ("LANGUAGE", language), ("PICTURES", PICTURES), ("NAME", name), ("CHROMIUM", browser)])
        .env("FORMS", forms.to_string())
        .output()
        .expect("node runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let walked: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}\n{err}"));
    assert_eq!(walked["problems"], json!([]), "{walked}");
    walked
}

/// What each page said: title and problem.
fn said(walked: &Value) -> Vec<(&str, Option<&str>)> {
    let pages = walked["pages"].as_array().unwrap();
    pages.iter().map(|page| (page["title"].as_str().unwrap(), page["problem"].as_str())).collect()
}

async fn register(panel: &Panel, language: &str) -> Value {
    let (email, password) = (format!("{language}@example.com"), md5(PASSWORD));
    let form =
        [("username", language), ("email", &email), ("password", &password), ("rePassword", &password), ("language", language)];
    panel.form("/accounts", &form).await.number(json!({ "accountId": "<number>" }))
}

async fn log_in(panel: &Panel, name: &str, password: &str) -> Value {
    panel.json("/v2/accounts/login", &json!({ "username": name, "password": md5(password) })).await.answer.body["code"].clone()
}

/// From the registration to the login, and from a forgotten password to a new one, in both languages.
#[tokio::test]
async fn a_person_walks_through() {
    let server = Server::dev();
    let guid = server.operate(&["device", "register", "phone", "--kind", "ios_phone"])["guid"].as_str().unwrap().to_owned();
    let panel = Panel::new(&server).with_cookies(&[("guid", &guid)]);
    for (language, tag, activated, again, form, differ, length, set, used) in [
        (
            "en",
            "en",
            "Account activated",
            "Already activated",
            "Set a new password",
            "The two passwords differ.",
            "The password must have 8 to 64 characters.",
            "Password set",
            "The link was used already",
        ),
        (
            "zh_CN",
            "zh-CN",
            "账号已激活",
            "账号此前已激活",
            "设置新密码",
            "两次输入的密码不一致。",
            "密码长度须为 8 至 64 个字符。",
            "密码已设置",
            "链接已使用",
        ),
    ] {
        register(&panel, language).await;
        assert_eq!(log_in(&panel, language, PASSWORD).await, "102");
        let email = format!("{}@example.com", language.to_lowercase());
        let link = server.link_for(&email);
        // The browser's own language is the other one: the account's counts.
        let other = if language == "en" { "zh-CN" } else { "en-US" };
        let walked = walk(&format!("activate-{language}"), other, &link, &json!([]));
        assert_eq!(said(&walked), [(activated, None)]);
        assert_eq!(walked["pages"][0]["language"], tag);
        let own = |request: &Value| request.as_str().unwrap().starts_with(&server.http);
        assert!(walked["requests"].as_array().unwrap().iter().all(own), "nothing from elsewhere: {walked}");
        assert!(walked["requests"].as_array().unwrap().iter().any(|url| url.as_str().unwrap().ends_with("/user/style.css")));
        assert_eq!(walked["pages"][0]["background"], "rgb(255, 255, 255)", "the style sheet is used");
        assert!(walked["pages"][0]["width"].as_i64().unwrap() <= 390, "it fits a phone");
        assert_eq!(said(&walk(&format!("again-{language}"), other, &link, &json!([]))), [(again, None)]);
        assert_eq!(log_in(&panel, language, PASSWORD).await, "1");

        panel.get("/accounts/forgetPw", &[("email", &email)]).await.number(json!(null));
        let link = server.link_for(&email);
        let both = |password: &str, again: &str| json!({ "password": password, "again": again });
        let forms = json!([both(NEW_PASSWORD, "another"), both("short", "short"), both(NEW_PASSWORD, NEW_PASSWORD)]);
        let walked = walk(&format!("reset-{language}"), other, &link, &forms);
        assert_eq!(said(&walked), [(form, None), (form, Some(differ)), (form, Some(length)), (set, None)]);
        assert_eq!(log_in(&panel, language, PASSWORD).await, "108");
        assert_eq!(log_in(&panel, language, NEW_PASSWORD).await, "1");
        assert_eq!(said(&walk(&format!("used-{language}"), other, &link, &json!([]))), [(used, None)]);
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
}

/// The title of a page.
fn title(html: &str) -> &str {
    html.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).unwrap().0
}

/// The value of a hidden field.
fn hidden<'a>(html: &'a str, name: &str) -> &'a str {
    let (_, rest) = html.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
    rest.split_once('"').unwrap().0
}

#[tokio::test]
async fn every_page_is_locked_down() {
    let server = Server::dev();
    let client = crate::support::client();
    for path in
        ["/user/verify", "/user/verify?email=%00&code=%ff", "/user/findLostEmail?email=a@example.com&code=1", "/user/style.css"]
    {
        let response = client.get(format!("{}{path}", server.http)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let headers = response.headers();
        let policy = header(headers, "content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(header(headers, "referrer-policy"), "no-referrer");
        assert_eq!(header(headers, "x-content-type-options"), "nosniff");
        assert_eq!(header(headers, "cache-control") == "no-store", path != "/user/style.css");
    }
    // Whatever is in the address does not become part of the page.
    let evil = format!("{}/user/findLostEmail?email=%22%3E%3Cscript%3E@x&code=%3Cb%3E", server.http);
    let html = client.get(evil).header("accept-language", "zh-CN,zh;q=0.9").send().await.unwrap().text().await.unwrap();
    assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
    assert_eq!(title(&html), "链接无效", "in the browser's language");
}

#[tokio::test]
async fn a_form_that_is_not_ours_sets_no_password() {
    let server = Server::dev();
    let client = crate::support::client();
    server.create_account(&["--email", "anna@example.com"], PASSWORD);
    Panel::new(&server).get("/accounts/forgetPw", &[("email", "anna@example.com")]).await.number(json!(null));
    let link = server.link_for("anna@example.com");
    let response = client.get(&link).send().await.unwrap();
    let cookie = header(response.headers(), "set-cookie").to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict") && cookie.contains("Path=/user"), "{cookie}");
    let html = response.text().await.unwrap();
    let (csrf, code) = (hidden(&html, "csrf").to_owned(), hidden(&html, "code").to_owned());
    let cookie = cookie.split(';').next().unwrap().to_owned();
    assert_eq!(cookie.split_once('=').unwrap().1, csrf);
    let post = async |csrf: &str, cookie: &str, site: &str, password: &str| {
        let body = format!("email=anna%40example.com&code={code}&csrf={csrf}&password={password}&again={password}");
        let request = client.post(format!("{}/user/updateInfo", server.http)).body(body).header("cookie", cookie);
        let request = if site.is_empty() { request } else { request.header("sec-fetch-site", site) };
        let html = request.send().await.unwrap().text().await.unwrap();
        title(&html).to_owned()
    };
    let shown_again = "Set a new password";
    assert_eq!(post(&csrf, "", "", "evil-password").await, shown_again, "without the cookie");
    assert_eq!(post("", &cookie, "", "evil-password").await, shown_again, "without the field");
    assert_eq!(post("x", &cookie, "", "evil-password").await, shown_again, "with another field");
    assert_eq!(post(&csrf, &cookie, "cross-site", "evil-password").await, shown_again, "from another site");
    let guid = server.operate(&["device", "register", "phone", "--kind", "ios_phone"])["guid"].as_str().unwrap().to_owned();
    let panel = Panel::new(&server).with_cookies(&[("guid", &guid)]);
    assert_eq!(log_in(&panel, "anna@example.com", "evil-password").await, "108");
    assert_eq!(log_in(&panel, "anna@example.com", PASSWORD).await, "1");
    server.change_database("UPDATE links SET expires_at = expires_at - 3600000").await;
    assert_eq!(post(&csrf, &cookie, "same-origin", "good-password").await, "The link has expired");
    server.change_database("UPDATE links SET expires_at = expires_at + 3600000").await;
    assert_eq!(post(&csrf, &cookie, "same-origin", "good-password").await, "Password set");
    assert_eq!(post(&csrf, &cookie, "same-origin", "other-password").await, "The link was used already");
    assert_eq!(log_in(&panel, "anna@example.com", "good-password").await, "1");
    assert_eq!(server.operate(&["session", "list"]).as_array().unwrap().len(), 1, "the reset ended the session before it");
}

/// Of two who use one link at the same time, one sets the password.
#[tokio::test]
async fn a_link_is_used_once() {
    let server = Server::dev();
    server.create_account(&["--email", "anna@example.com"], PASSWORD);
    let panel = Panel::new(&server);
    panel.get("/accounts/forgetPw", &[("email", "anna@example.com")]).await.number(json!(null));
    let code = server.link_for("anna@example.com").rsplit_once("code=").unwrap().1.to_owned();
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (panel, code) = (panel.clone(), code.clone());
        tries.spawn(async move {
            let password = md5(&format!("password {number}"));
            let form = [("email", "anna@example.com"), ("password", password.as_str()), ("code", code.as_str())];
            panel.form("/accounts/updatepw", &form).await.answer.body["str"].clone()
        });
    }
    let answers = tries.join_all().await;
    assert_eq!(answers.iter().filter(|answer| **answer == "1").count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| **answer == "4").count(), 19, "{answers:?}");
}
