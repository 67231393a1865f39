//! The pages that mailed links lead to (§5): activate an account, set a new password. They work without scripts, in the account's
//! language.

use account::{
    Account, Activated, Address, Email, HashError, Language, LinkError, LinkPurpose, Password, Reset, ResetError, ResetProof,
};
use askama::Template;
use axum::http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use wire::{Attempt, Form, Incoming, Query};

use crate::Dialect;
use crate::failure::Failure;
use crate::routes::Answer;

/// Nothing but our own style sheet, and forms that come back here.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The cookie that a form must come back with.
const CSRF: &str = "hearthgate_csrf";

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    words: &'static Words,
    title: &'static str,
    text: &'static str,
    problem: Option<&'static str>,
    form: Option<NewPassword<'a>>,
}

/// The form with the new password.
struct NewPassword<'a> {
    email: &'a str,
    code: &'a str,
    csrf: &'a str,
}

/// A title and what stands under it.
type Said = (&'static str, &'static str);

/// What pages say, in one language.
struct Words {
    tag: &'static str,
    email: &'static str,
    password: &'static str,
    again: &'static str,
    rule: &'static str,
    save: &'static str,
    activated: Said,
    already_active: Said,
    activation_expired: Said,
    activation_unknown: Said,
    new_password: Said,
    reset_expired: Said,
    reset_used: Said,
    address_unknown: Said,
    password_set: Said,
    failed: Said,
    differ: &'static str,
    length: &'static str,
    common: &'static str,
    stale: &'static str,
    busy: &'static str,
}

static ENGLISH: Words = Words {
    tag: "en",
    email: "E-mail address",
    password: "New password",
    again: "New password, once more",
    rule: "8 to 64 characters",
    save: "Set password",
    activated: ("Account activated", "Your account is ready. You can log in with the app now."),
    already_active: ("Already activated", "Your account was activated before. You can log in with the app."),
    activation_expired: ("The link has expired", "Activation links are valid for 24 hours. Please register again in the app."),
    activation_unknown: ("The link does not work", "There is no such link, or a newer mail has replaced it."),
    new_password: ("Set a new password", "Choose a new password for your account."),
    reset_expired: ("The link has expired", "Please ask for a new link in the app."),
    reset_used: ("The link was used already", "Each link works once. Please ask for a new one in the app if you need it."),
    address_unknown: ("The link does not work", "There is no such link for this address, or a newer mail has replaced it."),
    password_set: ("Password set", "Your new password is valid now, and you were logged out everywhere. Log in with the app."),
    failed: ("That did not work", "Please open the link in the mail again, or try later."),
    differ: "The two passwords differ.",
    length: "The password must have 8 to 64 characters.",
    common: "Everybody tries this password first. Please choose another one.",
    stale: "The form had grown old. Please try again; your browser must accept this page's cookie.",
    busy: "The server is busy. Please try again in a moment.",
};

static CHINESE: Words = Words {
    tag: "zh-CN",
    email: "邮箱地址",
    password: "新密码",
    again: "再次输入新密码",
    rule: "8 至 64 个字符",
    save: "设置密码",
    activated: ("账号已激活", "您的账号已可使用，请在应用中登录。"),
    already_active: ("账号此前已激活", "您的账号已经激活过，可以直接在应用中登录。"),
    activation_expired: ("链接已过期", "激活链接 24 小时内有效，请在应用中重新注册。"),
    activation_unknown: ("链接无效", "该链接不存在，或已被新的邮件取代。"),
    new_password: ("设置新密码", "请为您的账号设置新密码。"),
    reset_expired: ("链接已过期", "请在应用中重新获取链接。"),
    reset_used: ("链接已使用", "每个链接仅可使用一次，如有需要请在应用中重新获取。"),
    address_unknown: ("链接无效", "该地址没有这样的链接，或已被新的邮件取代。"),
    password_set: ("密码已设置", "新密码已生效，您已在所有设备上退出登录，请在应用中重新登录。"),
    failed: ("操作失败", "请重新打开邮件中的链接，或稍后再试。"),
    differ: "两次输入的密码不一致。",
    length: "密码长度须为 8 至 64 个字符。",
    common: "该密码过于常见，请换一个密码。",
    stale: "页面已失效，请重试；浏览器须允许本页面使用 Cookie。",
    busy: "服务器繁忙，请稍后再试。",
};

