//! MQTT brokers: a real RabbitMQ with the documented configuration, and EMQX's calls at the wire.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::RequestBuilder;
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeReasonCode};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::support::app::App;
use crate::support::calls::{APPID, CUBE, TOUCH};
use crate::support::guard::read;
use crate::support::ports::free_port;
use crate::support::server::{Lines, operate, run};
use crate::support::tls::Authority;
use crate::support::{Fantem, Server, client, client_from};
use crate::watching::until;

const PHONE: &str = "+8613123456789";

/// The longest that a broker may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A RabbitMQ with the documented configuration.
struct RabbitMq {
    script: Child,
    folder: TempDir,
    mqtt: u16,
    tls: u16,
    epmd: u16,
    authority: Authority,
}

impl RabbitMq {
    fn start(server: &Server, Ports { mqtt, management, .. }: Ports, password: &str) -> Self {
        let folder = TempDir::new().unwrap();
        // It runs as a user of its own, where it may.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let documented = |name: &str| {
            let path = format!("{}/../../docs/integrate/{name}", env!("CARGO_MANIFEST_DIR"));
            fs::read_to_string(path).unwrap()
        };
        let (authority, tls) = (Authority::new(), free_port());
        let pair = authority.issue(1);
        for (name, text) in [("ca.pem", &pair.cert), ("cert.pem", &pair.cert), ("key.pem", &pair.key)] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut conf = documented("rabbitmq.conf");
        for (documented, here) in [
            ("127.0.0.1:1883", format!("127.0.0.1:{mqtt}")),
            ("0.0.0.0:8883", format!("127.0.0.1:{tls}")),
            ("= 15672", format!("= {management}")),
            ("127.0.0.1:8080", server.address().to_owned()),
            ("/etc/rabbitmq", folder.path().display().to_string()),
            ("CHANGE-ME", password.to_owned()),
        ] {
            assert!(conf.contains(documented), "{documented}");
            conf = conf.replace(documented, &here);
        }
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
        let rabbit = Self { script, folder, mqtt, tls, epmd, authority };
        out.wait_for(|line| line.contains("Server startup complete"));
        rabbit
    }

    /// The broker's process; the script that started it waits for it.
    fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.folder.path().join("pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// What is answered to a client that comes by TLS: 0 lets it in (MQTT 3.1.1 §3.2.2.3).
    async fn answers_by_tls(&self, user: &str, password: &str, id: &str) -> u8 {
        let tcp = TcpStream::connect(("127.0.0.1", self.tls)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = TlsConnector::from(self.authority.client("mqtt")).connect(name, tcp).await.unwrap();
        let mut content = b"\0\x04MQTT\x04\xc2\0\x1e".to_vec();
        for text in [id, user, password] {
            content.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            content.extend(text.as_bytes());
        }
        // Its length has seven bits in each byte.
        let length = u8::try_from(content.len() % 128 + 128).unwrap();
        let packet = [&[0x10, length, u8::try_from(content.len() / 128).unwrap()], &content[..]].concat();
        tls.write_all(&packet).await.unwrap();
        let mut answer = [0; 4];
        tls.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..2], [0x20, 2]);
        answer[3]
    }

    /// A client that connects.
    async fn connect(&self, user: &str, password: &str, id: &str) -> Result<Mqtt, ConnectionError> {
        self.connect_with(user, password, id, true).await
    }

    /// The same, with a session that the broker keeps if it is not `clean`.
    async fn connect_with(&self, user: &str, password: &str, id: &str, clean: bool) -> Result<Mqtt, ConnectionError> {
        let mut options = MqttOptions::new(id, "127.0.0.1", self.mqtt);
        options.set_credentials(user, password).set_keep_alive(Duration::from_secs(30)).set_clean_session(clean);
        let (client, events) = AsyncClient::new(options, 100);
        let mut mqtt = Mqtt { client, events };
        mqtt.until(|packet| matches!(packet, Packet::ConnAck(_)).then_some(())).await?;
        Ok(mqtt)
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        // What it would write down in six seconds goes with its folder.
        if let Some(pid) = self.pid() {
            kill_process(pid, Signal::KILL).ok();
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

/// Where a broker listens, and where its management API is reached.
#[derive(Clone, Copy)]
struct Ports {
    mqtt: u16,
    management: u16,
    through: u16,
}

/// A server with the documented configuration, and a RabbitMQ that asks it.
fn start() -> (Server, RabbitMq) {
    let management = free_port();
    let (server, rabbit, _) = start_with(Ports { mqtt: free_port(), management, through: management }, &[]);
    (server, rabbit)
}

/// The same with more settings, which are returned with those that the server was started with.
fn start_with(ports: Ports, settings: &[(&'static str, &str)]) -> (Server, RabbitMq, Vec<(&'static str, String)>) {
    let path = format!("{}/../../docs/integrate/rabbitmq.toml", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap().replace("15672", &ports.through.to_string());
    let folder = std::sync::Arc::new(TempDir::new().unwrap());
    let (file, kept) = (folder.path().join("hearthgate.toml"), folder.path().join("password"));
    fs::write(&file, text).unwrap();
    let password: String = std::iter::repeat_with(fastrand::alphanumeric).take(40).collect();
    fs::write(&kept, &password).unwrap();
    let mut all: Vec<_> = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    all.push(("HEARTHGATE_CONFIG", file.to_str().unwrap().to_owned()));
    all.push(("HEARTHGATE_MQTT__RABBITMQ__PASSWORD_FILE", kept.to_str().unwrap().to_owned()));
    let server = Server::dev_in(folder, &borrowed(&all));
    let rabbit = RabbitMq::start(&server, ports, &password);
    (server, rabbit, all)
}

fn borrowed<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// The guid of the sample cube.
fn sample_cube(server: &Server) -> String {
    let cubes = server.operate(&["cube", "list"]);
    cubes.as_array().unwrap().iter().find(|cube| cube["sn"] == CUBE).unwrap()["guid"].as_str().unwrap().to_owned()
}

fn apikey(server: &Server, account: &str) -> String {
    server.operate(&["account", "show", account])["apikey"].as_str().unwrap().to_owned()
}

async fn log_in(server: &Server) -> String {
    App::new(server).v8("/api/user/login", json!({ "phoneNumber": PHONE, "password": "12345678" })).await.text("/at")
}

/// Waits until the broker was told everything. Whoever comes back before, because their queue was deleted, is thrown out again.
async fn until_told(server: &Server) {
    let database = server.database().await;
    let told = "SELECT count(*) FROM counters JOIN counters AS told ON told.value = counters.value \
                WHERE counters.name = 'session_events' AND told.name LIKE 'told rabbitmq %'";
    let told = || async { sqlx::query_scalar::<_, i64>(told).fetch_one(&database).await.unwrap() };
    until(told, |told| *told == 1).await;
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
    let cube = sample_cube(&server);

    for (user, password, id, what) in [
        (app.as_str(), "wrong", app.as_str(), "a wrong token"),
        (&app, &aat, &app, "another's token"),
        (&panel, &at, &panel, "another's name"),
        (&app, &at, "somebody", "an id of one's own choice"),
        (&app, &at, &format!("{app}more"), "an id that only begins so"),
        (&anna, &at, &anna, "no client in the name"),
        ("guest", "guest", "guest", "the user that a new broker has"),
    ] {
        assert!(rabbit.connect(user, password, id).await.is_err(), "{what}");
        assert_ne!(rabbit.answers_by_tls(user, password, id).await, 0, "{what}");
    }
    assert_eq!(rabbit.answers_by_tls(&app, &at, &app).await, 0);

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

/// A gateway that another account gets is nobody else's any more, though the broker does not ask again.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_hears_a_gateway_that_they_lost() {
    let (server, rabbit) = start();
    let (anna, ben) = (apikey(&server, PHONE), apikey(&server, "apilogin"));
    let (at, aat) = (log_in(&server).await, fantem_token(&server).await);
    let (app, panel, cube) = (format!("{anna}/{APPID}"), format!("{ben}/{TOUCH}"), sample_cube(&server));
    let topic = format!("gateways/{cube}/up/state");
    let mut kept = rabbit.connect_with(&panel, &aat, &panel, false).await.unwrap();
    assert!(kept.publishes(&topic).await, "the broker remembers that it may");
    assert!(kept.subscribes(&format!("gateways/{cube}/#")).await);
    let mut gone = rabbit.connect_with(&panel, &aat, &format!("{panel}/2"), false).await.unwrap();
    assert!(gone.subscribes(&format!("gateways/{cube}/#")).await);
    gone.client.disconnect().await.unwrap();
    assert!(gone.until(|_| None::<()>).await.is_err());
    let mut owner = rabbit.connect(&app, &at, &app).await.unwrap();

    server.operate(&["cube", "unbind", CUBE]);
    assert!(kept.until(|_| None::<()>).await.is_err(), "it might publish there");
    until_told(&server).await;
    server.operate(&["cube", "bind", CUBE, PHONE]);
    assert!(owner.subscribes(&format!("gateways/{cube}/down/#")).await, "it stays, and may do more than before");
    for id in [panel.clone(), format!("{panel}/2")] {
        // Its queue goes before the connections do, so the broker keeps nothing for it.
        let mut again = rabbit.connect_with(&panel, &aat, &id, false).await.unwrap();
        assert!(again.subscribes(&format!("accounts/{ben}/#")).await);
        assert!(owner.publishes(&topic).await);
        let mut other = rabbit.connect(&panel, &aat, &format!("{panel}/3")).await.unwrap();
        assert!(other.publishes(&format!("accounts/{ben}/up/state")).await);
        assert_eq!(again.hears().await, format!("accounts/{ben}/up/state"));
        assert!(!again.subscribes(&format!("gateways/{cube}/#")).await);
    }
    let mut other = rabbit.connect(&panel, &aat, &panel).await.unwrap();
    assert!(!other.publishes(&topic).await);
}

/// That a token's time is up is no event.
#[tokio::test(flavor = "multi_thread")]
async fn who_listens_on_is_thrown_out_when_the_token_expires() {
    let management = free_port();
    let ports = Ports { mqtt: free_port(), management, through: management };
    let (server, rabbit, _) = start_with(ports, &[("HEARTHGATE_MQTT__RABBITMQ__CHECK_EVERY", "1s")]);
    let anna = apikey(&server, PHONE);
    let (at, aat) = (log_in(&server).await, fantem_token(&server).await);
    let (app, panel) = (format!("{anna}/{APPID}"), format!("{}/{TOUCH}", apikey(&server, "apilogin")));
    let mut one = rabbit.connect(&app, &at, &app).await.unwrap();
    assert!(one.subscribes(&format!("accounts/{anna}/#")).await);
    let mut other = rabbit.connect(&panel, &aat, &panel).await.unwrap();
    server.change_database("UPDATE sessions SET access_expires_at = 1 WHERE audience_kind = 'application'").await;
    assert!(one.until(|_| None::<()>).await.is_err());
    assert!(other.publishes(&format!("accounts/{}/up/x", apikey(&server, "apilogin"))).await, "others stay");
}

/// Hands connections on, as long as it is let to.
struct Relay {
    from: u16,
    to: u16,
    tasks: JoinSet<()>,
}

impl Relay {
    /// Hands on, or says nothing to whoever connects.
    async fn runs(&mut self, hands_on: bool) {
        self.tasks.shutdown().await;
        let (listener, to) = (TcpListener::bind(("127.0.0.1", self.from)).await.unwrap(), self.to);
        self.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                connections.spawn(async move {
                    if !hands_on {
                        return std::future::pending().await;
                    }
                    let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                });
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_could_not_be_thrown_out_is_later() {
    let ports = Ports { mqtt: free_port(), management: free_port(), through: free_port() };
    let mut relay = Relay { from: ports.through, to: ports.management, tasks: JoinSet::new() };
    relay.runs(true).await;
    let (server, rabbit, _) = start_with(ports, &[("HEARTHGATE_LISTEN__METRICS", "127.0.0.1:0")]);
    let (at, aat) = (log_in(&server).await, fantem_token(&server).await);
    let (app, panel) = (format!("{}/{APPID}", apikey(&server, PHONE)), format!("{}/{TOUCH}", apikey(&server, "apilogin")));
    let mut one = rabbit.connect(&app, &at, &app).await.unwrap();
    let mut two = rabbit.connect(&panel, &aat, &panel).await.unwrap();
    let failures = async || {
        let scraped = client().get(format!("{}/metrics", server.metrics)).send().await.unwrap().text().await.unwrap();
        let line = scraped.lines().find_map(|line| line.strip_prefix("hearthgate_rabbitmq_failures_total ").map(str::to_owned));
        line.unwrap().parse::<u64>().unwrap()
    };
    // It does not answer, and then it is not there at all.
    relay.runs(false).await;
    let before = failures().await;
    log_in(&server).await;
    until(&failures, |failures| *failures > before).await;
    relay.tasks.shutdown().await;
    fantem_token(&server).await;
    let before = failures().await;
    until(&failures, |failures| *failures > before).await;
    relay.runs(true).await;
    assert!(one.until(|_| None::<()>).await.is_err());
    assert!(two.until(|_| None::<()>).await.is_err());
}

/// What happened while no server ran is made up for.
#[tokio::test(flavor = "multi_thread")]
async fn what_ended_meanwhile_is_made_up_for() {
    let management = free_port();
    let (server, rabbit, settings) = start_with(Ports { mqtt: free_port(), management, through: management }, &[]);
    let (anna, ben) = (apikey(&server, PHONE), apikey(&server, "apilogin"));
    let (at, aat) = (log_in(&server).await, fantem_token(&server).await);
    let (app, panel, cube) = (format!("{anna}/{APPID}"), format!("{ben}/{TOUCH}"), sample_cube(&server));
    // Something happens, so that it is remembered how far was got.
    let mut older = rabbit.connect(&app, &at, &app).await.unwrap();
    let at = log_in(&server).await;
    assert!(older.until(|_| None::<()>).await.is_err());
    let mut one = rabbit.connect(&app, &at, &app).await.unwrap();
    let mut two = rabbit.connect(&panel, &aat, &panel).await.unwrap();
    assert!(two.publishes(&format!("gateways/{cube}/up/state")).await);
    let login = json!({ "phoneNumber": "+8613100000099", "password": "correct horse" });
    server.create_account(&["--phone", "+8613100000099", "--region", "cn"], "correct horse");
    let third = App::new(&server).v8("/api/user/login", login).await.text("/at");
    let other = format!("{}/{APPID}", apikey(&server, "+8613100000099"));
    let mut three = rabbit.connect(&other, &third, &other).await.unwrap();

    let address = server.address().to_owned();
    let folder = server.stop();
    let data = folder.path().join("data");
    operate(&data, &["account", "disable", PHONE], "");
    operate(&data, &["cube", "unbind", CUBE], "");
    let server = Server::dev_at(folder, &["--http", &address, "--https", "127.0.0.1:0"], &borrowed(&settings));
    assert!(one.until(|_| None::<()>).await.is_err(), "its session has ended");
    assert!(two.until(|_| None::<()>).await.is_err(), "it has lost its cube");
    assert!(three.publishes(&format!("accounts/{}/up/x", apikey(&server, "+8613100000099"))).await, "others stay");
}

/// A session that ends while the server stops has ended.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_to_end_are_thrown_out() {
    let (mut server, rabbit) = start();
    let at = log_in(&server).await;
    let app = format!("{}/{APPID}", apikey(&server, PHONE));
    let mut one = rabbit.connect(&app, &at, &app).await.unwrap();
    let mut logout = TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "DELETE /v2/user/logout HTTP/1.1\r\nhost: cn-apia.coolkit.cn\r\nauthorization: Bearer {at}\r\nx-ck-appid: {APPID}\r\n\
         x-ck-nonce: abcd1234\r\ncontent-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    );
    logout.write_all(head.as_bytes()).await.unwrap();
    // It waits for the body.
    let mut goes_on = [0; 25];
    logout.read_exact(&mut goes_on).await.unwrap();
    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.signal(Signal::TERM);
    server.log.wait_for(|line| line.contains("\"stopping\""));
    logout.write_all(b"{}").await.unwrap();
    let mut answer = String::new();
    logout.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\"error\":0"), "{answer}");
    assert!(server.wait().success());
    assert!(one.until(|_| None::<()>).await.is_err());
}

/// A server that a broker asks, without a broker.
fn asked() -> Server {
    asked_with(&[])
}

fn asked_with(settings: &[(&str, &str)]) -> Server {
    let folder = std::sync::Arc::new(TempDir::new().unwrap());
    let file: PathBuf = folder.path().join("hearthgate.toml");
    let text = "[mqtt]\npublish = [\"a/{apikey}/up\"]\nsubscribe = [\"a/{apikey}/#\", \"all\"]\n";
    fs::write(&file, text).unwrap();
    Server::dev_in(folder, &[&[("HEARTHGATE_CONFIG", Path::new(&file).to_str().unwrap())], settings].concat())
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

/// Brokers are where the operator says, and nobody else is told anything.
#[tokio::test(flavor = "multi_thread")]
async fn only_brokers_may_ask() {
    let server = asked_with(&[
        ("HEARTHGATE_MQTT__NETWORKS", r#"["127.0.7.0/24", "10.0.0.0/8"]"#),
        ("HEARTHGATE_PROXY__NETWORKS", r#"["127.0.8.1/32"]"#),
    ]);
    let at = log_in(&server).await;
    let user = format!("{}/{APPID}", apikey(&server, PHONE));
    let emqx = async |address: &str, forwarded: Option<&str>| {
        let asked = json!({ "username": user, "password": at, "clientid": user });
        let request = client_from(address).post(format!("{}/mqtt/emqx/authenticate", server.http)).json(&asked);
        let request = forwarded.into_iter().fold(request, |request, client| request.header("x-forwarded-for", client));
        read(request).await.1["result"].as_str().unwrap().to_owned()
    };
    assert_eq!(emqx("127.0.7.9", None).await, "allow");
    assert_eq!(emqx("127.0.0.1", None).await, "deny");
    assert_eq!(emqx("127.0.8.1", Some("10.1.2.3")).await, "allow", "through a proxy");
    assert_eq!(emqx("127.0.8.1", Some("11.1.2.3")).await, "deny");
    assert_eq!(emqx("127.0.0.1", Some("10.1.2.3")).await, "deny", "whoever says so is no proxy");
    let topic = json!({ "username": user, "action": "subscribe", "topic": "all" });
    assert_eq!(
        read(client().post(format!("{}/mqtt/emqx/authorize", server.http)).json(&topic)).await.1,
        json!({ "result": "deny" })
    );
    let form = format!("username={user}&vhost=/&client_id={user}&ip=127.0.0.1");
    let vhost = |address: &str| client_from(address).post(format!("{}/mqtt/rabbitmq/vhost", server.http)).body(form.clone());
    assert_eq!(read(vhost("127.0.7.1")).await, (200, json!("allow")));
    assert_eq!(read(vhost("127.0.0.1")).await, (200, json!("deny")));
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
