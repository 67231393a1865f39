//! Two regions with databases of their own, which share nothing but the directory, by PostgreSQL's logical replication.

use std::sync::Arc;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::cluster::Postgres;
use crate::support::app::App;
use crate::support::calls::{APPID, SECRET};
use crate::support::postgres::psql;
use crate::support::{Answer, Server, server};

const KEY: &str = "77c04b1e0cd0cb2a6d5b2fbfd0bb1dc97e7d1ab1c6d0b4fa6c6a1c1f8f9a3b21";
const PASSWORD: &str = "correct horse";

/// A region: its database server and a node.
struct Region {
    name: &'static str,
    postgres: Postgres,
    node: Server,
    app: App,
}

impl Region {
    /// `directory` is the URL of the directory's primary; this region's own database when there is none yet.
    fn start(name: &'static str, directory: Option<&str>) -> Self {
        let postgres = Postgres::start(&["wal_level=logical"]);
        postgres.run("postgres", "CREATE DATABASE hearthgate");
        let store = postgres.url("hearthgate");
        let pattern = format!("[\"{name}-api*.coolkit.cc\"]");
        let settings = [
            ("HEARTHGATE_STORE", store.as_str()),
            ("HEARTHGATE_DIRECTORY", directory.unwrap_or(&store)),
            ("HEARTHGATE_MASTER_KEY", KEY),
            ("HEARTHGATE_DEFAULT_REGION", name),
            (if name == "eu" { "HEARTHGATE_REGIONS__EU" } else { "HEARTHGATE_REGIONS__US" }, &pattern),
            ("HEARTHGATE_MESSAGES__OUTBOX", "true"),
            ("HEARTHGATE_DATABASE__TIMEOUT", "2s"),
        ];
        let node = Server::serve(Arc::new(TempDir::new().unwrap()), &["--http", "127.0.0.1:0"], &settings);
        let secret = node.folder().path().join("secret.txt");
        std::fs::write(&secret, SECRET).unwrap();
        node.operate(&["app", "create", "--appid", APPID, "--secret-file", secret.to_str().unwrap()]);
        let app = App::new(&node).at_host(&format!("{name}-api.coolkit.cc"));
        Self { name, postgres, node, app }
    }

    fn database(&self) -> String {
        self.postgres.url("hearthgate")
    }

    fn create(&self, email: &str) -> Value {
        self.node.create_account(&["--email", email], PASSWORD)
    }

    async fn log_in(&self, email: &str) -> Answer {
        self.app.v8("/api/user/login", json!({ "email": email, "password": PASSWORD })).await
    }

    async fn ask_for_code(&self, email: &str, kind: &str) -> Answer {
        self.app.v8("/api/sms", json!({ "sendType": kind, "email": email })).await
    }

    async fn register(&self, email: &str, code: &str) -> Answer {
        let body = json!({ "email": email, "verificationCode": code, "password": PASSWORD });
        self.app.v8("/api/user/register", body).await
    }

    /// Waits until the directory here has as many rows that fit.
    fn knows(&self, count: usize, condition: &str) {
        let query = format!("SELECT count(*) FROM directory WHERE identifier <> 'master key' AND ({condition})");
        let since = std::time::Instant::now();
        while psql(&self.database(), &query).unwrap() != count.to_string() {
            assert!(since.elapsed().as_secs() < 60, "{} never knew of {count} where {condition}", self.name);
        }
    }
}

