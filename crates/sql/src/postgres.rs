//! What is PostgreSQL's own: whom to trust, and what every connection must keep to.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{Connection as _, PgConnection};
use url::Url;

use crate::SqlStore;
use crate::engine::{Connection, EngineError, Pool};
use crate::open::{self, Limits, OpenError};

/// What connections that serve call themselves.
const SERVER: &str = "hearthgate";

/// Every connection's settings: what is acknowledged is durable, on a synchronous standby too; transactions are what the queries were
/// written for; and what the engine finds worth mentioning is not the operator's business.
const SETTINGS: [(&str, &str); 3] = [
    ("options[synchronous_commit]", "on"),
    ("options[default_transaction_isolation]", "read committed"),
    ("options[client_min_messages]", "warning"),
];

/// The parameters of a URL that are heeded.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

/// A connection that nobody used for longer is looked at before it is used.
const IDLE: Duration = Duration::from_secs(1);

impl SqlStore {
    /// Opens the PostgreSQL database at `url` (`postgres://user:password@host/database?sslrootcert=file`) and brings its tables up to
    /// date. Any number of processes may use it at the same time, and open it at the same time.
    ///
    /// Beyond this machine the server must prove who it is (`sslmode` `verify-full`, which is the default there, or `verify-ca`).
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn postgres(url: &str, limits: Limits) -> Result<Self, OpenError> {
        let url = checked(url, SERVER)?;
        // Looked at with one connection first, which may wait for another process that changes the tables at the same time.
        let (mut first, shown) = connect_to(&url).await?;
        let database = |source| OpenError::Database { path: shown.clone(), source };
        open::migrate(&mut first, &shown).await?;
        first.close().await.map_err(database)?;

        // One is always there, by which others see that the database is in use.
        let pool = pool(url, 1, limits).map_err(database)?;
        Ok(Self::new(pool.clone(), pool, limits, None))
    }
}

/// Connections to the database at `url`, made when they are needed.
///
/// # Errors
/// [`OpenError::Url`].
pub(crate) fn lazily(url: &str, limits: Limits) -> Result<Pool, OpenError> {
    let url = checked(url, SERVER)?;
    let path = shown(&url);
    pool(url, 0, limits).map_err(|source| OpenError::Database { path, source })
}

fn pool(url: Url, least: u32, limits: Limits) -> Result<Pool, EngineError> {
    let options = PgConnectOptions::from_str(bound(url, limits).as_str())?;
    let pool = PgPoolOptions::new()
        .max_connections(limits.connections)
        .min_connections(least)
        .acquire_timeout(limits.acquire_timeout)
        .idle_timeout(None)
        // A connection that broke while nobody used it is found out by whoever uses it next; asking first would double every call.
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(refuse_standby(connection)))
        .before_acquire(|connection, metadata| Box::pin(check_idle(connection, metadata.idle_for)));
    Ok(Pool::Postgres(pool.connect_lazy_with(options)))
}

/// Opens the database at `url` with one connection that calls itself `name`, and tells which it is.
pub(crate) async fn connect(url: &str, name: &str) -> Result<(Connection, String), OpenError> {
    connect_to(&checked(url, name)?).await
}

async fn connect_to(url: &Url) -> Result<(Connection, String), OpenError> {
    let shown = shown(url);
    let database = |source: sqlx::Error| OpenError::Database { path: shown.clone(), source: source.into() };
    let options = PgConnectOptions::from_str(url.as_str()).map_err(database)?;
    let mut connection = PgConnection::connect_with(&options).await.map_err(database)?;
    if is_standby(&mut connection).await.map_err(database)? {
        return Err(OpenError::Standby { path: shown });
    }
    Ok((Connection::to_postgres(connection), shown))
}

/// The URL of a database that can be connected to, for showing: without a password.
///
/// # Errors
/// [`OpenError::Url`], for what opening the database would refuse as well.
pub fn without_password(url: &str) -> Result<String, OpenError> {
    let mut url = trusted(url)?;
    // Without a host it cannot have one there.
    url.set_password(None).unwrap_or_default();
    let parameters = url.query_pairs().filter(|(name, _)| name != "password");
    let shown: Vec<_> = parameters.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    url.set_query(None);
    if !shown.is_empty() {
        url.query_pairs_mut().extend_pairs(shown);
    }
    Ok(url.into())
}

/// A URL with all that connections must keep to.
fn checked(url: &str, name: &str) -> Result<Url, OpenError> {
    let mut url = trusted(url)?;
    url.query_pairs_mut().extend_pairs(SETTINGS).append_pair("application_name", name);
    Ok(url)
}

/// Reads a URL and sees to it that the server beyond it will be checked.
fn trusted(url: &str) -> Result<Url, OpenError> {
    // What is wrong with it is told without telling it: it holds a password.
    let malformed = || OpenError::Url("it is not of the form postgres://user:password@host:5432/database".into());
    let mut url = Url::parse(url).map_err(|_| malformed())?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(malformed());
    }
    check_parameters(&url)?;
    let options = PgConnectOptions::from_str(url.as_str()).map_err(|_| malformed())?;
    let host = options.get_host();
    let nearby = options.get_socket().is_some()
        || host == "localhost"
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match options.get_ssl_mode() {
        _ if nearby => {}
        PgSslMode::VerifyFull | PgSslMode::VerifyCa => {}
        PgSslMode::Prefer => drop(url.query_pairs_mut().append_pair("sslmode", "verify-full")),
        PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Require => {
            return Err(OpenError::Url(format!(
                "the sslmode does not check who {host} is: use sslmode=verify-full, with sslrootcert=FILE for an authority of your own"
            )));
        }
    }
    Ok(url)
}

