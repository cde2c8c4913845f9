//! `drain`: takes the daemon out of service, and shows how it goes on until the last member has left.
//!
//! The daemon does it whether anybody watches or not, so an interrupted program changes nothing. It is watched through
//! one connection that is opened before it begins: where a socket unit holds the admin socket, another one might start
//! a daemon that has just ended.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use http::Method;
use ws_router_admin_api::{Drain, DrainPhase};

use super::client::{Answer, Client, Lines, parse};
use super::fault::Fault;
use super::human::progress;

/// Takes the daemon out of service over a time.
pub(super) async fn drain(client: &Client, over: Duration, json: bool, out: &mut impl Write) -> Result<(), Fault> {
    let mut lines = client.lines("/v1/drain").await?;
    // How it stood before.
    lines.next().await?;
    let path = format!("/v1/drain?over={}ms", over.as_millis());
    let begun: Drain = parse(&order(client, Method::POST, &path).await?)?;
    if !json {
        let (members, plural) = (begun.members_before, if begun.members_before == 1 { "" } else { "s" });
        writeln!(out, "{members} member{plural} to be closed within {}", humantime::format_duration(over))?;
        out.flush()?;
    }
    let last = follow(&mut lines, json, out).await?;
    match last.map(|drain| (drain.state, drain.stays)) {
        Some((DrainPhase::Drained, stays)) => {
            let said = if stays { STAYS } else { "drained, and the daemon ends" };
            if !json {
                writeln!(out, "{said}")?;
            }
            Ok(())
        }
        Some((DrainPhase::Serving, _)) => Err(Fault::Unavailable("somebody put the daemon back into service".into())),
        _ => Err(Fault::Unavailable(
            "the daemon stopped before the last member had left; after a restart it goes on, see ws-routerctl status"
                .into(),
        )),
    }
}

/// Puts the daemon back into service.
pub(super) async fn undo(client: &Client, json: bool, out: &mut impl Write) -> Result<(), Fault> {
    let text = order(client, Method::DELETE, "/v1/drain").await?;
    if json {
        out.write_all(&text)?
    } else {
        writeln!(out, "in service")?
    }
    Ok(())
}

async fn order(client: &Client, method: Method, path: &str) -> Result<bytes::Bytes, Fault> {
    match client.ask(method, path).await? {
        Answer::Document(text) => Ok(text),
        Answer::Unknown(refused) => Err(Fault::Software(refused.error)),
        Answer::Refused(_, refused) => Err(Fault::Unavailable(refused.error)),
    }
}

/// Shows each line until it is over; a terminal keeps only the newest. Gives the last one.
async fn follow(lines: &mut Lines, json: bool, out: &mut impl Write) -> Result<Option<Drain>, Fault> {
    let is_terminal = !json && stdout().is_terminal();
    let mut last = None;
    // That the daemon breaks off is one of its ways to end.
    while let Ok(Some(line)) = lines.next().await {
        let drain: Drain = parse(&line)?;
        if json {
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

const STAYS: &str = "drained; it stays and refuses everybody, since its socket units would have it started again: \
    stop it with them,\nsystemctl stop ws-router.socket ws-router-admin.socket ws-router.service, \
    or put it back with ws-routerctl drain --undo";
