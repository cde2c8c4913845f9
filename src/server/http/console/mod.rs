//! `/console`: a page on which a person registers, opens two devices side by side and watches messages pass.
//!
//! It exists only if `http.console` is set. The page uses the public routes as any device does, under the same access
//! rules, and keeps keys only in its own fields. It is one file without external resources: its policy allows its own
//! script and style by a nonce, connections to this router, and nothing else, and it can't be framed.

use http::StatusCode;
use http::header::{self, HeaderValue};
use uuid::Uuid;

use super::responses::{Response, html};

/// Returns the page, with a fresh nonce.
pub(super) fn page() -> Response {
    let nonce = Uuid::new_v4().simple().to_string();
    let mut response = html(StatusCode::OK, PAGE.replace(NONCE, &nonce));
    let headers = response.headers_mut();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    // Hexadecimal digits are valid in a header.
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

const PAGE: &str = include_str!("console.html");

/// Placeholder of the nonce in the page.
const NONCE: &str = "{nonce}";

const HEADERS: [(header::HeaderName, &str); 5] = [
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

#[cfg(test)]
mod tests;
