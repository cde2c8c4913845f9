//! `why`: what the daemon remembers of a registration, told for people.
//!
//! The first line is the answer, if the registration has ended; the others are how it came to it. What a newer daemon
//! tells and this program doesn't know is shown as it comes.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value};
use ws_router_admin_api::event::{EndReason, Event, What};
use ws_router_core::close::CloseReason;
use ws_router_core::ids::RegistrationId;

use super::client::{Answer, Client, parse};
use super::events::event;
use super::fault::Fault;
use super::human::{age, time};

/// What the daemon remembers, with events that may be unknown here.
#[derive(Debug, Deserialize)]
struct History {
    forgotten: u64,
    events: Vec<Map<String, Value>>,
}

/// Tells what happened to a registration.
pub(super) async fn why(client: &Client, id: &RegistrationId, json: bool, out: &mut impl Write) -> Result<(), Fault> {
    let text = match client.ask(Method::GET, &format!("/v1/registrations/{id}/history")).await? {
        Answer::Document(text) => text,
        Answer::Unknown(_) => {
            // With standard error closed, the exit status has to do.
            let _ = writeln!(std::io::stderr(), "ws-routerctl: nothing is remembered of {id}");
            return Err(Fault::Failed);
        }
        Answer::Refused(_, refused) => return Err(Fault::Software(refused.error)),
    };
    if json {
        return Ok(out.write_all(&text)?);
    }
    let history: History = parse(&text)?;
    let known = |line: &Map<String, Value>| serde_json::from_value::<Event>(line.clone().into()).ok();
    let events: Vec<Option<Event>> = history.events.iter().map(known).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    writeln!(out, "{id}: {}", verdict(&events, now))?;
    writeln!(out)?;
    if history.forgotten > 0 {
        writeln!(out, "{} earlier events are forgotten", history.forgotten)?;
    }
    for (at, (line, known)) in history.events.into_iter().zip(&events).enumerate() {
        match known {
            Some(known) => writeln!(out, "{}  {}", time(known.at_ms), told(known, left_before(&events[..at])))?,
            None => writeln!(out, "{}", event(line))?,
        }
    }
    Ok(())
}

/// Says in a line why it ended: `ended 3m ago: host left, no pong for 50s; lingered 5m; nobody came back`.
fn verdict(events: &[Option<Event>], now: u64) -> String {
    if let Some(None) | None = events.last() {
        return "something happened that this program doesn't know".into();
    }
    let Some((at, last, reason)) = end(events) else { return "still there".into() };
    let left = left_before(&events[..at]);
    let ago = age(now.saturating_sub(last.at_ms));
    let departure = left.map(|left| format!("{}; ", departure(left, false))).unwrap_or_default();
    let end = match (reason, left) {
        (EndReason::Removed, _) => "removed by a request with both keys".to_owned(),
        (EndReason::RemovedByAdmin, _) => "removed by an administrator".into(),
        (EndReason::Emptied, _) => format!("{departure}nobody else was there"),
        (EndReason::Lingered, Some(left)) => {
            format!("{departure}lingered {}; expired", age(last.at_ms.saturating_sub(left.at_ms)))
        }
        (EndReason::Lingered, None) => "nobody came back; expired".into(),
        (EndReason::Unclaimed, _) => "nobody ever joined; expired".into(),
    };
    format!("ended {ago} ago: {end}")
}

/// Finds the end of the last life, if no other one has begun; where it was removed, its members left after it.
fn end(events: &[Option<Event>]) -> Option<(usize, &Event, EndReason)> {
    let known = events.iter().enumerate().filter_map(|(at, event)| Some((at, event.as_ref()?)));
    known.fold(None, |end, (at, event)| match event.what {
        What::Ended { reason, .. } => Some((at, event, reason)),
        What::Joined { .. } | What::Left { .. } => end.filter(|(.., reason)| reason.may_have_members()),
        _ => None,
    })
}

