//! `events` and `why`: what happens now, and what happened to a registration.
//!
//! Events that only a newer daemon knows are shown with all their fields.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value};
use ws_router_admin_api::event::{Admission, EndReason, Event, EventKind};
use ws_router_core::close::CloseReason;
use ws_router_core::ids::RegistrationId;

use super::client::{Answer, Client};
use super::error::Error;
use super::output::{Format, age, in_words, plural, size, time, traffic};

/// Prints events as they happen, until the daemon stops.
pub(super) async fn events(client: &Client, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let mut lines = client.lines("/v1/events").await?;
    while let Some(line) = lines.next().await? {
        match format {
            Format::Json => out.write_all(&line)?,
            Format::Text(_) => writeln!(out, "{}", fields(serde_json::from_slice(&line)?))?,
        }
        out.flush()?;
    }
    Err(Error::Stopped)
}

/// Shows an event: its time, its name, and its fields.
fn fields(mut event: Map<String, Value>) -> String {
    let at = event.remove("at_ms").and_then(|at| at.as_u64()).unwrap_or_default();
    let mut line = time(at);
    let known = FIRST.iter().filter_map(|name| event.remove(*name).map(|fact| (*name, fact))).collect::<Vec<_>>();
    let others = event.iter().map(|(name, fact)| (name.as_str(), fact.clone()));
    for (name, fact) in known.into_iter().chain(others) {
        let fact = fact.as_str().map_or_else(|| fact.to_string(), str::to_owned);
        match name {
            "event" => line += &format!(" {fact}"),
            _ => line += &format!(" {name}={fact}"),
        }
    }
    line
}

/// A registration's events as the daemon remembers them.
#[derive(Debug, Deserialize)]
struct History {
    forgotten: u64,
    events: Vec<Map<String, Value>>,
}

/// Shows what happened to a registration: the answer in a line, and the events that led to it.
pub(super) async fn why(
    client: &Client,
    id: &RegistrationId,
    format: Format,
    out: &mut impl Write,
) -> Result<(), Error> {
    let text = match client.request(Method::GET, &format!("/v1/registrations/{id}/history")).await? {
        Answer::Document(text) => text,
        Answer::Unknown(_) => {
            // If standard error is closed, the exit status remains.
            let _ = writeln!(std::io::stderr(), "ws-routerctl: no history of {id}");
            return Err(Error::Reported);
        }
        Answer::Refused(_, refused) => return Err(Error::UnexpectedAnswer(refused.error)),
    };
    if format.is_json() {
        return Ok(out.write_all(&text)?);
    }
    let history: History = serde_json::from_slice(&text)?;
    let known = |line: &Map<String, Value>| serde_json::from_value::<Event>(line.clone().into()).ok();
    let events: Vec<Option<Event>> = history.events.iter().map(known).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    writeln!(out, "{id}: {}", format.colors().strong(verdict(&events, now)))?;
    writeln!(out)?;
    if history.forgotten > 0 {
        writeln!(out, "{} are forgotten", plural(history.forgotten, "earlier event"))?;
    }
    for (at, (line, known)) in history.events.into_iter().zip(&events).enumerate() {
        match known {
            Some(known) => writeln!(out, "{}  {}", time(known.at_ms), describe(known, left_before(&events[..at])))?,
            None => writeln!(out, "{}", fields(line))?,
        }
    }
    Ok(())
}

/// Summarizes why a registration ended: `ended 3m ago: host left, no pong for 50s; nobody came back within 5m`.
fn verdict(events: &[Option<Event>], now: u64) -> String {
    if let Some(None) | None = events.last() {
        return "the last event is unknown to this version of ws-routerctl".into();
    }
    let Some((at, last, reason)) = end(events) else { return "still there".into() };
    let left = left_before(&events[..at]);
    let ago = age(now.saturating_sub(last.at_ms));
    let departure = left.map(|left| format!("{}; ", departure(left, false))).unwrap_or_default();
    let end = match (reason, left) {
        (EndReason::Removed, _) => "removed by a request with both keys".to_owned(),
        (EndReason::RemovedByAdmin, _) => removed_by_admin(last),
        (EndReason::Expired, _) => "the time that its device had chosen was over (expires_in)".into(),
        (EndReason::Emptied, _) => format!("{departure}it was the last member"),
        (EndReason::Lingered, Some(left)) => {
            format!("{departure}nobody came back within {}", age(last.at_ms.saturating_sub(left.at_ms)))
        }
        (EndReason::Lingered, None) => "nobody came back in time".into(),
        (EndReason::Unclaimed, _) => "nobody ever joined".into(),
    };
    format!("ended {ago} ago: {end}")
}

