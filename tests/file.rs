//! What is so only with a database in a file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use crate::support::Server;
use crate::support::server::refuse;

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
