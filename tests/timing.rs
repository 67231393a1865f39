//! What time tells: nothing about who has an account.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::calls::{CUBE, TOUCH, md5};
use crate::support::panel::Panel;
use crate::support::{Ewelink, Server};

/// How many of each are measured; `./test --long` measures more.
fn requests() -> usize {
    std::env::var("TEST_TIMINGS").map_or(2_000, |text| text.parse().unwrap())
}

/// By how many standard errors two means differ (Welch).
fn t(one: &[f64], other: &[f64]) -> f64 {
    let mean = |sample: &[f64]| sample.iter().sum::<f64>() / sample.len() as f64;
    let error = |sample: &[f64]| {
        let middle = mean(sample);
        let variance = sample.iter().map(|value| (value - middle).powi(2)).sum::<f64>() / (sample.len() as f64 - 1.0);
        variance / sample.len() as f64
    };
    (mean(one) - mean(other)) / (error(one) + error(other)).sqrt()
}

/// What an attacker measures, without what lies above the ninth decile: there the machine speaks, not the server.
fn undisturbed(mut sample: Vec<Duration>) -> Vec<f64> {
    sample.sort();
    sample.truncate(sample.len() * 9 / 10);
    sample.into_iter().map(|took| took.as_secs_f64()).collect()
}

/// Whom a wrong password is tried at: somebody with an account, somebody without, and somebody whose account is disabled.
const WHOM: [&str; 3] = ["anna@example.com", "nobody@example.com", "disabled@example.com"];

fn people() -> Server {
    let server = Server::dev();
    server.create_account(&["--email", WHOM[0]], "correct horse");
    server.create_account(&["--email", WHOM[2]], "correct horse");
    server.operate(&["account", "disable", WHOM[2]]);
    server
}

/// An unknown account and a disabled one take as long as a wrong password: asked in turns over one connection, with a cheap hash, beside which
/// every difference shows. `codes` are those of a wrong password and of an unknown account.
async fn assert_alike(codes: [u64; 2], ask: impl AsyncFn(&str) -> u64) {
    let mut taken: [Vec<Duration>; 3] = Default::default();
    for _ in 0..100 {
        ask(WHOM[0]).await;
    }
    for _ in 0..requests() {
        for ((who, code), taken) in WHOM.iter().zip([codes[0], codes[1], codes[0]]).zip(&mut taken) {
            let begun = Instant::now();
            let answered = ask(who).await;
            taken.push(begun.elapsed());
            assert_eq!(answered, code);
        }
    }
    let [wrong, unknown, disabled] = taken.map(undisturbed);
    let (unknown, disabled) = (t(&unknown, &wrong), t(&disabled, &wrong));
    println!("t: unknown {unknown:.2}, disabled {disabled:.2}");
    assert!(unknown.abs() < 4.5 && disabled.abs() < 4.5, "unknown {unknown:.2}, disabled {disabled:.2}");
}

#[tokio::test]
async fn an_unknown_account_takes_as_long_as_a_wrong_password() {
    let server = people();
    let ewelink = Ewelink::new(&server);
    let ask = async |who: &str| {
        let answer = ewelink.login(json!({ "phoneNumber": null, "email": who, "password": "wrong horse" })).await;
        answer.body["error"].as_u64().unwrap()
    };
    assert_alike([401, 404], ask).await;
}

#[tokio::test]
async fn an_unknown_account_takes_as_long_as_a_wrong_password_on_a_panel() {
    let server = people();
    let (panel, password) = (Panel::new(&server), md5("wrong horse"));
    let ask = async |who: &str| {
        let form = [("username", who), ("password", &password), ("uuid", TOUCH), ("cubeSn", CUBE)];
        panel.form("/accounts/login", &form).await.answer.body["code"].as_u64().unwrap()
    };
    assert_alike([108, 106], ask).await;
}