/// Refuses a parameter that would be ignored, but for a warning that shows its value.
fn check_parameters(url: &Url) -> Result<(), OpenError> {
    let is_option = |name: &str| name.starts_with("options[") && name.ends_with(']');
    let unknown = url.query_pairs().map(|(name, _)| name).find(|name| !PARAMETERS.contains(&&**name) && !is_option(name));
    let Some(name) = unknown else { return Ok(()) };
    // What does not look like a name may be the rest of a password that has a question mark in it.
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.[]".contains(c));
    let shown = if is_name { format!("{name:?}") } else { "one that is no name".to_owned() };
    let known = PARAMETERS.join(", ");
    Err(OpenError::Url(format!("the URL has an unknown parameter, {shown}: known are {known} and options[NAME]")))
}

/// The URL without what is secret in it.
fn shown(url: &Url) -> String {
    format!("postgres://{}{}", url.host_str().unwrap_or_default(), url.path())
}

/// Nothing runs or waits without end, not even when this process is gone.
fn bound(mut url: Url, limits: Limits) -> Url {
    let timeout = limits.timeout.as_millis().to_string();
    let bounds = ["statement_timeout", "idle_in_transaction_session_timeout"];
    url.query_pairs_mut().extend_pairs(bounds.map(|bound| (format!("options[{bound}]"), &timeout)));
    url
}

async fn is_standby(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(connection).await
}

/// After a failover the old address may lead to a standby for a while.
async fn refuse_standby(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    match is_standby(connection).await? {
        false => Ok(()),
        true => Err(sqlx::Error::Io(std::io::Error::other("the database is a standby"))),
    }
}

/// After a failover all idle connections are broken: they are looked at before they are used. Under load nothing is idle for long.
async fn check_idle(connection: &mut PgConnection, idle_for: Duration) -> Result<bool, sqlx::Error> {
    if idle_for > IDLE {
        connection.ping().await?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_checked_is_refused() {
        for (url, checked_by) in [
            ("postgres://a:b@db.example.com/hearthgate", Some("verify-full")),
            ("postgres://a:b@db.example.com/hearthgate?sslmode=verify-ca", Some("verify-ca")),
            ("postgres://a:b@192.0.2.1/hearthgate?sslmode=verify-full", Some("verify-full")),
            ("postgres://a:b@db.example.com/hearthgate?sslmode=prefer", Some("verify-full")),
            ("postgres://a:b@db.example.com/hearthgate?sslmode=require", None),
            ("postgres://a:b@db.example.com/hearthgate?sslmode=allow", None),
            ("postgres://a:b@192.0.2.1/hearthgate?sslmode=disable", None),
            ("postgres://a:b@localhost/hearthgate", Some("prefer")),
            ("postgres://a:b@127.0.0.1/hearthgate?sslmode=disable", Some("disable")),
            ("postgres://a:b@[::1]/hearthgate?sslmode=disable", Some("disable")),
            ("postgres:///hearthgate?host=/run/postgresql&user=a", Some("prefer")),
        ] {
            let mode = checked(url, SERVER).ok().map(|url| PgConnectOptions::from_str(url.as_str()).unwrap().get_ssl_mode());
            let mode = mode.map(|mode| match mode {
                PgSslMode::VerifyFull => "verify-full",
                PgSslMode::VerifyCa => "verify-ca",
                PgSslMode::Prefer => "prefer",
                PgSslMode::Disable => "disable",
                PgSslMode::Allow | PgSslMode::Require => "unchecked",
            });
            assert_eq!(mode, checked_by, "{url}");
        }
    }

    #[test]
    fn every_known_parameter_is_heeded() {
        for name in PARAMETERS.iter().chain(&["options[x]"]) {
            let value = match *name {
                "sslmode" | "ssl-mode" => "disable",
                "host" | "hostaddr" => "127.0.0.2",
                _ => "7",
            };
            let options = |url: &str| format!("{:?}", PgConnectOptions::from_str(url).unwrap());
            let url = format!("postgres://a@127.0.0.1/x?{name}={value}");
            checked(&url, SERVER).unwrap();
            assert_ne!(options(&url), options("postgres://a@127.0.0.1/x"), "{name}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("postgres://anna:secret@localhost:1/x?password=secret", "postgres://anna@localhost:1/x"),
            ("postgres://localhost/x?password=secret&user=anna", "postgres://localhost/x?user=anna"),
            ("postgres:///x?host=/run&password=secret", "postgres:///x?host=%2Frun"),
            ("postgres://anna:secret@db.example.com/x", "postgres://anna@db.example.com/x?sslmode=verify-full"),
        ] {
            assert_eq!(without_password(url).unwrap(), shown);
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        for url in ["postgres://anna:secret@db example/x", "secret", "postgres://anna:secret@h:99999/x", "mysql://:secret@h/x"] {
            let refused = checked(url, SERVER).unwrap_err().to_string();
            assert!(refused.contains("postgres://user:password@host") && !refused.contains("secret"), "{refused}");
        }
        for (parameters, name) in [
            ("pasword=secret", "\"pasword\""),
            ("password=secret&sslmod=verify-full", "\"sslmod\""),
            ("options[a=secret", "\"options[a\""),
            ("secret@db.example.com/x", "one that is no name"),
        ] {
            let refused = checked(&format!("postgres://anna@localhost/x?{parameters}"), SERVER).unwrap_err().to_string();
            assert!(refused.contains(name) && refused.contains("sslmode") && !refused.contains("secret"), "{refused}");
        }
        assert_eq!(
            shown(&checked("postgres://anna:secret@localhost:1/x?password=secret", SERVER).unwrap()),
            "postgres://localhost/x"
        );
    }
}
