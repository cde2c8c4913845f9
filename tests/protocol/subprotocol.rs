//! The term `subprotocol`: the websocket subprotocol that is chosen for members of a registration.

use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use ws_router_server::config::Config;

use crate::support::device::request;
use crate::support::{Answer, Server, read_head};

const LOBBY: &str = "/register?key=k&host_key=h&reg_type=lobby";

async fn server() -> Server {
    Server::start(Config::default()).await
}

/// Makes a handshake that offers subprotocols, one header line for each text.
async fn offer(server: &Server, id: &str, key: &str, lines: &[&str]) -> Answer {
    let offered: String = lines.iter().map(|line| format!("\r\nSec-WebSocket-Protocol: {line}")).collect();
    let request = request(&format!("/connect?id={id}&key={key}")).replacen("\r\n", &format!("{offered}\r\n"), 1);
    let mut stream = server.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    read_head(&mut stream).await
}

#[tokio::test]
async fn the_registered_subprotocol_is_chosen_if_it_is_offered_else_ws_router_else_none() {
    let server = server().await;
    let id = server.register("key=k&host_key=h&reg_type=lobby&subprotocol=mqtt").await;
    let plain = server.register("key=k&host_key=h&reg_type=lobby").await;
    // They would end with their last member.
    let _first = server.websocket(&format!("/connect?id={id}&key=k")).await.unwrap();
    let _second = server.websocket(&format!("/connect?id={plain}&key=k")).await.unwrap();
    for (id, lines, chosen) in [
        (&id, &["mqtt"][..], Some("mqtt")),
        (&id, &["mqttv3.1, mqtt"], Some("mqtt")),
        (&id, &["ws-router,mqtt"], Some("mqtt")),
        (&id, &["ws-router", "mqtt"], Some("mqtt")),
        (&id, &["token.abc, ws-router"], Some("ws-router")),
        (&id, &["MQTT"], None),
        (&id, &["MQTT, ws-router"], Some("ws-router")),
        (&id, &["mqttv3.1"], None),
        (&id, &[], None),
        (&plain, &["mqtt"], None),
        (&plain, &["mqtt, ws-router"], Some("ws-router")),
    ] {
        let answer = offer(&server, id, "k", lines).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.header("sec-websocket-protocol"), chosen, "{lines:?}");
    }
}

#[tokio::test]
async fn a_strict_client_library_connects_with_its_own_subprotocol() {
    let server = server().await;
    let id = server.register("key=k&host_key=h&reg_type=lobby&subprotocol=v12.stomp").await;
    let mut request = format!("ws://{}/connect?id={id}&key=k", server.http).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("v11.stomp, v12.stomp"));
    // It fails unless one of the offered subprotocols is chosen.
    let (_, answer) = tokio_tungstenite::client_async(request, server.connect().await).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "v12.stomp");
}

#[tokio::test]
async fn a_rejection_is_only_sent_over_a_websocket_if_ws_router_is_offered() {
    let server = server().await;
    let id = server.register("key=k&host_key=h&reg_type=lobby&subprotocol=mqtt").await;
    assert_eq!(offer(&server, &id, "wrong", &["mqtt"]).await.status, 403);
    let answer = offer(&server, &id, "wrong", &["mqtt, ws-router"]).await;
    assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, Some("ws-router")));
}

#[tokio::test]
async fn an_id_is_given_again_only_with_the_same_subprotocol() {
    let server = server().await;
    let terms = ["", "&subprotocol=mqtt", "&subprotocol=MQTT"];
    for first in terms {
        let registered = async |terms: &str| server.get(&format!("{LOBBY}&id_req=living-room{terms}")).await;
        assert_eq!(registered(first).await.body, "living-room");
        for second in terms {
            assert_eq!(registered(second).await.body == "living-room", first == second, "{first} and {second}");
        }
        assert_eq!(server.get("/remove?id=living-room&key=k&host_key=h").await.status, 200);
    }
}

#[tokio::test]
async fn a_subprotocol_that_is_no_token_or_reserved_is_rejected() {
    let server = server().await;
    let (longest, too_long) = ("x".repeat(64), "x".repeat(65));
    assert_eq!(server.get(&format!("{LOBBY}&subprotocol={longest}")).await.status, 200);
    for name in ["ws-router", "token.", "token.mqtt", "a,b", "a+b", "m%C3%BC", "%22a%22", "", &too_long] {
        let answer = server.get(&format!("{LOBBY}&subprotocol={name}")).await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.body.contains("subprotocol") && answer.body.lines().count() == 1, "{answer:?}");
    }
    assert_eq!(server.get(&format!("{LOBBY}&subprotocol=a&subprotocol=a")).await.status, 400);
    // Only the names that the router itself understands are reserved.
    for name in ["WS-Router", "ws-router2", "Token.a", "tokens"] {
        assert_eq!(server.get(&format!("{LOBBY}&subprotocol={name}")).await.status, 200, "{name}");
    }
}
