//! The operator's commands: on a running server, and on the data folder itself.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::calls::{APPID, CUBE};
use crate::support::server::{hearthgate, hearthgate_on, operate, refuse, run, store_of, under};
use crate::support::{Ewelink, Server};

/// Each command once, with what it answers. The same script runs beside a running server and without one.
fn script(data: &Path) {
    let secret = data.parent().unwrap().join("secret");
    std::fs::write(&secret, "an-existing-secret-of-a-fleet").unwrap();
    let password = data.parent().unwrap().join("password");
    std::fs::write(&password, "from a file\r\n").unwrap();
    let run = |arguments: &[&str]| operate(data, arguments, "from standard input\n");

    let made = run(&["app", "create", "--name", "fleet", "--appid", "fleet-app", "--secret-file", secret.to_str().unwrap()]);
    assert_eq!((&made["appid"], &made["secret"]), (&json!("fleet-app"), &json!("an-existing-secret-of-a-fleet")));
    let drawn = run(&["app", "create", "--profile", "strict"]);
    assert_eq!(drawn["name"], drawn["appid"]);
    assert_eq!((drawn["appid"].as_str().unwrap().len(), drawn["secret"].as_str().unwrap().len()), (32, 32));
    let mut shown = made.clone();
    shown.as_object_mut().unwrap().remove("secret");
    assert_eq!(run(&["app", "show", "fleet-app"]), shown, "a secret is shown once");
    assert!(run(&["app", "list"]).as_array().unwrap().contains(&shown));
    assert_eq!(run(&["app", "disable", "fleet-app"])["enabled"], false);
    assert_eq!(run(&["app", "enable", "fleet-app"])["enabled"], true);

    let anna = run(&[
        "account",
        "create",
        "--username",
        "anna",
        "--email",
        "A@b.example",
        "--phone",
        "+8618812345678",
        "--region",
        "eu",
        "--activation",
        "pending",
    ]);
    let given = ["username", "email", "phone", "region", "activation", "enabled"].map(|name| anna[name].clone());
    assert_eq!(json!(given), json!(["anna", "a@b.example", "+8618812345678", "eu", "pending", true]));
    let number = anna["account"].to_string();
    for name in ["anna", "A@B.EXAMPLE", "+8618812345678", number.as_str()] {
        assert_eq!(run(&["account", "show", name]), anna, "{name}");
    }
    assert_eq!(run(&["account", "activate", "anna"])["activation"], "active");
    assert_eq!(run(&["account", "disable", "anna"])["enabled"], false);
    assert_eq!(run(&["account", "enable", "anna"])["enabled"], true);
    run(&["account", "set-password", "anna", "--password-file", password.to_str().unwrap()]);
    let ben = run(&["account", "create", "--username", "ben", "--password-file", password.to_str().unwrap()]);
    assert_eq!(ben["region"], "cn", "the default region");
    let after = run(&["account", "list", "--after", &number, "--limit", "1"]);
    assert_eq!(after, json!([ben]));

    let touch = run(&["device", "register", "SN-TOUCH", "--kind", "oomi_touch", "--app-version", "V2.0"]);
    assert_eq!((&touch["sn"], touch["guid"].as_str().unwrap().len()), (&json!("SN-TOUCH"), 32));
    assert!(run(&["device", "list"]).as_array().unwrap().contains(&touch));

    let cube = run(&["cube", "register", "SN-CUBE", "--kind", "oomi_hub", "--min-version", "2.0"]);
    assert_eq!((&cube["kind"], &cube["min_version"], &cube["account"]), (&json!("oomi_hub"), &json!("2.0"), &Value::Null));
    assert_eq!(run(&["cube", "set-min-version", "SN-CUBE", "v3"])["min_version"], "v3");
    assert_eq!(run(&["cube", "set-min-version", "SN-CUBE"])["min_version"], Value::Null);
    for _ in 0..2 {
        assert_eq!(run(&["cube", "bind", "SN-CUBE", "anna"])["account"], anna["account"], "binding twice is binding");
    }
    let said = refuse(data, &["cube", "bind", "SN-CUBE", "ben"], "");
    assert_eq!(said, format!("hearthgate: gateway SN-CUBE is bound to account {number} already; unbind it first"));
    for _ in 0..2 {
        assert_eq!(run(&["cube", "unbind", "SN-CUBE"])["account"], Value::Null);
    }
    assert_eq!(run(&["session", "list", "--account", "anna"]), json!([]));
}

