//! `check URL`: tests a deployment from outside, as two devices would use it.
//!
//! For each kind of registration it registers, joins twice, passes a message each way, asks for the number of members,
//! removes the registration, and verifies that all members are closed with 4000. It uses the public routes only, through
//! any proxy and TLS in front of them, and removes what it created even after a failure. After a failed step, the
//! remaining steps of that kind are skipped, and the other kinds are still checked.

mod report;

use std::io::Write;

use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use serde_json::Value;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use uuid::Uuid;
use ws_router_admin_api::cli;

use super::dial::{DialError, Dialer, Stream, unexpected};
use super::error::{Error, with_causes};
use super::output::Format;
use report::{Form, Limits, State, Steps, Stop, unknown};

/// Runs all steps, and reports each as it ends.
pub(super) async fn check(arguments: &cli::Check, format: Format, out: &mut impl Write) -> Result<(), Error> {
    if arguments.monitor {
        return monitor(arguments, format, out).await;
    }
    let dialer = Dialer::new(&arguments.deployment)?;
    let form = match format {
        Format::Json => Form::Json,
        Format::Text(colors) => Form::Lines(colors),
    };
    let mut steps = Steps::new(out, form, arguments.timeout);
    run(&dialer, &mut steps, &arguments.deployment.url.to_string()).await
}

/// Runs all steps for a monitoring system. A failure is critical; the state is unknown if the check can't be run.
async fn monitor(arguments: &cli::Check, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let limits = Limits { warning: arguments.warning, critical: arguments.critical };
    let dialer = match Dialer::new(&arguments.deployment) {
        Ok(dialer) => dialer,
        Err(error) => {
            writeln!(out, "{}", unknown(&with_causes(&error)))?;
            return Err(Error::Monitored(State::Unknown.exit_status()));
        }
    };
    let form = if format.is_json() { Form::Json } else { Form::Monitor };
    let mut steps = Steps::new(out, form, arguments.timeout);
    match run(&dialer, &mut steps, &arguments.deployment.url.to_string()).await {
        Ok(()) | Err(Error::Reported | Error::Dial(_)) => {}
        Err(other) => return Err(other),
    }
    let found = steps.findings();
    if form == Form::Monitor {
        steps.print_line(&limits.line(&found))?;
    }
    match limits.state(&found) {
        State::Ok => Ok(()),
        state => Err(Error::Monitored(state.exit_status())),
    }
}

async fn run<W: Write>(dialer: &Dialer, steps: &mut Steps<'_, W>, url: &str) -> Result<(), Error> {
    let answers = match check_router(dialer, steps).await {
        Err(Stop::Unreachable(error)) => {
            steps.summary(url)?;
            return Err(error.into());
        }
        checked => passed(checked)?,
    };
    if answers {
        for pair in PAIRS {
            passed(check_kind(dialer, steps, pair).await)?;
        }
    }
    if steps.summary(url)? { Ok(()) } else { Err(Error::Reported) }
}

/// Two members of one kind of registration.
#[derive(Debug, Clone, Copy)]
struct Pair {
    kind: &'static str,
    names: [&'static str; 2],
    roles: [Option<&'static str>; 2],
    /// Numbers of members that the router reports after both have joined.
    counts: &'static [(&'static str, u64)],
    /// Whether the second member is the end of a host that accepted the first, a client.
    is_accepted: bool,
}

const PAIRS: [Pair; 3] = [
    Pair {
        kind: "hostclient",
        names: ["host", "client"],
        roles: [Some("host"), Some("client")],
        counts: &[("hosts", 1), ("clients", 1)],
        is_accepted: false,
    },
    Pair {
        kind: "lobby",
        names: ["first", "second"],
        roles: [None, None],
        counts: &[("peers", 2)],
        is_accepted: false,
    },
    Pair {
        kind: "paired",
        names: ["paired client", "paired host"],
        roles: [Some("client"), Some("host")],
        counts: &[("hosts", 1), ("pairs", 1), ("waiting", 0)],
        is_accepted: true,
    },
];

/// A registration that the check has created.
#[derive(Debug)]
struct TestRegistration {
    id: String,
    key: String,
    host_key: String,
}

