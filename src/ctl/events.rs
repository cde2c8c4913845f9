//! `events`: what happens, as it happens.

use std::io::Write;

use serde_json::{Map, Value};

use super::client::{Client, parse};
use super::fault::Fault;
use super::human::time;

/// Prints what happens, as it happens, until the daemon stops.
pub(super) async fn events(client: &Client, json: bool, out: &mut impl Write) -> Result<(), Fault> {
    let mut lines = client.lines("/v1/events").await?;
    while let Some(line) = lines.next().await? {
        if json {
            out.write_all(&line)?;
        } else {
            writeln!(out, "{}", event(parse(&line)?))?;
        }
        // Whoever watches wants to see it now.
        out.flush()?;
    }
    Err(Fault::Unavailable("the daemon has stopped".into()))
}

/// Shows an event: its time, its name, and whatever else it says, so that events of a newer daemon are shown too.
pub(super) fn event(mut event: Map<String, Value>) -> String {
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

/// The order in which an event reads well.
const FIRST: [&str; 7] = ["event", "registration", "kind", "member", "role", "peer", "reason"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_newer_daemon_is_shown_as_it_comes() {
        let line = parse(br#"{"at_ms":1000,"event":"moved","registration":"my-device","count":3}"#).unwrap();
        assert_eq!(event(line), "1970-01-01T00:00:01Z moved registration=my-device count=3");
    }
}
