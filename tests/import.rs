//! Accounts from elsewhere, and back.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::calls::md5;
use crate::support::panel::Panel;
use crate::support::server::{hearthgate_on, operate, refuse};
use crate::support::{Ewelink, Server};

const PASSWORD: &str = "correct horse battery";

/// That password, as seven systems keep it: scheme, verifier, and whether its MD5 is enough to log in with.
const KEPT: [(&str, &str, bool); 7] = [
    ("plain", PASSWORD, true),
    ("md5", "88E4DDD2402D92D50E1879D6ECD9FFD4", true),
    ("sha256-md5", "f2df183129d2aad4c4bec147d09b86b78397c787ec49a238241fc8a7afa507cc", true),
    ("bcrypt", "$2b$04$hOkHO5QKBR6NRf7VjFPnBOPnDRqmPfbFHuvyBXlyFRwEnaLplzXSC", false),
    ("bcrypt-md5", "$2a$05$bGPW03D8acEzYlwwfYUx7eu83BeVhUJskPtwZtd7tetYRm6a3Pzrq", true),
    ("argon2", "$argon2id$v=19$m=64,t=2,p=2$TVp1TK22XPtM0yTXpX0sPA$fmWFcOPQQZII9o+8YttAi1t/FNIziXFu", false),
    ("argon2-md5", "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$I8Lj4WKQRr5gJg5kUpVtsP4vNYg9gjEPtQxBD/8E1uc", true),
];

