//! MQTT brokers: a real RabbitMQ with the documented configuration, and EMQX's calls at the wire.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::RequestBuilder;
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeReasonCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::app::App;
use crate::support::calls::{APPID, CUBE, TOUCH};
use crate::support::guard::read;
use crate::support::ports::free_port;
use crate::support::server::{Lines, run};
use crate::support::{Fantem, Server, client};

const PHONE: &str = "+8613123456789";

/// The longest that a broker may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A RabbitMQ with the documented configuration.
struct RabbitMq {
    script: Child,
    folder: TempDir,
    mqtt: u16,
    epmd: u16,
}

impl RabbitMq {
    fn start(server: &Server, mqtt: u16, management: u16) -> Self {
        let folder = TempDir::new().unwrap();
        // It runs as a user of its own, where it may.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let documented = |name: &str| {
            let path = format!("{}/../../docs/integrate/{name}", env!("CARGO_MANIFEST_DIR"));
            fs::read_to_string(path).unwrap()
        };
        let conf = documented("rabbitmq.conf").replace("127.0.0.1:1883", &format!("127.0.0.1:{mqtt}"));
        let conf = conf.replace("= 15672", &format!("= {management}")).replace("127.0.0.1:8080", server.address());
        fs::write(folder.path().join("rabbitmq.conf"), conf + "log.console = true\n").unwrap();
        fs::write(folder.path().join("plugins"), documented("rabbitmq-enabled-plugins")).unwrap();
        let epmd = free_port();
        let mut command = if rustix::process::getuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=rabbitmq", "--regid=rabbitmq", "--clear-groups", "/usr/lib/rabbitmq/bin/rabbitmq-server"]);
            command
        } else {
            Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server")
        };
        for (name, file) in [
            ("HOME", ""),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
            ("RABBITMQ_MNESIA_BASE", "mnesia"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_PID_FILE", "pid"),
        ] {
            command.env(name, folder.path().join(file));
        }
        command
            .env("RABBITMQ_NODENAME", format!("hearthgate{mqtt}@localhost"))
            .env("RABBITMQ_DIST_PORT", free_port().to_string());
        command.env("ERL_EPMD_PORT", epmd.to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut script = command.spawn().expect("rabbitmq-server is installed by ./test");
        let out = Lines::follow(script.stdout.take().unwrap());
        let rabbit = Self { script, folder, mqtt, epmd };
        out.wait_for(|line| line.contains("Server startup complete"));
        rabbit
    }

    /// The broker's process; the script that started it waits for it.
    fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.folder.path().join("pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// A client that connects.
    async fn connect(&self, user: &str, password: &str, id: &str) -> Result<Mqtt, ConnectionError> {
        let mut options = MqttOptions::new(id, "127.0.0.1", self.mqtt);
        options.set_credentials(user, password).set_keep_alive(Duration::from_secs(30));
        let (client, events) = AsyncClient::new(options, 100);
        let mut mqtt = Mqtt { client, events };
        mqtt.until(|packet| matches!(packet, Packet::ConnAck(_)).then_some(())).await?;
        Ok(mqtt)
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            kill_process(pid, Signal::TERM).ok();
        }
        drop(self.script.wait());
        // Erlang's port mapper outlives whoever started it.
        run(Command::new("epmd").args(["-port", &self.epmd.to_string(), "-kill"]), "");
    }
}

/// A connected client.
struct Mqtt {
    client: AsyncClient,
    events: EventLoop,
}

