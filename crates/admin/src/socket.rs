//! Commands over the socket of a running server.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::sync::RwLock;
use tracing::Instrument;

use crate::command::Command;
use crate::execute::{AdminError, Operator};

/// Where commands are sent, by POST, as JSON.
pub const EXECUTE_PATH: &str = "/execute";

/// The largest command, in bytes: a hundred rows of an import.
const COMMAND_LIMIT: usize = 16 * 1024 * 1024;

/// What became of a command, as it travels: what it concerns, or a sentence about what went wrong.
pub type Outcome = Result<Value, String>;

/// The commands that are under way, those that nobody waits for any more among them.
#[derive(Debug, Clone, Default)]
pub struct UnderWay(Arc<RwLock<()>>);

impl UnderWay {
    /// Waits until there is none.
    pub async fn end(&self) {
        drop(self.0.write().await);
    }
}

/// The routes of the operator's socket. Whoever can open the socket is the operator.
pub fn router(operator: Operator, under_way: UnderWay) -> Router {
    let limit = DefaultBodyLimit::max(COMMAND_LIMIT);
    Router::new().route(EXECUTE_PATH, post(execute)).layer(limit).with_state((operator, under_way))
}

async fn execute(State((operator, under_way)): State<(Operator, UnderWay)>, Json(command): Json<Command>) -> Json<Outcome> {
    let reads = command.only_reads();
    let goes_on_later = command.goes_on_later();
    let one = under_way.0.read_owned().await;
    let executed = async move {
        let _one = one;
        operator.execute(command).await
    };
    let executed = executed.in_current_span();
    let answer = if goes_on_later {
        executed.await
    } else {
        // Whoever goes away takes nothing along: what is begun is done, and recorded.
        tokio::spawn(executed).await.unwrap_or_else(|error| Err(AdminError::Wrong(error.to_string())))
    };
    if !reads {
        let done = answer.as_ref().err().is_none_or(AdminError::is_done);
        tracing::info!(done, "an operator's command");
    }
    Json(answer.map_err(|error| error.to_string()))
}
