//! End to end: the real binary, real sockets, a real database file. Each test has a server of its own.
#![allow(missing_docs, clippy::unwrap_used)]

/// Whether the databases are PostgreSQL's.
const ON_POSTGRES: bool = false;

mod audit;
mod bad_input;
mod bounds;
mod canary;
mod command_line;
mod concurrency;
mod crash;
mod dev;
#[path = "support/disk.rs"]
mod disk;
mod disk_faults;
mod doctor;
mod ewelink_life;
mod ewelink_login;
mod fantem_life;
mod fantem_login;
mod file;
mod forward_auth;
#[path = "support/frames.rs"]
mod frames;
mod geoip;
mod hostile_http;
mod import;
mod keeping;
mod keys;
mod lives;
mod log;
mod messages;
mod mqtt;
mod one_account;
mod overload;
mod pages;
mod power_cut;
mod real_client;
mod resource;
mod server_life;
#[path = "support/siege.rs"]
mod siege;
mod slow_clients;
mod support;
mod throttle;
mod timing;
mod tls;
mod traces;
mod watching;