impl Mqtt {
    /// Waits for a packet from the broker; an error when the connection ends instead.
    async fn until<T>(&mut self, mut is_it: impl FnMut(Packet) -> Option<T>) -> Result<T, ConnectionError> {
        let waiting = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await?
                    && let Some(found) = is_it(packet)
                {
                    return Ok(found);
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the broker answers")
    }

    /// Whether the broker lets it subscribe.
    async fn subscribes(&mut self, filter: &str) -> bool {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        let granted = self.until(|packet| match packet {
            Packet::SubAck(ack) => Some(ack.return_codes.iter().all(|code| *code != SubscribeReasonCode::Failure)),
            _ => None,
        });
        granted.await.unwrap_or(false)
    }

    /// Whether the broker takes what it publishes.
    async fn publishes(&mut self, topic: &str) -> bool {
        self.client.publish(topic, QoS::AtLeastOnce, false, "hello").await.unwrap();
        self.until(|packet| matches!(packet, Packet::PubAck(_)).then_some(())).await.is_ok()
    }

    /// Waits for a message and returns its topic.
    async fn hears(&mut self) -> String {
        let heard = self.until(|packet| if let Packet::Publish(message) = packet { Some(message.topic) } else { None });
        heard.await.unwrap()
    }
}

/// A server with the documented configuration, and a RabbitMQ that asks it.
fn start() -> (Server, RabbitMq) {
    let (mqtt, management) = (free_port(), free_port());
    let path = format!("{}/../../docs/integrate/rabbitmq.toml", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap().replace("15672", &management.to_string());
    let folder = std::sync::Arc::new(TempDir::new().unwrap());
    let file = folder.path().join("hearthgate.toml");
    fs::write(&file, text).unwrap();
    let server = Server::dev_in(folder, &[("HEARTHGATE_CONFIG", file.to_str().unwrap())]);
    let rabbit = RabbitMq::start(&server, mqtt, management);
    (server, rabbit)
}

fn apikey(server: &Server, account: &str) -> String {
    server.operate(&["account", "show", account])["apikey"].as_str().unwrap().to_owned()
}

async fn log_in(server: &Server) -> String {
    App::new(server).v8("/api/user/login", json!({ "phoneNumber": PHONE, "password": "12345678" })).await.text("/at")
}

async fn fantem_token(server: &Server) -> String {
    Fantem::new(server).login(&[]).await.text("/data/accountToken")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_reach_their_own_topics_only() {
    let (server, rabbit) = start();
    let (anna, ben) = (apikey(&server, PHONE), apikey(&server, "apilogin"));
    let (at, aat) = (log_in(&server).await, fantem_token(&server).await);
    let (app, panel) = (format!("{anna}/{APPID}"), format!("{ben}/{TOUCH}"));
    let cubes = server.operate(&["cube", "list"]);
    let cube = cubes.as_array().unwrap().iter().find(|cube| cube["sn"] == CUBE).unwrap()["guid"].as_str().unwrap().to_owned();

    for (user, password, id, what) in [
        (app.as_str(), "wrong", app.as_str(), "a wrong token"),
        (&app, &aat, &app, "another's token"),
        (&panel, &at, &panel, "another's name"),
        (&app, &at, "somebody", "an id of one's own choice"),
        (&app, &at, &format!("{app}more"), "an id that only begins so"),
        (&anna, &at, &anna, "no client in the name"),
        ("guest", "guess", "guest", "the broker's own user"),
    ] {
        assert!(rabbit.connect(user, password, id).await.is_err(), "{what}");
    }

    let mut one = rabbit.connect(&app, &at, &app).await.unwrap();
    let mut two = rabbit.connect(&app, &at, &format!("{app}/2")).await.unwrap();
    assert!(one.subscribes(&format!("accounts/{anna}/#")).await);
    assert!(two.publishes(&format!("accounts/{anna}/up/state")).await);
    assert_eq!(one.hears().await, format!("accounts/{anna}/up/state"));
    let mut hub = rabbit.connect(&panel, &aat, &panel).await.unwrap();
    assert!(hub.subscribes(&format!("gateways/{cube}/+/state")).await);
    let mut sensor = rabbit.connect(&panel, &aat, &format!("{panel}/sensor")).await.unwrap();
    assert!(sensor.publishes(&format!("gateways/{cube}/up/state")).await);
    assert_eq!(hub.hears().await, format!("gateways/{cube}/up/state"));

    // Each on a connection of its own: the broker closes it.
    for filter in ["#", "+/+/#", "accounts/#", "accounts/+/up", "accounts/*/up", "other", &format!("accounts/{ben}/#"), "$SYS/#"]
    {
        let mut client = rabbit.connect(&app, &at, &format!("{app}/3")).await.unwrap();
        assert!(!client.subscribes(filter).await, "{filter}");
    }
    let own = format!("accounts/{anna}/down");
    let foreign = format!("accounts/{ben}/up/state");
    let cubes = format!("gateways/{cube}/up/state");
    for topic in ["other", &own, &foreign, &cubes, "accounts//up", "accounts/*/up/x"] {
        let mut client = rabbit.connect(&app, &at, &format!("{app}/3")).await.unwrap();
        assert!(!client.publishes(topic).await, "{topic}");
    }
    let log = server.log.all().join("\n");
    assert!(!log.contains(&at) && !log.contains(&aat) && !log.contains(&anna), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_thrown_out_when_their_session_ends() {
    let (server, rabbit) = start();
    let anna = apikey(&server, PHONE);
    let at = log_in(&server).await;
    let app = format!("{anna}/{APPID}");
    let mut listening = rabbit.connect(&app, &at, &app).await.unwrap();
    assert!(listening.subscribes(&format!("accounts/{anna}/#")).await);
    let panel = format!("{}/{TOUCH}", apikey(&server, "apilogin"));
    let aat = fantem_token(&server).await;
    let mut other = rabbit.connect(&panel, &aat, &panel).await.unwrap();

    // Somebody else logs in with the same application: this session is over.
    let newer = log_in(&server).await;
    assert!(listening.until(|_| None::<()>).await.is_err(), "it was thrown out without having said anything");
    assert!(rabbit.connect(&app, &at, &app).await.is_err());
    let mut listening = rabbit.connect(&app, &newer, &app).await.unwrap();
    assert!(listening.subscribes(&format!("accounts/{anna}/up/#")).await);
    assert!(other.subscribes(&format!("accounts/{}/#", apikey(&server, "apilogin"))).await, "others stay");

    server.operate(&["app", "disable", APPID]);
    assert!(listening.until(|_| None::<()>).await.is_err());
    server.operate(&["account", "disable", "apilogin"]);
    assert!(other.until(|_| None::<()>).await.is_err());
}

/// A server that a broker asks, without a broker.
fn asked() -> Server {
    let folder = std::sync::Arc::new(TempDir::new().unwrap());
    let file: PathBuf = folder.path().join("hearthgate.toml");
    let text = "[mqtt]\npublish = [\"a/{apikey}/up\"]\nsubscribe = [\"a/{apikey}/#\", \"all\"]\n";
    fs::write(&file, text).unwrap();
    Server::dev_in(folder, &[("HEARTHGATE_CONFIG", Path::new(&file).to_str().unwrap())])
}

#[tokio::test(flavor = "multi_thread")]
async fn emqx_is_answered_in_its_own_form() {
    let server = asked();
    let at = log_in(&server).await;
    let (anna, user) = (apikey(&server, PHONE), format!("{}/{APPID}", apikey(&server, PHONE)));
    let post = |call: &str, body: Value| client().post(format!("{}/mqtt/emqx/{call}", server.http)).json(&body);
    let authenticate =
        |user: &str, token: &str, id: &str| post("authenticate", json!({ "username": user, "password": token, "clientid": id }));
    let (status, body) = read(authenticate(&user, &at, &user)).await;
    assert_eq!((status, &body["result"], &body["is_superuser"]), (200, &json!("allow"), &json!(false)), "{body}");
    assert!(body["expire_at"].as_i64().unwrap() > 1_700_000_000);
    let denied = (200, json!({ "result": "deny" }));
    assert_eq!(read(authenticate(&user, "wrong", &user)).await, denied);
    assert_eq!(read(authenticate(&user, &"a".repeat(5000), &user)).await, denied);
    assert_eq!(read(authenticate(&user, &at, "other")).await, denied);
    assert_eq!(read(authenticate("other", &at, "other")).await, denied);

    let authorize = |action: &str, topic: &str| post("authorize", json!({ "username": user, "action": action, "topic": topic }));
    for (action, topic) in
        [("publish", format!("a/{anna}/up")), ("subscribe", format!("a/{anna}/+")), ("subscribe", "all".into())]
    {
        assert_eq!(read(authorize(action, &topic)).await, (200, json!({ "result": "allow" })), "{action} {topic}");
    }
    for (action, topic) in [("publish", "all"), ("publish", "#"), ("subscribe", "#"), ("subscribe", "a/+/up"), ("subscribe", "")]
    {
        assert_eq!(read(authorize(action, topic)).await, denied, "{action} {topic}");
    }
    server.change_database("UPDATE sessions SET access_expires_at = 1").await;
    assert_eq!(read(authorize("subscribe", "all")).await, denied, "its token has expired");
    for body in [json!({}), json!([]), json!({ "username": user, "action": "other", "topic": "all" })] {
        assert_eq!(read(post("authorize", body)).await.0, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmqs_questions_have_one_answer() {
    let server = asked();
    let at = log_in(&server).await;
    let (anna, user) = (apikey(&server, PHONE), format!("{}/{APPID}", apikey(&server, PHONE)));
    let form = |call: &str, pairs: &[(&str, &str)]| -> RequestBuilder {
        let mut url = reqwest::Url::parse("http://form").unwrap();
        let common = [("username", user.as_str()), ("vhost", "/"), ("client_id", &user)];
        let changed = |name: &str| pairs.iter().any(|(known, _)| *known == name);
        let kept = common.iter().filter(|(name, _)| !changed(name));
        url.query_pairs_mut().extend_pairs(kept.chain(pairs.iter().filter(|(_, value)| !value.is_empty())));
        client().post(format!("{}/mqtt/rabbitmq/{call}", server.http)).body(url.query().unwrap_or_default().to_owned())
    };
    let queue = format!("mqtt-subscription-{user}qos1");
    let topic = format!("a.{anna}.up");
    let allowed: [(&str, &[(&str, &str)]); 6] = [
        ("user", &[("password", &at)]),
        ("vhost", &[("ip", "127.0.0.1")]),
        ("resource", &[("resource", "exchange"), ("name", "amq.topic"), ("permission", "write")]),
        ("resource", &[("resource", "queue"), ("name", &queue), ("permission", "configure")]),
        ("topic", &[("resource", "topic"), ("name", "amq.topic"), ("permission", "write"), ("routing_key", &topic)]),
        (
            "topic",
            &[
                ("name", "amq.topic"),
                ("permission", "read"),
                ("routing_key", "all"),
                ("client_id", ""),
                ("variable_map.client_id", &user),
            ],
        ),
    ];
    for (call, pairs) in allowed {
        assert_eq!(read(form(call, pairs)).await, (200, json!("allow")), "{call} {pairs:?}");
    }
    let denied: [(&str, &[(&str, &str)]); 10] = [
        ("user", &[("password", "wrong")]),
        ("user", &[("password", &at), ("vhost", "other")]),
        ("user", &[("password", &at), ("client_id", "other")]),
        ("vhost", &[("username", "x/y"), ("client_id", "x/y")]),
        ("vhost", &[("username", "nobody"), ("client_id", "nobody")]),
        ("resource", &[("resource", "exchange"), ("name", "amq.topic"), ("permission", "configure")]),
        ("resource", &[("resource", "exchange"), ("name", "amq.fanout"), ("permission", "write")]),
        ("resource", &[("resource", "queue"), ("name", "mqtt-subscription-otherqos1"), ("permission", "read")]),
        ("topic", &[("name", "amq.topic"), ("permission", "write"), ("routing_key", "all")]),
        ("topic", &[("name", "other"), ("permission", "read"), ("routing_key", "all")]),
    ];
    for (call, pairs) in denied {
        assert_eq!(read(form(call, pairs)).await, (200, json!("deny")), "{call} {pairs:?}");
    }
    assert_eq!(read(form("user", &[])).await.0, 400);
    assert_eq!(client().get(format!("{}/mqtt/rabbitmq/user?username=x", server.http)).send().await.unwrap().status(), 405);

    let rename = async |from: &str, to: &str| {
        let database = server.database().await;
        sqlx::query(sqlx::AssertSqlSafe(format!("ALTER TABLE {from} RENAME TO {to}"))).execute(&database).await.unwrap();
        database.close().await;
    };
    rename("sessions", "elsewhere").await;
    assert_eq!(read(form("vhost", &[])).await.0, 503, "nobody knows");
    rename("elsewhere", "sessions").await;
    let without = Server::dev();
    assert_eq!(client().post(format!("{}/mqtt/rabbitmq/user", without.http)).send().await.unwrap().status(), 404);
}