/// The same rows in both forms; each scheme has an account of its own.
fn rows(form: &str) -> String {
    let mut text = String::new();
    if form == "csv" {
        text.push_str("email,region,scheme,verifier,display_name\n");
    }
    for (scheme, verifier, _) in KEPT {
        let email = format!("{scheme}@example.com");
        match form {
            "csv" => writeln!(text, "{email},cn,{scheme},\"{verifier}\",\"Person, {scheme}\"").unwrap(),
            _ => {
                let row = json!({ "email": email, "region": "cn", "scheme": scheme, "verifier": verifier, "display_name": null });
                writeln!(text, "{row}").unwrap();
            }
        }
    }
    text
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What is stored of each account's password.
async fn verifiers(server: &Server) -> Vec<(String, String)> {
    let rows = sqlx::query_as("SELECT email, verifier FROM accounts WHERE email <> 'apilogin@example.com'");
    rows.fetch_all(&server.database().await).await.unwrap()
}

/// A verifier that another server exported.
const STRANGERS: &str =
    "$argon2id$v=19$m=8,t=1,p=1,keyid=AAAAAAAAAAA$MDEyMzQ1Njc4OWFiY2RlZg$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";

#[tokio::test]
async fn an_account_of_each_kind_logs_in() {
    for form in ["csv", "jsonl"] {
        let server = Server::dev();
        let file = write(server.folder().path(), &format!("accounts.{form}"), &rows(form));
        let summary = server.operate(&["account", "import", &file]);
        let expected = json!({ "dry_run": false, "imported": 7, "refused": 0, "rows": 7, "resumed_after_line": null });
        assert_eq!(summary, expected, "{form}");
        for (email, verifier) in verifiers(&server).await {
            assert!(
                verifier.contains('$') && !verifier.contains("88e4ddd2") && !verifier.contains("f2df1831"),
                "{email}: {verifier}"
            );
        }
        let ewelink = Ewelink::new(&server);
        let panel = Panel::new(&server);
        let guid = server.operate(&["device", "register", "phone", "--kind", "ios_phone"])["guid"].as_str().unwrap().to_owned();
        let panel = panel.with_cookies(&[("guid", &guid)]);
        let with_md5 = async |email: &str, password: &str| {
            let body = json!({ "username": email, "password": md5(password) });
            panel.json("/v2/accounts/login", &body).await.answer.body["code"].clone()
        };
        for (scheme, _, md5_is_enough) in KEPT {
            let email = format!("{scheme}@example.com");
            assert_eq!(with_md5(&email, "wrong").await, "108", "{scheme}");
            if !md5_is_enough {
                assert_eq!(with_md5(&email, PASSWORD).await, "108", "{scheme}: made of what this dialect does not send");
            }
            let wrong = ewelink.login(json!({ "phoneNumber": null, "email": email, "password": "wrong" })).await;
            assert_eq!(wrong.body, json!({ "error": 401 }), "{scheme}");
            let right = if md5_is_enough && form == "csv" {
                with_md5(&email, PASSWORD).await == "1"
            } else {
                let answer = ewelink.login(json!({ "phoneNumber": null, "email": email, "password": PASSWORD })).await;
                answer.body["user"]["email"] == email
            };
            assert!(right, "{scheme}");
            assert_eq!(with_md5(&email, PASSWORD).await, "1", "{scheme}: renewed");
        }
        for (email, verifier) in verifiers(&server).await {
            assert!(verifier.starts_with("$argon2id$v=19$m=8,t=1,p=1,keyid="), "{email}: {verifier}");
        }
    }
}

#[tokio::test]
async fn what_is_refused_is_told_with_line_and_reason() {
    let server = Server::dev();
    let folder = server.folder();
    let row = |changes: Value| {
        let mut row = json!({ "email": "a@example.com", "scheme": "plain", "verifier": PASSWORD });
        row.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        row.to_string()
    };
    let lines = [
        row(json!({})),
        row(json!({ "email": "A@example.com" })),
        String::new(),
        "{".to_owned(),
        row(json!({ "email": null })),
        row(json!({ "email": "x" })),
        row(json!({ "email": "b@example.com", "region": "horse" })),
        row(json!({ "email": "b@example.com", "scheme": "rot13" })),
        row(json!({ "email": "b@example.com", "scheme": "md5" })),
        row(
            json!({ "email": "b@example.com", "scheme": "bcrypt", "verifier": "$2b$20$hOkHO5QKBR6NRf7VjFPnBOPnDRqmPfbFHuvyBXlyFRwEnaLplzXSC" }),
        ),
        row(
            json!({ "email": "b@example.com", "scheme": "argon2", "verifier": "$argon2id$v=19$m=9999999,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo" }),
        ),
        row(json!({ "email": "b@example.com", "scheme": "hearthgate", "verifier": STRANGERS })),
        row(json!({ "email": "b@example.com", "unknown": 1 })),
        row(json!({ "username": "13123456789" })),
        row(json!({ "email": null, "phone": "+8613123456789" })),
        row(json!({ "email": "b@example.com", "birthday": "1990-02-30" })),
        row(json!({ "email": "b@example.com", "address": "x".repeat(70_000) })),
        row(json!({ "email": "b@example.com", "address": "x".repeat(300) })),
        row(json!({ "email": "good@example.com" })),
    ];
    let file = write(folder.path(), "accounts.jsonl", &(lines.join("\n") + "\n"));
    let report = folder.path().join("refused.jsonl");
    let before = server.contents();
    let dry = server.operate(&["account", "import", &file, "--dry-run", "--refused", report.to_str().unwrap()]);
    assert_eq!(server.contents(), before, "a dry run changes nothing");
    // Only the second of two rows with the same address is not known to be refused before the first is there.
    assert_eq!((&dry["imported"], &dry["refused"]), (&json!(3), &json!(15)));
    let summary = server.operate(&["account", "import", &file, "--refused", report.to_str().unwrap()]);
    assert_eq!((&summary["imported"], &summary["refused"], &summary["rows"]), (&json!(2), &json!(16), &json!(18)));
    let told: Vec<Value> =
        std::fs::read_to_string(&report).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reasons = [
        (2, "registered already"),
        (4, "JSON"),
        (5, "neither user name"),
        (6, "not an e-mail address"),
        (7, "none of those that are served (cn, as, eu, us)"),
        (8, "none of plain"),
        (9, "MD5"),
        (10, "cost"),
        (11, "cost"),
        (12, "another master key"),
        (13, "JSON"),
        (14, "looks like a phone number"),
        (15, "registered already"),
        (16, "day of the calendar"),
        (17, "64 KiB"),
        (18, "255 characters"),
    ];
    let told: Vec<_> = told.iter().map(|row| (row["line"].as_i64().unwrap(), row["reason"].as_str().unwrap())).collect();
    for (line, reason) in reasons {
        assert!(told.iter().any(|(told, why)| *told == line && why.contains(reason)), "{line} {reason}: {told:#?}");
    }
    assert_eq!(told.len(), reasons.len(), "{told:#?}");
    assert!(told.iter().all(|(_, reason)| !reason.contains("horse")), "no password is repeated");
    let again = server.operate(&["account", "import", &file, "--refused", report.to_str().unwrap()]);
    assert_eq!((&again["refused"], &again["resumed_after_line"]), (&json!(0), &json!(19)));
    assert_eq!(std::fs::read_to_string(&report).unwrap().lines().count(), reasons.len(), "what was told before is still there");
    let said = refuse(&server.data(), &["account", "import", &file, "--refused", &file], "");
    assert!(said.ends_with("accounts.jsonl is what is to be imported: name another file with --refused"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), lines.len(), "nothing of it is lost");
    let trail = server.operate(&["audit", "list"]);
    let whats: Vec<_> = trail.as_array().unwrap().iter().map(|entry| &entry["what"]).collect();
    assert!(whats.contains(&&json!("operator account import")), "{whats:?}");

    let csv = "email,scheme,verifier\na@example.com,plain\nb@example.com,plain,correct horse battery\n\"c@example.com\n";
    let file = write(folder.path(), "accounts.csv", csv);
    let summary = server.operate(&["account", "import", &file]);
    assert_eq!((&summary["imported"], &summary["refused"]), (&json!(1), &json!(2)), "{summary}");
    let file = write(folder.path(), "semicolons.csv", &csv.replace(',', ";"));
    let said = refuse(&server.data(), &["account", "import", &file], "");
    assert!(
        said.contains("semicolons.csv: its first line must name columns, separated by commas, but number 1 is none of"),
        "{said}"
    );
}

#[tokio::test]
async fn an_operators_mistake_is_one_sentence() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    operate(&data, &["app", "create"], "");
    let file = write(folder.path(), "accounts.txt", "");
    for (arguments, says) in [
        (&["account", "import", "/nowhere.csv"][..], "cannot read /nowhere.csv"),
        (&["account", "import", &file], "--format"),
        (&["account", "export", &file], "--format"),
        (&["account", "export", &file, "--format", "csv"], "cannot write"),
    ] {
        let sentence = refuse(&data, arguments, "");
        assert!(sentence.contains(says), "{sentence}");
    }
}

