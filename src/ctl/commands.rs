//! Commands that send one request, or one for each registration or connection that they name.

use std::cmp::Reverse;
use std::fmt::Display;
use std::io::{self, Write};

use http::Method;
use hyper::body::Bytes;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use ws_router_admin_api as wire;
use ws_router_admin_api::cli::{ListOptions, SortKey};
use ws_router_admin_api::event::Terms;
use ws_router_admin_api::finding::{Finding, Severity};
use ws_router_core::ids::{MemberId, RegistrationId};
use ws_router_core::secret::Token;

use super::client::{Answer, Client};
use super::doctor;
use super::error::{Error, with_causes};
use super::output::{
    Align, Colors, Format, Table, age, id_argument, in_words, nonzero, plural, progress, reasons, size, time, waiting,
};

/// Lists the registrations.
pub(super) async fn list(
    client: &Client,
    options: &ListOptions,
    format: Format,
    out: &mut impl Write,
) -> Result<(), Error> {
    // The JSON is kept as well, since a newer daemon's documents may have fields that this program doesn't know.
    let (documents, text) = client.read::<Vec<Value>>("/v1/registrations").await?;
    if format.is_json() && *options == ListOptions::default() {
        return Ok(out.write_all(&text)?);
    }
    let mut listed = Vec::new();
    for document in documents {
        let registration: wire::Registration = serde_json::from_value(document.clone())?;
        if !options.busy || registration.seats > 0 {
            listed.push((registration, document));
        }
    }
    if let Some(key) = options.sort {
        listed.sort_by(|(one, _), (other, _)| compare(one, other, key));
    }
    if format.is_json() {
        let documents: Vec<_> = listed.into_iter().map(|(_, document)| document).collect();
        return Ok(writeln!(out, "{}", Value::from(documents))?);
    }
    let mut columns = vec![
        ("ID", Align::Left),
        ("KIND", Align::Left),
        ("MEMBERS", Align::Right),
        ("AGE", Align::Right),
        ("EXPIRES IN", Align::Right),
        ("RECEIVED", Align::Right),
        ("DELIVERED", Align::Right),
        ("OUTBOX", Align::Right),
    ];
    let has_terms = listed.iter().any(|(registration, _)| registration.terms() != Terms::default());
    let something_waits = listed.iter().any(|(registration, _)| waiting(registration).is_some());
    columns.extend(has_terms.then_some(("TERMS", Align::Left)));
    columns.extend(something_waits.then_some(("WAITING", Align::Left)));
    let mut table = Table::new(&columns);
    for (registration, _) in &listed {
        let cells = [
            id_argument(&registration.id),
            registration.kind.as_str().into(),
            registration.seats.to_string(),
            age(registration.age_ms),
            registration.expires_in_ms.map_or("-".to_owned(), age),
            size(registration.bytes_in),
            size(registration.bytes_out),
            size(registration.outbox_bytes),
        ];
        let terms = has_terms.then(|| in_words(&registration.terms()).join(", "));
        let waiting = something_waits.then(|| waiting(registration).unwrap_or_default());
        table.row(cells.into_iter().chain(terms).chain(waiting));
    }
    Ok(table.print(format.colors(), out)?)
}

/// Orders two registrations: the largest numbers first, and ids from a to z where these are equal.
fn compare(one: &wire::Registration, other: &wire::Registration, key: SortKey) -> std::cmp::Ordering {
    let number = |of: &wire::Registration| match key {
        SortKey::Id => 0,
        SortKey::Age => of.age_ms,
        SortKey::Members => of.seats,
        SortKey::Messages => of.messages_in + of.messages_out,
        SortKey::Bytes => of.bytes_in + of.bytes_out,
        SortKey::Outbox => of.outbox_bytes,
    };
    (Reverse(number(one)), &one.id).cmp(&(Reverse(number(other)), &other.id))
}

