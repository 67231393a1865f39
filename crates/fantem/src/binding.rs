//! Which cube belongs to which account (§5). A cube has at most one account.

use account::{Account, AccountNumber, Activation, BindError, Gateway, Guid, Serial};
use serde_json::json;
use wire::Incoming;

use crate::Dialect;
use crate::failure::{Failure, code};
use crate::fields::{Fields, Refusals};
use crate::routes::Answer;

use code::old_binding as old;

impl Dialect {
    pub(crate) async fn bind_gateway(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let (account, gateway) = self.owner_and_gateway(incoming, code::NOT_A_GATEWAY).await?;
        if account.activation != Activation::Active {
            return Err(Failure::new(code::EMAIL_INACTIVE, "the account is not activated"));
        }
        self.core.bind(&gateway.serial, account.number).await?;
        Ok(Answer::done().of(account.number).about(gateway.serial).outcome("bound"))
    }

    pub(crate) async fn unbind_gateway(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let (account, gateway) = self.owner_and_gateway(incoming, code::GATEWAY_UNKNOWN).await?;
        let answer = Answer::done().of(account.number);
        let unbound = self.core.unbind(&gateway.serial, account.number).await?;
        Ok(if unbound { answer.about(gateway.serial).outcome("unbound") } else { answer.refused("unbound before") })
    }

    /// Who asks, and for which gateway; `a_device` is the code for a guid that is a touch panel's or phone's.
    async fn owner_and_gateway(
        &self,
        incoming: &Incoming,
        a_device: crate::failure::Code,
    ) -> Result<(Account, Gateway), Failure> {
        let fields = Fields::json(incoming, Refusals::NEW)?;
        let (guid, number) = (fields.parse::<Guid>("guid", 64)?, fields.account("accountId")?);
        let account = self.bearer(incoming, code::TOKEN_INVALID).await?;
        if account.number != number {
            self.known_account(number).await?;
            return Err(Failure::new(code::TOKEN_ANOTHERS, "the access token is another account's"));
        }
        match self.core.gateway_by_guid(&guid).await? {
            Some(gateway) => Ok((account, gateway)),
            None if self.core.device_by_guid(&guid).await?.is_some() => {
                Err(Failure::new(a_device, "the guid is a touch panel's or phone's"))
            }
            None => Err(BindError::GatewayUnknown.into()),
        }
    }

    async fn known_account(&self, number: AccountNumber) -> Result<Account, Failure> {
        let unknown = || Failure::new(code::ACCOUNT_UNKNOWN, "there is no such account");
        self.core.account(number).await?.ok_or_else(unknown)
    }

    /// The old one-cube binding, which has codes of its own.
    pub(crate) async fn cube_confirm(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let fields = Fields::form(incoming, Refusals::all(old::PARAMETERS))?;
        let (number, token) = (fields.account("accountId")?, fields.token("touchToken")?);
        let touch: Serial = fields.parse("touchUuid", 64)?;
        let gateway = self.cube(&fields, code::CUBE_UNKNOWN).await?;
        let account = self.session_at(&token, &touch, old::PARAMETERS).await?;
        if account.number != number {
            self.known_account(number).await?;
            return Err(Failure::new(old::PARAMETERS, "the access token is another account's"));
        }
        if account.activation != Activation::Active {
            return Err(Failure::new(old::NOT_ACTIVATED, "the account is not activated"));
        }
        let own = self.cubes_of(number).await?;
        let code = match (gateway.account, own.is_empty()) {
            (Some(owner), _) if owner == number => old::ALREADY_BOUND,
            (Some(_), true) => old::CUBE_TAKEN,
            (Some(_), false) => old::BOTH_BOUND,
            (None, false) => old::OTHER_CUBE,
            (None, true) => {
                let lost = |error: BindError| match error {
                    BindError::Store(error) => error.into(),
                    error => Failure::new(old::FAILED, error),
                };
                self.core.bind(&gateway.serial, number).await.map_err(lost)?;
                return Ok(Answer::done().of(number).about(gateway.serial).outcome("bound"));
            }
        };
        Err(Failure::new(code, "the gateway or the account is bound already"))
    }

    /// `devToken` must be an access token of the device `uuid`: the tokens that the retired calls give out prove nothing.
    pub(crate) async fn cube_confirmed(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let fields = Fields::form(incoming, Refusals::all(old::PARAMETERS))?;
        let (token, device) = (fields.token("devToken")?, fields.parse::<Serial>("uuid", 64)?);
        let account = self.session_at(&token, &device, old::PARAMETERS).await?;
        let cubes = self.cubes_of(account.number).await?;
        let own = cubes.first().ok_or_else(|| Failure::new(code::NO_CUBE, "the account has no gateway"))?;
        Ok(Answer::data(json!({ "p2pUid": own.identity.ptop_uid })).of(account.number))
    }

    pub(crate) async fn cube_remove_bind(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let fields = Fields::form(incoming, Refusals::OLD)?;
        if fields.optional("compelFlag", 8)?.as_deref() == Some("yes") {
            return self.take_away(&fields).await;
        }
        let number = account_number(&fields, "accountId")?;
        let (token, touch) = (fields.token("touchToken")?, fields.parse::<Serial>("touchUuid", 64)?);
        let gateway = self.cube(&fields, code::CUBE_UNKNOWN).await?;
        self.holder(&token, number, &touch, code::PARAMETERS).await?;
        if gateway.account != Some(number) {
            return Err(Failure::new(code::NO_CUBE, "the gateway is not this account's"));
        }
        let unbound = self.core.unbind(&gateway.serial, number).await?;
        let answer = Answer::done().of(number).about(gateway.serial);
        // Somebody else may have done so since.
        Ok(if unbound { answer.outcome("unbound") } else { answer.refused("unbound before") })
    }

    /// The forced form: whoever holds the cube takes it, which its account has not agreed to.
    async fn take_away(&self, fields: &Fields) -> Result<Answer, Failure> {
        if !self.settings.allow_forced_rebind {
            return Err(Failure::new(code::FORMAT, "forced rebinding is off (fantem.allow_forced_rebind)"));
        }
        let number = account_number(fields, "newAccountId")?;
        let (token, touch) = (fields.token("newTouchToken")?, fields.parse::<Serial>("newTouchUuid", 64)?);
        let gateway = self.cube(fields, code::CUBE_UNKNOWN).await?;
        self.holder(&token, number, &touch, code::PARAMETERS).await?;
        let owner = gateway.account.ok_or_else(|| Failure::new(code::NO_CUBE, "the gateway is bound to nobody"))?;
        self.core.rebind(&gateway.serial, owner, number).await?;
        Ok(Answer::done().of(number).about(gateway.serial).outcome("taken from its account"))
    }
}

fn account_number(fields: &Fields, name: &str) -> Result<AccountNumber, Failure> {
    let text = fields.required(name, 20)?;
    text.trim().parse().map(AccountNumber).map_err(|_| Failure::new(code::FORMAT, format!("{name} is not a number")))
}