fn words(language: Language) -> &'static Words {
    match language {
        Language::English => &ENGLISH,
        Language::Chinese => &CHINESE,
    }
}

fn words_of(account: &Account) -> &'static Words {
    words(Language::of(account.details.language.as_deref()))
}

impl Page<'_> {
    fn saying(words: &'static Words, (title, text): Said) -> Self {
        Self { words, title, text, problem: None, form: None }
    }

    fn render_with(&self, status: StatusCode) -> Response {
        match self.render() {
            Ok(html) => (status, headers("text/html; charset=utf-8"), html).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    fn answer(&self) -> Answer {
        Answer::whole(self.render_with(StatusCode::OK))
    }
}

fn headers(content_type: &'static str) -> HeaderMap {
    let header = |name: HeaderName, value| (name, HeaderValue::from_static(value));
    HeaderMap::from_iter([
        header(CONTENT_TYPE, content_type),
        header(CONTENT_SECURITY_POLICY, POLICY),
        // The address of the page holds the link's token.
        header(REFERRER_POLICY, "no-referrer"),
        header(CACHE_CONTROL, "no-store"),
        header(X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ])
}

/// The page for whatever fails in a way that is nobody's fault in particular.
pub(crate) fn failed(status: StatusCode, visitor: Language) -> Response {
    let words = words(visitor);
    Page::saying(words, words.failed).render_with(status)
}

/// Where the account's language is not known: what the browser asks for.
pub(crate) fn visitor(headers: &HeaderMap) -> Language {
    let languages = headers.get(ACCEPT_LANGUAGE).and_then(|languages| languages.to_str().ok());
    Language::of(languages.and_then(|languages| languages.split([',', ';']).next()))
}

pub(crate) fn style() -> Answer {
    let mut headers = headers("text/css; charset=utf-8");
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    Answer::whole((headers, include_str!("../templates/style.css")).into_response())
}

/// The address and token of a mailed link.
struct Mailed {
    email: Email,
    token: String,
}

impl Mailed {
    fn read(email: Option<&str>, token: Option<&str>, attempt: &mut Attempt) -> Option<Self> {
        let email: Email = email?.parse().ok()?;
        attempt.identifier = Some(account::Identifier::Email(email.clone()));
        Some(Self { email, token: token.filter(|token| token.len() <= 64)?.to_owned() })
    }

    fn of_query(incoming: &Incoming, attempt: &mut Attempt) -> Option<Self> {
        let query = Query::parse(incoming.query.as_deref()?).ok()?;
        Self::read(query.get("email"), query.get("code"), attempt)
    }
}

impl Dialect {
    pub(crate) async fn verify_page(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let visitor = words(visitor(incoming.headers()));
        let Some(mailed) = Mailed::of_query(incoming, attempt) else {
            return Ok(Page::saying(visitor, visitor.activation_unknown).answer().refused("the link is malformed"));
        };
        // Whose link it is tells the language, also of a link that has expired.
        let words = match self.core.open_link(LinkPurpose::Activate, &mailed.email, &mailed.token, &incoming.origin).await {
            Ok((account, _)) => words_of(&account),
            Err(LinkError::Unknown) => {
                return Ok(Page::saying(visitor, visitor.activation_unknown).answer().refused("there is no such link"));
            }
            Err(error) => return Err(error.into()),
        };
        let (said, reason) = match self.core.activate(&mailed.email, &mailed.token, &incoming.origin).await {
            Ok(Activated::Now(account)) => {
                return Ok(Page::saying(words, words.activated).answer().of(account.number).outcome("activated"));
            }
            Ok(Activated::Before(_)) => (words.already_active, "activated before"),
            Err(LinkError::Expired) => (words.activation_expired, "the link has expired"),
            Err(LinkError::Unknown | LinkError::Used) => (words.activation_unknown, "there is no such link"),
            Err(error @ (LinkError::Guess(_) | LinkError::Store(_))) => return Err(error.into()),
        };
        Ok(Page::saying(words, said).answer().refused(reason))
    }

    pub(crate) async fn password_page(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let visitor = words(visitor(incoming.headers()));
        let Some(mailed) = Mailed::of_query(incoming, attempt) else {
            return Ok(Page::saying(visitor, visitor.address_unknown).answer().refused("the link is malformed"));
        };
        match self.core.open_link(LinkPurpose::Reset, &mailed.email, &mailed.token, &incoming.origin).await {
            Ok((account, Ok(_))) => Ok(self.form(words_of(&account), &mailed, None).outcome("shown")),
            Ok((account, Err(error))) => refuse_link(words_of(&account), error),
            Err(error) => refuse_link(visitor, error),
        }
    }

    /// The form for a new password. It comes back with the same random text in a hidden field and in a cookie that no other site can
    /// set or read.
    fn form(&self, words: &'static Words, mailed: &Mailed, problem: Option<&'static str>) -> Answer {
        let csrf = account::alphanumeric(self.core.rng(), 32);
        let form = NewPassword { email: mailed.email.as_str(), code: &mailed.token, csrf: &csrf };
        let (title, text) = words.new_password;
        let mut response = Page { words, title, text, problem, form: Some(form) }.render_with(StatusCode::OK);
        let secure = self.settings.public_url.as_ref().is_some_and(|url| url.starts_with("https:"));
        let secure = if secure { "; Secure" } else { "" };
        let cookie = format!("{CSRF}={csrf}; Path=/user; HttpOnly; SameSite=Strict; Max-Age=3600{secure}");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        Answer::whole(response)
    }

    pub(crate) async fn set_password(&self, incoming: &Incoming, attempt: &mut Attempt) -> Result<Answer, Failure> {
        let form = Form::parse(&incoming.body)?;
        let visitor = words(visitor(incoming.headers()));
        let Some(mailed) = Mailed::read(form.get("email"), form.get("code"), attempt) else {
            return Ok(Page::saying(visitor, visitor.address_unknown).answer().refused("the link is malformed"));
        };
        let words = match self.core.open_link(LinkPurpose::Reset, &mailed.email, &mailed.token, &incoming.origin).await {
            Ok((account, Ok(_))) => words_of(&account),
            Ok((account, Err(error))) => return refuse_link(words_of(&account), error),
            Err(error) => return refuse_link(visitor, error),
        };
        if !is_our_form(incoming, &form) {
            return Ok(self.form(words, &mailed, Some(words.stale)).refused("the form is not ours, or old"));
        }
        if form.get("password") != form.get("again") {
            return Ok(self.form(words, &mailed, Some(words.differ)).refused("the two passwords differ"));
        }
        let Ok(password) = Password::new(form.get("password").unwrap_or_default().to_owned()) else {
            return Ok(self.form(words, &mailed, Some(words.length)).refused("the password is too short or too long"));
        };
        let reset = Reset {
            address: Address::Email(mailed.email.clone()),
            proof: ResetProof::Link(&mailed.token),
            password: password.digest(),
            region: None,
            origin: &incoming.origin,
        };
        match self.core.reset_password(&reset).await {
            Ok(account) => {
                let page = Page::saying(words, words.password_set);
                Ok(page.answer().outcome("password reset").of(account.number))
            }
            Err(ResetError::Link(error)) => refuse_link(words, error),
            Err(ResetError::Store(error)) => Err(error.into()),
            Err(ResetError::PasswordCommon) => {
                Ok(self.form(words, &mailed, Some(words.common)).refused("the password is too common"))
            }
            Err(ResetError::Hash(HashError::Overloaded { .. })) => {
                Ok(self.form(words, &mailed, Some(words.busy)).failed("too many passwords are waiting to be hashed"))
            }
            Err(ResetError::Hash(error)) => Err(error.into()),
            Err(_) => Ok(Page::saying(words, words.failed).answer().refused("the account cannot be used")),
        }
    }
}

fn refuse_link(words: &'static Words, error: LinkError) -> Result<Answer, Failure> {
    match error {
        LinkError::Unknown => Ok(Page::saying(words, words.address_unknown).answer().refused("there is no such link")),
        LinkError::Expired => Ok(Page::saying(words, words.reset_expired).answer().refused("the link has expired")),
        LinkError::Used => Ok(Page::saying(words, words.reset_used).answer().refused("the link was used before")),
        LinkError::Guess(_) | LinkError::Store(_) => Err(error.into()),
    }
}

/// Whether a form comes from a page that we showed to this browser.
fn is_our_form(incoming: &Incoming, form: &Form) -> bool {
    let site = incoming.header(&HeaderName::from_static("sec-fetch-site"));
    let same_site = site.is_none_or(|site| site == "same-origin");
    match (incoming.cookie(CSRF), form.get("csrf")) {
        (Some(cookie), Some(field)) => same_site && bool::from(cookie.as_bytes().ct_eq(field.as_bytes())),
        _ => false,
    }
}
