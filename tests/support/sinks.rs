//! What is outside the machine, at the wire: a mail server, and whatever takes a POST, in all its moods.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Server;

/// The longest that a message may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program of the clients' Python environment, which `./test` makes.
pub fn python(script: &str) -> Command {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients"));
    let mut command = Command::new(folder.join("venv/bin/python"));
    // Nothing is left behind in the folder.
    command.arg("-B").arg(folder.join(script));
    command
}

/// A real mail server (`aiosmtpd`).
pub struct MailSink {
    child: Child,
    pub port: String,
    messages: mpsc::Receiver<Value>,
}

impl MailSink {
    /// `protection` is none, starttls or tls; the certificate is that of a `dev` server.
    pub fn start(protection: &str, dev: &Server, credentials: &[&str]) -> Self {
        let (certificate, key) = (dev.data().join("cert.pem"), dev.data().join("key.pem"));
        let mut command = python("smtp_sink.py");
        command.arg(protection).arg(certificate).arg(key).args(credentials);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (sender, messages) = mpsc::channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // Nobody may be listening any more.
                drop(sender.send(serde_json::from_str(&line).unwrap()));
            }
        });
        let first: Value = messages.recv_timeout(PATIENCE).unwrap();
        Self { child, port: first["port"].to_string(), messages }
    }

    /// Waits for the next message.
    pub fn next(&self) -> Value {
        self.messages.recv_timeout(PATIENCE).unwrap()
    }
}

impl Drop for MailSink {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a sink does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Fine,
    Fails,
    Hangs,
    BreaksOff,
}

/// What takes a POST: an SMS gateway, a collector of traces.
pub struct HttpSink {
    pub url: String,
    mood: Arc<Mutex<Mood>>,
    messages: UnboundedReceiver<(Bytes, HeaderMap)>,
}

type Shared = (Arc<Mutex<Mood>>, UnboundedSender<(Bytes, HeaderMap)>);

impl HttpSink {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/send?key=secret-of-the-gateway", listener.local_addr().unwrap());
        let (sender, messages) = unbounded_channel();
        let mood = Arc::new(Mutex::new(Mood::Fine));
        let router = Router::new().route("/send", post(receive)).with_state((Arc::clone(&mood), sender));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, mood, messages }
    }

    pub fn is_now(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Waits for the next message, which is JSON.
    pub async fn next(&mut self) -> (Value, HeaderMap) {
        let (body, headers) = self.next_bytes().await;
        (serde_json::from_slice(&body).unwrap(), headers)
    }

    /// Waits for the next message.
    pub async fn next_bytes(&mut self) -> (Bytes, HeaderMap) {
        tokio::time::timeout(PATIENCE, self.messages.recv()).await.unwrap().unwrap()
    }
}

async fn receive(State((mood, sender)): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mood = *mood.lock().unwrap();
    match mood {
        Mood::Fine => {
            // The test may be over.
            drop(sender.send((body, headers)));
            StatusCode::OK
        }
        Mood::Fails => StatusCode::INTERNAL_SERVER_ERROR,
        Mood::Hangs => std::future::pending().await,
        Mood::BreaksOff => panic!("the connection breaks off"),
    }
}
