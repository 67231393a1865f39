//! Mail and SMS, through a real mail server and an SMS gateway in all its moods.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::Server;
use crate::support::app::App;
use crate::support::calls::md5;
use crate::support::panel::Panel;
use crate::support::server::{operate, refuse};
use crate::support::sinks::{HttpSink, MailSink, Mood};

const PASSWORD: &str = "correct horse battery";

/// `serve` with this mail server.
fn mail(port: &str) -> Vec<(&'static str, String)> {
    vec![
        ("HEARTHGATE_MAIL__HOST", "127.0.0.1".into()),
        ("HEARTHGATE_MAIL__PORT", port.into()),
        ("HEARTHGATE_MAIL__TLS", "none".into()),
        ("HEARTHGATE_MAIL__FROM", "Acme <id@acme.example>".into()),
        ("HEARTHGATE_MESSAGES__PRODUCT", "Acme".into()),
        ("HEARTHGATE_MESSAGES__RETRY_PAUSE", "50ms".into()),
        ("HEARTHGATE_PUBLIC_URL", "https://id.acme.example/".into()),
    ]
}

fn serve(settings: &[(&'static str, String)]) -> Server {
    serve_in(Arc::new(TempDir::new().unwrap()), settings)
}

fn serve_in(folder: Arc<TempDir>, settings: &[(&'static str, String)]) -> Server {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Server::serve(folder, &["--http", "127.0.0.1:0"], &settings)
}

#[tokio::test]
async fn mail_arrives_under_every_protection() {
    let dev = Server::dev();
    for (protection, credentials) in [("none", &[][..]), ("starttls", &[]), ("tls", &[]), ("starttls", &["anna", "mail-secret"])]
    {
        let sink = MailSink::start(protection, &dev, credentials);
        let mut settings = mail(&sink.port);
        settings.push(("HEARTHGATE_MAIL__TLS", protection.into()));
        if protection != "none" {
            settings.push(("HEARTHGATE_MAIL__CA", dev.data().join("ca.pem").display().to_string()));
        }
        if let [user, password] = credentials {
            settings.push(("HEARTHGATE_MAIL__USER", (*user).into()));
            settings.push(("HEARTHGATE_MAIL__PASSWORD", (*password).into()));
        }
        let server = serve(&settings);
        server.operate(&["notify", "test", "--email", "ben@example.com", "--language", "zh"]);
        let got = sink.next();
        assert_eq!(got["subject"], "Acme 测试邮件");
        assert_eq!(got["text"], "如果您能看到这封邮件，说明 Acme 的邮件可以送达。");
        assert_eq!((&got["from"], &got["to"]), (&json!("Acme <id@acme.example>"), &json!(["ben@example.com"])));
        assert_eq!(got["tls"], protection != "none", "{protection}");
        assert_eq!(got["user"], json!(credentials.first()));
        assert!(got["id"].as_str().unwrap().ends_with("@acme.example>"));
    }
}

#[tokio::test]
async fn a_mail_server_that_cannot_be_trusted_gets_nothing() {
    let dev = Server::dev();
    let sink = MailSink::start("starttls", &dev, &["anna", "mail-secret"]);
    let with = |more: &[(&'static str, String)]| serve(&[&mail(&sink.port)[..], more].concat());
    let ca = dev.data().join("ca.pem").display().to_string();
    let credentials =
        |password: &str| [("HEARTHGATE_MAIL__USER", "anna".to_owned()), ("HEARTHGATE_MAIL__PASSWORD", password.to_owned())];
    for (settings, says) in [
        (vec![], "STARTTLS"),
        (vec![("HEARTHGATE_MAIL__TLS", "starttls".to_owned())], "certificate"),
        (
            [&credentials("wrong")[..], &[("HEARTHGATE_MAIL__TLS", "starttls".into()), ("HEARTHGATE_MAIL__CA", ca)]].concat(),
            "535",
        ),
        (vec![("HEARTHGATE_MAIL__PORT", "1".to_owned())], "refused"),
    ] {
        let server = with(&settings);
        let sentence = refuse(&server.data(), &["notify", "test", "--email", "ben@example.com"], "");
        assert!(sentence.contains("the message was not sent") && sentence.contains(says), "{says}: {sentence}");
        assert!(!sentence.contains("wrong"), "no password is shown: {sentence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sms_is_what_the_configuration_says() {
    let mut sink = HttpSink::start().await;
    let server = serve(&[
        ("HEARTHGATE_SMS__URL", sink.url.clone()),
        ("HEARTHGATE_SMS__HEADERS", "{ authorization = \"Key gateway-secret\", x-sender = \"Acme\" }".into()),
        ("HEARTHGATE_SMS__BODY", "{\"mobile\": {{ to|tojson }}, \"params\": [{{ text|tojson }}]}".into()),
    ]);
    server.operate(&["notify", "test", "--sms", "+8613123456789"]);
    let (body, headers) = sink.next().await;
    assert_eq!(body, json!({ "mobile": "+8613123456789", "params": ["Hearthgate: if you can read this, SMS arrive."] }));
    assert_eq!(
        (&headers["authorization"], &headers["x-sender"]),
        (&"Key gateway-secret".parse().unwrap(), &"Acme".parse().unwrap())
    );
    sink.is_now(Mood::Fails);
    let sentence = refuse(&server.data(), &["notify", "test", "--sms", "+8613123456789"], "");
    assert!(sentence.contains("500") && !sentence.contains("secret"), "{sentence}");
    let shown = server.operate(&["config", "check"]).to_string();
    assert!(!shown.contains("secret"), "{shown}");
}

/// Whatever the gateway does, the answer comes, the code is not lost, and it arrives when the gateway is well again.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_outlives_a_gateway_that_is_down() {
    let mut sink = HttpSink::start().await;
    let mut settings = mail("1");
    settings.push(("HEARTHGATE_SMS__URL", sink.url.clone()));
    settings.push(("HEARTHGATE_MESSAGES__TIMEOUT", "500ms".into()));
    let server = serve(&settings);
    let panel = Panel::new(&server);
    let phone = |number: &str| json!({ "phone": number, "countryCode": "+86", "status": 1 });
    for (number, mood) in [("13100000001", Mood::Fails), ("13100000002", Mood::Hangs), ("13100000003", Mood::BreaksOff)] {
        sink.is_now(mood);
        panel.json("/sms/code", &phone(number)).await.fails_in_text(8000);
        let waiting = server.operate(&["outbox", "list"]);
        assert_eq!((&waiting[0]["state"], &waiting[0]["to"]), (&json!("waiting"), &json!(format!("+86{number}"))), "{mood:?}");
        assert!(waiting[0]["error"].is_string() && !waiting.to_string().contains("secret"), "{waiting}");
        sink.is_now(Mood::Fine);
        let (message, _) = sink.next().await;
        assert_eq!(message["to"], format!("+86{number}"), "{mood:?}");
        let text = message["text"].as_str().unwrap();
        let code = text.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() == 6).unwrap();
        let password = md5(PASSWORD);
        let mut body = phone(number);
        body.as_object_mut().unwrap().extend([
            ("code".to_owned(), json!(code)),
            ("password".to_owned(), json!(password)),
            ("confirmPassword".to_owned(), json!(password)),
        ]);
        panel.json("/accounts/registerByPhone", &body).await.text(json!({ "accountId": "<number>" }));
    }
}

async fn register(panel: &Panel, name: &str) -> Value {
    let (email, password) = (format!("{name}@example.com"), md5(PASSWORD));
    let form = [("username", name), ("email", &email), ("password", &password), ("rePassword", &password)];
    panel.form("/accounts", &form).await.answer.body["code"].clone()
}

/// A message that waits survives `kill -9`, and arrives after the next start.
#[tokio::test]
async fn a_message_survives_a_crash() {
    let mut server = serve(&mail("1"));
    assert_eq!(register(&Panel::new(&server), "anna").await, 6012);
    server.signal(Signal::KILL);
    server.wait();
    let folder = server.folder();
    let dev = Server::dev();
    let sink = MailSink::start("none", &dev, &[]);
    let server = serve_in(folder, &mail(&sink.port));
    let got = sink.next();
    assert_eq!((&got["to"], &got["subject"]), (&json!(["anna@example.com"]), &json!("Activate your Acme account")));
    let link = got["text"].as_str().unwrap().split_whitespace().find(|word| word.starts_with("https://")).unwrap().to_owned();
    let here = link.replace("https://id.acme.example", &server.http);
    assert!(crate::support::client().get(here).send().await.unwrap().text().await.unwrap().contains("Account activated"));
}

/// A mail server that never answers holds nothing up: the password is changed and the answer given while the news still waits.
#[tokio::test]
async fn a_change_does_not_wait_for_its_news() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = mail(&listener.local_addr().unwrap().port().to_string());
    settings.push(("HEARTHGATE_MESSAGES__TIMEOUT", "60s".into()));
    let server = serve(&settings);
    server.operate_with(&["app", "create", "--appid", "app", "--secret-file", "/dev/stdin"], "a-secret-of-the-app");
    server.create_account(&["--email", "anna@example.com"], PASSWORD);
    let app = App::new(&server).as_application("app", "a-secret-of-the-app");
    let login = |password: &str| json!({ "email": "anna@example.com", "password": password });
    let at = app.v2("/v2/user/login", login(PASSWORD)).await.text("/data/at");
    let change = json!({ "oldPassword": PASSWORD, "newPassword": "another horse battery" });
    let answer = app.v2_as(&at, reqwest::Method::POST, "/v2/user/change-pwd", change).await;
    assert_eq!(answer.body["error"], 0);
    let (_connection, _) = listener.accept().unwrap();
    let waiting = server.operate(&["outbox", "list"]);
    assert_eq!((&waiting[0]["state"], &waiting[0]["subject"]), (&json!("waiting"), &json!("password-changed")), "{waiting}");
    assert_eq!(app.v2("/v2/user/login", login("another horse battery")).await.body["error"], 0);
}

/// Nor does it hold up whoever registers next, from the same address.
#[tokio::test(flavor = "multi_thread")]
async fn newcomers_do_not_wait_for_each_others_mail() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = mail(&listener.local_addr().unwrap().port().to_string());
    settings.push(("HEARTHGATE_MESSAGES__TIMEOUT", "60s".into()));
    let server = serve(&settings);
    let panel = Panel::new(&server);
    let (mut newcomers, mut connections) = (JoinSet::new(), Vec::new());
    for name in ["anna", "berta"] {
        let panel = panel.clone();
        newcomers.spawn(async move { register(&panel, name).await });
        let mailed = tokio::time::timeout(Duration::from_secs(30), listener.accept()).await;
        connections.push(mailed.expect("nobody waits until the mail before is given up"));
    }
    drop((listener, connections));
    assert!(newcomers.join_all().await.iter().all(|code| code == 6012));
}

/// An operator's new password is news, too.
#[tokio::test]
async fn a_person_is_told_what_an_operator_changed() {
    let dev = Server::dev();
    let sink = MailSink::start("none", &dev, &[]);
    let server = serve(&mail(&sink.port));
    server.create_account(&["--email", "anna@example.com", "--language", "cn"], PASSWORD);
    server.operate_with(&["account", "set-password", "anna@example.com"], "another horse battery");
    assert_eq!(sink.next()["subject"], "您的 Acme 密码已修改");
}

/// What a request says of hosts and proxies never ends up in a link.
#[tokio::test]
async fn links_lead_to_the_configured_url_only() {
    let dev = Server::dev();
    let sink = MailSink::start("none", &dev, &[]);
    let server = serve(&mail(&sink.port));
    server.create_account(&["--email", "anna@example.com"], PASSWORD);
    let request = crate::support::client().get(format!("{}/accounts/forgetPw?email=anna@example.com", server.http));
    let request = request
        .header("host", "evil.example")
        .header("x-forwarded-host", "evil.example")
        .header("forwarded", "host=evil.example");
    let answer = request.header("x-forwarded-proto", "http").header("origin", "https://evil.example").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let got = sink.next();
    let text = got["text"].as_str().unwrap();
    assert!(
        text.contains("\nhttps://id.acme.example/user/findLostEmail?email=anna%40example%2Ecom&code=") && !text.contains("evil"),
        "{text}"
    );
}

#[tokio::test]
async fn an_operators_own_templates_are_used() {
    let folder = Arc::new(TempDir::new().unwrap());
    let templates = folder.path().join("templates");
    std::fs::create_dir_all(templates.join("en")).unwrap();
    std::fs::write(templates.join("en/test.mail.txt"), "Hello from {{ product }}\n\nOurs.\n").unwrap();
    let dev = Server::dev();
    let sink = MailSink::start("none", &dev, &[]);
    let mut settings = mail(&sink.port);
    settings.push(("HEARTHGATE_MESSAGES__TEMPLATES", templates.display().to_string()));
    let server = serve_in(folder, &settings);
    server.operate(&["notify", "test", "--email", "ben@example.com"]);
    let got = sink.next();
    assert_eq!((&got["subject"], &got["text"]), (&json!("Hello from Acme"), &json!("Ours.")));
}

#[test]
fn what_is_wrong_with_the_settings_is_one_sentence() {
    let folder = TempDir::new().unwrap();
    let (data, templates) = (folder.path().join("data"), folder.path().join("templates"));
    std::fs::create_dir_all(templates.join("zh")).unwrap();
    std::fs::write(templates.join("zh/code.sms.txt"), "{{ kode }}").unwrap();
    let misnamed = folder.path().join("misnamed");
    std::fs::create_dir_all(misnamed.join("en")).unwrap();
    std::fs::write(misnamed.join("en/cod.mail.txt"), "{{ code }}").unwrap();
    operate(&data, &["app", "create"], "");
    let mail = "[mail]\nhost = 'mail.example.com'\n";
    for (settings, says) in [
        ("[mail]\nhost = 'x'".to_owned(), "from"),
        (format!("{mail}from = 'nobody'"), "mail.from"),
        (format!("{mail}from = 'a@b.cc'\nuser = 'x'"), "mail.user and mail.password"),
        (format!("{mail}from = 'a@b.cc'\nca = '/nowhere.pem'"), "/nowhere.pem"),
        (format!("{mail}from = 'a@b.cc'\ntls = 'ssl'"), "tls"),
        ("[sms]\nurl = 'gateway'".to_owned(), "sms.url"),
        ("[sms]\nurl = 'ftp://gateway/'".to_owned(), "http"),
        ("[sms]\nurl = 'http://gateway/'\nbody = '{{ number }}'".to_owned(), "undefined"),
        ("[sms]\nurl = 'http://gateway/'\nheaders = { 'x y' = 'z' }".to_owned(), "sms.headers"),
        (format!("[messages]\ntemplates = '{}'", templates.display()), "zh/code.sms.txt"),
        (format!("[messages]\ntemplates = '{}'", misnamed.display()), "misnamed has en/cod.mail.txt, but"),
        ("[messages]\ntemplates = '/nowhere'".to_owned(), "/nowhere: No such file"),
        ("[messages]\ntimeout = '5m'".to_owned(), "messages.timeout"),
        ("public_url = 'id.example.com'".to_owned(), "public_url"),
    ] {
        let file = folder.path().join("hearthgate.toml");
        std::fs::write(&file, &settings).unwrap();
        let sentence = refuse(&data, &["config", "check", "--config", file.to_str().unwrap()], "");
        assert!(sentence.contains(says), "{settings}\n{sentence}");
    }
}
