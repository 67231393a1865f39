//! `hearthgate dev`: a server to try things on, with the documents' own samples in it.

use std::io::Write;
use std::path::Path;

use account::store::Page;
use account::{
    ApplicationId, ApplicationSecret, Core, Details, DeviceKind, GatewayKind, Identifier, NewAccount, OperatorError, Password,
    PasswordDigest, Profile, Region, Standing,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::addresses::Addresses;
use crate::config::Config;
use crate::data_folder::DataFolder;
use crate::dev_certificate;
use crate::failure::{Context, Failure};
use crate::serve::Server;

/// The sample application of the public documents, and a call that they print.
const APPID: &str = "McFJj4Noke1mGDZCR1QarGW7P9Ycp0Vr";
const SECRET: &str = "OdPuCZ4PkPPi0rVKRVcGmll2NM6vVk0c";
const PHONE: (&str, &str) = ("+8613123456789", "12345678");
const EWELINK_BODY: &str = r#"{"appid":"McFJj4Noke1mGDZCR1QarGW7P9Ycp0Vr","phoneNumber":"+8613123456789","password":"12345678","ts":1558004249,"version":8,"nonce":"q3wz95p6"}"#;

/// The sample call of the Fantem documents.
const USER: (&str, &str, &str) = ("apilogin", "123456", "apilogin@example.com");
const TOUCH: &str = "touchfjsljdfksdjfksdfsdfsdfsdfs234sdfsd";
const CUBE: &str = "A01011725020927";
const FANTEM_BODY: &str = "username=apilogin&password=e10adc3949ba59abbe56e057f20f883e&uuid=touchfjsljdfksdjfksdfsdfsdfsdfs234sdfsd&cubeSn=A01011725020927";

/// Runs the server until it is stopped, and prints how to log in.
pub(crate) async fn run(mut config: Config) -> Result<(), Failure> {
    let folder = DataFolder::at(&config.data);
    folder.make()?;
    let certificate = dev_certificate::make(folder.path())?;
    let authority = certificate.authority.canonicalize().unwrap_or(certificate.authority);
    config.listen.cert = Some(certificate.cert);
    config.listen.key = Some(certificate.key);
    config.messages.outbox = true;
    let (data, region) = (config.data.clone(), config.default_region.clone());
    let server = Server::start(config, async |core| prepare(core, &region, &data).await).await?;
    let (http, https) = (urls("http", &server.http), urls("https", &server.https));
    let first = http.split(',').next().unwrap_or_default();
    let metrics = server.metrics.map_or_else(String::new, |address| format!(" metrics=http://{address}"));
    let mut out = std::io::stdout().lock();
    let printed = write!(
        out,
        "certificate authority: {}\nready http={http} https={https}{metrics}\n{}\n{}\n",
        authority.display(),
        ewelink_call(first),
        fantem_call(first),
    );
    printed.and_then(|()| out.flush()).context(|| "cannot print".to_owned())?;
    drop(out);
    server.until_stopped().await
}

/// Where `dev` answers, separated by commas.
fn urls(scheme: &str, addresses: &Addresses) -> String {
    addresses.0.iter().map(|address| format!("{scheme}://{address}")).collect::<Vec<_>>().join(",")
}

fn ewelink_call(http: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(EWELINK_BODY.as_bytes());
    let signature = BASE64.encode(mac.finalize().into_bytes());
    format!(
        "curl -X POST {http}/api/user/login -H 'Authorization: Sign {signature}' -H 'Content-Type: application/json' -d '{EWELINK_BODY}'"
    )
}

fn fantem_call(http: &str) -> String {
    format!("curl -X POST {http}/accounts/login -H 'Content-Type: application/x-www-form-urlencoded' -d '{FANTEM_BODY}'")
}

/// Adds the samples, unless the store in `data` is somebody else's.
async fn prepare(core: &Core, region: &Region, data: &Path) -> Result<(), Failure> {
    if add_samples(core, region).await.context(|| "cannot add the sample data".to_owned())? {
        return Ok(());
    }
    let whose = format!("the store of {} has accounts or applications of its own", data.display());
    let why = "everybody knows the sample passwords of dev";
    Err(format!("{whose}, and {why}: choose another folder with --data, and configure no store").into())
}

/// Adds what is not there yet; `false` where nothing may be added, for the store is somebody's who never asked for samples.
async fn add_samples(core: &Core, region: &Region) -> Result<bool, OperatorError> {
    let secret = ApplicationSecret::parse(SECRET).expect("the sample secret");
    let appid: ApplicationId = APPID.parse().expect("the sample application");
    // The application is what comes first: whoever finds anything without it has not found what another node of `dev` adds just now.
    if !is_empty(core).await? && !has_application(core, &appid).await? {
        return Ok(false);
    }
    let made = core.create_application(Some("Sample application".into()), Some(appid), Some(secret), Profile::Compat).await;
    unless_there(made.map(drop))?;

    let account = |password: &str| NewAccount {
        region: region.clone(),
        user_name: None,
        email: None,
        phone: None,
        password: digest(password),
        standing: Standing::Active,
        details: Details::default(),
    };
    if !core.knows(&identifier(PHONE.0)).await? {
        let details = Details { display_name: Some("eWelink".into()), language: Some("cn".into()), ..Details::default() };
        let made = core.create_account(NewAccount { phone: PHONE.0.parse().ok(), details, ..account(PHONE.1) }).await;
        unless_there(made.map(drop))?;
    }
    if !core.knows(&identifier(USER.0)).await? {
        let names = NewAccount { user_name: USER.0.parse().ok(), email: USER.2.parse().ok(), ..account(USER.1) };
        unless_there(core.create_account(names).await.map(drop))?;
    }

    let serial = |text: &str| text.parse().expect("a sample serial number");
    unless_there(core.register_device(serial(TOUCH), DeviceKind::Touch, None).await.map(drop))?;
    unless_there(core.register_gateway(serial(CUBE), GatewayKind::Cube, None).await.map(drop))?;
    Ok(true)
}

async fn has_application(core: &Core, appid: &ApplicationId) -> Result<bool, OperatorError> {
    match core.application(appid).await {
        Err(OperatorError::NotFound(_)) => Ok(false),
        found => found.map(|_| true),
    }
}

async fn is_empty(core: &Core) -> Result<bool, OperatorError> {
    let (applications, accounts) = (Page { after: None, limit: 1 }, Page { after: None, limit: 1 });
    Ok(core.applications(applications).await?.is_empty() && core.accounts(accounts).await?.is_empty())
}

fn identifier(text: &str) -> Identifier {
    text.parse().expect("a sample identifier")
}

/// The samples' passwords are shorter than a person may choose today.
fn digest(password: &str) -> PasswordDigest {
    Password::given(password.into()).expect("a sample password").digest()
}

fn unless_there(made: Result<(), OperatorError>) -> Result<(), OperatorError> {
    match made {
        Err(OperatorError::Taken(_)) => Ok(()),
        made => made,
    }
}