/// An import that is killed goes on where it was; each account is there once.
#[tokio::test]
async fn a_broken_off_import_goes_on() {
    let server = Server::serve(Arc::new(TempDir::new().unwrap()), &["--http", "127.0.0.1:0"], &[]);
    let count = 3000;
    let rows: String = (0..count).fold(String::from("username,scheme,verifier\n"), |mut text, number| {
        writeln!(text, "person{number:05},md5,88e4ddd2402d92d50e1879d6ecd9ffd4").unwrap();
        text
    });
    let file = write(server.folder().path(), "accounts.csv", &rows);
    let mut command = hearthgate_on(&server.data(), ["account", "import", &file]);
    let mut import = command.stdout(Stdio::null()).spawn().unwrap();
    // As soon as something is there, it is killed.
    while server.operate(&["account", "list", "--limit", "1"]) == json!([]) {
        assert!(import.try_wait().unwrap().is_none(), "it ended before it could be killed");
    }
    import.kill().unwrap();
    import.wait().unwrap();
    let summary = server.operate(&["account", "import", &file]);
    let (imported, resumed) = (summary["imported"].as_i64().unwrap(), summary["resumed_after_line"].as_i64().unwrap());
    assert_eq!((&summary["refused"], &summary["rows"]), (&json!(0), &json!(count)));
    assert_eq!(imported, count - (resumed - 1), "{summary}");
    assert!(resumed > 0);
    let listed = server.operate(&["account", "list", "--limit", "10000"]);
    assert_eq!(listed.as_array().unwrap().len(), usize::try_from(count).unwrap());
    let again = server.operate(&["account", "import", &file]);
    assert_eq!((&again["imported"], &again["refused"]), (&json!(0), &json!(0)), "and a third time there is nothing to do");
}

