//! The call-out: another program says who is let in.
//!
//! It is asked for each request anew, and nothing is remembered: what it says holds at once, and no answer for one is
//! ever taken for another. A yes is a status of 200 to 299, a no is 401 or 403; everything else, and none in time, is no
//! answer, and then nobody is let in. Only so many questions are under way at a time, so that a program that hangs holds
//! no more than that. It is told what is known of the one who asks, and the token, but never the keys.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::{Action, Caller};
use crate::config;

/// A program that is asked.
#[derive(Debug)]
pub struct Authority {
    place: Place,
    path: String,
    patience: Duration,
    under_way: Semaphore,
}

#[derive(Debug)]
enum Place {
    Tcp(String),
    Unix(PathBuf),
}

/// What it said.
#[derive(Debug)]
pub enum Answer {
    /// The one may come in.
    Yes,
    /// It may not.
    No,
    /// It may not with this token, or without one.
    NotWithThisToken,
    /// Nothing that could be understood, and why.
    Nothing(String),
}

/// What somebody asks for, as its request says it; keys are no part of it.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Wish<'a> {
    /// The registration's id, or the one that is wanted.
    pub id: Option<&'a str>,
    /// `reg_type`, when registering.
    pub kind: Option<&'a str>,
    /// `sock_type`, when connecting.
    pub role: Option<&'a str>,
}

/// The body of a question.
#[derive(Serialize)]
struct Question<'a> {
    action: &'static str,
    #[serde(flatten)]
    wish: &'a Wish<'a>,
    address: Option<String>,
    user: Option<u32>,
    certificate: Option<&'a [String]>,
    origin: Option<&'a str>,
}

impl Authority {
    pub(super) fn new(ask: &config::Ask, patience: Duration) -> Self {
        let place = match &ask.place {
            config::AskPlace::Tcp(authority) => Place::Tcp(authority.clone()),
            config::AskPlace::Unix(path) => Place::Unix(path.clone()),
        };
        Self { place, path: ask.path.clone(), patience, under_way: Semaphore::new(UNDER_WAY) }
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&self, action: Action, caller: &Caller<'_>, wish: &Wish<'_>) -> Answer {
        let Ok(_permit) = self.under_way.try_acquire() else {
            return Answer::Nothing(format!("{UNDER_WAY} questions are under way already"));
        };
        let asked = async {
            match &self.place {
                Place::Tcp(authority) => self.put(TcpStream::connect(authority).await?, action, caller, wish).await,
                Place::Unix(path) => self.put(UnixStream::connect(path).await?, action, caller, wish).await,
            }
        };
        match tokio::time::timeout(self.patience, asked).await {
            Err(_) => Answer::Nothing(format!("no answer within {}", humantime::format_duration(self.patience))),
            Ok(Err(error)) => Answer::Nothing(error.to_string()),
            Ok(Ok(StatusCode::FORBIDDEN)) => Answer::No,
            Ok(Ok(StatusCode::UNAUTHORIZED)) => Answer::NotWithThisToken,
            Ok(Ok(status)) if status.is_success() => Answer::Yes,
            Ok(Ok(status)) => Answer::Nothing(format!("answered {status}")),
        }
    }

    async fn put<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        stream: S,
        action: Action,
        caller: &Caller<'_>,
        wish: &Wish<'_>,
    ) -> io::Result<StatusCode> {
        let host = match &self.place {
            Place::Tcp(authority) => authority.as_str(),
            Place::Unix(_) => "localhost",
        };
        let question = Question {
            action: action.as_str(),
            wish,
            address: caller.peer.ip().map(|ip| ip.to_string()),
            user: caller.user,
            certificate: caller.certificate.map(|certified| certified.names.as_slice()),
            origin: caller.origin,
        };
        let body = serde_json::to_vec(&question).map_err(io::Error::other)?;
        let mut request = Request::post(self.path.as_str())
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(io::Error::other)?;
        // A token that fits into no header is none that anybody knows.
        let token = caller.token.and_then(|token| HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok());
        if let Some(mut token) = token {
            token.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, token);
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
        // The status is the answer; a body isn't read.
        sender.send_request(request).await.map(|reply| reply.status()).map_err(io::Error::other)
    }
}

/// Questions to one program at a time: with the usual two seconds, some hundred devices a second even if it hangs.
const UNDER_WAY: usize = 256;
