//! `check URL`: proves a deployment from outside, as two devices would use it.
//!
//! For each kind of registration: register, join twice, pass a message each way, remove, and see both members closed
//! with 4000. It speaks to the public routes only, through whatever proxy and TLS stand before them; what it makes it
//! also removes, after a failure too. A step that fails ends its kind, and the other kind is tried all the same.

mod member;
mod monitor;
mod steps;

use std::io::Write;

use uuid::Uuid;
use ws_router_admin_api::cli;

use super::dial::Dialer;
use super::fault::Fault;
use member::Member;
use monitor::{Limits, State, unknown};
use steps::{Manner, Steps, Stop};

/// Runs all steps, each shown as it ends.
pub(super) async fn check(what: &cli::Check, json: bool, out: &mut impl Write) -> Result<(), Fault> {
    if what.monitor {
        return probe(what, json, out).await;
    }
    let dialer = Dialer::to(&what.deployment)?;
    let mut steps = Steps::new(out, if json { Manner::Json } else { Manner::Lines }, what.timeout);
    run(&dialer, &mut steps, &what.deployment.url.to_string()).await
}

/// Runs all steps for a monitoring system: critical is whatever fails, and unknown what can't be found out from here.
async fn probe(what: &cli::Check, json: bool, out: &mut impl Write) -> Result<(), Fault> {
    let limits = Limits { warning: what.warning, critical: what.critical };
    let dialer = match Dialer::to(&what.deployment) {
        Ok(dialer) => dialer,
        Err(fault) => {
            writeln!(out, "{}", unknown(fault.text().unwrap_or_default()))?;
            return Err(Fault::State(State::Unknown.status()));
        }
    };
    let mut steps = Steps::new(out, if json { Manner::Json } else { Manner::Monitor }, what.timeout);
    match run(&dialer, &mut steps, &what.deployment.url.to_string()).await {
        Ok(()) | Err(Fault::Failed | Fault::Unavailable(_)) => {}
        Err(other) => return Err(other),
    }
    let found = steps.findings();
    if !json {
        steps.say(&limits.line(&found))?;
    }
    match limits.state(&found) {
        State::Ok => Ok(()),
        state => Err(Fault::State(state.status())),
    }
}

async fn run<W: Write>(dialer: &Dialer, steps: &mut Steps<'_, W>, url: &str) -> Result<(), Fault> {
    let answers = match reach(dialer, steps).await {
        Err(Stop::Unreachable(why)) => {
            steps.summary(url)?;
            return Err(Fault::Unavailable(why));
        }
        reached => passed(reached)?,
    };
    if answers {
        for pair in PAIRS {
            passed(prove(dialer, steps, pair).await)?;
        }
    }
    if steps.summary(url)? { Ok(()) } else { Err(Fault::Failed) }
}

/// Two members of a kind of registration.
#[derive(Debug, Clone, Copy)]
struct Pair {
    kind: &'static str,
    names: [&'static str; 2],
    roles: [Option<&'static str>; 2],
}

const PAIRS: [Pair; 2] = [
    Pair { kind: "hostclient", names: ["host", "client"], roles: [Some("host"), Some("client")] },
    Pair { kind: "lobby", names: ["first", "second"], roles: [None, None] },
];

/// A registration of the check's own.
#[derive(Debug)]
struct Own {
    id: String,
    key: String,
    host_key: String,
}

async fn reach<W: Write>(dialer: &Dialer, steps: &mut Steps<'_, W>) -> Result<(), Stop> {
    let stream = steps.step("connect", dialer.tcp()).await?;
    let stream = match dialer.tls() {
        Some(tls) => {
            let (stream, days) = steps.step("tls handshake", tls.handshake(stream)).await?;
            steps.certificate(days);
            stream
        }
        None => Box::new(stream),
    };
    steps.step("health", dialer.health(stream)).await
}

async fn prove<W: Write>(dialer: &Dialer, steps: &mut Steps<'_, W>, pair: Pair) -> Result<(), Stop> {
    let (key, host_key) = (random(), random());
    let id = steps.step(&format!("register {}", pair.kind), dialer.register(pair.kind, &key, &host_key, None)).await?;
    let own = Own { id, key, host_key };
    let proved = exchange(dialer, steps, pair, &own).await;
    if proved.is_err() {
        // What stands already is not left behind; that it can't be removed either is no news.
        let _ = tokio::time::timeout(steps.patience(), dialer.remove(&own.id, &own.key, &own.host_key)).await;
    }
    proved
}

async fn exchange<W: Write>(dialer: &Dialer, steps: &mut Steps<'_, W>, pair: Pair, own: &Own) -> Result<(), Stop> {
    let [one, other] = pair.names;
    let join = |role| Member::join(dialer, &own.id, &own.key, role);
    let mut first = steps.step(&format!("join {one}"), join(pair.roles[0])).await?;
    let mut second = steps.step(&format!("join {other}"), join(pair.roles[1])).await?;
    steps.step(&format!("{one} to {other}"), member::pass_text(&mut first, &mut second)).await?;
    steps.step(&format!("{other} to {one}"), member::pass_bytes(&mut second, &mut first)).await?;
    let remove = dialer.remove(&own.id, &own.key, &own.host_key);
    steps.step(&format!("remove {}", pair.kind), remove).await?;
    steps.step(&format!("{one} is closed"), first.closed()).await?;
    steps.step(&format!("{other} is closed"), second.closed()).await
}

/// Tells whether all went well; only a closed standard output ends the whole check.
fn passed(ended: Result<(), Stop>) -> Result<bool, Fault> {
    match ended {
        Ok(()) => Ok(true),
        Err(Stop::Failed | Stop::Unreachable(_)) => Ok(false),
        Err(Stop::Output(fault)) => Err(fault),
    }
}

fn random() -> String {
    Uuid::new_v4().simple().to_string()
}