#[tokio::test]
async fn what_is_exported_can_be_imported_under_the_same_key_only() {
    let key = ("HEARTHGATE_MASTER_KEY", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    let old = Server::serve(Arc::new(TempDir::new().unwrap()), &["--http", "127.0.0.1:0"], &[key]);
    old.create_account(
        &["--username", "anna", "--email", "anna@example.com", "--display-name", "Anna, \"A\"", "--birthday", "1990-01-01"],
        PASSWORD,
    );
    old.create_account(&["--phone", "+8613100000001", "--region", "eu", "--activation", "pending"], PASSWORD);
    old.operate(&["account", "disable", "anna"]);
    for form in ["csv", "jsonl"] {
        let file = old.folder().path().join(format!("export.{form}"));
        let file = file.to_str().unwrap();
        assert_eq!(old.operate(&["account", "export", file])["exported"], 2);
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(file).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        let new = Server::serve(Arc::new(TempDir::new().unwrap()), &["--http", "127.0.0.1:0"], &[key]);
        assert_eq!(new.operate(&["account", "import", file])["imported"], 2);
        assert_eq!(new.operate(&["account", "list"]), old.operate(&["account", "list"]));
        new.operate(&["account", "enable", "anna"]);
        let guid = new.operate(&["device", "register", "phone", "--kind", "ios_phone"])["guid"].as_str().unwrap().to_owned();
        let body = json!({ "username": "anna", "password": md5(PASSWORD) });
        let reply = Panel::new(&new).with_cookies(&[("guid", &guid)]).json("/v2/accounts/login", &body).await;
        assert_eq!(reply.answer.text("/data/displayName"), "Anna, \"A\"");
        let stranger = Server::serve(Arc::new(TempDir::new().unwrap()), &["--http", "127.0.0.1:0"], &[]);
        assert_eq!(stranger.operate(&["account", "import", file])["refused"], 2);
    }
}

/// A verifier as it was before it named its key.
pub fn nameless(verifier: &str) -> String {
    let (before, after) = verifier.split_once(",keyid=").unwrap();
    format!("{before}{}", &after[after.find('$').unwrap()..])
}

/// Exports of before verifiers named their key, which stood beside them.
#[tokio::test]
async fn what_was_exported_with_its_key_beside_it_can_be_imported() {
    let server = Server::serve(Arc::new(TempDir::new().unwrap()), &["--http", "127.0.0.1:0"], &[]);
    server.create_account(&["--username", "anna", "--email", "anna@example.com"], PASSWORD);
    let verifier = nameless(&verifiers(&server).await[0].1);
    let key = server.operate(&["key", "list"])[0]["fingerprint"].clone();
    let row = |name: &str, key: &Value| json!({ "username": name, "scheme": "hearthgate", "verifier": verifier, "key": key });
    let rows = [row("bella", &key), row("carla", &json!("0123456789abcdef")), row("diana", &json!(7)), row("emma", &json!("x"))];
    let rows = rows.iter().fold(String::new(), |text, row| text + &row.to_string() + "\n");
    let file = write(server.folder().path(), "before.jsonl", &rows);
    let summary = server.operate(&["account", "import", &file]);
    assert_eq!((&summary["imported"], &summary["refused"]), (&json!(1), &json!(3)), "{summary}");
    let file =
        write(server.folder().path(), "before.csv", &format!("username,scheme,verifier,key\nfiona,hearthgate,\"{verifier}\",\n"));
    assert_eq!(server.operate(&["account", "import", &file])["imported"], 1);
    assert_eq!(server.operate(&["key", "list"])[0]["verifiers"], 3);
    let guid = server.operate(&["device", "register", "phone", "--kind", "ios_phone"])["guid"].as_str().unwrap().to_owned();
    for name in ["bella", "fiona"] {
        let body = json!({ "username": name, "password": md5(PASSWORD) });
        let reply = Panel::new(&server).with_cookies(&[("guid", &guid)]).json("/v2/accounts/login", &body).await;
        assert_eq!(reply.answer.body["code"], "1", "{name}");
    }
}

/// Many rows of every kind; `./test --long` makes it a hundred thousand.
#[tokio::test]
async fn one_of_many_of_each_kind_logs_in() {
    let count: usize = std::env::var("TEST_ROWS").map_or(3000, |count| count.parse().unwrap());
    let server = Server::dev();
    let file = server.folder().path().join("accounts.jsonl");
    let mut writer = std::io::BufWriter::new(std::fs::File::create(&file).unwrap());
    for number in 0..count {
        let (scheme, verifier, _) = KEPT[number % KEPT.len()];
        let row = json!({ "email": format!("person{number}@example.com"), "scheme": scheme, "verifier": verifier });
        std::io::Write::write_all(&mut writer, format!("{row}\n").as_bytes()).unwrap();
    }
    writer.into_inner().unwrap();
    let summary = server.operate(&["account", "import", file.to_str().unwrap()]);
    assert_eq!((&summary["imported"], &summary["refused"]), (&json!(count), &json!(0)));
    let ewelink = Ewelink::new(&server);
    for number in count - KEPT.len()..count {
        let email = format!("person{number}@example.com");
        let answer = ewelink.login(json!({ "phoneNumber": null, "email": email, "password": PASSWORD })).await;
        assert_eq!(answer.body["user"]["email"], email, "{:?}", KEPT[number % KEPT.len()]);
    }
}
