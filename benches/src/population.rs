//! Accounts in any number, each with a session, written straight into the database.

use std::ops::Range;

use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use sqlx::{AnyPool, AssertSqlSafe};

use crate::Outcome;
use crate::client::Client;

/// The password of everybody.
pub(crate) const PASSWORD: &str = "correct horse";
/// The application at which everybody is logged in.
pub(crate) const APPLICATION: (&str, &str) = ("bench", "the-secret-of-the-bench");

/// The resource server, and its secret.
pub(crate) const RESOURCE_SERVER: (&str, &str) = ("bench", "the-secret-of-the-resource-server");

/// How many people log in as one client, in turns; one more has the session that the client refreshes.
const AT_HOME: i64 = 4;
const WITH_CLIENT: i64 = AT_HOME + 1;
/// The first account is made by the server, and is nobody's.
const FIRST: i64 = 2;

/// How many people are written at once. Each takes up to four parameters, of which SQLite allows 32,766.
const AT_ONCE: i64 = 1000;
/// How many parts are committed together: a commit writes almost every page of the indexes, wherever its rows fall.
const PARTS: i64 = 2000;
/// Far in the future, in milliseconds since 1970.
const NEVER: i64 = 4_102_444_800_000;

/// The e-mail address of a person.
pub(crate) fn email(person: i64) -> String {
    format!("person{person}@example.com")
}

/// The access token of a person.
pub(crate) fn access_token(person: i64) -> String {
    sha256(&format!("access token of {person}"))[..40].to_owned()
}

/// What the store keeps of a person's access token.
pub(crate) fn access_hash(person: i64) -> String {
    sha256(&access_token(person))
}

/// The refresh token of a person.
pub(crate) fn refresh_token(person: i64) -> String {
    sha256(&format!("refresh token of {person}"))[..40].to_owned()
}

/// The serial number of a person's phone.
pub(crate) fn device(person: i64) -> String {
    format!("phone-of-{person}")
}

fn id(person: i64) -> String {
    sha256(&format!("ids of {person}"))[..24].to_owned()
}

fn apikey(person: i64) -> String {
    sha256(&format!("ids of {person}"))[24..60].to_owned()
}

/// A guid of 32 hex digits.
fn guid(of: &str) -> String {
    sha256(of)[..32].to_uppercase()
}

/// Who is there: people who are at home with a client, and many whose tokens are checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct People {
    /// For how many clients there are people.
    pub clients: i64,
    /// How many there are besides.
    pub checked: i64,
}

impl People {
    /// The number of the last one.
    pub fn last(self) -> i64 {
        FIRST + self.clients * WITH_CLIENT + self.checked - 1
    }

    /// Who logs in as a client.
    pub fn at_home(self, client: i64) -> Range<i64> {
        let first = FIRST + client * WITH_CLIENT;
        first..first + AT_HOME
    }

    /// Whose session a client refreshes.
    pub fn refreshing(self, client: i64) -> i64 {
        self.at_home(client).end
    }