/// Each refusal is one sentence, and changes nothing.
fn refusals(data: &Path) {
    let before = ["app", "account", "device", "cube", "session"].map(|thing| operate(data, &[thing, "list"], ""));
    for (arguments, input, sentence) in [
        (&["app", "create", "--name", "x", "--appid", "fleet-app"][..], "", "application fleet-app is registered already"),
        (&["app", "create", "--name", "a\nb"], "", "a text has control characters or more than 255 characters"),
        (&["app", "show", "nobody"], "", "there is no application nobody"),
        (&["app", "disable", "nobody"], "", "there is no application nobody"),
        (
            &["app", "create", "--name", "x", "--secret-file", "/nowhere"],
            "",
            "cannot read /nowhere: No such file or directory (os error 2)",
        ),
        (&["account", "create", "--username", "anna"], "long enough", "anna is registered already"),
        (
            &["account", "create", "--username", "new", "--email", "a@B.example"],
            "long enough",
            "one of new, a@b.example is registered already",
        ),
        (
            &["account", "create", "--username", "13123456789"],
            "long enough",
            "\"13123456789\" looks like a phone number (6 to 15 digits, or a leading +)",
        ),
        (&["account", "create", "--username", "a@b"], "long enough", "\"a@b\" holds an @, like an e-mail address"),
        (&["account", "create", "--email", "nobody"], "long enough", "the e-mail address is not an e-mail address"),
        (&["account", "create", "--email", "a@"], "long enough", "\"a@\" is not an e-mail address"),
        (
            &["account", "create", "--phone", "+999123"],
            "long enough",
            "\"+999123\" is not a phone number with its country code (such as +8613123456789)",
        ),
        (
            &["account", "create", "--username", "x", "--region", "mars"],
            "long enough",
            "region mars is not served here (cn, as, eu, us)",
        ),
        (&["account", "create", "--username", "x"], "short", "the password is shorter than 8 characters"),
        (&["account", "create", "--username", "x"], "", "the password is empty"),
        (&["account", "set-password", "anna"], "short", "the password is shorter than 8 characters"),
        (&["account", "set-password", "nobody"], "long enough", "there is no account \"nobody\""),
        (&["account", "show", "999"], "", "there is no account \"999\""),
        (&["account", "activate", "nobody"], "", "there is no account \"nobody\""),
        (&["account", "list", "--after", "x"], "", "--after names no entry of this list"),
        (&["device", "register", "SN-TOUCH", "--kind", "ios_phone"], "", "device SN-TOUCH is registered already"),
        (&["cube", "register", "SN-CUBE"], "", "gateway SN-CUBE is registered already"),
        (&["cube", "bind", "nothing", "anna"], "", "there is no gateway nothing"),
        (&["cube", "bind", "SN-CUBE", "nobody"], "", "there is no account \"nobody\""),
        (&["cube", "unbind", "nothing"], "", "there is no gateway nothing"),
        (&["cube", "set-min-version", "nothing"], "", "there is no gateway nothing"),
        (&["session", "revoke", "000000000000000000000000"], "", "there is no session 000000000000000000000000"),
    ] {
        assert_eq!(refuse(data, arguments, input), format!("hearthgate: {sentence}"), "{arguments:?}");
    }
    let after = ["app", "account", "device", "cube", "session"].map(|thing| operate(data, &[thing, "list"], ""));
    assert_eq!(after, before);
}