/// Shows a registration with its members.
pub(super) async fn show(
    client: &Client,
    id: &RegistrationId,
    format: Format,
    out: &mut impl Write,
) -> Result<(), Error> {
    let Some(text) = one(client, Method::GET, "registrations", id, "registration").await? else {
        return Err(Error::Reported);
    };
    let detail: wire::RegistrationDetail = serde_json::from_slice(&text)?;
    if format.is_json() {
        return Ok(out.write_all(&text)?);
    }
    let (registration, colors) = (&detail.registration, format.colors());
    let mut fields = Fields { colors, out };
    fields.field("Registration", &registration.id)?;
    fields.field("Kind", registration.kind.as_str())?;
    fields.field("Created", format!("{} ({} ago)", time(registration.since_ms), age(registration.age_ms)))?;
    if let Some(rule) = &registration.rule {
        fields.field("Access rule", rule)?;
    }
    if let Some(left) = registration.expires_in_ms {
        fields.field("Expires in", format!("{}, unless a device joins", age(left)))?;
    }
    if let Some(left) = registration.ends_in_ms {
        fields.field("Ends in", format!("{}, whether or not it has members", age(left)))?;
    }
    let keys = [
        (registration.client_key, "client_key (admits clients only)"),
        (registration.receive_key, "receive_key (admits members that only receive)"),
    ];
    let keys: Vec<_> = keys.into_iter().filter_map(|(is_there, name)| is_there.then_some(name)).collect();
    if !keys.is_empty() {
        fields.field("Further keys", keys.join(", "))?;
    }
    if let Some(subprotocol) = &registration.subprotocol {
        fields.field("Subprotocol", format!("{subprotocol}, for members that offer it"))?;
    }
    if let Some(time) = registration.wait_ms {
        fields.field("Messages wait", format!("{} for a receiver that is absent", age(time)))?;
    }
    if let Some(waiting) = waiting(registration) {
        let messages = match registration.waiting_messages {
            0 => String::new(),
            messages => format!(" ({})", plural(messages, "message")),
        };
        fields.field("Waiting", format!("{waiting}{messages}"))?;
    }
    if let Some(pairs) = registration.pairs {
        fields.field("Pairs", pairs)?;
    }
    let limit = registration.max_members.map(|most| format!(" of at most {most}")).unwrap_or_default();
    fields.field("Members", format!("{}{limit}", detail.members.len()))?;
    if detail.members.is_empty() {
        return Ok(());
    }
    writeln!(fields.out)?;
    Ok(members(&detail.members).print(colors, fields.out)?)
}

/// Returns whether a member's connection is encrypted, and where.
fn encryption(member: &wire::Member) -> &'static str {
    match (member.tls, member.tls_in_kernel) {
        (false, _) => "no",
        (true, false) => "yes",
        (true, true) => "kernel",
    }
}

fn members(members: &[wire::Member]) -> Table {
    let has_rules = members.iter().any(|member| member.admission.is_some());
    let mut columns = vec![
        ("NUMBER", Align::Right),
        ("ROLE", Align::Left),
        ("ADDRESS", Align::Left),
        ("TLS", Align::Left),
        ("AGE", Align::Right),
        ("SILENT FOR", Align::Right),
        ("RECEIVED", Align::Right),
        ("DELIVERED", Align::Right),
        ("OUTBOX", Align::Right),
        ("UNSENT", Align::Right),
        ("ROUND TRIP", Align::Right),
        ("RESENT", Align::Right),
    ];
    if has_rules {
        columns.extend([("RULE", Align::Left), ("TOKEN", Align::Left)]);
    }
    let mut table = Table::new(&columns);
    for member in members {
        let cells = [
            member.id.to_string(),
            role(member),
            member.address.clone(),
            encryption(member).into(),
            age(member.age_ms),
            member.away_ms.map_or_else(|| age(member.silent_ms), |away| format!("away {}", age(away))),
            format!("{} / {}", member.messages_in, size(member.bytes_in)),
            format!("{} / {}", member.messages_out, size(member.bytes_out)),
            size(member.outbox_bytes),
            // Only TCP connections have the next three.
            member.unsent_bytes.map_or("-".into(), size),
            member.round_trip_us.map_or("-".into(), |rtt| format!("{:.2}ms", rtt as f64 / 1000.0)),
            member.retransmits.map_or("-".into(), |count| count.to_string()),
        ];
        let admission = member.admission.as_deref();
        let rule = admission.map_or("-", |admission| &admission.rule);
        let token = admission.and_then(|admission| admission.token_name.as_deref()).unwrap_or("-");
        table.row(cells.into_iter().chain([rule, token].into_iter().filter(|_| has_rules).map(str::to_owned)));
    }
    table
}

