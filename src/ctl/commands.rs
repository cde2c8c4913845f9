//! The commands that speak to a running daemon.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Write};

use http::Method;
use serde_json::json;
use ws_router_admin_api as wire;
use ws_router_core::ids::{MemberId, RegistrationId};

use super::client::{Answer, Client, parse};
use super::fault::Fault;
use super::human::{age, progress, size, time};
use super::table::{Align, Table};

/// Lists the registrations.
pub(super) async fn list(client: &Client, json: bool, out: &mut impl Write) -> Result<(), Fault> {
    let (all, text) = client.read::<Vec<wire::Registration>>("/v1/registrations").await?;
    if json {
        return Ok(out.write_all(&text)?);
    }
    let columns = [
        ("ID", Align::Left),
        ("KIND", Align::Left),
        ("SEATS", Align::Right),
        ("AGE", Align::Right),
        ("ENDS IN", Align::Right),
    ];
    let mut table = Table::new(columns);
    for one in &all {
        let ends = one.expires_in_ms.map_or("-".to_owned(), age);
        table.row([one.id.clone(), one.kind.as_str().into(), one.seats.to_string(), age(one.age_ms), ends]);
    }
    Ok(table.print(out)?)
}

/// Shows a registration with its members.
pub(super) async fn show(client: &Client, id: &RegistrationId, json: bool, out: &mut impl Write) -> Result<(), Fault> {
    let Some(text) = one(client, Method::GET, "registrations", id, "registration").await? else {
        return Err(Fault::Failed);
    };
    let detail: wire::RegistrationDetail = parse(&text)?;
    if json {
        return Ok(out.write_all(&text)?);
    }
    let registration = &detail.registration;
    let kind = registration.kind.as_str();
    writeln!(out, "{}  {kind}, since {} ({})", registration.id, time(registration.since_ms), age(registration.age_ms))?;
    if let Some(rule) = &registration.rule {
        writeln!(out, "made under access rule {rule}")?;
    }
    if let Some(left) = registration.expires_in_ms {
        writeln!(out, "ends in {} if nobody joins", age(left))?;
    }
    writeln!(out)?;
    members(&detail.members).print(out)?;
    Ok(())
}

fn members(members: &[wire::Member]) -> Table<12> {
    let mut table = Table::new([
        ("N", Align::Right),
        ("ROLE", Align::Left),
        ("ADDRESS", Align::Left),
        ("TLS", Align::Left),
        ("AGE", Align::Right),
        ("SILENT", Align::Right),
        ("IN", Align::Right),
        ("OUT", Align::Right),
        ("OUTBOX", Align::Right),
        ("UNSENT", Align::Right),
        ("RTT", Align::Right),
        ("RESENT", Align::Right),
    ]);
    for member in members {
        table.row([
            member.id.to_string(),
            member.role.as_str().into(),
            member.address.clone(),
            if member.tls { "yes" } else { "no" }.into(),
            age(member.age_ms),
            age(member.silent_ms),
            format!("{} / {}", member.messages_in, size(member.bytes_in)),
            format!("{} / {}", member.messages_out, size(member.bytes_out)),
            size(member.outbox_bytes),
            // What isn't a TCP connection has none of these.
            member.unsent_bytes.map_or("-".into(), size),
            member.round_trip_us.map_or("-".into(), |rtt| format!("{:.2}ms", rtt as f64 / 1000.0)),
            member.retransmits.map_or("-".into(), |count| count.to_string()),
        ]);
    }
    table
}

/// Ends registrations; those that don't exist are told, and the others end all the same.
pub(super) async fn remove(
    client: &Client,
    ids: &[RegistrationId],
    json: bool,
    out: &mut impl Write,
) -> Result<(), Fault> {
    each(client, ids, "registrations", "registration", "removed", json, out).await
}

/// Closes connections; those that don't exist are told, and the others are closed all the same.
pub(super) async fn disconnect(
    client: &Client,
    members: &[MemberId],
    json: bool,
    out: &mut impl Write,
) -> Result<(), Fault> {
    each(client, members, "connections", "connection", "disconnected", json, out).await
}

