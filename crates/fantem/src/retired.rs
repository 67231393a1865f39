//! Calls that are retired (§5): they answer as they always did, and grant nothing.

use std::time::Duration;

use account::{Token, TokenLength, alphanumeric};
use serde_json::json;
use wire::Incoming;

use crate::Dialect;
use crate::failure::Failure;
use crate::fields::{Fields, Refusals};
use crate::routes::Answer;

/// How long the token that grants nothing is said to be valid.
const VALID: Duration = Duration::from_hours(30 * 24);

impl Dialect {
    pub(crate) fn authen_apply(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        Fields::form(incoming, Refusals::OLD)?.required("uuid", 64)?;
        Ok(Answer::data(json!({ "data": alphanumeric(self.core.rng(), 16), "algorithmId": 1, "secretKeyId": 0 })))
    }

    pub(crate) fn authen_confirm(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        Fields::form(incoming, Refusals::OLD)?.required("uuid", 64)?;
        let token = Token::draw(self.core.rng(), TokenLength::Bits128);
        Ok(Answer::data(json!({
            "devToken": token.expose(),
            "expireTime": self.core.clock().now().plus(VALID).0,
            "validPeriod": VALID.as_secs().to_string(),
            "authorityLevel": "1",
            "authorityScope": "",
            "requestNumber": 1,
        })))
    }
}