/// Shows the role of a member, whether it may only receive, and its part in a paired registration.
fn role(member: &wire::Member) -> String {
    let role = member.role.as_str();
    match (member.pairing, member.paired_with) {
        (Some(wire::Pairing::Listening), _) => format!("{role} (listens)"),
        (Some(wire::Pairing::Waiting), _) => format!("{role} (waits for a host)"),
        (Some(wire::Pairing::Paired), Some(other)) => format!("{role} (paired with {other})"),
        (Some(wire::Pairing::Paired), None) => format!("{role} (its pair is ending)"),
        (None, _) if member.receives_only => format!("{role} (receives only)"),
        (None, _) => role.into(),
    }
}

/// Removes registrations. Reports those that don't exist on standard error, and removes the others nevertheless.
pub(super) async fn remove(client: &Client, ids: &[String], format: Format, out: &mut impl Write) -> Result<(), Error> {
    let mut exit = Ok(());
    // Ids copied from `list` may each follow a `--`, of which clap consumes only the first.
    for id in ids.iter().filter(|id| *id != "--") {
        match RegistrationId::parse(id) {
            Ok(id) => {
                if !delete(client, "registrations", &id, "registration", "removed", format, out).await? {
                    exit = Err(Error::Reported);
                }
            }
            Err(_) => {
                report_unknown("registration", id);
                exit = Err(Error::Reported);
            }
        }
    }
    exit
}

/// Closes connections. Reports those that don't exist on standard error, and closes the others nevertheless.
pub(super) async fn disconnect(
    client: &Client,
    members: &[MemberId],
    format: Format,
    out: &mut impl Write,
) -> Result<(), Error> {
    let mut exit = Ok(());
    for member in members {
        if !delete(client, "connections", member, "connection", "disconnected", format, out).await? {
            exit = Err(Error::Reported);
        }
    }
    exit
}

/// Removes a registration or closes a connection; returns whether it existed.
async fn delete(
    client: &Client,
    folder: &str,
    name: &impl Display,
    noun: &str,
    done: &str,
    format: Format,
    out: &mut impl Write,
) -> Result<bool, Error> {
    let Some(text) = one(client, Method::DELETE, folder, name, noun).await? else { return Ok(false) };
    match format {
        Format::Json => out.write_all(&text)?,
        Format::Text(_) => writeln!(out, "{done} {name}")?,
    }
    Ok(true)
}

/// Sends a request about one registration or connection; reports on standard error if it doesn't exist.
async fn one(
    client: &Client,
    method: Method,
    folder: &str,
    name: &impl Display,
    noun: &str,
) -> Result<Option<Bytes>, Error> {
    match client.request(method, &format!("/v1/{folder}/{name}")).await? {
        Answer::Document(text) => Ok(Some(text)),
        Answer::Unknown(_) => {
            report_unknown(noun, name);
            Ok(None)
        }
        Answer::Refused(_, refused) => Err(Error::UnexpectedAnswer(refused.error)),
    }
}

fn report_unknown(noun: &str, name: impl Display) {
    // If standard error is closed, the exit status remains.
    let _ = writeln!(io::stderr(), "ws-routerctl: no such {noun}: {name}");
}