async fn each(
    client: &Client,
    names: &[impl Display],
    folder: &str,
    noun: &str,
    done: &str,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Fault> {
    let mut all_there = true;
    for name in names {
        match one(client, Method::DELETE, folder, name, noun).await? {
            Some(text) if json => out.write_all(&text)?,
            Some(_) => writeln!(out, "{done} {name}")?,
            None => all_there = false,
        }
    }
    if all_there { Ok(()) } else { Err(Fault::Failed) }
}

/// Asks about one thing by its name; says on standard error when there is none.
async fn one(
    client: &Client,
    method: Method,
    folder: &str,
    name: &impl Display,
    noun: &str,
) -> Result<Option<hyper::body::Bytes>, Fault> {
    match client.ask(method, &format!("/v1/{folder}/{}", name)).await? {
        Answer::Document(text) => Ok(Some(text)),
        Answer::Unknown(_) => {
            // With standard error closed, the exit status has to do.
            let _ = writeln!(io::stderr(), "ws-routerctl: no such {noun}: {}", name);
            Ok(None)
        }
        Answer::Refused(_, refused) => Err(Fault::Software(refused.error)),
    }
}

/// Shows what the daemon is doing.
pub(super) async fn status(client: &Client, json: bool, out: &mut impl Write) -> Result<(), Fault> {
    let (status, text) = client.read::<wire::Status>("/v1/status").await?;
    // EX_CONFIG, so that a script notices without reading.
    let outcome = if status.config_stale { Err(Fault::State(78)) } else { Ok(()) };
    if json {
        out.write_all(&text)?;
        return outcome;
    }
    let wire::Status { front, relay, memory, descriptors, .. } = &status;
    writeln!(out, "ws-router {}, process {}, up {}", status.version, status.pid, age(status.uptime_ms))?;
    let mut line = |name: &str, what: String| writeln!(out, "{name:<14}{what}");
    line("listening", status.listeners.join(", "))?;
    match status.drain.state {
        wire::DrainPhase::Serving => {}
        wire::DrainPhase::Drained => line("drained", "nobody is let in".into())?,
        wire::DrainPhase::Draining => line("draining", progress(&status.drain))?,
    }
    if status.config_stale {
        line("configuration", "has a mistake; the settings before the restart are in force, see the log".into())?;
    }
    if status.handover != wire::HandoverPhase::Serving {
        line("restarting", status.handover.label().into())?;
    }
    line("registrations", format!("{} now, {} made", status.registrations, front.registered))?;
    line("members", status.members.to_string())?;
    line(
        "connections",
        format!(
            "{} now, {} accepted{}",
            status.connections,
            front.accepted,
            reasons("rejected", &front.connections_rejected)
        ),
    )?;
    line(
        "timed out",
        format!("{} idle, {} stalled, {} while closing", front.idle, front.stalled, relay.close_timeouts),
    )?;
    line("proxies", format!("{} connections without a valid PROXY header", front.proxy_failures))?;
    line("tls", format!("{} handshakes, {} failed", front.tls_handshakes, front.tls_failures))?;
    line("requests", format!("{}{}", front.requests, reasons("refused", &status.refusals)))?;
    line("received", format!("{} messages, {}", relay.messages_in, size(relay.bytes_in)))?;
    line("delivered", format!("{} messages, {}", relay.messages_out, size(relay.bytes_out)))?;
    line("undelivered", format!("{} messages", relay.messages_undelivered))?;
    line("throttled", format!("{} times that a member exceeded its rate", relay.reads_throttled))?;
    line("outboxes", size(relay.outbox_bytes))?;
    let (refused, closed) = (front.out_of_memory, relay.relieved);
    let buffered = format!("{} of {}", size(relay.buffered_bytes), size(relay.buffered_limit_bytes));
    line("buffered", format!("{buffered}, {refused} requests and {closed} members rejected for it"))?;
    line("closes", reasons("", &status.closes))?;
    line("reloads", format!("{}, {} refused", front.reloads, front.failed_reloads))?;
    line("memory", format!("{}, at most {}", size(memory.resident_bytes), size(memory.peak_bytes)))?;
    line("descriptors", format!("{} of {}", descriptors.open, descriptors.limit))?;
    line("threads", relay.threads.to_string())?;
    outcome
}

/// Shows the counts that aren't zero: `, refused: 3 unknown, 1 wrong-key`.
fn reasons(prefix: &str, counts: &BTreeMap<String, u64>) -> String {
    let counted = counts.iter().filter(|(_, count)| **count > 0).map(|(why, count)| format!("{count} {why}"));
    let list = counted.collect::<Vec<_>>().join(", ");
    match (prefix, list.as_str()) {
        ("", "") => "none".into(),
        (_, "") => String::new(),
        ("", _) => list,
        _ => format!(", {prefix}: {list}"),
    }
}

/// Has the daemon become the program that is on the disk now.
pub(super) async fn upgrade(client: &Client, json: bool, out: &mut impl Write) -> Result<(), Fault> {
    let text = order(client, "/v1/upgrade").await?;
    if json {
        out.write_all(&text)?
    } else {
        writeln!(out, "the new program takes over")?
    }
    Ok(())
}

/// Asks for what the daemon may have problems with, which are then printed a line each.
async fn order(client: &Client, path: &str) -> Result<bytes::Bytes, Fault> {
    match client.ask(Method::POST, path).await? {
        Answer::Document(text) => Ok(text),
        Answer::Unknown(refused) => Err(Fault::Software(refused.error)),
        Answer::Refused(http::StatusCode::UNPROCESSABLE_ENTITY, refused) => {
            let lines = std::iter::once(refused.error).chain(refused.problems);
            Err(Fault::Configuration(lines.collect::<Vec<_>>().join("\n")))
        }
        Answer::Refused(_, refused) => Err(Fault::Unavailable(refused.error)),
    }
}

/// Has the configuration read again, and says what that changed.
pub(super) async fn reload(client: &Client, json: bool, out: &mut impl Write) -> Result<(), Fault> {
    let text = order(client, "/v1/reload").await?;
    let report: wire::ReloadReport = parse(&text)?;
    if json {
        return Ok(out.write_all(&text)?);
    }
    for key in &report.changed {
        writeln!(out, "changed: {key}")?;
    }
    for key in &report.need_restart {
        writeln!(out, "needs a restart: {key}")?;
    }
    if report.changed.is_empty() && report.need_restart.is_empty() {
        writeln!(out, "reloaded, nothing has changed")?;
    }
    Ok(())
}

/// Prints the version of this program, and of the daemon if there is one.
pub(super) async fn version(client: &Client, json: bool, out: &mut impl Write) -> Result<(), Fault> {
    let own = env!("CARGO_PKG_VERSION");
    let running = match client.read::<wire::Status>("/v1/status").await {
        Ok((status, _)) => Ok(status.version),
        Err(Fault::Unavailable(_)) => Err("not running"),
        Err(Fault::Permission(_)) => Err("not for this user to see"),
        Err(other) => return Err(other),
    };
    if json {
        writeln!(out, "{}", json!({ "ws-routerctl": own, "ws-router": running.ok() }))?;
    } else {
        writeln!(out, "ws-routerctl {own}\nws-router {}", running.unwrap_or_else(str::to_owned))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reasons_that_happened_are_shown() {
        let counts = BTreeMap::from([("lost".to_owned(), 2), ("left".to_owned(), 0)]);
        assert_eq!(reasons("", &counts), "2 lost");
        assert_eq!(reasons("refused", &counts), ", refused: 2 lost");
        assert_eq!(reasons("refused", &BTreeMap::new()), "");
        assert_eq!(reasons("", &BTreeMap::new()), "none");
    }
}