/// Two regions, joined as `docs/scaling.md` says.
fn regions() -> (Region, Region) {
    let eu = Region::start("eu", None);
    let us = Region::start("us", Some(&eu.database()));
    let page = include_str!("../docs/scaling.md");
    let blocks: Vec<_> = page.split("```sql\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    let [publication, subscription] = blocks[..] else { panic!("one block for each side: {blocks:?}") };
    psql(&eu.database(), publication).unwrap();
    let (before, rest) = subscription.split_once("CONNECTION '").unwrap();
    let (_, after) = rest.split_once('\'').unwrap();
    let connection = format!("host=127.0.0.1 port={} dbname=hearthgate user=postgres", eu.postgres.port);
    psql(&us.database(), &format!("{before}CONNECTION '{connection}'{after}")).unwrap();
    (eu, us)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_in_the_wrong_region_is_sent_to_the_right_one() {
    let (eu, us) = regions();
    eu.create("anna@example.com");
    us.create("ben@example.com");
    us.knows(2, "true");
    assert_eq!(eu.log_in("anna@example.com").await.body["region"], "eu");
    assert_eq!(us.log_in("ben@example.com").await.body["region"], "us");
    for (here, there, email) in [(&us, "eu", "anna@example.com"), (&eu, "us", "ben@example.com")] {
        let elsewhere = json!({ "error": 301, "region": there });
        assert_eq!(here.log_in(email).await.body, elsewhere);
        assert_eq!(here.ask_for_code(email, "1").await.body, elsewhere, "a code for a reset");
        assert_eq!(here.ask_for_code(email, "0").await.body, json!({ "error": 409 }), "a code for a registration");
        let reset = json!({ "email": email, "verificationCode": "123456", "password": PASSWORD });
        assert_eq!(here.app.v8("/api/user/password/reset", reset).await.body, elsewhere);
    }
    assert_eq!(us.log_in("nobody@example.com").await.body, json!({ "error": 404 }));

    // Nothing about a person leaves the region.
    for (region, theirs, own) in [(&eu, "ben", "anna"), (&us, "anna", "ben")] {
        let kept = String::from_utf8(server::dump(&region.database())).unwrap();
        assert!(kept.contains(own) && !kept.contains(theirs), "{}", region.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identifier_is_one_regions_only() {
    let (eu, us) = regions();
    let emails: Vec<_> = (0..6).map(|person| format!("person{person}@example.com")).collect();
    for email in &emails {
        for region in [&eu, &us] {
            assert_eq!(region.ask_for_code(email, "0").await.body["error"], 0);
        }
    }
    let (eu, us) = (Arc::new(eu), Arc::new(us));
    let mut registrations = JoinSet::new();
    for email in &emails {
        for region in [&eu, &us] {
            let (region, email, code) = (Arc::clone(region), email.clone(), region.node.code_for(email));
            registrations.spawn(async move { (email.clone(), region.name, region.register(&email, &code).await.body) });
        }
    }
    let mut winners: Vec<_> = Vec::new();
    for (email, region, answer) in registrations.join_all().await {
        match answer["error"].as_u64() {
            None => winners.push((email, region)),
            error => assert_eq!(error, Some(409), "{answer}"),
        }
    }
    winners.sort();
    assert_eq!(winners.iter().map(|(email, _)| email).collect::<Vec<_>>(), emails.iter().collect::<Vec<_>>());
    us.knows(emails.len(), "true");
    for (email, region) in &winners {
        let (here, there) = if *region == "eu" { (&eu, &us) } else { (&us, &eu) };
        assert_eq!(here.log_in(email).await.body["region"], *region);
        assert_eq!(there.log_in(email).await.body, json!({ "error": 301, "region": region }));
        let said = server::refuse(&there.node.data(), &["account", "create", "--email", email], PASSWORD);
        assert!(said.contains("is registered already"), "an operator cannot either: {said}");
    }

    // Who closes an account gives its identifiers back.
    let (email, region) = &winners[0];
    let (here, there) = if *region == "eu" { (&eu, &us) } else { (&us, &eu) };
    let at = here.log_in(email).await.text("/at");
    psql(&here.database(), "UPDATE sendings SET sent_at = 0").unwrap();
    assert_eq!(here.ask_for_code(email, "3").await.body["error"], 0);
    let close = json!({ "verificationCode": here.node.code_for(email) });
    assert_eq!(here.app.v2_as(&at, Method::POST, "/v2/user/close-account", close).await.body["error"], 0);
    us.knows(emails.len() - 1, "true");
    there.create(email);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_cut_off_goes_on_but_registers_nobody() {
    let (eu, us) = regions();
    eu.create("anna@example.com");
    us.create("ben@example.com");
    us.knows(2, "true");
    let new = "carl@example.com";
    assert_eq!(us.ask_for_code(new, "0").await.body["error"], 0);
    let code = us.node.code_for(new);

    eu.postgres.signal(Signal::STOP);
    let ben = us.log_in("ben@example.com").await;
    assert_eq!(ben.body["region"], "us");
    assert_eq!(us.app.v8_get("/api/user/refresh", &[("rt", &ben.text("/rt"))]).await.text("/at").len(), 40);
    assert_eq!(us.log_in("anna@example.com").await.body, json!({ "error": 301, "region": "eu" }));
    let refused = us.register(new, &code).await;
    assert_eq!((refused.status, &refused.body, refused.retry_after), (503, &json!({ "error": 500 }), Some(1)));
    eu.postgres.signal(Signal::CONT);
    assert_eq!(us.register(new, &code).await.body["region"], "us", "nothing was half done, and the code is still good");
    us.knows(2, "region = 'us'");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_moves_with_all_that_is_its_own() {
    let (eu, us) = regions();
    let file = eu.node.folder().path().join("us.txt");
    std::fs::write(&file, format!("{}\n", us.database())).unwrap();
    let file = file.to_str().unwrap();
    eu.create("anna@example.com");
    let kept = |region: &Region| psql(&region.database(), "SELECT id, apikey, verifier FROM accounts").unwrap();
    let before = kept(&eu);
    eu.node.operate(&["cube", "register", "CUBE"]);
    eu.node.operate(&["cube", "bind", "CUBE", "anna@example.com"]);
    let at = eu.log_in("anna@example.com").await.text("/at");

    let moved = eu.node.operate(&["region", "move", "anna@example.com", "us", "--store-file", file]);
    assert_eq!(moved["region"], "us");
    assert_eq!(kept(&us), before, "ids and verifier");
    let profile = eu.app.v2_as(&at, Method::GET, "/v2/user/profile", Value::Null).await;
    assert_eq!(profile.body["error"], 401, "its sessions have ended");
    us.knows(1, "region = 'us'");
    assert_eq!(eu.log_in("anna@example.com").await.body, json!({ "error": 301, "region": "us" }));
    assert_eq!(us.log_in("anna@example.com").await.body["region"], "us");
    assert_eq!(us.node.operate(&["cube", "list"])[0]["account"], moved["account"]);
    assert_eq!(eu.node.operate(&["cube", "list"]), json!([]));
    assert_eq!(eu.node.operate(&["account", "list"]), json!([]));

    // Interrupted after any step, it is finished by asking again.
    for (step, interrupt) in
        ["UPDATE accounts SET region = 'us'", "UPDATE directory SET region = 'us' WHERE region = 'eu'"].iter().enumerate()
    {
        let email = format!("person{step}@example.com");
        eu.create(&email);
        psql(&eu.database(), interrupt).unwrap();
        assert_eq!(eu.node.operate(&["region", "move", &email, "us", "--store-file", file])["region"], "us");
        us.knows(0, "region = 'eu'");
        assert_eq!(us.log_in(&email).await.body["region"], "us");
        assert_eq!(eu.log_in(&email).await.body, json!({ "error": 301, "region": "us" }));
    }

    // What cannot arrive stays.
    eu.create("dora@example.com");
    for region in [&eu, &us] {
        region.node.operate(&["cube", "register", "TWIN"]);
    }
    eu.node.operate(&["cube", "bind", "TWIN", "dora@example.com"]);
    let refuse = |arguments: &[&str]| server::refuse(&eu.node.data(), arguments, "");
    let said = refuse(&["region", "move", "dora@example.com", "us", "--store-file", file]);
    assert_eq!(said, "hearthgate: something of it is registered in the other region already");
    assert_eq!(eu.log_in("dora@example.com").await.body["region"], "eu");
    assert!(refuse(&["region", "move", "dora@example.com", "us"]).contains("--store-file"));
    assert_eq!(refuse(&["region", "move", "nobody", "us"]), "hearthgate: there is no account \"nobody\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_is_brought_in_line() {
    let (eu, us) = regions();
    for person in 0..3 {
        eu.create(&format!("person{person}@example.com"));
    }
    us.create("ben@example.com");
    us.knows(4, "true");
    psql(&eu.database(), "DELETE FROM directory WHERE region = 'eu'").unwrap();
    psql(&eu.database(), "INSERT INTO directory VALUES ('left over', 'eu', 1), ('not ours', 'us', 1)").unwrap();
    us.knows(3, "true");
    let synced = eu.node.operate(&["region", "sync"]);
    assert_eq!(synced, json!({ "accounts": 3, "given_back": 1, "held_by_another_region": [] }));
    us.knows(5, "true");
    us.knows(3, "region = 'eu'");
    assert_eq!(us.log_in("person1@example.com").await.body, json!({ "error": 301, "region": "eu" }));
    psql(&eu.database(), "UPDATE directory SET region = 'eu' WHERE region = 'us' AND identifier <> 'not ours'").unwrap();
    let ben = us.node.operate(&["account", "show", "ben@example.com"])["account"].clone();
    assert_eq!(us.node.operate(&["region", "sync"])["held_by_another_region"], json!([ben]));
}

/// A region whose store begins with another key would know nobody, and be known to nobody: it is told so.
#[tokio::test(flavor = "multi_thread")]
async fn regions_begin_with_one_key() {
    let eu = Region::start("eu", None);
    let primary = eu.database();
    let [first, current] = [KEY.to_owned(), "5e".repeat(32)];
    let us = Postgres::start(&["wal_level=logical"]);
    us.run("postgres", "CREATE DATABASE hearthgate");
    let store = us.url("hearthgate");
    let start = |key: &str| {
        let mut command = server::hearthgate(["app", "list", "--data"]);
        let folder = TempDir::new().unwrap();
        let settings = [("STORE", &*store), ("DIRECTORY", &*primary), ("MASTER_KEY", key)];
        command.arg(folder.path()).envs(settings.map(|(name, value)| (format!("HEARTHGATE_{name}"), value)));
        let output = server::run(&mut command, "");
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (worked, said) = start(&current);
    assert!(
        !worked && said.contains("begin this region's store with the master key that the other regions began with"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    // As docs/scaling.md says.
    us.run("postgres", "DROP DATABASE hearthgate");
    us.run("postgres", "CREATE DATABASE hearthgate");
    assert_eq!(start(&first), (true, String::new()));
}

/// One process may serve several regions on one store; there a move is a change of a row.
#[tokio::test]
async fn an_account_moves_between_the_regions_of_one_store() {
    let server = Server::dev();
    let app = App::new(&server);
    let login = json!({ "phoneNumber": "+8613123456789", "password": "12345678" });
    let at = app.v8("/api/user/login", login.clone()).await.text("/at");
    assert_eq!(server.operate(&["region", "move", "+8613123456789", "eu"])["region"], "eu");
    assert_eq!(app.v2_as(&at, Method::GET, "/v2/user/profile", Value::Null).await.body["error"], 401);
    assert_eq!(app.v8("/api/user/login", login.clone()).await.body, json!({ "error": 301, "region": "eu" }));
    assert_eq!(app.at_host("eu-api.coolkit.cc").v8("/api/user/login", login).await.body["region"], "eu");
    let said = server::refuse(&server.data(), &["region", "move", "+8613123456789", "mars"], "");
    assert_eq!(said, "hearthgate: region mars is not served here: name the file with its store's URL with --store-file");
    let said = server::refuse(&server.data(), &["region", "sync"], "");
    assert_eq!(said, "hearthgate: there is no directory: set directory to the URL of its primary");
}