/// Shows the daemon's state.
pub(super) async fn status(client: &Client, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let (status, text) = client.read::<wire::Status>("/v1/status").await?;
    // EX_CONFIG, so that a script notices without reading.
    let outcome = if status.config_stale { Err(Error::StaleConfiguration) } else { Ok(()) };
    if format.is_json() {
        out.write_all(&text)?;
        return outcome;
    }
    let wire::Status { frontend, relay, memory, descriptors, drain, .. } = &status;
    let colors = format.colors();
    let mut fields = Fields { colors, out };
    fields.field("Version", format!("ws-router {}, process {}", status.version, status.pid))?;
    fields.field("Running for", age(status.uptime_ms))?;
    fields.field("Listening on", status.listeners.join(", "))?;
    let service = match drain.state {
        wire::DrainPhase::Serving => colors.good("in service"),
        wire::DrainPhase::Draining => colors.notice(format!("draining, {}", progress(drain))),
        wire::DrainPhase::Drained => colors.notice("drained, no device is admitted"),
    };
    fields.field("Service", service)?;
    if status.config_stale {
        let stale = "has a mistake; the settings before the restart are in use, see the log";
        fields.field("Configuration", colors.bad(stale))?;
    }
    if status.handover != wire::HandoverPhase::Serving {
        fields.field("Restarting", colors.notice(status.handover.label()))?;
    }

    fields.section("Now")?;
    fields.field("Registrations", status.registrations)?;
    fields.field("Members", status.members)?;
    let others = [(status.pending, "that aren't members yet"), (status.watchers, "that watch /members")];
    let others =
        if others.iter().all(|(count, _)| *count == 0) { String::new() } else { format!(", {}", nonzero(others)) };
    fields.field("Connections", format!("{}{others}", status.connections))?;
    if frontend.tls_sessions > 0 {
        let sessions = plural(frontend.tls_sessions, "session");
        fields.field("TLS", format!("{sessions}, {} in the kernel", frontend.tls_kernel_sessions))?;
    }
    fields.field("Waiting to be sent", size(relay.outbox_bytes))?;
    if relay.waiting_messages > 0 {
        let messages = plural(relay.waiting_messages, "message");
        fields.field("Waiting for receivers", format!("{messages}, {}", size(relay.waiting_bytes)))?;
    }
    if relay.waiting_clients > 0 {
        fields.field("Waiting for a host", plural(relay.waiting_clients, "client"))?;
    }
    let buffered = format!("{} of {}", size(relay.buffered_bytes), size(relay.buffered_limit_bytes));
    fields.field("Memory for peers", buffered)?;
    let resident = format!("{}, peak {}", size(memory.resident_bytes), size(memory.peak_bytes));
    fields.field("Memory of process", resident)?;
    fields.field("Open files", format!("{} of {}", descriptors.open, descriptors.limit))?;
    fields.field("Relay threads", relay.threads)?;

    fields.section("Since the start")?;
    fields.field("Registered", frontend.registered)?;
    fields.field("Requests", frontend.requests)?;
    fields.field("Requests refused", reasons(&status.refusals))?;
    let no_room = [
        (frontend.auth_request_failures, "without an authorizer's answer"),
        (frontend.out_of_memory, "for lack of memory"),
    ];
    if no_room.iter().any(|(count, _)| *count > 0) {
        fields.field("Of these", nonzero(no_room))?;
    }
    if frontend.forwarded_headers_ignored > 0 {
        let ignored = format!("{} from peers that are not in http.trusted-proxies", frontend.forwarded_headers_ignored);
        fields.field("Proxy headers ignored", ignored)?;
    }
    fields.field("Connections accepted", frontend.accepted)?;
    let others = [
        (frontend.proxy_failures, "without a valid PROXY header"),
        (frontend.accept_errors, "that could not be accepted"),
    ];
    if others.iter().any(|(count, _)| *count > 0) {
        fields.field("Connections failed", nonzero(others))?;
    }
    fields.field("Connections rejected", reasons(&frontend.connections_rejected))?;
    let timeouts = [
        (frontend.idle, "without a request"),
        (frontend.stalled, "that read no response"),
        (relay.close_timeouts, "that did not complete the closing handshake"),
    ];
    fields.field("Connections timed out", nonzero(timeouts))?;
    if frontend.tls_handshakes + frontend.tls_failures > 0 {
        fields.field("TLS handshakes", format!("{}, {} failed", frontend.tls_handshakes, frontend.tls_failures))?;
        if frontend.tls_kernel_failures > 0 {
            fields.field("TLS not in kernel", plural(frontend.tls_kernel_failures, "connection"))?;
        }
    }
    fields.field("Received", format!("{}, {}", plural(relay.messages_in, "message"), size(relay.bytes_in)))?;
    fields.field("Delivered", format!("{}, {}", plural(relay.messages_out, "message"), size(relay.bytes_out)))?;
    fields.field("Without a receiver", plural(relay.messages_undelivered, "message"))?;
    if relay.waiting_discarded.values().any(|count| *count > 0) {
        fields.field("Discarded in waiting", reasons(&relay.waiting_discarded))?;
    }
    let decisions = [
        (relay.clients_accepted, "accepted"),
        (relay.clients_rejected, "rejected"),
        (relay.accept_timeouts, "not accepted in time"),
    ];
    if decisions.iter().any(|(count, _)| *count > 0) {
        fields.field("Clients of hosts", nonzero(decisions))?;
    }
    fields.field("Members slowed down", format!("{} by a rule's rate", plural(relay.reads_throttled, "time")))?;
    fields.field("Members left", reasons(&status.closes))?;
    if relay.relieved > 0 {
        fields.field("Members closed", format!("{} for lack of memory", relay.relieved))?;
    }
    let failed = match frontend.failed_reloads {
        0 => String::new(),
        failed => colors.notice(format!(", {failed} rejected")),
    };
    fields.field("Reloads", format!("{}{failed}", frontend.reloads))?;
    to_change(client, fields).await?;
    outcome
}