#[test]
fn on_a_running_server() {
    let server = Server::dev();
    script(&server.data());
    refusals(&server.data());
    assert!(server.log.all().iter().any(|line| line.contains("an operator's command")));
}

#[test]
fn on_the_data_folder_itself() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    script(&data);
    refusals(&data);
    assert_eq!(std::fs::metadata(data.join("master.key")).unwrap().permissions().mode() & 0o777, 0o600);
}

/// What was made by hand logs in: an operator brings a fleet along.
#[tokio::test]
async fn a_fleet_brought_along_logs_in() {
    let folder = std::sync::Arc::new(TempDir::new().unwrap());
    let data = folder.path().join("data");
    script(&data);
    let server = Server::serve(folder, &["--http", "127.0.0.1:0"], &[]);
    let mut ewelink = Ewelink::new(&server).at_host("eu-api.coolkit.cc");
    ewelink.secret = "an-existing-secret-of-a-fleet".into();
    let login = |password: &str| json!({ "appid": "fleet-app", "phoneNumber": "+8618812345678", "password": password });
    assert_eq!(ewelink.login(login("from a file")).await.body["region"], "eu", "set from a file");
    assert_eq!(ewelink.login(login("from standard input")).await.body, json!({ "error": 401 }), "the one before");
    let by_email = json!({ "appid": "fleet-app", "phoneNumber": null, "email": "a@b.example", "password": "from a file" });
    assert_eq!(ewelink.login(by_email).await.body["region"], "eu");
}

#[tokio::test]
async fn sessions_end_when_an_operator_says_so() {
    let server = Server::dev();
    let ewelink = Ewelink::new(&server);
    let sessions = || server.operate(&["session", "list"]).as_array().unwrap().len();
    for end in [&["account", "disable", "1"][..], &["app", "disable", APPID]] {
        ewelink.login(json!({})).await;
        assert_eq!(sessions(), 1);
        server.operate(end);
        assert_eq!(sessions(), 0, "{end:?}");
        server.operate(&[end[0], "enable", end[2]]);
    }
    ewelink.login(json!({})).await;
    let id = server.operate(&["session", "list"])[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(server.operate(&["session", "revoke", &id]), json!({ "revoked": id }));
    assert_eq!(sessions(), 0);
}

#[test]
fn for_people_it_prints_tables() {
    let server = Server::dev();
    let shown = |arguments: &[&str]| {
        let output = run(&mut hearthgate_on(&server.data(), arguments), "");
        String::from_utf8(output.stdout).unwrap()
    };
    let list = shown(&["cube", "list"]);
    let words: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().take(4).collect()).collect();
    assert_eq!(words, [["sn", "kind", "name", "account"], [CUBE, "oomi_cube", "-", "-"]]);
    assert_eq!(shown(&["session", "list"]), "none\n");
    assert!(
        shown(&["account", "show", "apilogin"]).lines().any(|line| line.split_whitespace().eq(["email", "apilogin@example.com"]))
    );
}

