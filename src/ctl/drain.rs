//! `drain`: takes the daemon out of service, and shows the progress until the last member has left.
//!
//! The daemon drains whether anybody watches or not, so interrupting the program changes nothing. The progress is read
//! from one connection that is opened before the drain begins: where a socket unit holds the admin socket, a later
//! connection might start a daemon that has just exited.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use http::Method;
use hyper::body::Bytes;
use ws_router_admin_api::{Drain, DrainPhase};

use super::client::{Answer, Client, Lines};
use super::error::Error;
use super::output::{Format, plural, progress};

/// Takes the daemon out of service over a time.
pub(super) async fn drain(client: &Client, over: Duration, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let mut lines = client.lines("/v1/drain").await?;
    // The state before.
    lines.next().await?;
    let path = format!("/v1/drain?over={}ms", over.as_millis());
    let begun: Drain = serde_json::from_slice(&request(client, Method::POST, &path).await?)?;
    if !format.is_json() {
        let members = plural(begun.members_before, "member");
        writeln!(out, "closing {members} within {}", humantime::format_duration(over))?;
        out.flush()?;
    }
    let last = follow(&mut lines, format, out).await?;
    match last.map(|drain| (drain.state, drain.stays)) {
        Some((DrainPhase::Drained, stays)) => {
            if !format.is_json() {
                writeln!(out, "{}", if stays { STAYS } else { "drained, the daemon exits" })?;
            }
            Ok(())
        }
        Some((DrainPhase::Serving, _)) => Err(Error::DrainUndone),
        _ => Err(Error::DrainInterrupted),
    }
}

/// Puts the daemon back into service.
pub(super) async fn undo(client: &Client, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let text = request(client, Method::DELETE, "/v1/drain").await?;
    match format {
        Format::Json => out.write_all(&text)?,
        Format::Text(_) => writeln!(out, "in service")?,
    }
    Ok(())
}

async fn request(client: &Client, method: Method, path: &str) -> Result<Bytes, Error> {
    match client.request(method, path).await? {
        Answer::Document(text) => Ok(text),
        Answer::Unknown(refused) => Err(Error::UnexpectedAnswer(refused.error)),
        Answer::Refused(_, refused) => Err(Error::Unavailable(refused.error)),
    }
}

/// Shows each state until the drain is over, and returns the last one. A terminal keeps only the newest.
async fn follow(lines: &mut Lines, format: Format, out: &mut impl Write) -> Result<Option<Drain>, Error> {
    let is_terminal = !format.is_json() && stdout().is_terminal();
    let mut last = None;
    // A daemon that exits may also break the connection.
    while let Ok(Some(line)) = lines.next().await {
        let drain: Drain = serde_json::from_slice(&line)?;
        if format.is_json() {
            out.write_all(&line)?;
        } else if is_terminal {
            write!(out, "\r{}\x1b[K", progress(&drain))?;
        }
        out.flush()?;
        last = Some(drain);
        if drain.state != DrainPhase::Draining {
            break;
        }
    }
    if is_terminal && last.is_some() {
        write!(out, "\r\x1b[K")?;
    }
    Ok(last)
}

const STAYS: &str = "drained; it stays and refuses all devices, since its socket units would start the daemon again: \
    stop it together with them,\nsystemctl stop ws-router.socket ws-router-admin.socket ws-router.service, \
    or put it back into service with ws-routerctl drain --undo";