/// Finds the end of the registration, unless the id has been registered again since. Members of a removed registration
/// leave after its end.
fn end(events: &[Option<Event>]) -> Option<(usize, &Event, EndReason)> {
    let known = events.iter().enumerate().filter_map(|(at, event)| Some((at, event.as_ref()?)));
    known.fold(None, |end, (at, event)| match event.kind {
        EventKind::Ended { reason, .. } => Some((at, event, reason)),
        EventKind::Joined { .. }
        | EventKind::Left { .. }
        | EventKind::Away { .. }
        | EventKind::Returned { .. }
        | EventKind::Sent { .. } => end.filter(|(.., reason)| reason.may_have_members()),
        _ => None,
    })
}

/// Describes one event; `left` is the last departure before it.
fn describe(event: &Event, left: Option<&Event>) -> String {
    match &event.kind {
        EventKind::Registered { kind, terms, .. } => {
            let words: String = in_words(terms).iter().map(|term| format!(", {term}")).collect();
            format!("registered as {}{words}", kind.as_str())
        }
        EventKind::Reclaimed { .. } => "registered again by its device".into(),
        EventKind::Joined { member, role, peer, admission, .. } => {
            let admitted = admission.as_deref().map(admitted_by).unwrap_or_default();
            format!("{} {member} joined from {peer}{admitted}", role.as_str())
        }
        EventKind::Left { .. } => departure(event, true),
        EventKind::Sent { messages_in, bytes_in, admission, .. } => {
            let (messages, admitted) =
                (plural(*messages_in, "message"), admission.as_deref().map(admitted_by).unwrap_or_default());
            format!("{messages}, {} sent without joining (POST /send){admitted}", size(*bytes_in))
        }
        EventKind::Ended { reason, .. } => match reason {
            EndReason::Lingered => {
                let within = left.map(|left| format!(" within {}", age(event.at_ms.saturating_sub(left.at_ms))));
                format!("ended, nobody came back{} (registration.linger)", within.unwrap_or_default())
            }
            EndReason::Unclaimed => "ended, nobody ever joined (registration.unclaimed-timeout)".into(),
            EndReason::Emptied => "ended, its last member had left".into(),
            EndReason::Removed => "removed by a request with both keys".into(),
            EndReason::RemovedByAdmin => removed_by_admin(event),
            EndReason::Expired => "ended, the time that its device had chosen was over (expires_in)".into(),
        },
        EventKind::Away { member, role, reason, silent_ms, .. } => {
            format!("{} {member} {}, and may come back", role.as_str(), loss(*reason, *silent_ms))
        }
        EventKind::Returned { member, role, peer, away_ms, again, .. } => {
            let again = match again {
                0 => String::new(),
                1 => ", 1 message sent again".into(),
                again => format!(", {again} messages sent again"),
            };
            format!("{} {member} was away for {}, came back from {peer}{again}", role.as_str(), age(*away_ms))
        }
        EventKind::Reloaded | EventKind::DrainBegun { .. } | EventKind::Drained | EventKind::DrainUndone => {
            "the daemon's state changed".into()
        }
    }
}

/// Names the access rule and the token that admitted a member or a sender.
fn admitted_by(admission: &Admission) -> String {
    let token = admission.token_name.as_ref().map(|name| format!(" and token {name}")).unwrap_or_default();
    format!(", admitted by rule {}{token}", admission.rule)
}

/// Names the administrator if the daemon reports who it was.
fn removed_by_admin(event: &Event) -> String {
    match &event.kind {
        EventKind::Ended { by: Some(by), .. } => format!("removed by an administrator ({by})"),
        _ => "removed by an administrator".into(),
    }
}

