//! Keys and queries in the logs: there are none, at any level; in a process of its own, since all threads log.
#![allow(clippy::unwrap_used)]

mod support;

use std::io;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use support::{Server, until};
use tokio_tungstenite::tungstenite::Message;
use tracing_subscriber::filter::LevelFilter;
use ws_router_core::secret::Token;
use ws_router_server::config::{Config, Rule};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_key_no_query_and_no_payload_is_ever_logged() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    let line = |token: &str| format!("phone:{}\n", Token::new(token.into()).hash());
    std::fs::write(&tokens, line("hunter2")).unwrap();
    let server =
        Server::start(Config { access: vec![Rule { tokens: Some(tokens), ..Rule::default() }], ..Config::default() })
            .await;
    assert_eq!(server.get("/register?key=k&host_key=k&reg_type=lobby&token=not-hunter2").await.status, 401);
    let wrong = "Authorization: Bearer not-hunter2\r\n";
    assert_eq!(server.request("GET", "/register?key=k&host_key=k&reg_type=lobby", wrong, "").await.status, 401);
    let id = server.register("key=hunter2&host_key=hunter2&reg_type=lobby&token=hunter2").await;
    let mut member = server.websocket(&format!("/connect?id={id}&key=hunter2&token=hunter2")).await.unwrap();
    member.send(Message::text("hunter2")).await.unwrap();
    for target in ["/register?key=hunter2%zz", "/connect?id=x&key=hunter2", "/hunter2", "/remove?hunter2", "/hunter2 x"]
    {
        assert_ne!(server.get(target).await.status, 200);
    }
    server.post("/remove", &format!("id={id}&key=wrong-hunter2&host_key=hunter2&token=hunter2")).await;
    server.post("/remove", &format!("id={id}&key=hunter2&host_key=hunter2&token=hunter2")).await;
    while member.next().await.is_some_and(|message| message.is_ok()) {}
    drop(member);
    until("the member is gone", || server.metrics.connections.value() == 0).await;
    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("request answered") && logged.contains("route=\"register\""), "{logged}");
    assert!(logged.contains("access denied"), "{logged}");
    for secret in ["hunter2", "key=", "token=", "host_key", "%zz"] {
        assert!(!logged.contains(secret), "{secret} in {logged}");
    }
}
