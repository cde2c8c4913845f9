//! Where samples come from: a task that asks the daemon every so often, and does what it is told.
//!
//! A request that hangs never keeps the screen from answering a key, and a daemon that is busy is asked less often, so
//! that looking at it takes no more than a fifth of its time. A daemon that doesn't answer is asked again and again:
//! a restart is no reason to stop looking.

use std::fmt::Display;
use std::time::{Duration, Instant};

use http::Method;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::super::client::{Answer, Client};
use super::super::error::Error;
use super::state::{Action, Sample};

/// The way to the task.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) updates: mpsc::Receiver<Update>,
    requests: mpsc::Sender<Request>,
    _task: AbortOnDropHandle<()>,
}

/// What the task tells.
#[derive(Debug)]
pub(super) enum Update {
    Sample(Box<Sample>),
    /// The daemon doesn't answer, or nothing that makes sense.
    Away(String),
    /// What came of a action.
    Done(String),
}

#[derive(Debug)]
enum Request {
    Watch(Option<String>),
    Do(Action),
}

impl Source {
    /// Begins to ask, the first time after an interval.
    pub(super) fn start(client: Client, interval: Duration) -> Self {
        let (tell, updates) = mpsc::channel(MAX_UPDATES);
        let (requests, taken) = mpsc::channel(MAX_REQUESTS);
        let task = tokio::spawn(run(client, interval, tell, taken));
        Self { updates, requests, _task: AbortOnDropHandle::new(task) }
    }

    /// Asks about a registration's members from now on as well, and at once.
    pub(super) fn watch(&self, id: Option<String>) -> bool {
        self.requests.try_send(Request::Watch(id)).is_ok()
    }

    /// Does something; what came of it is told. Gives `false` if too much waits to be done already.
    pub(super) fn act(&self, action: Action) -> bool {
        self.requests.try_send(Request::Do(action)).is_ok()
    }
}

/// Asks for everything that is to be shown.
pub(super) async fn sample(client: &Client, watched: Option<&str>) -> Result<Sample, Error> {
    let at = Instant::now();
    let status = client.read("/v1/status").await?.0;
    let registrations = client.read("/v1/registrations").await?.0;
    let detail = match watched {
        Some(id) => Some((id.to_owned(), members(client, id).await?)),
        None => None,
    };
    Ok(Sample { at, status, registrations, detail })
}

async fn members(client: &Client, id: &str) -> Result<Option<ws_router_admin_api::RegistrationDetail>, Error> {
    match client.ask(Method::GET, &format!("/v1/registrations/{id}")).await? {
        Answer::Document(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Answer::Unknown(_) => Ok(None),
        Answer::Refused(_, refused) => Err(Error::UnexpectedAnswer(refused.error)),
    }
}

async fn run(client: Client, interval: Duration, tell: mpsc::Sender<Update>, mut requests: mpsc::Receiver<Request>) {
    let (mut watched, mut pause) = (None::<String>, interval);
    loop {
        let asked = async {
            sleep(pause).await;
            let begun = Instant::now();
            (sample(&client, watched.as_deref()).await, begun.elapsed())
        };
        let (update, next) = tokio::select! {
            biased;
            request = requests.recv() => match request {
                None => return,
                // The next sample is taken at once, since there is something new to be seen.
                Some(Request::Watch(id)) => {
                    (watched, pause) = (id, Duration::ZERO);
                    continue;
                }
                Some(Request::Do(action)) => (Update::Done(act(&client, &action).await), Duration::ZERO),
            },
            (sample, took) = asked => match sample {
                Ok(sample) => (Update::Sample(Box::new(sample)), interval.max(took * REST)),
                Err(error) => (Update::Away(error.message().unwrap_or_default()), interval.min(RETRY)),
            },
        };
        pause = next;
        if tell.send(update).await.is_err() {
            return;
        }
    }
}

/// Does something to the daemon's registrations or members, and says what came of it.
async fn act(client: &Client, action: &Action) -> String {
    match action {
        Action::Disconnect(number, called) => {
            delete(client, "connections", number, format!("disconnected {called}"), format!("{called} had left")).await
        }
        Action::Remove(id, _) => {
            delete(client, "registrations", id, format!("removed {id}"), format!("{id} had ended")).await
        }
    }
}

async fn delete(client: &Client, folder: &str, name: &impl Display, done: String, gone: String) -> String {
    let path = format!("/v1/{folder}/{name}");
    match client.ask(Method::DELETE, &path).await {
        Ok(Answer::Document(_)) => done,
        Ok(Answer::Unknown(_)) => format!("{gone} already"),
        Ok(Answer::Refused(_, refused)) => refused.error,
        Err(error @ Error::Unresponsive(_)) => {
            format!("{}; it may be done nevertheless", error.message().unwrap_or_default())
        }
        Err(error) => format!("not done: {}", error.message().unwrap_or_default()),
    }
}

/// A daemon that takes so long for an answer has so many times as long before the next question.
const REST: u32 = 4;
/// How soon a daemon is asked again that didn't answer, if not sooner.
const RETRY: Duration = Duration::from_secs(1);
/// Samples that wait to be drawn: the newest, and one that comes while it is.
const MAX_UPDATES: usize = 2;
/// What a person can type before the first of it is done.
const MAX_REQUESTS: usize = 16;