/// At a terminal, the password is asked for twice and not shown.
#[test]
fn a_person_is_asked_for_the_password() {
    let server = Server::dev();
    let ask = |name: &str, typed: &str| {
        let program = env!("CARGO_BIN_EXE_hearthgate");
        let command = format!("{program} account create --username {name} --data {}", server.data().display());
        let mut terminal = std::process::Command::new("script");
        let output = run(terminal.args(["--quiet", "--return", "--echo", "never", "--command", &command, "/dev/null"]), typed);
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (made, shown) = ask("anna", "correct horse\ncorrect horse\n");
    assert!(made && shown.contains("Password: ") && shown.contains("Once more: "), "{shown}");
    assert!(!shown.contains("horse"), "{shown}");
    assert_eq!(server.operate(&["account", "show", "anna"])["username"], "anna");
    let (made, shown) = ask("ben", "correct horse\nanother horse\n");
    assert!(!made && shown.contains("hearthgate: the two passwords differ"), "{shown}");
    refuse(&server.data(), &["account", "show", "ben"], "");
}

/// A mistake on the command line is explained, and a password cannot be given there.
#[test]
fn mistakes_are_explained() {
    for (arguments, said) in [
        (&["nonsense"][..], "unrecognized subcommand 'nonsense'"),
        (&["account", "create", "--region", "eu"], "<--username <USERNAME>|--email <EMAIL>|--phone <PHONE>>"),
        (&["account", "create", "--username", "x", "--birthday", "1990-02-30"], "is not a day of the calendar (YYYY-MM-DD)"),
        (&["account", "create", "--username", "x", "--password", "secret"], "unexpected argument '--password'"),
        (&["device", "register", "x", "--kind", "toaster"], "is not a kind of device (oomi_touch, android_phone or ios_phone)"),
        (&["cube", "set-min-version", "x", "new"], "is not a version (dotted numbers, such as V2.0.4.15)"),
        (&["session", "revoke", "x"], "is not an object id (24 hex digits)"),
        (&["app", "list", "--limit", "0"], "0 is not in 1..=10000"),
    ] {
        let output = run(&mut hearthgate(arguments), "");
        assert!(!output.status.success(), "{arguments:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
    let help = run(&mut hearthgate(["--help"]), "");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for command in ["serve", "dev", "config", "app", "account", "device", "cube", "session"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command} is in --help: {help}");
    }
}

#[test]
fn the_configuration() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("hearthgate.toml");
    let secret = folder.path().join("key");
    std::fs::write(&secret, "ab".repeat(32)).unwrap();
    // As containers are given secrets.
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o444)).unwrap();
    std::fs::write(
        &file,
        "data = '/srv/a'\n[listen]\nhttp = '127.0.0.1:1'\n[hash]\niterations = 3\n[regions]\ncn = ['*.example']\n",
    )
    .unwrap();
    let check = |settings: &[(&str, &str)], arguments: &[&str]| {
        let mut command = hearthgate(["config", "check", "--config", file.to_str().unwrap()]);
        command.env_remove("HEARTHGATE_HASH__MEMORY_KIB").env_remove("HEARTHGATE_HASH__ITERATIONS");
        run(command.args(arguments).envs(settings.iter().copied()), "")
    };
    let shown = |settings: &[(&str, &str)], arguments: &[&str]| -> Value {
        let output = check(settings, &[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    };
    let plain = shown(&[], &[]);
    assert_eq!(
        (&plain["data"], &plain["hash"]["iterations"], &plain["regions"]),
        (&json!("/srv/a"), &json!(3), &json!({ "cn": ["*.example"] }))
    );
    assert_eq!(plain["hash"]["memory_kib"], 19456, "what is not said is as by default");
    let environment = [
        ("HEARTHGATE_DATA", "/srv/b"),
        ("HEARTHGATE_LISTEN__HTTP", "127.0.0.1:2"),
        ("HEARTHGATE_MASTER_KEY_FILE", secret.to_str().unwrap()),
    ];
    let over = shown(&environment, &[]);
    assert_eq!(
        (&over["data"], &over["listen"]["http"]),
        (&json!("/srv/b"), &json!("127.0.0.1:2")),
        "the environment goes before the file"
    );
    assert!(!over.to_string().contains("abab"), "the key is not shown");
    assert_eq!(shown(&environment, &["--data", "/srv/c"])["data"], "/srv/c", "the command line goes before the environment");
    let text = check(&[], &[]).stdout;
    let again: toml::Table = String::from_utf8(text).unwrap().parse().unwrap();
    assert_eq!(again["hash"]["iterations"].as_integer(), Some(3));

    for (settings, said) in [
        (("HEARTHGATE_LISTEN__HTP", "x"), "the configuration is wrong: HEARTHGATE_LISTEN__HTP: unknown field `htp`"),
        // What Kubernetes sets for a service of the same name.
        (
            ("HEARTHGATE_PORT", "tcp://10.0.0.1:8080"),
            "the configuration is wrong: HEARTHGATE_PORT: unknown field `port`, expected one of `data`",
        ),
        (("HEARTHGATE_PORT_8080_TCP_ADDR", "10.0.0.1"), "HEARTHGATE_PORT_8080_TCP_ADDR: unknown field"),
        (("HEARTHGATE_HASH__MEMORY_KIB", "lots"), "invalid type"),
        (("HEARTHGATE_HASH__MEMORY_KIB", "1"), "hash.memory_kib must be 8 to 1048576"),
        (("HEARTHGATE_DEFAULT_REGION", "eu"), "default_region is eu, which is not one of [regions]"),
        (("HEARTHGATE_MASTER_KEY_FILE", "/nowhere"), "cannot read /nowhere, which HEARTHGATE_MASTER_KEY_FILE names"),
        (("HEARTHGATE_MASTER_KEY", "short"), "master_key: is not a key of 64 hex digits"),
        (("HEARTHGATE_LISTEN__BODY_TIMEOUT", "0s"), "must be longer than 0"),
        (("HEARTHGATE_GEOIP", "/nowhere"), "cannot read the GeoIP database /nowhere"),
    ] {
        let output = check(&[settings], &[]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(said), "{settings:?}: {text}");
        assert_eq!(text.lines().count(), 1, "one sentence: {text}");
    }
    std::fs::write(&file, "[listen]\nhtp = 'x'").unwrap();
    let said = String::from_utf8(check(&[], &[]).stderr).unwrap();
    let wrong = format!("hearthgate: the configuration is wrong: {}: unknown field `htp`", file.display());
    assert!(said.starts_with(&wrong) && said.ends_with(" in `listen`\n"), "{said}");
    std::fs::write(&file, "listen = [").unwrap();
    let said = String::from_utf8(check(&[], &[]).stderr).unwrap();
    assert!(said.contains("is not TOML") && said.contains("line 1, column 11") && said.lines().count() == 1, "{said}");
}

/// What `serve` would refuse is refused by `config check`, in the same words.
#[test]
fn what_serve_refuses_is_refused_before() {
    let folder = TempDir::new().unwrap();
    let refused = |arguments: &[&str], settings: &[(&str, &str)]| {
        let mut command = hearthgate(arguments);
        let output = run(command.arg("--data").arg(folder.path().join("data")).envs(settings.iter().copied()), "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{settings:?}: {said}");
        assert!(said.lines().count() == 1 && !said.contains("hush"), "{said}");
        said
    };
    let (store, directory) = ("HEARTHGATE_STORE", "HEARTHGATE_DIRECTORY");
    for (settings, wrong) in [
        (&[("HEARTHGATE_HASH__THREADS", "1025")][..], "hash.threads at most 1024"),
        (&[("HEARTHGATE_HASH__MEMORY_KIB", "1048577")], "hash.memory_kib must be 8 to 1048576"),
        (&[("HEARTHGATE_HASH__ITERATIONS", "101")], "hash.iterations 1 to 100"),
        (&[(store, "mysql://me:hush@127.0.0.1/x")], "store: it is not of the form postgres://"),
        (&[(store, "postgres://me:hush@db.example.com/x?sslmode=disable")], "store: the sslmode does not check who"),
        (&[(store, "postgres://me@127.0.0.1/x?pasword=hush")], "an unknown parameter, \"pasword\""),
        (&[(store, "postgres://me@127.0.0.1/x"), (directory, "mysql://me:hush@127.0.0.1/x")], "directory: "),
        (&[("HEARTHGATE_LISTEN__METRICS", "127.0.0.1:8080")], "[listen] has 127.0.0.1:8080 twice"),
    ] {
        let said = refused(&["config", "check"], settings);
        assert!(said.contains(wrong), "{said}");
        assert_eq!(refused(&["serve"], settings), said);
    }
}

/// A system that gives no more threads is told of, in one sentence.
#[test]
fn too_many_threads_are_refused() {
    let folder = TempDir::new().unwrap();
    // Later than what the runtime begins with.
    let failing =
        ["strace", "-f", "-e", "trace=clone,clone3", "-e", "inject=clone,clone3:error=EAGAIN:when=200+", "-o", "/dev/null"];
    let mut command = hearthgate(["serve", "--http", "127.0.0.1:0", "--data"]);
    command.arg(folder.path().join("data")).env("HEARTHGATE_HASH__THREADS", "400");
    let output = run(&mut under(&failing, command), "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("the system does not give 400 threads (Resource temporarily unavailable") && said.lines().count() == 1,
        "{said}"
    );
}

/// What is shown is what is in force, but for secrets.
#[test]
fn what_is_in_force_is_shown() {
    let shown = |settings: &[(&str, &str)]| -> Value {
        let output = run(hearthgate(["config", "check", "--json"]).envs(settings.iter().copied()), "");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    };
    let plain = shown(&[]);
    assert_eq!((&plain["listen"]["http"], &plain["store"]), (&json!("127.0.0.1:8080"), &Value::Null));
    let stores = [
        ("HEARTHGATE_STORE", "postgres://me:hush@127.0.0.1:1/x?password=hush&dbname=y"),
        ("HEARTHGATE_DIRECTORY", "postgres://me:hush@db.example.com/x"),
    ];
    let configured = shown(&stores);
    assert_eq!(configured["store"], "postgres://me@127.0.0.1:1/x?dbname=y");
    assert_eq!(configured["directory"], "postgres://me@db.example.com/x?sslmode=verify-full");
    assert!(!configured.to_string().contains("hush"));
    let text = run(hearthgate(["config", "check"]).envs(stores), "").stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("store = \"postgres://me@127.0.0.1:1/x?dbname=y\"") && !text.contains("hush"), "{text}");
}

/// A value of any type for a secret is either taken or refused, but never repeated; the environment has texts only.
#[test]
fn secrets_are_never_repeated() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("hearthgate.toml");
    let check = |text: &str, settings: &[(&str, &str)]| {
        std::fs::write(&file, text).unwrap();
        let mut command = hearthgate(["config", "check", "--json", "--config", file.to_str().unwrap()]);
        let output = run(command.envs(settings.iter().copied()), "");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!said.contains("77553311"), "{said}");
        (output.status.success(), said)
    };
    let sections = |mail: &str, rabbitmq: &str| {
        format!(
            "[mail]\nhost = 'localhost'\nfrom = 'a@b.example'\n{mail}\n\
             [sms]\nurl = 'http://127.0.0.1/'\n\
             [mqtt.rabbitmq]\nmanagement = 'http://127.0.0.1/'\nuser = 'a'\n{rabbitmq}"
        )
    };
    let whole = sections("user = 'a'\npassword = 'b'", "password = 'c'");
    for value in ["77553311", "77553311.5", "true", "[77553311]", "'x 77553311'"] {
        let names = ["HEARTHGATE_MAIL__PASSWORD", "HEARTHGATE_MQTT__RABBITMQ__PASSWORD", "HEARTHGATE_MESSAGES__PRODUCT"];
        let taken = check(&whole, &names.map(|name| (name, if name.ends_with("PRODUCT") { "365" } else { value })));
        assert!(taken.0 && taken.1.contains("\"product\": \"365\""), "{}", taken.1);
        for name in ["HEARTHGATE_MASTER_KEY", "HEARTHGATE_MAIL", "HEARTHGATE_MQTT__RABBITMQ", "HEARTHGATE_SMS__HEADERS"] {
            assert!(!check(&whole, &[(name, value)]).0, "{name}");
        }
    }
    for value in ["77553311", "77553311.5", "[77553311]", "{ a = 77553311 }", "'77553311", "77553311x"] {
        for text in [
            sections(&format!("password = {value}"), "password = 'c'"),
            sections("", &format!("password = {value}")),
            format!("master_key = {value}"),
            format!("store = {value}"),
            format!("[sms]\nurl = {value}"),
            format!("[sms]\nurl = 'http://127.0.0.1/'\nheaders = {{ a = {value} }}"),
        ] {
            assert!(!check(&text, &[]).0, "{text}");
        }
    }
}

