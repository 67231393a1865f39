//! Every table with its columns, for whoever copies a store as a whole.

/// A table.
pub(crate) struct Table {
    pub name: &'static str,
    /// How many of the columns, from the first, are the primary key.
    key: usize,
    pub columns: &'static [Column],
}

/// A column.
pub(crate) struct Column {
    pub name: &'static str,
    is_number: bool,
}

const fn text(name: &'static str) -> Column {
    Column { name, is_number: false }
}

const fn number(name: &'static str) -> Column {
    Column { name, is_number: true }
}

/// What a new store has rows in from the start.
const SEEDED: [&str; 2] = ["settings", "counters"];

/// The setting that marks a store which is being filled and not whole yet.
pub(crate) const FILLED_FROM: &str = "filled_from";

/// The setting in which a backup says what it holds.
pub(crate) const CHECKSUMS: &str = "checksums";

/// All tables; none refers to one that comes later.
pub(crate) const TABLES: [Table; 21] = [
    Table { name: "settings", key: 1, columns: &[text("name"), text("value")] },
    Table { name: "former_keys", key: 1, columns: &[text("fingerprint"), text("sealed"), number("retired_at")] },
    Table { name: "counters", key: 1, columns: &[text("name"), number("value")] },
    Table {
        name: "applications",
        key: 1,
        columns: &[text("id"), text("name"), text("secret"), text("profile"), number("enabled"), number("created_at")],
    },
    Table {
        name: "accounts",
        key: 1,
        columns: &[
            number("number"),
            text("id"),
            text("apikey"),
            text("region"),
            text("user_name"),
            text("email"),
            text("phone"),
            text("verifier"),
            number("activation_deadline"),
            number("enabled"),
            text("display_name"),
            text("language"),
            text("birthday"),
            text("address"),
            text("country"),
            text("groups"),
            number("registered_at"),
            number("last_login_at"),
            number("revision"),
        ],
    },
    Table {
        name: "devices",
        key: 1,
        columns: &[
            text("serial"),
            text("guid"),
            text("kind"),
            text("app_version"),
            number("registered_at"),
            text("name"),
            text("facts"),
        ],
    },
    Table {
        name: "gateways",
        key: 1,
        columns: &[
            text("serial"),
            text("guid"),
            text("kind"),
            text("min_app_version"),
            number("account"),
            number("registered_at"),
            text("ptop_uid"),
            text("wifi_mac"),
            text("bluetooth_mac"),
            text("random_code"),
            text("name"),
            text("connect_method"),
            text("facts"),
        ],
    },
    Table {
        name: "sessions",
        key: 3,
        columns: &[
            number("account"),
            text("audience_kind"),
            text("audience"),
            text("id"),
            text("access_hash"),
            number("access_expires_at"),
            text("refresh_hash"),
            number("refresh_expires_at"),
            number("created_at"),
            text("address"),
            text("app_version"),
            text("os"),
            number("access_issued_at"),
        ],
    },
    Table { name: "nonces", key: 3, columns: &[text("audience_kind"), text("audience"), text("nonce"), number("expires_at")] },
    Table {
        name: "spent_tokens",
        key: 1,
        columns: &[
            text("hash"),
            text("session"),
            text("access"),
            text("successor"),
            text("salt"),
            number("spent_at"),
            number("expires_at"),
        ],
    },
    Table {
        name: "codes",
        key: 2,
        columns: &[text("purpose"), text("address"), text("hash"), number("expires_at"), number("tries"), number("used")],
    },
    Table {
        name: "links",
        key: 2,
        columns: &[number("account"), text("purpose"), text("hash"), number("expires_at"), number("used")],
    },
    Table {
        name: "messages",
        key: 1,
        columns: &[
            text("id"),
            text("subject"),
            text("sealed"),
            number("created_at"),
            number("expires_at"),
            number("due_at"),
            number("attempts"),
            text("last_error"),
        ],
    },
    Table { name: "addressees", key: 1, columns: &[text("address"), number("sent_at")] },
    Table { name: "sendings", key: 1, columns: &[text("id"), text("address"), number("sent_at")] },
    Table { name: "directory", key: 1, columns: &[text("identifier"), text("region"), number("claimed_at")] },
    Table {
        name: "resource_servers",
        key: 1,
        columns: &[
            text("id"),
            text("name"),
            text("secret_hash"),
            text("previous_hash"),
            number("previous_until"),
            number("enabled"),
            number("created_at"),
        ],
    },
    Table {
        name: "session_events",
        key: 1,
        columns: &[
            text("id"),
            number("sequence"),
            number("at"),
            text("what"),
            text("session"),
            number("account"),
            text("account_id"),
            text("apikey"),
            text("audience_kind"),
            text("audience"),
        ],
    },
    Table {
        name: "lanes",
        key: 1,
        columns: &[
            text("lane"),
            text("subject"),
            number("failures"),
            number("failed_at"),
            number("paused_until"),
            number("day_until"),
            number("known_at"),
            number("forget_at"),
        ],
    },
    Table {
        name: "audit",
        key: 1,
        columns: &[
            text("id"),
            number("at"),
            text("what"),
            text("outcome"),
            number("refused"),
            number("account"),
            text("identifier"),
            text("audience"),
            text("address"),
            text("request"),
            number("times"),
        ],
    },
    Table { name: "imports", key: 1, columns: &[text("source"), number("line")] },
];

