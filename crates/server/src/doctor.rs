//! `hearthgate doctor`: what keeps the server from working, or soon will. It changes nothing.

use serde::Serialize;
use serde_json::Value;
use sql::Whole;
use tokio::net::UnixStream;

use crate::config::Config;
use crate::data_folder::DataFolder;
use crate::failure::Failure;
use crate::keys::KeyFolder;
use crate::serve::load_certificate;
use crate::{migrate, print};

/// So little free space is worth a warning, in bytes.
const LITTLE: u64 = 512 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Fine,
    Warning,
    Wrong,
}

/// What one check found: a state, and a sentence.
type Found = Result<(State, String), Failure>;

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    finding: String,
}

fn fine(finding: impl Into<String>) -> Found {
    Ok((State::Fine, finding.into()))
}

fn warning(finding: impl Into<String>) -> Found {
    Ok((State::Warning, finding.into()))
}

/// Checks everything, and prints what was found.
///
/// # Errors
/// When something is wrong.
pub(crate) async fn run(config: &Config, json: bool) -> Result<(), Failure> {
    let folder = DataFolder::at(&config.data);
    if config.store().is_none() {
        folder.expect_database()?;
    }
    let mut findings = vec![
        finding("certificate", certificate(config)),
        finding("open files", open_files(config)),
        finding("data folder", data_folder(&folder)),
        finding("server", server(&folder).await),
    ];
    match Whole::source(&migrate::configured(config)).await {
        Ok(mut store) => {
            findings.push(finding("store", fine("it can be read, and is of this version")));
            findings.push(finding("master key", master_key(&mut store, config, &folder).await));
            findings.push(finding("integrity", integrity(&mut store).await));
        }
        Err(error) => findings.push(finding("store", Err(error.into()))),
    }
    let wrong = findings.iter().filter(|finding| finding.state == State::Wrong).count();
    print::answer(&Value::from_iter(findings.iter().map(|finding| serde_json::json!(finding))), json)?;
    match wrong {
        0 => Ok(()),
        1 => Err("one thing is wrong, see above".into()),
        wrong => Err(format!("{wrong} things are wrong, see above").into()),
    }
}

fn finding(check: &'static str, found: Found) -> Finding {
    let (state, finding) = found.unwrap_or_else(|failure| (State::Wrong, failure.to_string()));
    Finding { check, state, finding }
}

fn certificate(config: &Config) -> Found {
    let Some(certificate) = load_certificate(config)? else {
        return fine("none is configured; what serve was given on its command line is not looked at");
    };
    let validity = certificate.validity();
    let validity = validity.borrow();
    let until = validity.not_after.iso8601();
    match validity.concern() {
        None => fine(format!("it is good until {until}")),
        Some(concern) => warning(format!("{concern} (it is good until {until}): put a new one into its files")),
    }
}

fn open_files(config: &Config) -> Found {
    config.lack_of_files().map_or_else(|| fine("there is room for all connections"), warning)
}

fn data_folder(folder: &DataFolder) -> Found {
    let shown = folder.path().display();
    let free = folder.try_writing()?;
    if !folder.is_private()? {
        return warning(format!("others can look into {shown}: run chmod 700 {shown}"));
    }
    let left = format!("{} MiB are free on the disk of {shown}", free / (1024 * 1024));
    if free < LITTLE { warning(format!("{left}: make room before it is full")) } else { fine(left) }
}

async fn server(folder: &DataFolder) -> Found {
    if UnixStream::connect(folder.socket()).await.is_ok() {
        return fine("one is running");
    }
    match folder.try_lock()? {
        Some(_) => fine("none is running"),
        None => Err("one has the data folder, and takes no commands: wait until it has started, or stop it".into()),
    }
}

async fn master_key(store: &mut Whole, config: &Config, folder: &DataFolder) -> Found {
    KeyFolder::new(config, folder)?.find(store.key_fingerprint().await?.as_deref())?;
    fine("it is the one that the database was made with")
}

async fn integrity(store: &mut Whole) -> Found {
    let damage = store.damage().await.unwrap_or_else(|error| vec![error.to_string()]);
    match damage.first() {
        None => fine("everything in the database can be read"),
        Some(first) => Err(format!("stop the server and restore the newest backup, the database is damaged: {first}").into()),
    }
}