/// Connects, and checks that the router admits members.
async fn check_router<W: Write>(dialer: &Dialer, steps: &mut Steps<'_, W>) -> Result<(), Stop> {
    let connect = async {
        let stream = dialer.tcp().await?;
        let address = stream.peer_addr().map(|address| address.to_string()).unwrap_or_default();
        Ok((stream, address))
    };
    let stream = steps.step("connect", connect).await?;
    let stream: Stream = match dialer.tls() {
        Some(tls) => {
            let handshake = async {
                let session = tls.handshake(stream).await.map_err(DialError::Tls)?;
                let detail = session.describe();
                Ok((session, detail))
            };
            let session = steps.step("tls handshake", handshake).await?;
            steps.set_certificate_days(session.days);
            Box::new(session.stream)
        }
        None => Box::new(stream),
    };
    steps.step("health", without_detail(dialer.health(stream))).await
}

/// Checks one kind of registration, and removes the registration even after a failure.
async fn check_kind<W: Write>(dialer: &Dialer, steps: &mut Steps<'_, W>, pair: Pair) -> Result<(), Stop> {
    let (key, host_key) = (random(), random());
    let register = async {
        match dialer.register(pair.kind, &key, &host_key, None).await {
            Ok(id) => {
                let detail = format!("id {id}");
                Ok((Some(id), detail))
            }
            // An older router doesn't know the kind.
            Err(DialError::Refused { status: StatusCode::BAD_REQUEST, .. }) if pair.is_accepted => {
                Ok((None, "not served by this router".into()))
            }
            Err(error) => Err(error),
        }
    };
    let Some(id) = steps.step(&format!("register {}", pair.kind), register).await? else { return Ok(()) };
    let registration = TestRegistration { id, key, host_key };
    let tested = run_pair(dialer, steps, pair, &registration).await;
    if tested.is_err() {
        // A failure here isn't reported, since the earlier one probably causes it.
        let _ = tokio::time::timeout(
            steps.limit(),
            dialer.remove(&registration.id, &registration.key, &registration.host_key),
        )
        .await;
    }
    tested
}

/// Joins both members, passes a message each way, and removes the registration.
async fn run_pair<W: Write>(
    dialer: &Dialer,
    steps: &mut Steps<'_, W>,
    pair: Pair,
    registration: &TestRegistration,
) -> Result<(), Stop> {
    let [one, other] = pair.names;
    let join = |role| without_detail(Member::join(dialer, &registration.id, &registration.key, role));
    // In a paired registration, the host that listens stays connected.
    let mut listening = None;
    if pair.is_accepted {
        listening = Some(steps.step("join listening host", join(pair.roles[1])).await?);
    }
    let mut first = steps.step(&format!("join {one}"), join(pair.roles[0])).await?;
    let mut second = match &mut listening {
        None => steps.step(&format!("join {other}"), join(pair.roles[1])).await?,
        Some(host) => {
            let accept = async { Member::accept(dialer, &registration.id, &host.announced().await?).await };
            steps.step(&format!("accept {one}"), without_detail(accept)).await?
        }
    };
    steps.step(&format!("{one} to {other}"), with_detail(pass_text(&mut first, &mut second))).await?;
    steps.step(&format!("{other} to {one}"), with_detail(pass_bytes(&mut second, &mut first))).await?;
    steps.step(&format!("{} members", pair.kind), with_detail(count_members(dialer, pair, registration))).await?;
    let remove = without_detail(dialer.remove(&registration.id, &registration.key, &registration.host_key));
    steps.step(&format!("remove {}", pair.kind), remove).await?;
    steps.step(&format!("{one} is closed"), with_detail(first.closed())).await?;
    steps.step(&format!("{other} is closed"), with_detail(second.closed())).await?;
    match listening {
        Some(host) => steps.step("listening host is closed", with_detail(host.closed())).await,
        None => Ok(()),
    }
}

/// Checks that the router counts one member for each role, or two peers.
async fn count_members(dialer: &Dialer, pair: Pair, registration: &TestRegistration) -> Result<String, DialError> {
    match dialer.members(&registration.id, &registration.key).await? {
        Err(why) => Ok(why.to_owned()),
        Ok(found) if pair.counts.iter().all(|(name, count)| found[name] == *count) => Ok(found.to_string()),
        Ok(found) => Err(unexpected(format!("two members have joined, but the answer is {found}"))),
    }
}

/// Converts work to a step whose line has no detail.
async fn without_detail<T>(work: impl Future<Output = Result<T, DialError>>) -> Result<(T, String), DialError> {
    Ok((work.await?, String::new()))
}

