//! How accounts come to be, and how forgotten passwords are set anew (§5).

use account::{
    Account, Address, Details, Email, Identifier, PasswordDigest, Registration, RegistrationProof, Reset, ResetProof, UserName,
};
use serde_json::json;
use wire::{Attempt, Incoming};

use crate::failure::{self, Code, CodeCodes, Failure, SendCodes, code};
use crate::fields::{Fields, Refusals};
use crate::routes::Answer;
use crate::{BY_MAIL, Dialect, RESET_LINK};

/// Where links lead.
const VERIFY: &str = "/user/verify";
const FIND_PASSWORD: &str = "/user/findLostEmail";

/// What the registration form may hold and nobody looks at.
const RESERVED: [&str; 4] = ["displayName", "sex", "birthday", "address"];

impl Dialect {
    /// Registers with an e-mail address that is proven by a link.
    pub(crate) async fn register(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let fields = Fields::secret_form(incoming, Refusals::FORMAT)?;
        let (user_name, email) = (fields.required("username", 255)?, fields.required("email", 255)?);
        let password = fields.new_digest("password", "rePassword", code::PASSWORDS_DIFFER_OLD)?;
        let malformed = || Failure::new(code::EMAIL_MALFORMED, "email is malformed");
        let email = email.parse::<Email>().ok().filter(Email::is_address).ok_or_else(malformed)?;
        for reserved in RESERVED {
            fields.optional(reserved, 255)?;
        }
        let language = fields.language()?;
        let form = self.link(VERIFY, code::MAIL_NOT_SENT)?;
        let address = Address::Email(email);
        attempt.identifier = Some(address.identifier());
        let registration = Registration {
            user_name: Some(user_name.parse::<UserName>().map_err(|_| fields.malformed("username"))?),
            proof: RegistrationProof::Link { form: &form, sending: BY_MAIL },
            ..self.registration(incoming, address.clone(), password, language)
        };
        let registered = self.core.register(&registration).await;
        let registered =
            registered.map_err(|error| failure::register(error, &address, CodeCodes::BY_MAIL, code::EMAIL_MALFORMED))?;
        attempt.account = Some(registered.account.number);
        // The account is there, and the mail is tried again.
        registered.mailed.map_err(|error| Failure::ours(code::MAIL_NOT_SENT, error))?;
        let number = registered.account.number;
        Ok(Answer::data(json!({ "accountId": number })).of(number).outcome("registered"))
    }

