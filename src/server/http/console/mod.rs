//! `/console`: one page on which a person registers, opens two devices side by side and sees messages pass.
//!
//! For those who turned it on (`http.console`); to others there is nothing here. The page uses the public routes as any
//! device does and so is let in, or not, by the same rules; it holds keys only in its own fields. It is one file and
//! asks nobody else for anything: its policy allows its own script and style by a nonce of the answer, connections to
//! this router, and nothing more, and nobody may put it into a frame.

use http::StatusCode;
use http::header::{self, HeaderValue};
use uuid::Uuid;

use super::replies::{Reply, html};

/// Makes the page, with a nonce of its own.
pub(super) fn page() -> Reply {
    let nonce = Uuid::new_v4().simple().to_string();
    let mut reply = html(StatusCode::OK, PAGE.replace(NONCE, &nonce));
    let headers = reply.headers_mut();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    // Hexadecimal digits are what a header takes.
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}

const PAGE: &str = include_str!("console.html");

/// Where the page has its nonce.
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
