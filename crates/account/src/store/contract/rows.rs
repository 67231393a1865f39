//! Rows are found as they were stored, and lists are in order.

use super::*;

pub async fn applications(store: AnyStore) {
    let rows = [
        an_application("one"),
        Application { enabled: false, ..an_application("three") },
        Application { profile: Profile::Compat, ..an_application("two") },
    ];
    for application in rows.iter().rev() {
        store.insert_application(application).await.unwrap();
    }
    for application in &rows {
        assert_same(&store.application(&application.id).await.unwrap(), &Some(application));
    }
    for unknown in ["four", "One"] {
        assert!(store.application(&unknown.parse().unwrap()).await.unwrap().is_none(), "{unknown}");
    }
    assert_taken(&store.insert_application(&an_application("one")).await, "id");
    assert_pages(&rows, |row| row.id.clone(), async |page| store.applications(page).await.unwrap()).await;
}

pub async fn devices(store: AnyStore) {
    let rows = [
        a_device("one", Some("beta 1")),
        Device { kind: DeviceKind::Touch, ..a_device("three", None) },
        Device { kind: DeviceKind::AndroidPhone, ..a_device("two", Some("V2.0.4.15")) },
    ];
    for device in rows.iter().rev() {
        store.insert_device(device).await.unwrap();
    }
    for device in &rows {
        assert_same(&store.device(&device.serial).await.unwrap(), &Some(device));
    }
    for unknown in ["four", "One"] {
        assert!(store.device(&serial(unknown)).await.unwrap().is_none(), "{unknown}");
    }
    assert_taken(&store.insert_device(&a_device("one", None)).await, "serial number");
    let same_guid = Device { guid: rows[0].guid.clone(), ..a_device("four", None) };
    assert_taken(&store.insert_device(&same_guid).await, "guid");
    assert_pages(&rows, |row| row.serial.clone(), async |page| store.devices(page).await.unwrap()).await;
}

pub async fn gateways(store: AnyStore) {
    let (anna, ben) = (registered(&store, &["anna"]).await.number, registered(&store, &["ben"]).await.number);
    let mut rows = [
        Gateway { min_app_version: Some("V2.0.4".parse().unwrap()), account: Some(anna), ..a_gateway("one") },
        Gateway { kind: GatewayKind::Cube, ..a_gateway("three") },
        Gateway { account: Some(anna), ..a_gateway("two") },
    ];
    for gateway in rows.iter().rev() {
        store.insert_gateway(gateway).await.unwrap();
    }
    for gateway in &rows {
        assert_same(&store.gateway(&gateway.serial).await.unwrap(), &Some(gateway));
    }
    for unknown in ["four", "One"] {
        assert!(store.gateway(&serial(unknown)).await.unwrap().is_none(), "{unknown}");
    }
    assert_same(&store.gateways_of(anna).await.unwrap(), &[&rows[0], &rows[2]]);
    for without in [ben, NOBODY] {
        assert!(store.gateways_of(without).await.unwrap().is_empty());
    }
    assert_taken(&store.insert_gateway(&a_gateway("one")).await, "serial number");
    let same_guid = Gateway { guid: rows[0].guid.clone(), ..a_gateway("four") };
    assert_taken(&store.insert_gateway(&same_guid).await, "guid");

    rows[0].min_app_version = None;
    rows[1].min_app_version = Some("3.1".parse().unwrap());
    for gateway in &rows[..2] {
        assert!(store.set_min_app_version(&gateway.serial, gateway.min_app_version.as_ref()).await.unwrap());
    }
    assert_pages(&rows, |row| row.serial.clone(), async |page| store.gateways(page).await.unwrap()).await;
}

pub async fn accounts(store: AnyStore) {
    let bare = Account { verifier: verifier("other"), ..an_account(&["ben@example.com"]) };
    let mut rows = [a_full_account(), bare, an_account(&["+8613123456781"])];
    for account in &mut rows {
        account.number = store.insert_account(account).await.unwrap();
        assert_same_account(&reread(&store, account.number).await, account);
        for identifier in account.identifiers() {
            let found = store.account_named(&identifier).await.unwrap();
            assert_same_account(&found.unwrap(), account);
        }
    }
    for nobody in ["Anna", "ann_", "nobody", "nobody@example.com", "%@example.com", "+8613123456780"] {
        assert!(store.account_named(&nobody.parse().unwrap()).await.unwrap().is_none(), "{nobody}");
    }
    for other_kind in ["anna@example.com", "+8613123456789"] {
        let name = Identifier::UserName(other_kind.parse().unwrap());
        assert!(store.account_named(&name).await.unwrap().is_none(), "nobody's user name is {other_kind}");
    }
    assert!(store.account(NOBODY).await.unwrap().is_none());
    assert_pages(&rows, |row| row.number, async |page| store.accounts(page).await.unwrap()).await;
}

