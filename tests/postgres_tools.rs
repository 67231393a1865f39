//! What PostgreSQL's own tools keep can be served from: the documented commands, as they stand.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::keeping::{another_database, documented, folder_with_key_of};
use crate::support::ports::free_port;
use crate::support::postgres::psql;
use crate::support::server::run;
use crate::support::{Ewelink, Server};

/// Runs a command that must succeed.
fn succeed(command: &mut Command) {
    let output = run(command, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_dump_is_restored() {
    let server = Server::dev();
    Ewelink::new(&server).login(json!({})).await;
    let contents = server.contents();
    let folder = server.folder();
    let new = another_database(&folder);
    let (any, name) = new.rsplit_once('/').unwrap();
    // The test's own name for it: others run at the same time.
    psql(&format!("{any}/postgres"), &format!("DROP DATABASE \"{name}\"")).unwrap();
    let script = documented("### PostgreSQL's own tools", 0).replace("hearthgate_restored", &format!("\"{name}\""));
    let mut shell = Command::new("sh");
    shell.args(["-euc", &script]).current_dir(folder.path());
    shell.env("OLD", server.database_url()).env("NEW", &new).env("ANY", format!("{any}/postgres"));
    succeed(&mut shell);
    server.stop();
    let server = Server::dev_in(folder_with_key_of(&folder), &[("HEARTHGATE_STORE", &new)]);
    assert_eq!(server.contents(), contents);
    assert_eq!(Ewelink::new(&server).login(json!({})).await.body["region"], "cn");
}

/// A PostgreSQL of one's own.
struct Cluster {
    folder: TempDir,
    port: u16,
}

impl Cluster {
    fn start() -> Self {
        let port = free_port();
        let cluster = Self { folder: TempDir::new().unwrap(), port };
        let settings = format!("port = {port}\nunix_socket_directories = '{}'\nfsync = off\n", cluster.path("").display());
        cluster.run(&[], "initdb --pgdata=first --username=postgres --auth=trust --encoding=UTF8 --no-locale --no-sync");
        cluster.run(&[("SETTINGS", &settings)], "mkdir archive && echo \"$SETTINGS\" >> first/postgresql.conf");
        cluster.run(&[], "pg_ctl start --pgdata=first --log=log");
        cluster
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs a script as the user that PostgreSQL runs as.
    fn run(&self, variables: &[(&str, &str)], script: &str) {
        let functions = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/postgres.sh");
        let run = "source \"$0\"; [ \"$(id -u)\" != 0 ] || chown postgres \"$postgres_folder\"; as_postgres sh -euc \"$1\"";
        let mut shell = Command::new("bash");
        shell.args(["-euc", run, functions, script]).env("postgres_folder", self.folder.path()).envs(variables.iter().copied());
        succeed(&mut shell);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for data in ["first", "restored"].into_iter().filter(|data| self.path(data).join("postmaster.pid").exists()) {
            self.run(&[], &format!("pg_ctl stop --mode=immediate --pgdata={data}"));
        }
    }
}

/// One moment is returned to: what was before it is there, what was after it is not.
#[tokio::test]
async fn a_moment_is_returned_to() {
    let cluster = Cluster::start();
    let any = cluster.url("postgres");
    psql(&any, "CREATE DATABASE hearthgate").unwrap();
    let store = cluster.url("hearthgate");
    let [first, base, archive, restored] = ["first", "base", "archive", "restored"].map(|name| cluster.path(name));
    let mut variables: Vec<(&str, &str)> = vec![("ANY", &any)];
    for (name, path) in [("PGDATA", &first), ("BASE", &base), ("ARCHIVE", &archive), ("RESTORED", &restored)] {
        variables.push((name, path.to_str().unwrap()));
    }
    cluster.run(&variables, &documented("### PostgreSQL's own tools", 1));

    let folder = std::sync::Arc::new(TempDir::new().unwrap());
    let server = Server::dev_in(folder, &[("HEARTHGATE_STORE", &store)]);
    let create = |name: &str| server.create_account(&["--username", name], "long enough");
    create("before");
    let moment = psql(&any, "SELECT clock_timestamp()").unwrap();
    create("after");
    let folder = server.stop();
    // Stopping archives what is left of the log.
    cluster.run(&[], "pg_ctl stop --pgdata=first");
    assert!(fs::read_dir(&archive).unwrap().count() > 1);

    variables.push(("UNTIL", &moment));
    cluster.run(&variables, &documented("### PostgreSQL's own tools", 2));
    let server = Server::dev_in(folder_with_key_of(&folder), &[("HEARTHGATE_STORE", &store)]);
    let accounts = server.operate(&["account", "list"]);
    let names: Vec<&Value> = accounts.as_array().unwrap().iter().map(|account| &account["username"]).collect();
    assert!(names.contains(&&json!("before")) && !names.contains(&&json!("after")), "{names:?}");
    assert_eq!(Ewelink::new(&server).login(json!({})).await.body["region"], "cn");
}
