//! Operators' commands: carried out by the running server when there is one, else here.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use admin::{AccountCommand, Command, EXECUTE_PATH, Operator, Outcome, RegionCommand, Secret, Wanted};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::config::Config;
use crate::core::OpenCore;
use crate::data_folder::DataFolder;
use crate::failure::{Context, Failure};
use crate::{print, regions, transfer};

/// How long a command waits for a server that is starting, or for another command, to be done with the data folder.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// The longest secret that is read, in bytes.
const SECRET_LIMIT: u64 = 4096;

/// Carries a command out and prints what it concerns.
pub(crate) async fn run(config: Config, mut command: Command, json: bool) -> Result<(), Failure> {
    read_secrets(&mut command)?;
    let folder = DataFolder::at(&config.data);
    let is_new = config.store().is_none() && folder.has_database().is_ok_and(|there| !there);
    let executor = Executor::find(&config, &folder, &command).await?;
    let answer = match &command {
        Command::Account(AccountCommand::Import(wish)) => transfer::import(&executor, wish).await,
        Command::Region(RegionCommand::Sync) => regions::sync_directory(&executor).await,
        Command::Account(AccountCommand::Export { file, format }) => transfer::export(&executor, file, *format).await,
        _ => executor.run(command).await.and_then(|outcome| outcome.map_err(Failure::from)),
    };
    executor.close().await;
    print::answer(&answer?, json)?;
    if is_new {
        eprintln!("hearthgate: there was no data in {}: this is a new server's now", folder.path().display());
    }
    Ok(())
}

/// Who carries commands out.
pub(crate) enum Executor<'a> {
    /// The running server.
    Server(&'a DataFolder),
    /// This process, which has the data folder meanwhile.
    Here(Box<(OpenCore, Operator)>),
}

impl<'a> Executor<'a> {
    async fn find(config: &Config, folder: &'a DataFolder, command: &Command) -> Result<Self, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if UnixStream::connect(folder.socket()).await.is_ok() {
                return Ok(Self::Server(folder));
            }
            folder.expect_own()?;
            if command.only_reads() && config.store().is_none() {
                folder.expect_database()?;
            }
            folder.make()?;
            if let Some(lock) = folder.try_lock()? {
                let open = OpenCore::open(config, folder, lock).await?;
                let operator = open.operator(config);
                return Ok(Self::Here(Box::new((open, operator))));
            }
            if Instant::now() > deadline {
                let shown = folder.path().display();
                return Err(format!(
                    "the data folder {shown} is held by a hearthgate that does not answer: stop it, or try again"
                )
                .into());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Has a command carried out.
    pub async fn run(&self, command: Command) -> Result<Outcome, Failure> {
        match self {
            Self::Server(folder) => {
                let connected = UnixStream::connect(folder.socket()).await;
                send(connected.context(|| "the running server has stopped".to_owned())?, &command).await
            }
            Self::Here(here) => Ok(here.1.execute(command).await.map_err(|error| error.to_string())),
        }
    }

    async fn close(self) {
        if let Self::Here(here) = self {
            here.0.close().await;
        }
    }
}

async fn send(stream: UnixStream, command: &Command) -> Result<Outcome, Failure> {
    let failed = || "the running server does not answer as it should".to_owned();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.context(failed)?;
    tokio::spawn(connection);
    let body = serde_json::to_vec(command).context(failed)?;
    let request = Request::post(EXECUTE_PATH)
        .header(HOST, "operator")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .context(failed)?;
    let response = sender.send_request(request).await.context(failed)?;
    let status = response.status();
    let body = response.into_body().collect().await.context(failed)?.to_bytes();
    if !status.is_success() {
        return Err(format!("the running server answers {status}: is it of another version?").into());
    }
    serde_json::from_slice(&body).context(failed)
}

fn read_secrets(command: &mut Command) -> Result<(), Failure> {
    match command.wanted() {
        None | Some(Wanted::FromFile(None, _)) => {}
        Some(Wanted::FromFile(Some(file), secret)) => *secret = Some(read_file(&file)?),
        Some(Wanted::Password(Some(file), password)) => *password = Some(read_file(&file)?),
        Some(Wanted::Password(None, password)) => *password = Some(ask_password()?),
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<Secret, Failure> {
    let file = std::fs::File::open(path).context(|| format!("cannot read {}", path.display()))?;
    read_line(file, &path.display().to_string())
}

fn ask_password() -> Result<Secret, Failure> {
    if !std::io::stdin().is_terminal() {
        return read_line(std::io::stdin(), "standard input");
    }
    let ask = |prompt| rpassword::prompt_password(prompt).context(|| "cannot ask for the password".to_owned());
    let (password, again) = (ask("Password: ")?, ask("Once more: ")?);
    if password == again { Ok(Secret::new(password)) } else { Err("the two passwords differ".into()) }
}

/// Reads a secret that is all there is, without the line end behind it.
fn read_line(source: impl Read, name: &str) -> Result<Secret, Failure> {
    let mut text = String::new();
    source.take(SECRET_LIMIT).read_to_string(&mut text).context(|| format!("cannot read {name}"))?;
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(Secret::new(text))
}
