//! The numbers on a listener of their own, for monitoring that can't use the admin socket: `GET /metrics`, and nothing
//! else that the admin interface can do.
//!
//! It has no limits of devices to share, and needs none: a few connections at once, each for one request and with
//! little time, so that nobody who reaches it keeps monitoring out by holding them.

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

/// Answers monitoring until `stop`.
pub async fn serve_metrics(listener: Listener, context: Context, stop: CancellationToken) {
    let (mut tasks, places) = (JoinSet::new(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    loop {
        // One too many waits in the kernel's queue.
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = tasks.join_next() => {}
            (place, accepted) = next => match accepted {
                Ok(stream) => {
                    let (context, stop) = (context.clone(), stop.clone());
                    tasks.spawn(async move {
                        converse(stream, context, stop).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept for the metrics failed");
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

async fn converse(stream: Stream, context: Context, stop: CancellationToken) {
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
        () = tokio::time::sleep(VISIT) => return tracing::debug!("a reader of the metrics was too slow"),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection for the metrics broke");
    }
}

async fn answer(request: Request<Incoming>, context: &Context) -> Result<Reply, Infallible> {
    let is_here = request.uri().path().trim_end_matches('/').rsplit('/').next() == Some("metrics");
    Ok(match *request.method() {
        _ if !is_here => reply::refusal(StatusCode::NOT_FOUND, "only /metrics is here"),
        Method::GET | Method::HEAD => reply::numbers(exposition::text(context).await),
        _ => {
            let mut reply = reply::refusal(StatusCode::METHOD_NOT_ALLOWED, "this path takes GET and HEAD");
            reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            reply
        }
    })
}

/// Several servers that scrape, and a person who looks.
const MAX_CONNECTIONS: usize = 16;

/// Time for a request and its answer: longer than any server that scrapes waits.
const VISIT: Duration = Duration::from_secs(60);