/// Tells one event.
fn told(event: &Event, left: Option<&Event>) -> String {
    match &event.what {
        What::Registered { kind, .. } => format!("registered as {}", kind.as_str()),
        What::Reclaimed { .. } => "registered again by its device".into(),
        What::Joined { member, role, peer, .. } => format!("{} {member} joined from {peer}", role.as_str()),
        What::Left { .. } => departure(event, true),
        What::Ended { reason: EndReason::Lingered, .. } => {
            let lingered =
                left.map(|left| format!("nobody came back in {}, ", age(event.at_ms.saturating_sub(left.at_ms))));
            format!("{}ended (registration.linger)", lingered.unwrap_or_default())
        }
        What::Ended { reason: EndReason::Unclaimed, .. } => {
            "nobody ever joined, ended (registration.unclaimed-timeout)".into()
        }
        What::Ended { reason: EndReason::Emptied, .. } => "ended, since its last member had left".into(),
        What::Ended { reason: EndReason::Removed, .. } => "removed by a request with both keys".into(),
        What::Ended { reason: EndReason::RemovedByAdmin, .. } => "removed by an administrator".into(),
        What::Reloaded | What::DrainBegun { .. } | What::Drained | What::DrainUndone => "the daemon changed".into(),
    }
}

/// Tells who left, and why; with its number and traffic where there is room.
fn departure(event: &Event, in_full: bool) -> String {
    let What::Left { member, role, reason, code, silent_ms, messages_in, messages_out, .. } = &event.what else {
        return String::new();
    };
    let why = match (reason, code) {
        (CloseReason::Left, Some(code)) => format!("said goodbye with {code}"),
        (CloseReason::Left, None) => "said goodbye".into(),
        (CloseReason::Lost, _) => "its connection broke".into(),
        (CloseReason::NoPong, _) => format!("no pong for {}", age(*silent_ms)),
        (CloseReason::TooSlow, _) => "too slow to take what it was sent".into(),
        (reason, _) => reason.text().to_owned(),
    };
    if in_full {
        format!("{} {member} left, {why} ({messages_in} messages in, {messages_out} out)", role.as_str())
    } else {
        format!("{} left, {why}", role.as_str())
    }
}

/// Finds who left last.
fn left_before(events: &[Option<Event>]) -> Option<&Event> {
    events.iter().rev().flatten().find(|event| matches!(event.what, What::Left { .. }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn events(lines: Value) -> Vec<Option<Event>> {
        lines.as_array().unwrap().iter().map(|line| serde_json::from_value(line.clone()).ok()).collect()
    }

    fn left() -> Value {
        json!({ "at_ms": 100_000, "event": "left", "registration": "my-device", "member": 7, "role": "host",
            "reason": "no-pong", "silent_ms": 50_400, "messages_in": 3, "messages_out": 4 })
    }

    fn ended(at_ms: u64, reason: &str) -> Value {
        json!({ "at_ms": at_ms, "event": "ended", "registration": "my-device", "reason": reason })
    }

    #[test]
    fn the_answer_is_one_line() {
        let all = events(json!([left(), ended(400_000, "lingered")]));
        let answer = "ended 3m ago: host left, no pong for 50s; lingered 5m; expired";
        assert_eq!(verdict(&all, 580_000), answer);
        let unclaimed = events(json!([ended(0, "unclaimed")]));
        assert_eq!(verdict(&unclaimed, 0), "ended 0s ago: nobody ever joined; expired");
        assert_eq!(verdict(&events(json!([left()])), 0), "still there");
    }

    #[test]
    fn those_who_lost_their_registration_left_after_its_end() {
        let mut lines = vec![ended(0, "removed-by-admin"), left()];
        assert_eq!(verdict(&events(lines.clone().into()), 61_000), "ended 1m 1s ago: removed by an administrator");
        lines.push(json!({ "at_ms": 2, "event": "registered", "registration": "my-device", "kind": "lobby" }));
        assert_eq!(verdict(&events(lines.into()), 0), "still there");
        let next = vec![ended(0, "emptied"), left()];
        assert_eq!(verdict(&events(next.into()), 0), "still there", "told by two threads at once");
    }

    #[test]
    fn each_event_says_what_happened() {
        let all = events(json!([left(), ended(400_000, "lingered")]));
        let lines: Vec<_> = all.iter().flatten().map(|event| told(event, left_before(&all))).collect();
        assert_eq!(lines[0], "host 7 left, no pong for 50s (3 messages in, 4 out)");
        assert_eq!(lines[1], "nobody came back in 5m, ended (registration.linger)");
    }

    #[test]
    fn an_event_of_a_newer_daemon_ends_no_sentence() {
        let all = events(json!([left(), { "at_ms": 1, "event": "moved" }]));
        assert_eq!(verdict(&all, 0), "something happened that this program doesn't know");
    }
}