/// Shows the daemon's own findings, notices excepted. An older daemon has none.
async fn to_change<W: Write>(client: &Client, mut fields: Fields<'_, W>) -> Result<(), Error> {
    let Ok((mut findings, _)) = client.read::<Vec<Finding>>("/v1/findings").await else { return Ok(()) };
    findings.retain(|finding| finding.severity != Severity::Notice);
    if findings.is_empty() {
        return Ok(());
    }
    fields.section("To change")?;
    doctor::print(&findings, fields.colors, fields.out)
}

/// Lines of a name and a value.
struct Fields<'a, W> {
    colors: Colors,
    out: &'a mut W,
}

impl<W: Write> Fields<'_, W> {
    fn field(&mut self, name: &str, value: impl Display) -> Result<(), Error> {
        Ok(writeln!(self.out, "{:<NAME_WIDTH$} {value}", format!("{name}:"))?)
    }

    fn section(&mut self, title: &str) -> Result<(), Error> {
        Ok(writeln!(self.out, "\n{}", self.colors.strong(title))?)
    }
}

/// Replaces the running daemon with the program that is on the disk now.
pub(super) async fn upgrade(client: &Client, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let text = client.command("/v1/upgrade").await?;
    match format {
        Format::Json => out.write_all(&text)?,
        Format::Text(_) => writeln!(out, "the new program takes over")?,
    }
    Ok(())
}