/// Describes a departure and its reason; with the member's number and traffic if `in_full`.
fn departure(event: &Event, in_full: bool) -> String {
    let EventKind::Left { member, role, reason, by, code, silent_ms, .. } = &event.kind else {
        return String::new();
    };
    let by = by.map_or(String::new(), |by| format!(" ({by})"));
    let why = match (reason, code) {
        (CloseReason::Left, Some(code)) => format!("closed its connection with code {code}"),
        (CloseReason::Left, None) => "closed its connection".into(),
        (CloseReason::Lost, _) => "its connection broke".into(),
        (CloseReason::NoPong, _) => format!("no pong for {}", age(*silent_ms)),
        (CloseReason::TooSlow, _) => "received too slowly".into(),
        (reason, _) => format!("{}{by}", reason.text()),
    };
    if in_full {
        format!("{} {member} left, {why} ({})", role.as_str(), moved(&event.kind))
    } else {
        format!("{} left, {why}", role.as_str())
    }
}

/// Describes how a member with a session lost its connection.
fn loss(reason: CloseReason, silent_ms: u64) -> String {
    match reason {
        CloseReason::NoPong => format!("lost its network, no pong for {}", age(silent_ms)),
        CloseReason::Restarting => "lost its connection to the restart".into(),
        CloseReason::TakenOver => "connects again".into(),
        CloseReason::Left => "went away".into(),
        _ => "lost its network".into(),
    }
}

/// Shows what was received from a member that has left, and what was delivered to it.
fn moved(kind: &EventKind) -> String {
    let EventKind::Left { messages_in, bytes_in, messages_out, bytes_out, .. } = *kind else { return String::new() };
    traffic((messages_in, bytes_in), (messages_out, bytes_out))
}

/// Finds the last departure.
fn left_before(events: &[Option<Event>]) -> Option<&Event> {
    events.iter().rev().flatten().find(|event| matches!(event.kind, EventKind::Left { .. }))
}

