//! The primary dies, its standby takes over: through HAProxy, as `docs/scaling.md` describes it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sqlx::AnyPool;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::cluster::{Postgres, url_at};
use crate::support::Server;
use crate::support::acknowledged::{Deadline, Lived, Living, PASSWORD, answered, live, log_in, make_people};
use crate::support::app::App;
use crate::support::ports::free_port;
use crate::support::postgres::psql;
use crate::support::server::Lines;

/// How many people there are in each round, each with a life of their own.
const PEOPLE: usize = 300;
/// How many of them are at it at the same time.
const CLIENTS: usize = 8;
/// What is acknowledged before the primary is killed.
const ACKNOWLEDGED: usize = 60;
/// How soon after the promotion every node must serve again.
const BACK: Duration = Duration::from_secs(5);

/// HAProxy in front of two places for a database, leading to whichever is the primary.
struct Proxy {
    port: u16,
    child: Child,
    _folder: TempDir,
}

impl Proxy {
    fn start(places: [u16; 2]) -> Self {
        let folder = TempDir::new().unwrap();
        let port = free_port();
        let servers = places.map(|place| {
            let health = answer_like_patroni(place);
            format!("server at{place} 127.0.0.1:{place} check port {health}")
        });
        // What docs/scaling.md recommends, with other addresses.
        let page = include_str!("../docs/scaling.md");
        let recommended = page.split("```haproxy\n").nth(1).unwrap().split("```").next().unwrap();
        let (head, _) = recommended.split_once("    server ").unwrap();
        let head = head.replace("bind 127.0.0.1:5000", &format!("bind 127.0.0.1:{port}"));
        let text = format!("{head}    {}\n", servers.join("\n    "));
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, text).unwrap();
        let mut haproxy = Command::new("haproxy");
        haproxy.arg("-db").arg("-f").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = haproxy.spawn().expect("haproxy is installed by ./test");
        let log = Lines::follow(child.stderr.take().unwrap());
        // It takes every place for good until it has looked.
        log.wait_for(|line| line.contains(&format!("at{} is DOWN", places[1])));
        Self { port, child, _folder: folder }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Says whether the database at `place` is the primary, in the way of Patroni's `GET /primary`: 200 or 503.
fn answer_like_patroni(place: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            drop(connection.read(&mut [0; 1024]));
            let url = format!("{}&connect_timeout=1", url_at(place, "postgres"));
            let primary = psql(&url, "SELECT pg_is_in_recovery()").is_ok_and(|standby| standby == "f");
            let status = if primary { "200 OK" } else { "503 Service Unavailable" };
            drop(write!(connection, "HTTP/1.0 {status}\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    port
}

/// What the people of one client were told, and how long the server took to say that it cannot answer.
type Lives = (Vec<(usize, Lived)>, Duration);

/// Lets people live until the server cannot answer any more. `killable` is told when enough of them have. From `spare` on there is one more
/// for each client.
fn load(nodes: &[Server], people: usize, spare: usize, killable: &Arc<Notify>) -> JoinSet<Lives> {
    let (mut clients, count) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for client in 0..CLIENTS {
        let (living, count, killable) = (Living::at(&nodes[client % nodes.len()]), Arc::clone(&count), Arc::clone(killable));
        clients.spawn(async move {
            let mut told = Vec::new();
            for person in (people + client..people + PEOPLE).step_by(CLIENTS) {
                let begun = Instant::now();
                match live(&living, person).await {
                    Some(what) => told.push((person, what)),
                    // A connection that the last primary has left behind, or somebody who waited for it: nobody else is to meet that.
                    None if count.load(Ordering::SeqCst) < ACKNOWLEDGED => {
                        while answered(log_in(&living.app, spare + client, PASSWORD).await).is_none() {
                            assert!(begun.elapsed() < BACK, "it is not back in time");
                        }
                        continue;
                    }
                    None => return (told, begun.elapsed()),
                }
                if count.fetch_add(1, Ordering::SeqCst) + 1 == ACKNOWLEDGED {
                    killable.notify_one();
                }
            }
            panic!("the primary was killed too late: all had lived already");
        });
    }
    clients
}

/// Nothing that was acknowledged is lost, and the nodes recover by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_primary_dies() {
    let rounds: usize = std::env::var("TEST_FAILOVERS").map_or(20, |text| text.parse().unwrap());
    let mut primary = Postgres::start(&[]);
    primary.run("postgres", "CREATE DATABASE hearthgate");
    let mut spare = free_port();
    let proxy = Proxy::start([primary.port, spare]);
    let (store, key) = (url_at(proxy.port, "hearthgate"), "5a".repeat(32));
    let settings = [("HEARTHGATE_STORE", store.as_str()), ("HEARTHGATE_MASTER_KEY", &key)];
    let nodes = [Server::dev_with(&settings), Server::dev_with(&settings)];
    make_people(&nodes[0], rounds * PEOPLE + CLIENTS);

    sqlx::any::install_default_drivers();
    let (mut acknowledged, mut slowest, mut back) = (0, Duration::ZERO, Duration::ZERO);
    for round in 0..rounds {
        let standby = primary.clone_at(spare, &[]);
        primary.wait_for_its_standby();
        let killable = Arc::new(Notify::new());
        let mut clients = load(&nodes, round * PEOPLE, rounds * PEOPLE, &killable);
        tokio::select! {
            biased;
            () = killable.notified() => {}
            ended = clients.join_next() => panic!("nobody can be killed yet: {:?}", ended.map(|ended| ended.map(drop))),
        }
        spare = primary.port;
        primary.kill();
        // Every client is told that the server cannot answer before there is a primary again.
        let lived = clients.join_all().await;
        standby.promote();
        let (promoted, back_by) = (Instant::now(), Deadline::within(BACK));
        let (apps, database) = (nodes.each_ref().map(App::new), AnyPool::connect_lazy(&store).unwrap());
        for app in &apps {
            back_by.ask(async || log_in(app, round * PEOPLE, PASSWORD).await).await;
        }
        back = back.max(promoted.elapsed());
        for (person, told) in lived.iter().flat_map(|(told, _)| told).filter(|(person, _)| *person != round * PEOPLE) {
            told.verify(back_by, &apps[person % 2], Some(&database), *person).await;
            acknowledged += 1;
        }
        database.close().await;
        slowest = lived.iter().map(|(_, took)| *took).fold(slowest, Duration::max);
        primary = standby;
    }
    println!("{rounds} failovers, {acknowledged} acknowledged lives, none lost");
    println!("the slowest refusal took {slowest:?}; every node was back {back:?} after the promotion at the latest");
}

/// What the standby does not have yet is not acknowledged, however long that takes.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_that_only_the_primary_has() {
    let primary = Postgres::start(&[]);
    primary.run("postgres", "CREATE DATABASE hearthgate");
    let standby = primary.clone_at(free_port(), &[]);
    primary.wait_for_its_standby();
    let store = primary.url("hearthgate");
    let node = Server::dev_with(&[("HEARTHGATE_STORE", &store), ("HEARTHGATE_DATABASE__TIMEOUT", "500ms")]);
    make_people(&node, 2);
    let app = App::new(&node);
    let at = log_in(&app, 0, PASSWORD).await.text("/at");

    standby.signal(Signal::STOP);
    for _ in 0..3 {
        assert!(answered(log_in(&app, 1, PASSWORD).await).is_none());
    }
    assert!(Deadline::within(BACK).is_good(&app, &at).await, "what is only read is answered all the same");
    standby.signal(Signal::CONT);
    assert_eq!(Deadline::within(BACK).ask(async || log_in(&app, 1, PASSWORD).await).await.body["region"], "cn");
}

/// A database that hangs is given up on in time, whatever number of requests asks for it; and nothing is left of that afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_holds_nobody_up() {
    let primary = Postgres::start(&[]);
    primary.run("postgres", "CREATE DATABASE hearthgate");
    let store = primary.url("hearthgate");
    let node = Server::dev_with(&[("HEARTHGATE_STORE", &store), ("HEARTHGATE_DATABASE__TIMEOUT", "1s")]);
    make_people(&node, 1);
    let app = App::new(&node);
    assert_eq!(log_in(&app, 0, PASSWORD).await.body["region"], "cn");

    primary.signal(Signal::STOP);
    let begun = Instant::now();
    let mut requests = JoinSet::new();
    for _ in 0..500 {
        let app = app.clone();
        requests.spawn(async move { answered(log_in(&app, 0, PASSWORD).await).is_none() });
    }
    assert!(requests.join_all().await.into_iter().all(|refused| refused));
    // One wait for a connection, one for an answer; everything else is this machine.
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    primary.signal(Signal::CONT);
    assert_eq!(Deadline::within(BACK).ask(async || log_in(&app, 0, PASSWORD).await).await.body["region"], "cn");
}