/// Reloads the configuration, and prints what that changed.
pub(super) async fn reload(client: &Client, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let text = client.command("/v1/reload").await?;
    let report: wire::ReloadReport = serde_json::from_slice(&text)?;
    if format.is_json() {
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

/// Reloads the configuration of the daemon with a process id, as its unit does. If that process doesn't answer on the
/// admin socket, sends it `SIGHUP`, whose result isn't known here.
pub(super) async fn reload_or_signal(
    client: &Client,
    process: u32,
    format: Format,
    out: &mut impl Write,
) -> Result<(), Error> {
    let reason = match client.read::<wire::Status>("/v1/status").await {
        Ok((status, _)) if status.pid == process => return reload(client, format, out).await,
        Ok((status, _)) => format!("process {} answers on the admin socket", status.pid),
        Err(error) => with_causes(&error),
    };
    signal(process)?;
    // If standard error is closed, the exit status remains.
    let _ = writeln!(
        io::stderr(),
        "ws-routerctl: {reason}; process {process} received SIGHUP instead, and whether it could reload is unknown: see its log"
    );
    Ok(())
}

/// Sends `SIGHUP`.
fn signal(process: u32) -> Result<(), Error> {
    let target = i32::try_from(process).map_err(|_| Errno::ESRCH).map(Pid::from_raw);
    let sent = target.and_then(|target| kill(target, Signal::SIGHUP));
    sent.map_err(|error| Error::Signal { process, source: error.into() })
}

/// Prints the version of this program, and of the daemon if one runs.
pub(super) async fn version(client: &Client, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let own = env!("CARGO_PKG_VERSION");
    let (mut outcome, answer) = (Ok(()), client.read::<wire::Status>("/v1/status").await);
    let running = match answer {
        Ok((status, _)) => Ok(status.version),
        Err(Error::PermissionDenied(_)) => Err("unknown, permission denied"),
        Err(Error::NoDaemon(_) | Error::Connect { .. } | Error::ConnectionLost(_)) => Err("not running"),
        Err(error @ Error::Unresponsive(_)) => {
            outcome = Err(error);
            Err("not answering")
        }
        Err(other) => return Err(other),
    };
    if format.is_json() {
        writeln!(out, "{}", json!({ "ws-routerctl": own, "ws-router": running.ok() }))?;
    } else {
        writeln!(out, "ws-routerctl {own}\nws-router {}", running.unwrap_or_else(str::to_owned))?;
    }
    outcome
}

/// Creates a token. The line for the file of tokens goes to standard output, where it can be appended to that file, and
/// the token itself to standard error, only this once.
pub(super) fn token(name: &str, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits)?;
    let token = Token::from_bits(bits);
    let line = format!("{name}:{}", token.hash());
    if format.is_json() {
        let document = json!({ "name": name, "token": token.reveal(), "line": line });
        return Ok(writeln!(out, "{document}")?);
    }
    // The token is printed first: if that fails, its line must not be appended to a file.
    writeln!(io::stderr(), "token: {}", token.reveal())?;
    Ok(writeln!(out, "{line}")?)
}

/// Width of the names before values.
const NAME_WIDTH: usize = 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_and_ids_decide_between_equals() {
        let registration = |id: &str, seats: u64, bytes: u64| -> wire::Registration {
            serde_json::from_value(json!({ "id": id, "kind": "lobby", "seats": seats, "since_ms": 0, "age_ms": bytes,
                "expires_in_ms": null, "bytes_in": bytes, "outbox_bytes": 1 }))
            .unwrap()
        };
        let mut all = [registration("c", 1, 5), registration("a", 1, 9), registration("b", 3, 1)];
        let mut sorted = |key| {
            all.sort_by(|one, other| compare(one, other, key));
            all.iter().map(|one| one.id.clone()).collect::<String>()
        };
        assert_eq!((sorted(SortKey::Members), sorted(SortKey::Bytes)), ("bac".into(), "acb".into()));
        assert_eq!((sorted(SortKey::Outbox), sorted(SortKey::Id)), ("abc".into(), "abc".into()));
        assert_eq!((sorted(SortKey::Age), sorted(SortKey::Messages)), ("acb".into(), "abc".into()));
    }
}