/// The complete file in the documentation loads as it stands, and says what it says there.
#[test]
fn the_documented_configuration_loads() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("hearthgate.toml");
    let block =
        |number| include_str!("../docs/configuration.md").split("```toml\n").nth(number).unwrap().split("```").next().unwrap();
    // Mail and SMS after the rest: they are tables. What it listens with, and whom it trusts, is not on this machine.
    let (messages, rest) = (block(2).replace("public_url", "# public_url"), block(3));
    let text: String = block(1)
        .lines()
        .chain(rest.lines())
        .chain(messages.lines())
        .filter(|line| !["cert", "key", "ca ="].iter().any(|absent| line.starts_with(absent)))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&file, text.replace("https =", "http =")).unwrap();
    let output = run(hearthgate(["config", "check", "--json", "--config"]).arg(&file), "");
    let shown: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(
        (&shown["default_region"], &shown["log"]["format"], &shown["ewelink"]["max_clock_skew"]),
        (&json!("eu"), &json!("json"), &json!("10m"))
    );
    assert_eq!((&shown["mail"]["host"], &shown["mail"]["tls"]), (&json!("mail.example.com"), &json!("starttls")));
    assert!(
        shown["sms"]["body"].is_string() && !shown.to_string().contains('…') && !shown.to_string().contains("secret"),
        "no secret is shown: {shown}"
    );
}

