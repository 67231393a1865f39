//! The server is killed in the middle of everything.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use crate::support::Server;
use crate::support::acknowledged::{Deadline, Lived, Living, PASSWORD, live, log_in, make_people};
use crate::support::app::App;

/// How many people there are in each round, each with a life of their own.
const PEOPLE: usize = 400;
/// How many of them are at it at the same time.
const CLIENTS: usize = 8;

/// How many kills one database lives through: the larger it is, the longer it takes to check it.
const KILLS_OF_ONE: usize = 25;

/// How many kills there are; `./test --long` has more.
fn kills() -> usize {
    std::env::var("TEST_KILLS").map_or(25, |text| text.parse().unwrap())
}

/// Lets people live. What they are told comes out as they are told it; `enough` is told when so many have lived.
fn load(server: &Server, people: usize, wanted: usize, enough: &Arc<Notify>) -> (JoinSet<()>, UnboundedReceiver<(usize, Lived)>) {
    let (mut clients, count) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    let (sender, told) = unbounded_channel();
    for client in 0..CLIENTS {
        let living = Living::at(server).waiting_for_ever();
        let (sender, count, enough) = (sender.clone(), Arc::clone(&count), Arc::clone(enough));
        clients.spawn(async move {
            for person in (people + client..people + PEOPLE).step_by(CLIENTS) {
                let what = live(&living, person).await.expect("it answers, or is dead");
                sender.send((person, what)).unwrap();
                if count.fetch_add(1, Ordering::SeqCst) + 1 == wanted {
                    enough.notify_one();
                }
            }
            panic!("the server was killed too late: all had lived already");
        });
    }
    (clients, told)
}

/// Nobody is half there: the database is whole, and who was not told anything has either password.
pub async fn assert_whole(server: &Server, app: &App, person: usize) {
    let database = server.database().await;
    if !crate::ON_POSTGRES {
        let checked: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&database).await.unwrap();
        assert_eq!(checked, "ok");
        let broken = sqlx::query("PRAGMA foreign_key_check").fetch_all(&database).await.unwrap();
        assert!(broken.is_empty(), "{} rows refer to nothing", broken.len());
    }
    // What a session ended was noted when it ended, in the same transaction.
    let both = "SELECT COUNT(*) FROM sessions JOIN session_events ON session_events.id = sessions.id || '.ended'";
    let half: i64 = sqlx::query_scalar(both).fetch_one(&database).await.unwrap();
    assert_eq!(half, 0, "sessions that have ended and have not");
    database.close().await;
    let by = Deadline::within(Duration::from_secs(5));
    let old = by.ask(async || log_in(app, person, PASSWORD).await).await;
    let new = by.ask(async || log_in(app, person, &format!("the new password of {person}")).await).await;
    assert!((old.body["region"] == "cn") != (new.body["region"] == "cn"), "{person}: {} {}", old.body, new.body);
}

/// Kills the server in each of these rounds, of all that were ever. Says how many lives were acknowledged; none of them may be lost.
async fn kill_in(rounds: Range<usize>) -> usize {
    let folder = Arc::new(TempDir::new().unwrap());
    let mut server = Server::dev_in(Arc::clone(&folder), &[]);
    make_people(&server, rounds.len() * PEOPLE);
    let mut acknowledged = 0;
    for (nth, round) in rounds.enumerate() {
        let enough = Arc::new(Notify::new());
        // Each time at another point of what is going on.
        let (mut clients, mut told) = load(&server, nth * PEOPLE, 20 + round % 40, &enough);
        enough.notified().await;
        server.signal(Signal::KILL);
        assert!(!server.wait().success());
        clients.shutdown().await;
        server = Server::dev_in(Arc::clone(&folder), &[]);
        let (app, database) = (App::new(&server), server.database().await);
        let by = Deadline::within(Duration::from_secs(60));
        let mut silent: Vec<_> = (nth * PEOPLE..(nth + 1) * PEOPLE).collect();
        while let Some((person, lived)) = told.recv().await {
            lived.verify(by, &app, Some(&database), person).await;
            silent.retain(|silent| *silent != person);
            acknowledged += 1;
        }
        database.close().await;
        // The first of them were in the middle of their lives.
        for person in silent.into_iter().take(CLIENTS) {
            assert_whole(&server, &app, person).await;
        }
    }
    acknowledged
}

/// Nothing that was acknowledged is lost, be it a login, logout, refresh, new password, binding or the count of a wrong guess, and nothing else is half there.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let (kills, mut acknowledged) = (kills(), 0);
    for first in (0..kills).step_by(KILLS_OF_ONE) {
        acknowledged += kill_in(first..kills.min(first + KILLS_OF_ONE)).await;
    }
    println!("{kills} kills, {acknowledged} acknowledged lives, none lost");
    assert!(acknowledged >= kills * 20);
}
