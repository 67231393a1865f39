//! The disk is full, or fails: nothing is acknowledged that is not done, and the server recovers by itself.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, getuid, kill_process};
use sqlx::AnyPool;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::doctor::examine;
use crate::support::Server;
use crate::support::acknowledged::{Deadline, Lived, Living, PASSWORD, Told, live, log_in, make_people};
use crate::support::app::App;
use crate::support::server::{Lines, hearthgate_on, under};

/// How many people live while the disk fails, and how many of them at the same time.
const PEOPLE: usize = 32;
const CLIENTS: usize = 8;

/// How soon everything must be as before when the disk is.
const BACK: Duration = Duration::from_secs(5);

const LISTEN: [&str; 4] = ["--http", "127.0.0.1:0", "--https", "127.0.0.1:0"];

/// Lets people live, of whom some are told that the server cannot answer.
async fn lives(living: &Living, people: std::ops::Range<usize>) -> Vec<(usize, Lived)> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let living = living.clone();
        let own = people.clone().skip(client).step_by(CLIENTS);
        clients.spawn(async move {
            let mut told = Vec::new();
            for person in own {
                match live(&living, person).await {
                    Some(lived) => told.push((person, lived)),
                    // As `Retry-After` says.
                    None => tokio::time::sleep(Duration::from_secs(1)).await,
                }
            }
            told
        });
    }
    clients.join_all().await.concat()
}

/// Everything is as it was told, soon after the disk works again.
async fn assert_kept(server: &Server, database: Option<&AnyPool>, told: &[(usize, Lived)]) {
    let (app, by) = (App::new(server), Deadline::within(BACK));
    by.ask(async || log_in(&app, 0, PASSWORD).await).await;
    let by = Deadline::within(Duration::from_secs(60));
    for (person, lived) in told {
        lived.verify(by, &app, database, *person).await;
    }
}

/// A folder with the data of a server that has people, and no server.
fn populated(people: usize) -> Arc<TempDir> {
    let server = Server::dev();
    make_people(&server, people);
    server.stop()
}

/// Starts the server with its data on a disk of its own, of 8 MiB, which goes with it.
fn on_a_small_disk(folder: &Arc<TempDir>) -> Server {
    let (disk, data) = (folder.path().join("disk"), folder.path().join("data"));
    std::fs::create_dir(&disk).unwrap();
    let (disk, data) = (disk.display(), data.display());
    let script = format!(
        "mount -t tmpfs -o size=8m,mode=700 none {disk} && cp -a {data}/. {disk} && mount --bind {disk} {data} && exec \"$@\""
    );
    let mut starter = vec!["unshare", "--mount"];
    if !getuid().is_root() {
        starter.extend(["--user", "--map-root-user"]);
    }
    starter.extend(["sh", "-c", &script, "sh"]);
    Server::dev_under(&starter, Arc::clone(folder), &LISTEN, &[])
}

/// A command that sees the disk that a server sees.
fn in_its_place(server: &Server, command: Command) -> Command {
    let pid = server.pid().as_raw_nonzero().to_string();
    let mut enter = vec!["nsenter", "--mount", "--target", &pid];
    if !getuid().is_root() {
        enter.extend(["--user", "--preserve-credentials"]);
    }
    under(&enter, command)
}

/// Fills the disk that holds a file to be made.
fn fill(ballast: &Path) {
    let mut file = File::create_new(ballast).unwrap();
    let full = std::iter::repeat_with(|| file.write_all(&[0; 512])).find_map(Result::err).unwrap();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_no_success_and_no_loss() {
    let folder = populated(2 * PEOPLE);
    let server = on_a_small_disk(&folder);
    let inside = PathBuf::from(format!("/proc/{}/root", server.pid().as_raw_nonzero()));
    let data = inside.join(server.data().strip_prefix("/").unwrap());
    let (living, ballast) = (Living::with(&server, &data), data.join("ballast"));
    let before = lives(&living, 1..PEOPLE).await;
    assert_eq!(before.len(), PEOPLE - 1);
    fill(&ballast);
    let meanwhile = lives(&living, PEOPLE..2 * PEOPLE).await;
    assert!(meanwhile.len() < PEOPLE, "nobody noticed");
    server.log.wait_for(|line| line.contains("disk is full"));
    let (well, found) = examine(&mut in_its_place(&server, hearthgate_on(&server.data(), ["doctor", "--json"])));
    let (state, sentence) = &found["data folder"];
    assert!(!well && state == "wrong" && sentence.contains("No space left"), "{found:?}");
    std::fs::remove_file(&ballast).unwrap();
    // The database is on a disk that only the server sees.
    assert_kept(&server, None, &[before, meanwhile].concat()).await;
}

/// A disk that fails, as far as the server can tell. It works again when this is dropped.
struct Fault(Child);

impl Fault {
    /// System calls that fail, and how (`strace(1)`, `inject`).
    fn begin(server: &Server, what: &str) -> Self {
        let pid = server.pid().as_raw_nonzero().to_string();
        let calls = what.split_once(':').unwrap().0;
        let (traced, inject) = (format!("trace={calls}"), format!("inject={what}"));
        let arguments = ["-f", "-e", &traced, "-e", &inject, "-e", "signal=none", "-o", "/dev/null", "-p", &pid];
        let mut child = Command::new("strace").args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        Lines::follow(child.stderr.take().unwrap()).wait_for(|line| line.contains("attached"));
        Self(child)
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // It lets go of the server before it ends.
        kill_process(Pid::from_child(&self.0), Signal::INT).unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_is_no_success_and_no_loss() {
    // Each for all calls, or for the last of so many on each thread; a new connection has a new thread.
    let faults = [
        ("pwrite64:error=EIO", 100),
        ("pwrite64:error=ENOSPC", 100),
        ("fsync,fdatasync:error=EIO", 20),
        ("pread64:error=EIO", 100),
    ];
    let both = |(fault, others)| [String::from(fault), format!("{fault}:when={others}+{others}")];
    let faults: Vec<_> = faults.into_iter().flat_map(both).collect();
    let folder = populated((faults.len() + 1) * PEOPLE);
    let mut server = Server::dev_in(Arc::clone(&folder), &[]);
    let (living, database) = (Living::at(&server), server.database().await);
    let mut told = lives(&living, 1..PEOPLE).await;
    for (round, what) in (1..).zip(&faults) {
        let fault = Fault::begin(&server, what);
        let meanwhile = lives(&living, round * PEOPLE..(round + 1) * PEOPLE).await;
        drop(fault);
        println!("{what}: {} of {PEOPLE} were answered", meanwhile.len());
        assert!(meanwhile.len() < PEOPLE, "nobody noticed {what}");
        assert_kept(&server, Some(&database), &meanwhile).await;
        told.extend(meanwhile);
    }
    // To ask for a new password was to log in with it, which has ended the session before.
    told.retain(|(_, lived)| !matches!(lived.told, Told::Changed(..)));
    server.log.wait_for(|line| line.contains("disk I/O error"));
    database.close().await;
    server.signal(Signal::KILL);
    server.wait();
    let server = Server::dev_in(folder, &[]);
    assert_kept(&server, Some(&server.database().await), &told).await;
}
