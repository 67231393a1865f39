//! How devices and gateways come to be known, by what they report of themselves (`fantem` §5).

use crate::account::AccountNumber;
use crate::audit::Deed;
use crate::core::Core;
use crate::device::{Device, DeviceKind, Facts, Gateway, GatewayKind, Guid, Identity, Serial};
use crate::login::{ATTEMPTS, unsteady};
use crate::origin::Origin;
use crate::store::{InsertError, StoreError};

/// What registers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A touch panel or phone.
    Device(DeviceKind),
    /// A cube or hub.
    Gateway(GatewayKind),
}

/// What a device or gateway reports of itself.
#[derive(Debug)]
pub struct Report {
    /// The id that it was given before.
    pub guid: Option<Guid>,
    /// What it is.
    pub kind: Kind,
    /// Its serial number.
    pub serial: Serial,
    /// What a gateway is recognised by besides.
    pub identity: Identity,
    /// The version of its app.
    pub app_version: Option<String>,
    /// What its owner calls it.
    pub name: Option<String>,
    /// Everything else.
    pub facts: Facts,
}

/// Why nothing was registered. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Nothing was given this guid, or what has it is something else.
    #[error("the guid is unknown, or another device's")]
    GuidUnknown,
    /// Some of what it is recognised by is another gateway's.
    #[error("a part of its identity is another gateway's")]
    Conflict,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a gateway was not bound or unbound. The words are for the log.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// No gateway has this guid.
    #[error("there is no such gateway")]
    GatewayUnknown,
    /// It is another account's.
    #[error("the gateway is bound to another account")]
    Taken,
    /// It is this account's already.
    #[error("the gateway is bound to this account already")]
    Already,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Core {
    /// Registers a device or gateway, or brings what is known of it up to date. Returns its guid.
    ///
    /// A gateway is recognised by its whole identity. A device is recognised by its serial number: when it registers without the guid
    /// that it was given, it is a new device in the place of the old one, whose sessions end.
    ///
    /// # Errors
    /// [`EnrolError`]; then nothing was changed.
    pub async fn enrol(&self, report: &Report) -> Result<Guid, EnrolError> {
        for _ in 0..ATTEMPTS {
            let enrolled = match report.kind {
                Kind::Device(kind) => self.enrol_device(report, kind).await?,
                Kind::Gateway(kind) => self.enrol_gateway(report, kind).await?,
            };
            // `None`: somebody else was faster, so look again.
            if let Some(guid) = enrolled {
                return Ok(guid);
            }
        }
        Err(unsteady().into())
    }

    async fn enrol_device(&self, report: &Report, kind: DeviceKind) -> Result<Option<Guid>, EnrolError> {
        let known = self.store.device(&report.serial).await?;
        let same = match (&report.guid, &known) {
            (None, _) => false,
            (Some(guid), Some(known)) if known.guid == *guid => true,
            (Some(_), _) => return Err(EnrolError::GuidUnknown),
        };
        let device = Device {
            serial: report.serial.clone(),
            guid: report.guid.clone().unwrap_or_else(|| Guid::draw(self.rng())),
            kind,
            app_version: report.app_version.clone(),
            name: report.name.clone().or_else(|| known.as_ref().and_then(|known| known.name.clone())),
            facts: report.facts.clone(),
            registered_at: known.filter(|_| same).map_or_else(|| self.clock.now(), |known| known.registered_at),
        };
        Ok(won(self.store.put_device(&device, self.clock.now()).await)?.then_some(device.guid))
    }

    async fn enrol_gateway(&self, report: &Report, kind: GatewayKind) -> Result<Option<Guid>, EnrolError> {
        if let Some(guid) = &report.guid {
            let known = self.store.gateway_by_guid(guid).await?.filter(|known| known.is(&report.serial, &report.identity));
            known.ok_or(EnrolError::GuidUnknown)?;
        }
        let alike = self.store.gateways_like(&report.serial, &report.identity).await?;
        let known = match &alike[..] {
            [] => None,
            [known] if known.is(&report.serial, &report.identity) => Some(known),
            _ => return Err(EnrolError::Conflict),
        };
        let gateway = Gateway {
            serial: report.serial.clone(),
            guid: known.map_or_else(|| Guid::draw(self.rng()), |known| known.guid.clone()),
            kind,
            identity: report.identity.clone(),
            min_app_version: known.and_then(|known| known.min_app_version.clone()),
            name: report.name.clone().or_else(|| known.and_then(|known| known.name.clone())),
            connect_method: known.and_then(|known| known.connect_method.clone()),
            facts: report.facts.clone(),
            account: known.and_then(|known| known.account),
            registered_at: known.map_or_else(|| self.clock.now(), |known| known.registered_at),
        };
        Ok(won(self.store.put_gateway(&gateway).await)?.then_some(gateway.guid))
    }

    /// Finds the device that was given this guid.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn device_by_guid(&self, guid: &Guid) -> Result<Option<Device>, StoreError> {
        self.store.device_by_guid(guid).await
    }

    /// Finds the device with this serial number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn device(&self, serial: &Serial) -> Result<Option<Device>, StoreError> {
        self.store.device(serial).await
    }

    /// Finds the gateway that was given this guid.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn gateway_by_guid(&self, guid: &Guid) -> Result<Option<Gateway>, StoreError> {
        self.store.gateway_by_guid(guid).await
    }

    /// Finds the gateway with this serial number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn gateway_by_serial(&self, serial: &Serial) -> Result<Option<Gateway>, StoreError> {
        self.store.gateway(serial).await
    }

    /// Finds an account's gateways.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn gateways_of(&self, account: AccountNumber) -> Result<Vec<Gateway>, StoreError> {
        self.store.gateways_of(account).await
    }

    /// Sets what a device or gateway is called. `false` when nothing has this guid.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rename(&self, guid: &Guid, name: &str) -> Result<bool, StoreError> {
        self.store.rename(guid, name).await
    }

    /// Notes how a gateway can be reached.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_connect_method(&self, gateway: &Guid, method: &str) -> Result<bool, StoreError> {
        self.store.set_connect_method(gateway, method).await
    }

    /// Binds a gateway that is free to an account.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(&self, gateway: &Serial, account: AccountNumber) -> Result<(), BindError> {
        if self.store.bind(gateway, account, self.clock.now()).await? {
            return Ok(());
        }
        match self.store.gateway(gateway).await? {
            None => Err(BindError::GatewayUnknown),
            Some(Gateway { account: Some(owner), .. }) if owner == account => Err(BindError::Already),
            Some(_) => Err(BindError::Taken),
        }
    }

    /// Frees a gateway that says it is as new, from whoever has it. The audit trail has it, once for each owner.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reset_to_factory(&self, gateway: &Gateway, origin: &Origin) -> Result<(), StoreError> {
        let Some(owner) = gateway.account else { return Ok(()) };
        let entry = self.entry_of(Deed {
            what: format!("factory reset {}", gateway.serial),
            outcome: "unbound".into(),
            refused: false,
            account: Some(owner),
            identifier: None,
            audience: None,
            origin: Some(origin.clone()),
        });
        self.store.unbind(&gateway.serial, Some(owner), self.clock.now(), Some(entry)).await.map(drop)
    }

    /// Frees a gateway that is this account's; a free one stays so. Says whether it was bound.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn unbind(&self, gateway: &Serial, account: AccountNumber) -> Result<bool, BindError> {
        if self.store.unbind(gateway, Some(account), self.clock.now(), None).await? {
            return Ok(true);
        }
        match self.store.gateway(gateway).await? {
            None => Err(BindError::GatewayUnknown),
            Some(Gateway { account: None, .. }) => Ok(false),
            Some(_) => Err(BindError::Taken),
        }
    }

    /// Moves a gateway from one account to another.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn rebind(&self, gateway: &Serial, from: AccountNumber, to: AccountNumber) -> Result<(), BindError> {
        let moved = self.store.rebind(gateway, from, to, self.clock.now()).await?;
        if moved { Ok(()) } else { Err(BindError::Taken) }
    }
}

/// Whether the row is there now; `false` when somebody else was faster.
fn won(put: Result<(), InsertError>) -> Result<bool, StoreError> {
    match put {
        Ok(()) => Ok(true),
        Err(InsertError::Taken) => Ok(false),
        Err(InsertError::Store(error)) => Err(error),
    }
}