    /// Somebody whose tokens stay as they are: by numbers that follow one another, everywhere in the tables.
    pub fn checked(self, number: i64) -> i64 {
        let step = self.checked / 3 * 2 + 1;
        FIRST + self.clients * WITH_CLIENT + (number * step).rem_euclid(self.checked)
    }
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// An INSERT of so many rows, in which each `?` is a parameter of its own.
fn statement(head: &str, row: &str, rows: i64) -> String {
    let (mut text, mut parameter) = (head.to_owned(), 0);
    for index in 0..rows {
        text += if index == 0 { " VALUES " } else { ", " };
        for (part, piece) in row.split('?').enumerate() {
            if part > 0 {
                parameter += 1;
                text += &format!("${parameter}");
            }
            text += piece;
        }
    }
    text
}

/// Adds people until there are `count`. All get the verifier of the first, whom the server has made.
pub(crate) async fn grow(pool: &AnyPool, count: i64) -> Outcome<()> {
    let verifier: String = sqlx::query_scalar("SELECT verifier FROM accounts WHERE number = 1").fetch_one(pool).await?;
    let mut next: i64 = sqlx::query_scalar("SELECT value + 1 FROM counters WHERE name = 'account'").fetch_one(pool).await?;
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} accounts, {per_sec} ({eta} left)")?;
    let bar = ProgressBar::new(u64::try_from(count)?).with_style(style);
    while next <= count {
        let mut transaction = pool.begin().await?;
        for _ in 0..PARTS {
            let people = next..(next + AT_ONCE).min(count + 1);
            let size = people.end - people.start;
            if size <= 0 {
                break;
            }
            let accounts = statement(
                "INSERT INTO accounts (number, id, apikey, email, region, verifier, enabled, registered_at, revision)",
                &format!("(?, ?, ?, ?, 'eu', '{verifier}', 1, 0, 0)"),
                size,
            );
            let mut insert = sqlx::query(AssertSqlSafe(accounts));
            for person in people.clone() {
                insert = insert.bind(person).bind(id(person)).bind(apikey(person)).bind(email(person));
            }
            insert.execute(&mut *transaction).await?;
            let sessions = statement(
                "INSERT INTO sessions (account, id, access_hash, refresh_hash, audience_kind, audience, access_expires_at, \
                 refresh_expires_at, created_at, address)",
                &format!("(?, ?, ?, ?, 'application', '{}', {NEVER}, {NEVER}, 0, '127.0.0.1')", APPLICATION.0),
                size,
            );
            let mut insert = sqlx::query(AssertSqlSafe(sessions));
            for person in people.clone() {
                let id = sha256(&format!("session of {person}"))[..24].to_owned();
                insert = insert.bind(person).bind(id).bind(access_hash(person)).bind(sha256(&refresh_token(person)));
            }
            insert.execute(&mut *transaction).await?;
            next = people.end;
            bar.set_position(u64::try_from(next - 1)?);
        }
        let counted = sqlx::query("UPDATE counters SET value = $1 WHERE name = 'account'").bind(next - 1);
        counted.execute(&mut *transaction).await?;
        transaction.commit().await?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Adds all who are there, and what they need to log in as real clients do: each client's people are known at its address and have a phone
/// and a cube, and the resource server has a secret.
pub(crate) async fn settle(pool: &AnyPool, people: People) -> Outcome<()> {
    grow(pool, people.last()).await?;
    let mut transaction = pool.begin().await?;
    let server = "INSERT INTO resource_servers (id, name, secret_hash, enabled, created_at) VALUES ($1, $1, $2, 1, 0)";
    sqlx::query(server).bind(RESOURCE_SERVER.0).bind(sha256(RESOURCE_SERVER.1)).execute(&mut *transaction).await?;
    for client in 0..people.clients {
        let address = Client::address(client);
        for person in people.at_home(client) {
            let lane = format!("account/{}", id(person));
            let known = "INSERT INTO lanes (lane, subject, failures, failed_at, paused_until, day_until, known_at, forget_at) \
                         VALUES ($1, $2, 0, 0, 0, 0, 1, $3)";
            let known = sqlx::query(known).bind(format!("{lane}/from/{address}")).bind(lane).bind(NEVER);
            known.execute(&mut *transaction).await?;
            let phone = "INSERT INTO devices (serial, guid, kind, registered_at) VALUES ($1, $2, 'android_phone', 0)";
            let serial = device(person);
            sqlx::query(phone).bind(serial.clone()).bind(guid(&serial)).execute(&mut *transaction).await?;
            let cube = "INSERT INTO gateways (serial, guid, kind, account, registered_at) VALUES ($1, $2, 'oomi_cube', $3, 0)";
            let serial = format!("cube-of-{person}");
            sqlx::query(cube).bind(serial.clone()).bind(guid(&serial)).bind(person).execute(&mut *transaction).await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_two_things() {
        let people = People { clients: 3, checked: 10 };
        let with_clients = (0..3).flat_map(|client| people.at_home(client).chain([people.refreshing(client)]));
        let mut all: Vec<_> = with_clients.chain((0..10).map(|number| people.checked(number))).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(FIRST..=people.last()));
    }

    #[test]
    fn every_parameter_has_a_number_of_its_own() {
        assert_eq!(
            statement("INSERT INTO t (a, b)", "(?, 'x', ?)", 2),
            "INSERT INTO t (a, b) VALUES ($1, 'x', $2), ($3, 'x', $4)"
        );
    }
}
