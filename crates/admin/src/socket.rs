//! Commands over the socket of a running server.

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tracing::Instrument;

use crate::command::Command;
use crate::execute::{AdminError, Operator};

/// Where commands are sent, by POST, as JSON.
pub const EXECUTE_PATH: &str = "/execute";

/// The largest command, in bytes: a hundred rows of an import.
const COMMAND_LIMIT: usize = 16 * 1024 * 1024;

/// What became of a command, as it travels: what it concerns, or a sentence about what went wrong.
pub type Outcome = Result<Value, String>;

/// The routes of the operator's socket. Whoever can open the socket is the operator.
pub fn router(operator: Operator) -> Router {
    let limit = DefaultBodyLimit::max(COMMAND_LIMIT);
    Router::new().route(EXECUTE_PATH, post(execute)).layer(limit).with_state(operator)
}

async fn execute(State(operator): State<Operator>, Json(command): Json<Command>) -> Json<Outcome> {
    let reads = command.only_reads();
    let goes_on_later = command.goes_on_later();
    let executed = async move { operator.execute(command).await }.in_current_span();
    let answer = if goes_on_later {
        executed.await
    } else {
        // Whoever goes away takes nothing along: what is begun is done, and recorded.
        tokio::spawn(executed).await.unwrap_or_else(|error| Err(AdminError::Wrong(error.to_string())))
    };
    if !reads {
        let done = matches!(answer, Ok(_) | Err(AdminError::Unrecorded(_)));
        tracing::info!(done, "an operator's command");
    }
    Json(answer.map_err(|error| error.to_string()))
}