    fn registration<'a>(
        &self,
        incoming: &'a Incoming,
        address: Address,
        password: PasswordDigest,
        language: Option<String>,
    ) -> Registration<'a> {
        Registration {
            region: self.settings.region.clone(),
            user_name: None,
            address,
            password,
            details: Details { language, ..Details::default() },
            proof: RegistrationProof::Code(""),
            origin: &incoming.origin,
        }
    }

    pub(crate) async fn register_by_phone(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let fields = Fields::json(incoming, Refusals::FORMAT)?;
        let digits = fields.code()?;
        fields.required("phone", 15)?;
        let password = fields.new_digest("password", "confirmPassword", code::PASSWORDS_DIFFER)?;
        let address = Address::Phone(fields.phone(6)?);
        self.register_by_code(incoming, address, &digits, password, CodeCodes::USUAL, attempt).await
    }

    pub(crate) async fn register_by_email(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let fields = Fields::json(incoming, Refusals::FORMAT)?;
        let digits = fields.code()?;
        let address = Address::Email(fields.parse::<Email>("email", 255)?);
        let password = fields.new_digest("password", "confirmPassword", code::PASSWORDS_DIFFER)?;
        self.register_by_code(incoming, address, &digits, password, CodeCodes::BY_MAIL, attempt).await
    }

    async fn register_by_code(
        &self,
        incoming: &Incoming,
        address: Address,
        digits: &str,
        password: PasswordDigest,
        codes: CodeCodes,
        attempt: &mut Attempt,
    ) -> Result<Answer, Failure> {
        attempt.identifier = Some(address.identifier());
        let proof = RegistrationProof::Code(digits);
        let registration = Registration { proof, ..self.registration(incoming, address.clone(), password, None) };
        let registered = self.core.register(&registration).await;
        let account = registered.map_err(|error| failure::register(error, &address, codes, code::FORMAT))?.account;
        Ok(Answer::data(json!({ "accountId": account.number })).of(account.number).outcome("registered"))
    }

    pub(crate) async fn resend_email(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let fields = Fields::json(incoming, Refusals::FORMAT)?;
        let name = fields.required("username", 255)?;
        let language = fields.language()?;
        let identifier: Identifier = name.parse().map_err(|_| fields.malformed("username"))?;
        attempt.identifier = Some(identifier.clone());
        let form = self.link(VERIFY, code::MAIL_NOT_SENT)?;
        let unknown = || Failure::new(code::ACCOUNT_UNKNOWN, "there is no such account");
        let account: Account = self.core.account_named(&identifier).await?.ok_or_else(unknown)?;
        let no_email = || Failure::new(code::EMAIL_UNKNOWN, "the account has no e-mail address");
        let email = account.email.clone().ok_or_else(no_email)?;
        let codes = SendCodes {
            malformed: code::FORMAT,
            unknown: code::ACCOUNT_UNKNOWN,
            // There is nothing to send to an account that is activated.
            registered: code::FORMAT,
            pending: code::ACCOUNT_UNKNOWN,
            lapsed: code::ACCOUNT_UNKNOWN,
            not_sent: code::MAIL_NOT_SENT,
        };
        let sent = self.core.resend_activation(&account, &email, language.as_deref(), &form, BY_MAIL).await;
        sent.map_err(|error| codes.refuse(error))?;
        Ok(Answer::data(json!({ "email": email, "language": language })).of(account.number).outcome("sent"))
    }

    pub(crate) async fn reset_by_phone(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let fields = Fields::json(incoming, Refusals::FORMAT)?;
        let digits = fields.code()?;
        fields.required("phone", 15)?;
        let password = fields.new_digest("password", "confirmPassword", code::PASSWORDS_DIFFER)?;
        let address = Address::Phone(fields.phone(6)?);
        self.reset(incoming, address, ResetProof::Code(&digits), password, (code::PHONE_UNKNOWN, code::ACCOUNT_DISABLED), attempt)
            .await
    }

    pub(crate) async fn reset_by_email(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let fields = Fields::json(incoming, Refusals::FORMAT)?;
        let digits = fields.code()?;
        let address = Address::Email(fields.parse::<Email>("email", 255)?);
        let password = fields.new_digest("password", "confirmPassword", code::PASSWORDS_DIFFER)?;
        self.reset(incoming, address, ResetProof::Code(&digits), password, (code::EMAIL_UNKNOWN, code::ACCOUNT_DISABLED), attempt)
            .await
    }

    /// The form of the documents, which proved nothing, with the code of the mailed link.
    pub(crate) async fn update_password(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        use code::update_password::{NO_ACCOUNT, REFUSED};
        let fields = Fields::secret_form(incoming, Refusals::all(REFUSED))?;
        let address = Address::Email(fields.parse::<Email>("email", 255)?);
        let password = fields.digest("password").map_err(|_| fields.malformed("password"))?;
        let token = fields.required("code", 64)?;
        self.reset(incoming, address, ResetProof::Link(&token), password, (NO_ACCOUNT, REFUSED), attempt).await
    }

    /// `unknown` and `disabled` are the codes for an address that is nobody's, and for an account that is disabled.
    async fn reset(
        &self,
        incoming: &Incoming,
        address: Address,
        proof: ResetProof<'_>,
        password: PasswordDigest,
        (unknown, disabled): (Code, Code),
        attempt: &mut Attempt,
    ) -> Result<Answer, Failure> {
        attempt.identifier = Some(address.identifier());
        let reset = Reset { address, proof, password, region: None, origin: &incoming.origin };
        let account = self.core.reset_password(&reset).await.map_err(|error| failure::reset(error, unknown, disabled))?;
        Ok(Answer::done().of(account.number).outcome("password reset"))
    }

    pub(crate) async fn forget_password(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let fields = Fields::form(incoming, Refusals::OLD)?;
        let email: Email = fields.parse("email", 255)?;
        let language = fields.language()?;
        attempt.identifier = Some(Identifier::Email(email.clone()));
        let form = self.link(FIND_PASSWORD, code::FAILED)?;
        let codes = SendCodes {
            malformed: code::PARAMETERS,
            unknown: code::ACCOUNT_UNKNOWN,
            registered: code::FAILED,
            pending: code::RESET_PENDING,
            lapsed: code::RESET_PENDING,
            not_sent: code::FAILED,
        };
        let sent = self.core.send_reset_link(&email, language.as_deref(), &form, RESET_LINK).await;
        sent.map_err(|error| codes.refuse(error))?;
        Ok(Answer::done().outcome("sent"))
    }
}
