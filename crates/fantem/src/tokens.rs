//! What becomes of a session (§4): logout, refreshing, heartbeat.

use account::{Account, AccountNumber, Audience, Gateway, GatewayKind, Refresh, Serial, Session, SpentToken};
use serde_json::json;
use wire::Incoming;

use crate::failure::{self, Code, Failure, code};
use crate::fields::{Fields, Refusals};
use crate::routes::Answer;
use crate::{Dialect, TERMS};

impl Dialect {
    /// With the cookies `guid` and `aat`, those are used; ending a session that is over succeeds.
    pub(crate) async fn logout(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let fields = Fields::form(incoming, Refusals::OLD)?;
        let (serial, token) = match (incoming.cookie("guid"), incoming.cookie("aat")) {
            (Some(guid), Some(token)) => {
                let device = match guid.parse().ok() {
                    Some(guid) => self.core.device_by_guid(&guid).await?,
                    None => None,
                };
                (device.map(|device| device.serial), token.to_owned())
            }
            _ => {
                let serial: Serial = fields.parse("uuid", 64)?;
                fields.account("accountId")?;
                let token = fields.token("accountToken")?;
                (self.core.device(&serial).await?.map(|device| device.serial), token)
            }
        };
        let serial = serial.ok_or_else(|| Failure::new(code::DEVICE_UNKNOWN_OLD, "the device is not registered"))?;
        let account = fields.optional("accountId", 20)?.and_then(|text| text.trim().parse().ok()).map(AccountNumber);
        let is_theirs = |session: &Session| {
            session.audience == Audience::Device(serial.clone()) && account.is_none_or(|account| account == session.account)
        };
        let ended = self.core.log_out(&token, is_theirs).await?;
        Ok(if ended { Answer::done().outcome("logged out") } else { Answer::done().refused("logged out before") })
    }

    pub(crate) async fn flush_token(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let fields = Fields::form(incoming, Refusals::OLD)?;
        let (account, serial) = (fields.account("accountId")?, fields.parse::<Serial>("uuid", 64)?);
        let token = fields.token("flushToken")?;
        self.core.device(&serial).await?.ok_or_else(|| Failure::new(code::DEVICE_UNKNOWN_OLD, "the device is not registered"))?;
        let audience = Audience::Device(serial);
        let is_theirs = |session: &Session, _: Option<&SpentToken>| session.audience == audience && session.account == account;
        let refresh = Refresh { token: &token, is_theirs: &is_theirs, terms: TERMS, origin: &incoming.origin };
        let refreshed = self.core.refresh(&refresh).await?;
        let data = json!({
            "accountToken": refreshed.tokens.access.expose(),
            "flushToken": refreshed.tokens.refresh.expose(),
            "accessTokenExpireTime": refreshed.session.access_expires_at.0,
            "refreshTokenExpireTime": refreshed.session.refresh_expires_at.0,
        });
        Ok(Answer::data(data).of(account).outcome("refreshed"))
    }

    pub(crate) async fn account_heart(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let fields = Fields::form(incoming, Refusals::OLD)?;
        let (number, serial) = (fields.account("accountId")?, fields.parse::<Serial>("uuid", 64)?);
        let token = fields.token("accountToken")?;
        self.core.device(&serial).await?.ok_or_else(|| Failure::new(code::CUBE_UNKNOWN, "the device is not registered"))?;
        let wrong = code::TOKEN_INVALID;
        let account = self.holder(&token, number, &serial, wrong).await?;
        if self.cubes_of(account.number).await?.is_empty() {
            return Err(Failure::new(code::NO_CUBE, "the account has no cube"));
        }
        Ok(Answer::done().of(number))
    }

    /// The account whose session on that device has this access token.
    pub(crate) async fn session_at(&self, token: &str, device: &Serial, wrong: Code) -> Result<Account, Failure> {
        let (account, session) = self.core.session(token).await.map_err(|error| failure::token(error, wrong))?;
        let theirs = session.audience == Audience::Device(device.clone());
        theirs.then_some(account).ok_or_else(|| Failure::new(wrong, "the access token is another device's"))
    }

    /// The same, where the account is named as well.
    pub(crate) async fn holder(
        &self,
        token: &str,
        number: AccountNumber,
        device: &Serial,
        wrong: Code,
    ) -> Result<Account, Failure> {
        let account = self.session_at(token, device, wrong).await?;
        let theirs = account.number == number;
        theirs.then_some(account).ok_or_else(|| Failure::new(wrong, "the access token is another account's"))
    }

    /// An account's cubes: its gateways but the hubs.
    pub(crate) async fn cubes_of(&self, account: AccountNumber) -> Result<Vec<Gateway>, Failure> {
        let gateways = self.core.gateways_of(account).await?;
        Ok(gateways.into_iter().filter(|gateway| gateway.kind == GatewayKind::Cube).collect())
    }

    /// The account whose access token is in the cookie `aat`. Tokens of other dialects are worth nothing here.
    pub(crate) async fn bearer(&self, incoming: &Incoming, invalid: Code) -> Result<Account, Failure> {
        let token = incoming.cookie("aat").ok_or_else(|| Failure::new(code::NO_TOKEN, "the cookie aat is missing"))?;
        let (account, session) = self.core.session(token).await.map_err(|error| failure::token(error, invalid))?;
        match session.audience {
            Audience::Device(_) => Ok(account),
            Audience::Application(_) => Err(Failure::new(invalid, "the access token is an application's")),
        }
    }
}
