//! Databases on the PostgreSQL that the tests are given (`./test` starts one).

use std::process::Command;

/// The URL of a database called `name`, which is made if it is not there. It goes with the server that it is on.
pub fn database(name: &str) -> String {
    let server = std::env::var("TEST_POSTGRES").expect("the tests on PostgreSQL need TEST_POSTGRES: run ./test");
    let made = psql(&server, &format!("CREATE DATABASE \"{name}\" TEMPLATE template0"));
    assert!(made.is_ok() || made.as_ref().is_err_and(|said| said.contains("already exists")), "{made:?}");
    format!("{server}/{name}")
}

/// Removes a database before its server goes: for tests that need many, one after another.
#[allow(dead_code, reason = "few tests do")]
pub fn drop_database(url: &str) {
    let (server, name) = url.rsplit_once('/').unwrap();
    psql(server, &format!("DROP DATABASE \"{name}\" WITH (FORCE)")).unwrap();
}

/// Runs a statement and returns what it returned, or what was wrong.
pub fn psql(url: &str, statement: &str) -> Result<String, String> {
    let output =
        Command::new("psql").args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-c", statement, url]).output();
    let output = output.expect("psql is installed by ./test");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
