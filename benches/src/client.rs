//! One client: an address of its own, a connection, people who are at home there, and a session that it refreshes.

use std::net::{Ipv4Addr, SocketAddr};

use crate::http::{Answer, Connection};
use crate::population::{self, People};
use crate::requests::{self, Kind, Wanted};

/// How many different tokens a client checks.
const CHECKS: i64 = 32;

pub(crate) struct Client {
    number: i64,
    server: SocketAddr,
    people: People,
    connection: Option<Connection>,
    /// How many requests it has begun.
    begun: usize,
    /// Its next requests, by kind; made when the first is sent.
    made: [Vec<Vec<u8>>; 5],
}

/// What became of a request.
pub(crate) enum Verdict {
    Right,
    /// The server has too much to do, and says so.
    Refused,
    Wrong(String),
}

impl Client {
    pub fn new(number: i64, server: SocketAddr, people: People) -> Self {
        // Clients do not all begin a mix with the same kind.
        let begun = usize::try_from(number).unwrap_or_default() * 37;
        Self { number, server, people, connection: None, begun, made: Default::default() }
    }

    /// Goes on with another server on the same database.
    pub fn turn_to(&mut self, server: SocketAddr) {
        self.server = server;
        self.disconnect();
    }

    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Where a client calls from.
    pub fn address(number: i64) -> Ipv4Addr {
        let [.., high, low] = u16::try_from(number).unwrap_or_default().to_be_bytes();
        // A last octet of 0 or 255 would do on the loopback, but looks like no address.
        Ipv4Addr::new(127, 1 + low / 128, high, 1 + low % 128)
    }

    /// Connects, if it is not.
    pub async fn connect(&mut self) -> std::io::Result<()> {
        connected(&mut self.connection, self.server, self.number).await.map(drop)
    }

    /// Sends the next request; what kind it was, and what became of it.
    pub async fn ask(&mut self, wanted: Wanted) -> (Kind, Verdict) {
        let kind = wanted.nth(self.begun);
        self.begun += 1;
        if self.made[kind as usize].is_empty() {
            self.made[kind as usize] = self.make(kind);
        }
        let made = &self.made[kind as usize];
        let asked = match connected(&mut self.connection, self.server, self.number).await {
            Ok(connection) => connection.ask(&made[self.begun % made.len()]).await,
            Err(error) => Err(error),
        };
        let (verdict, next) = match asked {
            Ok(answer) => (judge(kind, &answer), next_token(kind, &answer)),
            Err(error) => (Verdict::Wrong(format!("{}: {error}", kind.name())), None),
        };
        if matches!(&verdict, Verdict::Wrong(_)) {
            self.connection = None;
        }
        if let Some(token) = next {
            self.made[kind as usize] = vec![requests::refresh(&token)];
        }
        (kind, verdict)
    }

    fn make(&self, kind: Kind) -> Vec<Vec<u8>> {
        let at_home = || self.people.at_home(self.number);
        let checked = || (0..CHECKS).map(|check| self.people.checked(self.number * CHECKS + check));
        match kind {
            Kind::Login => at_home().map(requests::login).collect(),
            Kind::Fantem => at_home().map(requests::fantem).collect(),
            Kind::Check => checked().map(requests::check).collect(),
            Kind::Introspect => checked().map(requests::introspect).collect(),
            Kind::Refresh => vec![requests::refresh(&population::refresh_token(self.people.refreshing(self.number)))],
        }
    }
}

async fn connected(connection: &mut Option<Connection>, server: SocketAddr, number: i64) -> std::io::Result<&mut Connection> {
    // The server may close one that rested at this very moment, which a client cannot know before it sends.
    if connection.as_ref().is_none_or(Connection::is_rested) {
        *connection = Some(Connection::open(server, Client::address(number)).await?);
    }
    Ok(connection.as_mut().expect("just opened"))
}

fn judge(kind: Kind, answer: &Answer<'_>) -> Verdict {
    if kind.is_right(answer) {
        return Verdict::Right;
    }
    if answer.status == 503 {
        return Verdict::Refused;
    }
    // The dialects' own codes: few, where whole answers would be many.
    let code = ["\"error\":", "\"code\":"].into_iter().find_map(|name| requests::between(answer.body, name, b",}"));
    Verdict::Wrong(format!("{}: HTTP {}, code {}", kind.name(), answer.status, code.unwrap_or("none")))
}

/// The token of the next refresh.
fn next_token(kind: Kind, answer: &Answer<'_>) -> Option<String> {
    (kind == Kind::Refresh).then(|| requests::between(answer.body, "\"rt\":\"", b"\"")).flatten().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_an_address_of_its_own() {
        let mut addresses: Vec<_> = (0..20_000).map(Client::address).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 20_000);
        assert!(addresses.iter().all(|address| !matches!(address.octets()[3], 0 | 255)));
    }
}
