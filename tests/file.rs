//! What is so only with a database in a file.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::support::server::{hearthgate_on, refuse, run};
use crate::support::{Ewelink, Server};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_it_keeps_is_private() {
    let server = Server::dev();
    assert_eq!(mode(&server.data()), 0o700);
    for file in ["master.key", "hearthgate.sock", "hearthgate.db", "hearthgate.db-wal", "lock", "key.pem"] {
        assert_eq!(mode(&server.data().join(file)), 0o600, "{file}");
    }
}

#[test]
fn a_folder_without_data_is_said_to_be_one() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let said = refuse(&data, &["account", "list"], "");
    assert_eq!(said, format!("hearthgate: there is no data in {}: name the server's data folder with --data", data.display()));
    assert!(!data.exists());
}

#[test]
fn a_new_servers_folder_is_said_to_be_one() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let made = |name| String::from_utf8(run(&mut hearthgate_on(&data, ["app", "create", "--appid", name]), "").stderr).unwrap();
    assert_eq!(made("one"), format!("hearthgate: there was no data in {}: this is a new server's now\n", data.display()));
    assert_eq!(made("another"), "");
}

/// A master key, say, that another user's server could not read.
#[test]
fn nothing_is_made_in_another_users_folder() {
    let refused = |data: &Path| {
        for command in [["account", "list"], ["key", "draw"]] {
            let said = refuse(data, &command, "");
            assert!(said.contains("are another user's: run this as that one (sudo -u '#"), "{said}");
        }
    };
    if !rustix::process::geteuid().is_root() {
        return refused(Path::new("/root"));
    }
    let (folder, parts) = (TempDir::new().unwrap(), |data: &Path| std::fs::read_dir(data).unwrap().count());
    let given_to = |path: &Path, user| std::os::unix::fs::chown(path, Some(user), None).unwrap();
    given_to(folder.path(), 1);
    refused(folder.path());
    assert_eq!(parts(folder.path()), 0);
    let used = Server::dev().stop();
    let (data, before) = (used.path().join("data"), parts(&used.path().join("data")));
    given_to(&data.join("lock"), 1);
    refused(&data);
    assert_eq!(parts(&data), before);
}

#[test]
fn what_is_no_database_is_refused() {
    let folder = Server::dev().stop();
    let data = folder.path().join("data");
    let database = data.join("hearthgate.db");
    let kept = std::fs::read(&database).unwrap();
    std::fs::write(&database, "this is not a database, but long enough to be looked at as one. ".repeat(20)).unwrap();
    let said = refuse(&data, &["serve", "--http", "127.0.0.1:0"], "");
    assert!(said.contains("cannot open the database") && said.contains("hearthgate.db"), "{said}");
    std::fs::write(&database, &kept).unwrap();
    let server = Server::serve(folder, &["--http", "127.0.0.1:0"], &[]);
    assert_eq!(server.operate(&["account", "list"]).as_array().unwrap().len(), 2, "nothing was lost");
}

/// A page of the database is not what it was: nobody is let in, the operator is told, and when the page is back, so is the server.
#[tokio::test]
async fn a_torn_database_is_no_success() {
    let server = Server::dev();
    let database = server.database().await;
    let page: i64 =
        sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = 'accounts'").fetch_one(&database).await.unwrap();
    // Otherwise the log would have the page.
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&database).await.unwrap();
    database.close().await;
    let folder = server.stop();
    let data = folder.path().join("data");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(data.join("hearthgate.db")).unwrap();
    let (mut sound, at) = ([0; 4096], u64::try_from(page - 1).unwrap() * 4096);
    file.read_exact_at(&mut sound, at).unwrap();
    file.write_all_at(&[0xff; 4096], at).unwrap();

    let server = Server::serve(folder, &["--http", "127.0.0.1:0"], &[]);
    let refused = Ewelink::new(&server).login(json!({})).await;
    assert_eq!((refused.status, refused.body, refused.retry_after), (503, json!({ "error": 500 }), Some(1)));
    server.log.wait_for(|line| line.contains("ERROR") && line.contains("malformed"));
    let output = run(&mut hearthgate_on(&data, ["doctor"]), "");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && said.contains("the database is damaged") && said.contains("newest backup"), "{said}");

    file.write_all_at(&sound, at).unwrap();
    assert_eq!(Ewelink::new(&server).login(json!({})).await.body["region"], "cn");
}