impl Table {
    /// Whether a new store has no rows in it.
    pub fn is_born_empty(&self) -> bool {
        !SEEDED.contains(&self.name)
    }

    pub fn key(&self) -> &'static [Column] {
        &self.columns[..self.key]
    }

    /// The rows in the key's order, all or those behind a key that is bound. All values are texts, in which every engine says the same.
    pub fn select(&self, after: bool) -> String {
        let names = join(self.key(), |_, column| column.name.to_owned());
        let behind = if after { format!("({names}) > ({})", values(self.key(), 0)) } else { "1 = 1".to_owned() };
        format!("{} AND {behind} ORDER BY {names}", select(self.name, self.columns.iter().map(|column| column.name)))
    }

    /// Puts so many rows in at once.
    pub fn insert(&self, rows: usize) -> String {
        let names = join(self.columns, |_, column| column.name.to_owned());
        let rows: Vec<_> = (0..rows).map(|row| format!("({})", values(self.columns, row * self.columns.len()))).collect();
        format!("INSERT INTO {} ({names}) VALUES {}", self.name, rows.join(", "))
    }
}

/// Selects the rows that are a store's own, as texts.
pub(crate) fn select<'a>(table: &str, columns: impl Iterator<Item = &'a str>) -> String {
    let columns: Vec<_> = columns.map(|column| format!("CAST({column} AS TEXT)")).collect();
    format!("SELECT {} FROM {table} WHERE {}", columns.join(", "), own_rows(table))
}

/// What tells a store's own rows from those that are about its being copied.
pub(crate) fn own_rows(table: &str) -> String {
    if table == "settings" { format!("name NOT IN ('{FILLED_FROM}', '{CHECKSUMS}')") } else { "1 = 1".to_owned() }
}

/// Places for values that are bound as texts, the first of them behind `bound` others.
fn values(columns: &[Column], bound: usize) -> String {
    join(columns, |place, column| {
        let place = bound + place + 1;
        if column.is_number { format!("CAST(${place} AS BIGINT)") } else { format!("${place}") }
    })
}

fn join(columns: &[Column], write: impl Fn(usize, &Column) -> String) -> String {
    let written: Vec<_> = columns.iter().enumerate().map(|(place, column)| write(place, column)).collect();
    written.join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Limits, SqlStore, engine};

    /// Each column's name with its type, and whether it is of the primary key.
    type Columns = Vec<(String, String, bool)>;

    /// A migration that adds a table or column must add it here as well, else a copy or backup would lack it.
    #[tokio::test]
    async fn every_table_and_column_is_known() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = SqlStore::sqlite(&folder.path().join("hearthgate.db"), Limits::default()).await.unwrap();
        let query = "SELECT t.name, c.name, c.type, c.pk FROM sqlite_schema t JOIN pragma_table_info(t.name) c \
                     WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name <> '_sqlx_migrations' ORDER BY c.cid";
        let rows = engine::query(query).fetch_all(&mut store.read.acquire().await.unwrap()).await.unwrap();
        let mut there: BTreeMap<String, Columns> = BTreeMap::new();
        for row in rows {
            let column = (row.at(1).unwrap(), row.at(2).unwrap(), row.at::<i64>(3).unwrap() > 0);
            there.entry(row.at(0).unwrap()).or_default().push(column);
        }
        let column = |place: usize, column: &Column, key: usize| {
            let kind = if column.is_number { "BIGINT" } else { "TEXT" };
            (column.name.to_owned(), kind.to_owned(), place < key)
        };
        let columns = |table: &Table| table.columns.iter().enumerate().map(|(at, one)| column(at, one, table.key)).collect();
        let known: BTreeMap<String, Columns> = TABLES.iter().map(|table| (table.name.to_owned(), columns(table))).collect();
        assert_eq!(known, there);
    }
}
