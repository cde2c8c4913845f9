//! `/send`: sends a message to the members of a registration without joining it.
//!
//! The key and the announced length are checked before the body is read, so that a stranger can't make the router read
//! or hold anything. The answer comes when the message is written to, or queued for, its receivers. It waits while all
//! of them are behind, as a member would.

use http::header::{self, HeaderMap};
use http::{Request, StatusCode};
use hyper::body::{Body, Incoming};
use ws_router_core::kind::Role;
use ws_router_core::shard::OutsideMessage;

use super::authorize::{self, ClientInfo};
use super::body;
use super::connect::key;
use super::headers::single;
use super::query::Form;
use super::responses::{HttpError, Response, json};
use crate::access::Action;
use crate::config::Config;
use crate::registry::Credential;
use crate::server::{SendRequest, Sent, Server};

/// Sends the body to the members that receive from the role of the request.
pub(super) async fn send(
    server: &Server,
    request: &mut Request<Incoming>,
    client: ClientInfo<'_>,
    config: &Config,
) -> Result<Response, HttpError> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let form = Form::new(query.as_bytes());
    let grant = authorize::authorize(server, Action::Send, client, request.headers(), form).await?;
    let id = form.required("id")?;
    let (key, credential) = key(form)?;
    let credential = credential(&key);
    let role = match form.optional("sock_type") {
        // The key admits clients only.
        Ok(None) if matches!(credential, Credential::ClientKey(_)) => Some(Role::Client),
        // A lobby ignores the role, so the registry reports one that is missing or invalid.
        role => role.ok().flatten().and_then(|text| Role::from_param(&text)),
    };
    let sender = server.sender(&SendRequest { id: &id, credential, role, client: client.peer })?;
    let limit = config.http.max_send.as_u64().min(config.websocket.max_message.as_u64());
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let announced = request.body().size_hint();
    if announced.lower() > limit as u64 {
        return Err(body::message_too_large());
    }
    // A body without an announced length may be as long as the limit.
    let most = announced.upper().and_then(|upper| usize::try_from(upper).ok()).unwrap_or(limit);
    let _memory = server.reserve_send_memory(&client.peer, most.min(limit))?;
    let is_text = is_text(request.headers());
    let payload = body::read_message(request, limit, config.http.request_timeout).await?;
    let message = if is_text {
        let text = std::str::from_utf8(&payload);
        OutsideMessage::text(text.map_err(|_| HttpError::malformed("the body is not UTF-8, which its type requires"))?)
    } else {
        OutsideMessage::binary(&payload)
    };
    drop(payload);
    let patience = config.http.request_timeout;
    let (status, receivers) = match server.send(sender, grant.admission, message, patience).await? {
        Sent::To(receivers) => (StatusCode::OK, receivers),
        Sent::Waiting => (StatusCode::ACCEPTED, 0),
    };
    let mut response = json(format!("{{\"receivers\":{receivers}}}"));
    *response.status_mut() = status;
    Ok(response)
}

/// Returns whether the type of the body makes it a text message: text, JSON or a form. Without a single valid type, it is
/// binary.
fn is_text(headers: &HeaderMap) -> bool {
    let media_type = single(headers, &header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type.starts_with("text/")
        || media_type.ends_with("+json")
        || ["application/json", "application/x-www-form-urlencoded"].contains(&&*media_type)
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    #[test]
    fn text_json_and_forms_are_text_and_everything_else_is_binary() {
        let is_text = |types: &[&'static str]| {
            let mut headers = HeaderMap::new();
            types.iter().for_each(|text| _ = headers.append(header::CONTENT_TYPE, HeaderValue::from_static(text)));
            is_text(&headers)
        };
        for text in [
            "text/plain",
            "Text/HTML; charset=utf-8",
            "text/event-stream",
            "application/json",
            "APPLICATION/JSON ; charset=utf-8",
            "application/cloudevents+json",
            "application/x-www-form-urlencoded",
        ] {
            assert!(is_text(&[text]), "{text}");
        }
        for binary in
            ["application/octet-stream", "application/jsonp", "image/png", "texts/a", "multipart/form-data", ""]
        {
            assert!(!is_text(&[binary]), "{binary}");
        }
        assert!(!is_text(&[]) && !is_text(&["text/plain", "text/plain"]));
    }
}
