//! The power is cut while the server writes: what it has not waited for may be on the disk, or not, or in part. `TEST_CUTS` says how
//! often.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::crash::assert_whole;
use crate::disk::{Act, Disk, acts, tracer};
use crate::support::Server;
use crate::support::acknowledged::{Deadline, Lived, Living, live, make_people};
use crate::support::app::App;

/// How many people there are, each with a life of their own.
const PEOPLE: usize = 120;
/// How many of them are at it at the same time.
const CLIENTS: usize = 8;

/// Of how many of those who were told something before a cut the last ones are asked, and how many of the others.
const LAST: usize = 6;
const OTHERS: usize = 6;

/// Lets everybody live on a server whose every act is noted; who was told what, and the acts.
async fn lives(folder: &Arc<TempDir>) -> (Vec<(usize, Lived)>, Vec<Act>) {
    let trace = folder.path().join("trace");
    mkfifoat(CWD, &trace, Mode::RWXU).unwrap();
    let path = trace.clone();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    let listen = ["--http", "127.0.0.1:0", "--https", "127.0.0.1:0"];
    let mut server = Server::dev_under(&tracer(trace.to_str().unwrap()), Arc::clone(folder), &listen, &[]);
    make_people(&server, PEOPLE);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let living = Living::at(&server);
        clients.spawn(async move {
            let mut told = Vec::new();
            for person in (client..PEOPLE).step_by(CLIENTS) {
                told.push((person, live(&living, person).await.unwrap()));
            }
            told
        });
    }
    let told = clients.join_all().await.concat();
    server.signal(Signal::KILL);
    server.wait();
    (told, acts(&reading.join().unwrap()))
}

/// When each was told: the number of the act that is the last answer.
fn told_at(acts: &[Act], told: Vec<(usize, Lived)>) -> Vec<(usize, usize, Lived)> {
    let mut answers = BTreeMap::new();
    for (number, act) in acts.iter().enumerate() {
        let Act::Said(bytes) = act else { continue };
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        if let Some((id, _)) = text.split_once("x-request-id: ").and_then(|(_, after)| after.split_once("\r\n")) {
            answers.insert(id.to_owned(), number);
        }
    }
    let mut told: Vec<_> = told.into_iter().map(|(person, lived)| (answers[&lived.request_id], person, lived)).collect();
    told.sort_by_key(|(at, ..)| *at);
    told
}

/// Puts a disk's content into a folder of its own.
fn restore(found: BTreeMap<PathBuf, Vec<u8>>, folder: &Path) -> Arc<TempDir> {
    let new = TempDir::new().unwrap();
    for (name, content) in found {
        let path = new.path().join("data").join(name.strip_prefix(folder).unwrap());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path.parent().unwrap()).unwrap();
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
        std::io::Write::write_all(&mut file, &content).unwrap();
    }
    Arc::new(new)
}

/// Whatever was acknowledged before a power cut is there after it, and the server starts by itself.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_power_is_cut() {
    let cuts: usize = std::env::var("TEST_CUTS").map_or(200, |text| text.parse().unwrap());
    let first = Arc::new(TempDir::new().unwrap());
    let folder = first.path().join("data");
    let (told, acts) = lives(&first).await;
    let told = told_at(&acts, told);
    let mut dice = Rng::with_seed(1);
    // Of what matters: what is said changes no file.
    let changes: Vec<_> = (0..acts.len()).filter(|number| !matches!(acts[*number], Act::Said(_))).collect();
    let mut at: Vec<_> = (0..cuts).map(|_| *dice.choice(&changes).unwrap()).collect();
    at.sort_unstable();
    let (mut disk, mut done, mut checked) = (Disk::default(), 0, 0);
    for cut in at {
        acts[done..=cut].iter().for_each(|act| disk.happens(act, &folder));
        done = cut + 1;
        let server = Server::dev_in(restore(disk.after_a_cut(&mut dice), &folder), &[]);
        let before = told.partition_point(|(at, ..)| *at < cut);
        checked += check(&server, &told[..before], &told[before..], &mut dice).await;
    }
    println!("{cuts} cuts among {} changes of files, {checked} acknowledgements asked for, none lost", changes.len());
    assert!(checked >= cuts * LAST / 2, "most cuts come after many acknowledgements: {checked}");
}

/// Asks for what was told before a cut; how much that was.
async fn check(server: &Server, told: &[(usize, usize, Lived)], others: &[(usize, usize, Lived)], dice: &mut Rng) -> usize {
    let (app, database) = (App::new(server), server.database().await);
    let last = told.len().saturating_sub(LAST);
    let asked: Vec<_> = told[last..].iter().chain(dice.choose_multiple(&told[..last], OTHERS)).collect();
    for (_, person, lived) in &asked {
        lived.verify(Deadline::within(Duration::from_secs(5)), &app, Some(&database), *person).await;
    }
    database.close().await;
    if !told.is_empty()
        && let Some((_, person, _)) = dice.choice(others)
    {
        assert_whole(server, &app, *person).await;
    }
    asked.len()
}
