//! What time tells: nothing about who has an account.

use std::time::{Duration, Instant};

use serde_json::json;

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

/// A wrong password takes as long as an account that does not exist, or is disabled: asked in turns over one connection, with a cheap hash,
/// beside which every difference shows.
#[tokio::test]
async fn an_unknown_account_takes_as_long_as_a_wrong_password() {
    let server = Server::dev();
    server.create_account(&["--email", "anna@example.com"], "correct horse");
    server.create_account(&["--email", "disabled@example.com"], "correct horse");
    server.operate(&["account", "disable", "disabled@example.com"]);
    let ewelink = Ewelink::new(&server);
    let ask = async |who: &str| {
        let begun = Instant::now();
        let answer = ewelink.login(json!({ "phoneNumber": null, "email": who, "password": "wrong horse" })).await;
        (begun.elapsed(), answer.body["error"].as_u64().unwrap())
    };
    let whom = [("anna@example.com", 401), ("nobody@example.com", 404), ("disabled@example.com", 401)];
    let mut taken: [Vec<Duration>; 3] = Default::default();
    for _ in 0..100 {
        ask("anna@example.com").await;
    }
    for _ in 0..requests() {
        for ((who, error), taken) in whom.iter().zip(&mut taken) {
            let (took, answered) = ask(who).await;
            assert_eq!(answered, *error);
            taken.push(took);
        }
    }
    let [wrong, unknown, disabled] = taken.map(undisturbed);
    let (unknown, disabled) = (t(&unknown, &wrong), t(&disabled, &wrong));
    println!("t: unknown {unknown:.2}, disabled {disabled:.2}");
    assert!(unknown.abs() < 4.5 && disabled.abs() < 4.5, "unknown {unknown:.2}, disabled {disabled:.2}");
}
