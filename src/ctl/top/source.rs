//! A task that requests samples from the daemon, and carries out the user's actions.
//!
//! A request that hangs doesn't keep the screen from handling keys. A busy daemon is asked less often, so that the samples
//! take at most a fifth of its time. A daemon that doesn't answer is asked again every second, since it may be restarting.

use std::fmt::Display;
use std::time::{Duration, Instant};

use http::Method;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::super::client::{Answer, Client};
use super::super::error::Error;
use super::state::{Action, Sample};

/// Handle of the task.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) updates: mpsc::Receiver<Update>,
    requests: mpsc::Sender<Request>,
    _task: AbortOnDropHandle<()>,
}

/// Report of the task.
#[derive(Debug)]
pub(super) enum Update {
    Sample(Box<Sample>),
    /// The daemon doesn't answer, or its answer can't be decoded; with the error.
    Away(String),
    /// Outcome of an action.
    Done(String),
}

#[derive(Debug)]
enum Request {
    Watch(Option<String>),
    Do(Action),
}

impl Source {
    /// Starts the task; the first sample is taken after an interval.
    pub(super) fn start(client: Client, interval: Duration) -> Self {
        let (sender, updates) = mpsc::channel(MAX_UPDATES);
        let (requests, receiver) = mpsc::channel(MAX_REQUESTS);
        let task = tokio::spawn(run(client, interval, sender, receiver));
        Self { updates, requests, _task: AbortOnDropHandle::new(task) }
    }

    /// Requests the members of a registration from now on, and a sample at once. Returns `false` if too many requests wait.
    pub(super) fn watch(&self, id: Option<String>) -> bool {
        self.requests.try_send(Request::Watch(id)).is_ok()
    }

    /// Carries out an action, whose outcome is reported. Returns `false` if too many requests wait.
    pub(super) fn act(&self, action: Action) -> bool {
        self.requests.try_send(Request::Do(action)).is_ok()
    }
}

/// Requests everything that the screen shows.
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
    match client.request(Method::GET, &format!("/v1/registrations/{id}")).await? {
        Answer::Document(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Answer::Unknown(_) => Ok(None),
        Answer::Refused(_, refused) => Err(Error::UnexpectedAnswer(refused.error)),
    }
}

async fn run(client: Client, interval: Duration, updates: mpsc::Sender<Update>, mut requests: mpsc::Receiver<Request>) {
    let (mut watched, mut pause) = (None::<String>, interval);
    loop {
        let asked = async {
            sleep(pause).await;
            let start = Instant::now();
            (sample(&client, watched.as_deref()).await, start.elapsed())
        };
        let (update, next) = tokio::select! {
            biased;
            request = requests.recv() => match request {
                None => return,
                // The next sample is taken at once, since the screen shows something new.
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
        if updates.send(update).await.is_err() {
            return;
        }
    }
}

/// Carries out an action; returns its outcome in words.
async fn act(client: &Client, action: &Action) -> String {
    match action {
        Action::Disconnect(number, member) => {
            delete(client, "connections", number, format!("disconnected {member}"), format!("{member} had left")).await
        }
        Action::Remove(id, _) => {
            delete(client, "registrations", id, format!("removed {id}"), format!("{id} had ended")).await
        }
    }
}

/// Removes a registration or closes a connection; returns `done`, or `gone` if it doesn't exist.
async fn delete(client: &Client, folder: &str, name: &impl Display, done: String, gone: String) -> String {
    let path = format!("/v1/{folder}/{name}");
    match client.request(Method::DELETE, &path).await {
        Ok(Answer::Document(_)) => done,
        Ok(Answer::Unknown(_)) => format!("{gone} already"),
        Ok(Answer::Refused(_, refused)) => refused.error,
        Err(error @ Error::Unresponsive(_)) => {
            format!("{}; it may be done nevertheless", error.message().unwrap_or_default())
        }
        Err(error) => format!("not done: {}", error.message().unwrap_or_default()),
    }
}

/// Least pause between two samples, as a multiple of the time that the last one took.
const REST: u32 = 4;
/// Longest pause before a daemon that didn't answer is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// Number of updates that can wait to be drawn: the newest, and one that arrives while it is drawn.
const MAX_UPDATES: usize = 2;
/// Number of requests that the user can make before the first one is done.
const MAX_REQUESTS: usize = 16;