/// Order in which an event's fields are shown.
const FIRST: [&str; 10] =
    ["event", "registration", "kind", "member", "role", "peer", "rule", "token_name", "reason", "by"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_of_a_newer_daemon_is_shown_as_it_is() {
        let line = json!({ "at_ms": 1000, "event": "moved", "registration": "my-device", "count": 3 });
        let Value::Object(line) = line else { panic!() };
        assert_eq!(fields(line), "1970-01-01T00:00:01Z moved registration=my-device count=3");
    }

    fn events(lines: Value) -> Vec<Option<Event>> {
        lines.as_array().unwrap().iter().map(|line| serde_json::from_value(line.clone()).ok()).collect()
    }

    fn left() -> Value {
        json!({ "at_ms": 100_000, "event": "left", "registration": "my-device", "member": 7, "role": "host",
            "reason": "no-pong", "silent_ms": 50_400, "messages_in": 3, "bytes_in": 2048, "messages_out": 1, "bytes_out": 12 })
    }

    fn ended(at_ms: u64, reason: &str) -> Value {
        json!({ "at_ms": at_ms, "event": "ended", "registration": "my-device", "reason": reason })
    }

    #[test]
    fn the_verdict_is_one_line() {
        let all = events(json!([left(), ended(400_000, "lingered")]));
        let answer = "ended 3m ago: host left, no pong for 50s; nobody came back within 5m";
        assert_eq!(verdict(&all, 580_000), answer);
        let unclaimed = events(json!([ended(0, "unclaimed")]));
        assert_eq!(verdict(&unclaimed, 0), "ended 0s ago: nobody ever joined");
        assert_eq!(verdict(&events(json!([left()])), 0), "still there");
    }

    #[test]
    fn members_of_a_removed_registration_leave_after_its_end() {
        let mut lines = vec![ended(0, "removed-by-admin"), left()];
        assert_eq!(verdict(&events(lines.clone().into()), 61_000), "ended 1m 1s ago: removed by an administrator");
        lines.push(json!({ "at_ms": 2, "event": "registered", "registration": "my-device", "kind": "lobby" }));
        assert_eq!(verdict(&events(lines.into()), 0), "still there");
        let next = vec![ended(0, "emptied"), left()];
        assert_eq!(verdict(&events(next.into()), 0), "still there", "reported by two threads at once");
    }

    #[test]
    fn each_event_says_what_happened() {
        let all = events(json!([left(), ended(400_000, "lingered")]));
        let lines: Vec<_> = all.iter().flatten().map(|event| describe(event, left_before(&all))).collect();
        assert_eq!(lines[0], "host 7 left, no pong for 50s (3 messages, 2.0 KiB in; 1 message, 12 B out)");
        assert_eq!(lines[1], "ended, nobody came back within 5m (registration.linger)");
    }

    #[test]
    fn a_member_that_joined_is_shown_with_the_rule_and_token_that_admitted_it() {
        let mut joined = json!({ "at_ms": 0, "event": "joined", "registration": "my-device", "member": 7, "role": "host",
            "peer": "192.0.2.7:5000" });
        let shown = |joined: &Value| describe(&serde_json::from_value(joined.clone()).unwrap(), None);
        assert_eq!(shown(&joined), "host 7 joined from 192.0.2.7:5000");
        joined["rule"] = "devices".into();
        assert_eq!(shown(&joined), "host 7 joined from 192.0.2.7:5000, admitted by rule devices");
        joined["token_name"] = "phone".into();
        assert_eq!(shown(&joined), "host 7 joined from 192.0.2.7:5000, admitted by rule devices and token phone");
        let Value::Object(line) = joined else { panic!() };
        let line = fields(line);
        assert!(line.ends_with("peer=192.0.2.7:5000 rule=devices token_name=phone"), "{line}");
    }

    #[test]
    fn a_member_that_was_away_is_shown_with_what_happened_and_what_was_sent_again() {
        let of = |event: &str, more: Value| {
            let mut line =
                json!({ "at_ms": 0, "event": event, "registration": "my-device", "member": 7, "role": "host" });
            line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            describe(&serde_json::from_value(line).unwrap(), None)
        };
        let lost = |reason: &str| of("away", json!({ "reason": reason, "silent_ms": 50_000 }));
        assert_eq!(lost("lost"), "host 7 lost its network, and may come back");
        assert_eq!(lost("no-pong"), "host 7 lost its network, no pong for 50s, and may come back");
        assert_eq!(lost("restarting"), "host 7 lost its connection to the restart, and may come back");
        let back = |again: u64| of("returned", json!({ "peer": "192.0.2.7:5000", "away_ms": 14_000, "again": again }));
        assert_eq!(back(0), "host 7 was away for 14s, came back from 192.0.2.7:5000");
        assert_eq!(back(1), "host 7 was away for 14s, came back from 192.0.2.7:5000, 1 message sent again");
        assert_eq!(back(3), "host 7 was away for 14s, came back from 192.0.2.7:5000, 3 messages sent again");
    }

    #[test]
    fn a_registration_is_shown_with_its_terms() {
        let line = json!({ "at_ms": 0, "event": "registered", "registration": "my-device", "kind": "hostclient",
            "client_key": true, "max_members": 5, "ends_in_ms": 3_600_000 });
        let shown = describe(&serde_json::from_value(line.clone()).unwrap(), None);
        assert_eq!(shown, "registered as hostclient, client_key, at most 5 members, ends in 1h");
        let Value::Object(line) = line else { panic!() };
        assert!(fields(line).ends_with("kind=hostclient client_key=true ends_in_ms=3600000 max_members=5"));
    }

    #[test]
    fn a_verdict_on_an_unknown_event_is_none() {
        let all = events(json!([left(), { "at_ms": 1, "event": "moved" }]));
        assert_eq!(verdict(&all, 0), "the last event is unknown to this version of ws-routerctl");
    }

    #[test]
    fn an_administrator_is_named_by_user_and_process() {
        let mut removed = ended(0, "removed-by-admin");
        removed["by"] = "unix:uid=1000,pid=77".into();
        let all = events(json!([removed]));
        assert_eq!(verdict(&all, 0), "ended 0s ago: removed by an administrator (unix:uid=1000,pid=77)");
    }
}
