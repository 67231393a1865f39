//! How devices and cubes come to be known (§5).

use account::{AccountNumber, DeviceKind, EnrolError, Facts, Gateway, GatewayKind, Guid, Identity, Kind, Report, Serial};
use axum::http::StatusCode;
use serde_json::json;
use wire::Incoming;

use crate::Dialect;
use crate::failure::{Failure, code};
use crate::fields::{Fields, Refusals};
use crate::routes::Answer;

/// What devices report beside what they are recognised by: name, longest value, whether they must.
const FACTS: [(&str, usize, bool); 9] = [
    ("acfCode", 64, false),
    ("imei", 255, false),
    ("imsi", 255, false),
    ("manufacturer", 255, true),
    ("model", 255, true),
    ("systemVersion", 32, true),
    ("hardwareVersion", 255, false),
    ("psn", 64, false),
    ("uuid", 64, true),
];

const SYSTEMS: [&str; 5] = ["android", "ios", "linux", "window", "windows_phone"];

/// Real devices nest these under `additional`.
const VERSIONS: [&str; 3] = ["zwaveVersion", "irVersion", "stm8Version"];
const ADDITIONAL: &str = "additional";

impl Dialect {
    pub(crate) async fn client_register(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let report = read_report(incoming)?;
        let guid = self.core.enrol(&report).await?;
        Ok(Answer::data(json!({ "guid": guid, "field1": "", "field2": "", "field3": "" })).outcome("registered"))
    }

    pub(crate) async fn cube_register(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let fields = Fields::form(incoming, Refusals::OLD)?;
        let serial: Serial = fields.parse("sn", 64)?;
        let uuid = fields.required("uuid", 64)?;
        let identity = Identity { ptop_uid: Some(fields.required("p2pUid", 64)?), ..Identity::default() };
        if let Some(known) = self.core.gateway_by_serial(&serial).await? {
            let same = known.identity.ptop_uid == identity.ptop_uid;
            let code = if same { code::CUBE_REGISTERED } else { code::FAILED };
            return Err(Failure::new(code, "a gateway has this serial number already"));
        }
        let report = Report {
            guid: None,
            kind: Kind::Gateway(GatewayKind::Cube),
            serial,
            identity,
            app_version: None,
            name: None,
            facts: Facts::from([("uuid".to_owned(), uuid)]),
        };
        self.core.enrol(&report).await.map_err(|error| match error {
            EnrolError::Conflict => Failure::new(code::FAILED, error),
            error => error.into(),
        })?;
        Ok(Answer::done().outcome("registered"))
    }

    pub(crate) async fn client_status(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let fields = Fields::json(incoming, Refusals::OLD)?;
        for required in ["guid", "ptopConnectMethod", "bound"] {
            let there = fields.optional(required, usize::MAX)?;
            there.ok_or_else(|| fields.missing(required).with_status(StatusCode::BAD_REQUEST))?;
        }
        let method = fields.required("ptopConnectMethod", 2)?;
        if !["v1", "v2"].contains(&method.as_str()) {
            return Err(fields.malformed("ptopConnectMethod"));
        }
        if !["true", "false"].contains(&fields.required("bound", 5)?.as_str()) {
            return Err(fields.malformed("bound"));
        }
        let reset = fields.optional("reset", 5)?;
        if reset.as_ref().is_some_and(|reset| reset != "reset") {
            return Err(fields.malformed("reset"));
        }
        let (guid, gateway) = self.known(&fields).await?;
        let Some(gateway) = gateway else { return Ok(Answer::done()) };
        self.core.set_connect_method(&guid, &method).await?;
        if reset.is_some() {
            self.core.reset_to_factory(&gateway, &incoming.origin).await?;
            return Ok(Answer::done().outcome("reset to the factory's state"));
        }
        Ok(Answer::done())
    }

    pub(crate) async fn client_info(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let fields = Fields::json(incoming, Refusals::all(code::DEVICE_UNKNOWN))?;
        let (guid, gateway) = self.known(&fields).await?;
        let data = match gateway {
            Some(gateway) => json!({
                "guid": guid, "ptopUid": gateway.identity.ptop_uid, "ptopConnectMethod": gateway.connect_method,
                "type": gateway.kind.as_str(),
            }),
            None => {
                let device = self.core.device_by_guid(&guid).await?;
                json!({
                    "guid": guid, "ptopUid": null, "ptopConnectMethod": null, "type": device.map(|device| device.kind.as_str()),
                })
            }
        };
        Ok(Answer::data(data))
    }

    /// The guid that the request names, and the gateway if it is one's.
    async fn known(&self, fields: &Fields) -> Result<(Guid, Option<Gateway>), Failure> {
        let unknown = || Failure::new(code::DEVICE_UNKNOWN, "no device or gateway has this guid");
        let guid: Guid = fields.required("guid", 255)?.parse().map_err(|_| unknown())?;
        match self.core.gateway_by_guid(&guid).await? {
            Some(gateway) => Ok((guid, Some(gateway))),
            None => self.core.device_by_guid(&guid).await?.map(|device| (device.guid, None)).ok_or_else(unknown),
        }
    }

    pub(crate) async fn client_name(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let fields = Fields::json(incoming, Refusals::NEW)?;
        let (guid, name) = (fields.parse::<Guid>("guid", 64)?, fields.required("name", 255)?);
        let renamed = self.core.rename(&guid, &name).await?;
        let unknown = || Failure::new(code::GATEWAY_UNKNOWN, "no device or gateway has this guid");
        renamed.then(Answer::done).ok_or_else(unknown)
    }