/// Converts work to a step without a result, whose output is the detail of its line.
async fn with_detail(work: impl Future<Output = Result<String, DialError>>) -> Result<((), String), DialError> {
    Ok(((), work.await?))
}

/// Returns whether all steps passed. Only a closed standard output ends the whole check.
fn passed(ended: Result<(), Stop>) -> Result<bool, Error> {
    match ended {
        Ok(()) => Ok(true),
        Err(Stop::Failed | Stop::Unreachable(_)) => Ok(false),
        Err(Stop::Output(error)) => Err(error),
    }
}

/// A websocket in a registration of the check.
struct Member(WebSocketStream<Stream>);

impl Member {
    /// Joins, and waits for the answer to a ping, after which the router delivers to the member.
    async fn join(dialer: &Dialer, id: &str, key: &str, role: Option<&str>) -> Result<Self, DialError> {
        let mut parameters = vec![("id", id), ("key", key)];
        parameters.extend(role.map(|role| ("sock_type", role)));
        Self::connect(dialer, &parameters).await
    }

    /// Accepts the client that was announced with a number, in the same way.
    async fn accept(dialer: &Dialer, id: &str, number: &str) -> Result<Self, DialError> {
        Self::connect(dialer, &[("id", id), ("accept", number)]).await
    }

    async fn connect(dialer: &Dialer, parameters: &[(&str, &str)]) -> Result<Self, DialError> {
        let mut member = Self(dialer.connect(parameters).await?);
        let mark = Bytes::from(random());
        member.0.send(Message::Ping(mark.clone())).await?;
        match member.next().await? {
            Message::Pong(answer) if answer == mark => Ok(member),
            other => Err(unexpected(format!("a ping was answered with {}", describe(&other)))),
        }
    }

    /// Waits for the announcement of a client, and returns its number.
    async fn announced(&mut self) -> Result<String, DialError> {
        let message = self.next().await?;
        let announcement: Option<Value> = message.to_text().ok().and_then(|text| serde_json::from_str(text).ok());
        let number = announcement.as_ref().and_then(|announcement| announcement["incoming"].as_str());
        let unannounced =
            || unexpected(format!("expected the announcement of a client, received {}", describe(&message)));
        number.map(str::to_owned).ok_or_else(unannounced)
    }

    /// Waits for the close that follows a removal, and returns its code and text.
    async fn closed(mut self) -> Result<String, DialError> {
        match self.next().await? {
            Message::Close(Some(frame)) if u16::from(frame.code) == REMOVED => {
                Ok(format!("{REMOVED} {}", frame.reason.escape_debug()))
            }
            other => Err(unexpected(format!("expected close code {REMOVED}, received {}", describe(&other)))),
        }
    }

    /// Receives the next message other than a ping.
    async fn next(&mut self) -> Result<Message, DialError> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Ping(_))) => {}
                Some(Ok(message)) => return Ok(message),
                Some(Err(error)) => return Err(error.into()),
                None => return Err(DialError::Ended),
            }
        }
    }
}

/// Passes a random text of four kilobytes, and describes it.
async fn pass_text(from: &mut Member, to: &mut Member) -> Result<String, DialError> {
    let text: String = (0..128).map(|_| random()).collect();
    pass(from, to, Message::text(text)).await
}

/// Passes as many random bytes, and describes them.
async fn pass_bytes(from: &mut Member, to: &mut Member) -> Result<String, DialError> {
    let mut bytes = vec![0; 4096];
    getrandom::fill(&mut bytes)?;
    pass(from, to, Message::binary(bytes)).await
}

async fn pass(from: &mut Member, to: &mut Member, message: Message) -> Result<String, DialError> {
    from.0.send(message.clone()).await?;
    let arrived = to.next().await?;
    if arrived == message {
        Ok(describe(&message))
    } else {
        Err(unexpected(format!("sent {}, received something else: {}", describe(&message), describe(&arrived))))
    }
}

/// Describes a message without its content.
fn describe(message: &Message) -> String {
    match message {
        Message::Text(text) => format!("{} bytes of text", text.len()),
        Message::Binary(bytes) => format!("{} bytes", bytes.len()),
        Message::Ping(_) => "a ping".into(),
        Message::Pong(_) => "a pong".into(),
        Message::Close(Some(frame)) => format!("a close with {}", frame.code),
        Message::Close(None) => "a close without a code".into(),
        Message::Frame(_) => "a frame".into(),
    }
}

fn random() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Close code of a registration that was removed by request.
const REMOVED: u16 = 4000;
