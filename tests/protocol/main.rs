//! The router's public interface over real sockets: the routes, the websocket protocol, TLS, access and
//! limits, the admin interface and the control program. One binary, whose tests share `tests/support`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod addresses;
mod admin;
mod authorizer;
mod ctl;
mod hostile;
mod join;
mod limits;
mod members;
mod mutual;
mod paired;
mod pipe;
mod registrations;
mod routes;
mod send;
mod sessions;
mod shares;
mod subprotocol;
mod terms;
mod tls;
mod tls_relay;
mod top;
mod tunnel;
mod upgrade;
mod views;
mod waiting;
mod websocket;