    pub(crate) async fn cube_info(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let fields = Fields::form(incoming, Refusals::OLD)?;
        let name = fields.required("name", 255)?;
        let gateway = self.cube(&fields, code::CUBE_UNKNOWN).await?;
        self.core.rename(&gateway.guid, &name).await?;
        Ok(Answer::done())
    }

    /// The cube that `sn` names; where its `uuid` is known, that must be right as well.
    pub(crate) async fn cube(&self, fields: &Fields, unknown: crate::failure::Code) -> Result<Gateway, Failure> {
        let (serial, uuid) = (fields.parse::<Serial>("sn", 64)?, fields.required("uuid", 64)?);
        let gateway = self.core.gateway_by_serial(&serial).await?;
        let gateway = gateway
            .filter(|gateway| gateway.kind == GatewayKind::Cube && gateway.facts.get("uuid").is_none_or(|known| *known == uuid));
        gateway.ok_or_else(|| Failure::new(unknown, "the gateway is not registered"))
    }

    pub(crate) async fn gateway_list(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        let number: AccountNumber = Fields::json(incoming, Refusals::OLD)?.account("accountId")?;
        let account = self.bearer(incoming, code::TOKEN_INVALID_LIST).await?;
        if account.number != number {
            return Err(Failure::new(code::TOKEN_ANOTHERS, "the access token is another account's"));
        }
        let gateways = self.core.gateways_of(number).await?;
        let listed: Vec<_> = gateways.iter().map(listed).collect();
        Ok(Answer::data(json!({ "gateway": listed })).of(number))
    }

    pub(crate) async fn home_gateway(&self, incoming: &Incoming) -> Result<Answer, Failure> {
        self.calling_device(incoming).await?;
        let missing = || Failure::new(code::MISSING, "the cookie aat is missing");
        incoming.cookie("aat").ok_or_else(missing)?;
        let account = self.bearer(incoming, code::MALFORMED).await?;
        let cubes = self.cubes_of(account.number).await?;
        let first = cubes.first().ok_or_else(|| Failure::new(code::NO_CUBE, "the account has no gateway"))?;
        Ok(Answer::data(json!([{ "guid": first.guid }])).of(account.number))
    }
}

/// A device that says that it is there. Nothing here depends on it, so nothing is kept of it.
pub(crate) fn client_heart(incoming: &Incoming) -> Result<Answer, Failure> {
    Fields::json(incoming, Refusals::OLD)?.parse::<Guid>("guid", 64)?;
    Ok(Answer::done())
}

/// The numbers that the documents give to kinds of gateways.
fn listed(gateway: &Gateway) -> serde_json::Value {
    let kind = match gateway.kind {
        GatewayKind::Cube => 4,
        GatewayKind::Hub => 6,
    };
    json!({
        "guid": gateway.guid, "name": gateway.name, "sn": gateway.serial, "p2pUid": gateway.identity.ptop_uid,
        "p2pConnectMethod": gateway.connect_method, "type": kind,
    })
}

fn read_report(incoming: &Incoming) -> Result<Report, Failure> {
    let identity = Fields::json(incoming, Refusals::OLD)?;
    let fields = Fields::json(incoming, Refusals::all(code::MALFORMED))?;
    let unknown = || Failure::new(code::GUID_UNKNOWN, "the guid is malformed");
    let guid = fields.optional("guid", 255)?.map(|text| text.parse().map_err(|_| unknown())).transpose()?;
    let serial = identity.parse("sn", 64)?;
    let ptop_uid = identity.optional("ptopUid", 64)?;
    let mac = |name| identity.required(name, 32).map(|mac| Some(mac.to_ascii_uppercase()));
    let (wifi_mac, bluetooth_mac) = (mac("wifiMac")?, mac("bluetoothMac")?);
    let random_code = identity.optional("randomCode", 32)?;
    let kind = kind(&fields)?;
    if kind == Kind::Gateway(GatewayKind::Cube) {
        ptop_uid.as_ref().ok_or_else(|| identity.missing("ptopUid"))?;
        random_code.as_ref().ok_or_else(|| identity.missing("randomCode"))?;
    }
    Ok(Report {
        guid,
        kind,
        serial,
        identity: Identity { ptop_uid, wifi_mac, bluetooth_mac, random_code },
        app_version: Some(fields.required("applicationVersion", 32)?),
        name: fields.optional("name", 255)?,
        facts: read_facts(&fields)?,
    })
}

fn kind(fields: &Fields) -> Result<Kind, Failure> {
    let text = fields.required("type", 32)?;
    let device = text.parse::<DeviceKind>().map(Kind::Device);
    device.or_else(|_| text.parse::<GatewayKind>().map(Kind::Gateway)).map_err(|_| fields.malformed("type"))
}

fn read_facts(fields: &Fields) -> Result<Facts, Failure> {
    let mut facts = Facts::new();
    for (name, most, must) in FACTS {
        let value = if must { Some(fields.required(name, most)?) } else { fields.optional(name, most)? };
        facts.extend(value.map(|value| (name.to_owned(), value)));
    }
    let system = fields.required("systemType", 32)?;
    if !SYSTEMS.contains(&system.as_str()) {
        return Err(fields.malformed("systemType"));
    }
    facts.insert("systemType".into(), system);
    let nested = fields.nested(ADDITIONAL);
    for name in VERSIONS {
        let value = match &nested {
            Some(nested) => nested.optional(name, 100)?,
            None => None,
        };
        let value = value.map_or_else(|| fields.optional(name, 100), |value| Ok(Some(value)))?;
        facts.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(facts)
}