pub async fn identifiers_are_unique(store: AnyStore) {
    let anna = registered(&store, &["anna", "anna@example.com", "+8613123456789"]).await;
    let before = everything(&store).await;
    for taken in [["anna", "b@example.com"], ["ben", "anna@example.com"], ["ben", "+8613123456789"]] {
        assert_taken(&store.insert_account(&an_account(&taken)).await, &taken.join(" "));
    }
    let same_id = Account { id: anna.id, ..an_account(&["ben"]) };
    assert_taken(&store.insert_account(&same_id).await, "id");
    let same_key = Account { apikey: anna.apikey, ..an_account(&["ben"]) };
    assert_taken(&store.insert_account(&same_key).await, "apikey");
    assert_eq!(everything(&store).await, before);
    // What a refused account said is still free, and what an account does not say is not taken.
    registered(&store, &["ben"]).await;
    registered(&store, &["b@example.com"]).await;
    registered(&store, &["c@example.com"]).await;
}

pub async fn account_numbers_count_up(store: AnyStore) {
    let claimed = Account { number: NOBODY, ..an_account(&["anna"]) };
    assert_eq!(store.insert_account(&claimed).await.unwrap(), AccountNumber(1), "the store counts, nobody else");
    assert_taken(&store.insert_account(&an_account(&["anna"])).await, "user name");
    assert_eq!(registered(&store, &["ben"]).await.number, AccountNumber(2), "a refused account leaves no gap");
    assert_eq!(registered(&store, &["carl"]).await.number, AccountNumber(3));
}

/// The order of a list is that of its key in Rust, not that of a language.
pub async fn lists_are_in_order(store: AnyStore) {
    let serials = ["-", "1", "10", "9", "A", "B", "_", "a", "b", "é", "长", "\u{1f600}"];
    let ids = &serials[..9];
    for text in serials.into_iter().rev() {
        store.insert_device(&a_device(text, None)).await.unwrap();
        store.insert_gateway(&a_gateway(text)).await.unwrap();
    }
    for id in ids.iter().rev() {
        store.insert_application(&an_application(id)).await.unwrap();
    }
    let devices = store.devices(page(None, 100)).await.unwrap();
    assert_eq!(devices.iter().map(|device| device.serial.as_str()).collect::<Vec<_>>(), serials);
    let gateways = store.gateways(page(None, 100)).await.unwrap();
    assert_eq!(gateways.iter().map(|gateway| gateway.serial.as_str()).collect::<Vec<_>>(), serials);
    let applications = store.applications(page(None, 100)).await.unwrap();
    assert_eq!(applications.iter().map(|application| application.id.as_str()).collect::<Vec<_>>(), ids);

    // A page begins after its key, whether that is anybody's or not.
    let rest = store.devices(page(Some(serial("C")), 2)).await.unwrap();
    assert_eq!(rest.iter().map(|device| device.serial.as_str()).collect::<Vec<_>>(), ["_", "a"]);
}

pub async fn extreme_values(store: AnyStore) {
    let evil = "';DROP TABLE accounts;-- \"\\ $1 ? 你好 \u{1f600}\u{202e}%_";
    let long = "长".repeat(255);
    let mut rows = [an_account(&[evil, "+861234567890123"]), an_account(&[&long, &format!("{}@example.com", "é".repeat(243))])];
    rows[0].registered_at = Timestamp(i64::MAX);
    rows[0].activation = Activation::Pending { deadline: Timestamp(i64::MIN) };
    rows[0].details.address = Some(long.clone());
    rows[1].registered_at = Timestamp(i64::MIN);
    rows[1].activation = Activation::Pending { deadline: Timestamp(i64::MAX) };
    rows[1].details.groups = Some(evil.into());
    rows[1].details.country = Some(String::new());
    rows[1].verifier = verifier(&"$".repeat(1000));
    for account in &mut rows {
        account.number = store.insert_account(account).await.unwrap();
        for identifier in account.identifiers() {
            assert_same_account(&store.account_named(&identifier).await.unwrap().unwrap(), account);
        }
    }
    let device = Device { registered_at: Timestamp(i64::MAX), ..a_device(&"长".repeat(64), Some("")) };
    store.insert_device(&device).await.unwrap();
    assert_same(&store.device(&device.serial).await.unwrap(), &Some(device));
    let application = Application { name: evil.into(), ..an_application(&"x".repeat(64)) };
    store.insert_application(&application).await.unwrap();
    assert_same(&store.application(&application.id).await.unwrap(), &Some(application));

    let mut session = a_session(rows[0].number, at_device(evil), Timestamp(i64::MAX));
    session.client.os = Some(evil.into());
    session.client.app_version = Some(long);
    let done = store.commit_login(commit(&session, 0)).await.unwrap().done().unwrap();
    assert_same(&done.session, &session);
    assert_same(&store.sessions(None, page(None, 10)).await.unwrap(), &[session]);
    assert_eq!(reread(&store, rows[0].number).await.last_login_at, Some(Timestamp(i64::MAX)));
    for new in [true, false] {
        let now = Timestamp(i64::MIN);
        assert_eq!(store.remember_nonce(&at_device(evil), evil, now, Duration::MAX).await.unwrap(), new);
    }
}
