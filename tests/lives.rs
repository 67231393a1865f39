//! The documented scripts, as they are written, each against a server of its own.

use std::process::Command;

use crate::support::Server;

fn live(script: &str) {
    let server = Server::dev();
    let path = format!("{}/../../docs/lives/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("bash")
        .arg(path)
        .env("URL", &server.http)
        .env("DATA", server.data())
        .env("HEARTHGATE", env!("CARGO_BIN_EXE_hearthgate"))
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.ends_with("a whole life\n"), "{out}\n{err}");
}

#[test]
fn fantem() {
    live("fantem.sh");
}

#[test]
fn ewelink_v8() {
    live("ewelink-v8.sh");
}

#[test]
fn ewelink_v2() {
    live("ewelink-v2.sh");
}
