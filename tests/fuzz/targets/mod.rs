//! What is fuzzed: each target takes bytes as a stranger might send them and panics where a promise is broken.
//!
//! The fuzzer runs them with what it makes up (`tests/fuzz/run`); `tests/corpora.rs` runs them with the committed
//! corpora and found cases, on the stable toolchain and in every test run. So a target is a plain function, gives the
//! same for the same bytes, and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod admin;
mod config;
mod exchange;
mod form;
mod forwarded;
mod frames;
mod http;
mod input;
mod listening;
mod proxy;
mod reference;
mod sessions;
mod state;
#[path = "../../support/mod.rs"]
mod support;
mod tokens;

/// Takes a fuzzer's bytes; panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its corpus.
pub const ALL: &[(&str, Target)] = &[
    ("frames", frames::run),
    ("sessions", sessions::run),
    ("listening", listening::run),
    ("form", form::run),
    ("http", http::run),
    ("admin", admin::run),
    ("config", config::run),
    ("state", state::run),
    ("proxy", proxy::run),
    ("forwarded", forwarded::run),
    ("tokens", tokens::run),
];
