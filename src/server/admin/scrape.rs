//! Metrics on a listener of their own, for monitoring that can't use the admin socket: `GET /metrics`, and nothing else.
//!
//! The limits of devices don't apply here. There are few connections, each for one request and with a time limit, so that
//! idle connections don't keep monitoring out.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::reply::{self, Reply};
use super::{ACCEPT_PAUSE, Context, HEAD_TIMEOUT, MAX_HEAD, STOP_PATIENCE, exposition};
use crate::net::{Listener, Stream};

/// Serves `/metrics` until `stop`.
pub async fn serve_metrics(listener: Listener, context: Context, stop: CancellationToken) {
    let (mut tasks, slots) = (JoinSet::new(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    loop {
        // Further connections wait in the kernel's queue.
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = tasks.join_next() => {}
            (slot, accepted) = next => match accepted {
                Ok(stream) => {
                    let (context, stop) = (context.clone(), stop.clone());
                    tasks.spawn(async move {
                        serve_connection(stream, context, stop).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed on the metrics listener");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    let answered = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_PATIENCE, answered).await.is_err() {
        tasks.shutdown().await;
    }
}

async fn serve_connection(stream: Stream, context: Context, stop: CancellationToken) {
    let answer = service_fn(|request| answer(request, &context));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tokio::time::sleep(TIME_LIMIT) => return tracing::debug!("metrics connection timed out"),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "metrics connection failed");
    }
}

async fn answer(request: Request<Incoming>, context: &Context) -> Result<Reply, Infallible> {
    let is_metrics = request.uri().path().trim_end_matches('/').rsplit('/').next() == Some("metrics");
    Ok(match *request.method() {
        _ if !is_metrics => reply::error(StatusCode::NOT_FOUND, "no such path; only /metrics is served here"),
        Method::GET | Method::HEAD => reply::metrics(exposition::text(context).await),
        _ => {
            let mut reply =
                reply::error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed; this path takes GET and HEAD");
            reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            reply
        }
    })
}

/// Enough for several monitoring servers and a person.
const MAX_CONNECTIONS: usize = 16;

/// Time for a request and its answer: longer than monitoring servers wait.
const TIME_LIMIT: Duration = Duration::from_secs(60);