/// The documented commands can be pasted one after another.
#[test]
fn the_documented_commands_work() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("secret.txt"), "an-existing-secret").unwrap();
    std::fs::write(folder.path().join("password.txt"), "correct horse").unwrap();
    let rows = "email,scheme,verifier\ncarl@example.com,md5,e10adc3949ba59abbe56e057f20f883e\n";
    std::fs::write(folder.path().join("accounts.csv"), rows).unwrap();
    let block = |heading: &str| {
        let page = include_str!("../docs/operating.md").split(heading).nth(1).unwrap();
        page.split("```sh\n").nth(1).unwrap().split("```").next().unwrap()
    };
    let (commands, transfer) = (block("## Commands"), block("## Accounts from elsewhere"));
    let script = format!("hearthgate() {{ \"$PROGRAM\" \"$@\"; }}\n{commands}{transfer}");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-euc", &script]).current_dir(folder.path());
    shell.env("PROGRAM", env!("CARGO_BIN_EXE_hearthgate")).env("HEARTHGATE_HASH__MEMORY_KIB", "8");
    let data = folder.path().join("hearthgate-data");
    shell.envs(store_of(&data));
    let output = run(&mut shell, "correct horse");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ben = operate(&data, &["account", "show", "ben"], "");
    assert_eq!((&ben["activation"], &ben["enabled"]), (&json!("active"), &json!(false)));
    assert_eq!(operate(&data, &["app", "show", "EXISTING"], "")["profile"], "strict");
    assert_eq!(operate(&data, &["account", "show", "carl@example.com"], "")["activation"], "active");
    assert_eq!(std::fs::read_to_string(folder.path().join("accounts.jsonl")).unwrap().lines().count(), 3);
}

/// Whoever reads an answer may have read enough of it; where it cannot be written, it says what was done.
#[test]
fn an_answer_that_nobody_reads_is_no_crash() {
    let server = Server::dev();
    let answered = |arguments: &[&str], out: Stdio| {
        let output = hearthgate_on(&server.data(), arguments).stdout(out).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(answered(&["account", "list"], closed.into()), (Some(0), String::new()));
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap().into();
    let (code, said) = answered(&["app", "create", "--appid", "there"], full());
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.starts_with("hearthgate: it is done, but the answer cannot be printed: "), "{said}");
    assert_eq!(server.operate(&["app", "show", "there"])["appid"], "there");
    assert_eq!(answered(&["config", "check"], full()).0, Some(1));
}
