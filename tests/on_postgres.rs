//! End to end on PostgreSQL: every test that is not about a database in a file, and what only PostgreSQL can do.
#![allow(missing_docs, clippy::unwrap_used)]

/// Whether the databases are PostgreSQL's.
const ON_POSTGRES: bool = true;

mod audit;
mod bad_input;
mod canary;
#[path = "support/cluster.rs"]
mod cluster;
mod command_line;
mod concurrency;
mod crash;
mod dev;
mod doctor;
mod ewelink_life;
mod ewelink_login;
mod failover;
mod fantem_life;
mod fantem_login;
mod forward_auth;
mod geoip;
mod import;
mod keeping;
mod keys;
mod lives;
mod log;
mod messages;
mod mqtt;
mod nodes;
mod one_account;
mod pages;
mod postgres_tools;
mod real_client;
mod regions;
mod resource;
mod server_life;
mod support;
mod throttle;
mod tls;
mod watching;
