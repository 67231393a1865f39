//! One structured line in the log for each call, and its part in the metrics.

use std::fmt::Display;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use account::{AccountNumber, Audience, Core, Deed, Identifier, Origin, Serial};
use axum::extract::Request;
use tracing::{Instrument, Span};

use crate::request_id::{Arrival, RequestId};

/// The refusals that metrics tell apart. All others are one, so that what clients send cannot make new time series.
const REFUSALS: [&str; 13] = [
    "there is no such account",
    "wrong password",
    "too many wrong guesses",
    "the account is disabled",
    "the account is not activated",
    "the account was not activated in time",
    "the request was sent before",
    "the request is not signed",
    "the signature does not match",
    "the application is unknown",
    "the application is disabled",
    "the app is too old for the gateway",
    BROKEN_OFF,
];

/// How a call ends whose client went away, or took too long, or that the server's own end cut short.
const BROKEN_OFF: &str = "it was broken off before it was answered";

/// Which call a request turns out to be: dialect and endpoint. Whoever wants to know puts one into the request's extensions.
#[derive(Debug, Clone, Default)]
pub struct Called(Arc<OnceLock<(&'static str, &'static str)>>);

impl Called {
    /// Dialect and endpoint, once they are known.
    #[must_use]
    pub fn get(&self) -> Option<(&'static str, &'static str)> {
        self.0.get().copied()
    }
}

/// A call that is under way. What becomes known of it is noted on it; how it ends writes the line, and to be dropped is an end as well.
pub struct Attempt {
    id: RequestId,
    /// In whose audit trail it is recorded, and where it comes from.
    recorder: Option<(Arc<Core>, Origin)>,
    dialect: &'static str,
    call: &'static str,
    begun: Instant,
    /// Who it says it is. Logged masked.
    pub identifier: Option<Identifier>,
    /// Whose account it turned out to be.
    pub account: Option<AccountNumber>,
    /// At which application or device.
    pub audience: Option<Audience>,
    /// What is odd about it without being wrong.
    pub note: Option<&'static str>,
    /// Which gateway it is about.
    pub gateway: Option<Serial>,
    /// Whether its success is no entry of its own in the audit trail.
    succeeds_unrecorded: bool,
    /// Whether its line is written.
    has_ended: bool,
}

impl Attempt {
    /// A call begins with `request`; `call` is what it is called in the log.
    #[must_use]
    pub fn begin(dialect: &'static str, call: &'static str, request: &Request) -> Self {
        let id = Arrival::of(request.extensions()).id;
        if let Some(called) = request.extensions().get::<Called>() {
            called.0.get_or_init(|| (dialect, call));
            Span::current().record("request_id", id.to_string());
        }
        Self {
            id,
            recorder: None,
            dialect,
            call,
            begun: Instant::now(),
            identifier: None,
            account: None,
            audience: None,
            note: None,
            gateway: None,
            succeeds_unrecorded: false,
            has_ended: false,
        }
    }

    /// What the audit trail calls it: dialect and call, and the gateway that it is about.
    fn what(&self) -> String {
        let gateway = self.gateway.as_ref().map(|gateway| format!(" {gateway}")).unwrap_or_default();
        format!("{} {}{gateway}", self.dialect, self.call)
    }

    /// Leaves it to the caller to write the entry of its success, as a part of what is done. Says what the audit trail calls it.
    #[must_use]
    pub fn entrust_entry(&mut self) -> String {
        self.succeeds_unrecorded = true;
        self.what()
    }

    /// Its success changes nothing, so that the audit trail has its refusals only.
    pub fn changes_nothing(&mut self) {
        self.succeeds_unrecorded = true;
    }

    /// How it ends is to be recorded in the audit trail.
    #[must_use]
    pub fn recorded(mut self, core: &Arc<Core>, request: &Request) -> Self {
        self.recorder = Some((Arc::clone(core), Arrival::of(request.extensions()).origin()));
        self
    }

    /// It succeeded. Once this is over, the audit trail has it, or will as soon as the store works again.
    pub async fn succeeded(mut self, outcome: &'static str) {
        self.has_ended = true;
        let (identifier, ms) = (self.who(), self.milliseconds());
        tracing::info!(
            request_id = %self.id, dialect = self.dialect, outcome, account = self.account.map(|account| account.0), identifier,
            note = self.note, ms, "{}", self.call
        );
        self.count("success", outcome);
        let Some((core, _)) = self.recorder.as_ref().filter(|_| !self.succeeds_unrecorded) else { return };
        let (core, deed) = (Arc::clone(core), self.deed(outcome.to_owned(), false));
        // Whoever goes away now takes no entry along.
        drop(tokio::spawn(async move { core.record(deed).await }.in_current_span()).await);
    }

    fn deed(&self, outcome: String, refused: bool) -> Deed {
        Deed {
            what: self.what(),
            outcome,
            refused,
            account: self.account,
            identifier: self.identifier.clone(),
            audience: self.audience.clone(),
            origin: self.recorder.as_ref().map(|(_, origin)| origin.clone()),
        }
    }

    /// It succeeded, as it does too often for a line each.
    pub fn succeeded_quietly(mut self, outcome: &'static str) {
        self.has_ended = true;
        self.count("success", outcome);
    }

    /// It failed, for a reason in words that hold nothing of the request's content.
    pub fn failed(mut self, reason: &dyn Display, our_fault: bool) {
        self.has_ended = true;
        self.fail(reason, our_fault);
    }

    fn fail(&self, reason: &dyn Display, our_fault: bool) {
        let (account, identifier) = (self.account.map(|account| account.0), self.who());
        let (ms, outcome) = (self.milliseconds(), reason.to_string());
        if let Some((core, _)) = &self.recorder {
            let deed = self.deed(outcome.clone(), true);
            // What the server does not bring about is nobody's deed, and may befall everybody at once.
            core.record_later(if our_fault { deed.of_nobody() } else { deed });
        }
        if our_fault {
            self.count("failure", "failed");
        } else {
            self.count("refusal", REFUSALS.into_iter().find(|known| *known == outcome).unwrap_or("refused"));
        }
        if our_fault {
            tracing::error!(request_id = %self.id, dialect = self.dialect, outcome, account, identifier, note = self.note, ms, "{}", self.call);
        } else {
            tracing::info!(request_id = %self.id, dialect = self.dialect, outcome, account, identifier, note = self.note, ms, "{}", self.call);
        }
    }

    fn count(&self, result: &'static str, outcome: &'static str) {
        let (dialect, endpoint) = (self.dialect, self.call);
        let span = Span::current();
        span.record("result", result);
        span.record("outcome", outcome);
        let labels = [("dialect", dialect), ("endpoint", endpoint), ("result", result), ("outcome", outcome)];
        metrics::counter!("hearthgate_requests_total", &labels).increment(1);
        let took = self.begun.elapsed().as_secs_f64();
        metrics::histogram!("hearthgate_request_duration_seconds", "dialect" => dialect, "endpoint" => endpoint).record(took);
    }

    fn who(&self) -> Option<String> {
        self.identifier.as_ref().map(|identifier| identifier.masked().to_string())
    }

    fn milliseconds(&self) -> f64 {
        let micros = u32::try_from(self.begun.elapsed().as_micros()).unwrap_or(u32::MAX);
        f64::from(micros) / 1000.0
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        match (self.has_ended, std::thread::panicking()) {
            (true, _) => {}
            (false, true) => self.fail(&"the server panicked", true),
            (false, false) => self.fail(&BROKEN_OFF, false),
        }
    }
}
