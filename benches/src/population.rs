//! Accounts in any number, each with a session, written straight into the database.

use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use sqlx::{AnyPool, AssertSqlSafe};

use crate::Outcome;

/// The password of everybody.
pub(crate) const PASSWORD: &str = "correct horse";
/// The application at which everybody is logged in.
pub(crate) const APPLICATION: (&str, &str) = ("bench", "the-secret-of-the-bench");

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
                let drawn = sha256(&format!("ids of {person}"));
                insert = insert.bind(person).bind(drawn[..24].to_owned()).bind(drawn[24..60].to_owned()).bind(email(person));
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
                let refresh = sha256(&format!("refresh token of {person}"));
                insert = insert.bind(person).bind(id).bind(access_hash(person)).bind(refresh);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_has_a_number_of_its_own() {
        assert_eq!(
            statement("INSERT INTO t (a, b)", "(?, 'x', ?)", 2),
            "INSERT INTO t (a, b) VALUES ($1, 'x', $2), ($3, 'x', $4)"
        );
    }
}
