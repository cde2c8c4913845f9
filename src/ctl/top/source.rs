//! Where samples come from: a task that asks the daemon every so often, and does what it is told.
//!
//! A request that hangs never keeps the screen from answering a key, and a daemon that is busy is asked less often, so
//! that looking at it takes no more than a fifth of its time. A daemon that doesn't answer is asked again and again:
//! a restart is no reason to stop looking.

use std::fmt::Display;
use std::time::{Duration, Instant};

use http::Method;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::super::client::{Answer, Client, parse};
use super::super::fault::Fault;
use super::state::{Deed, Sample};

/// The way to the task.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) news: mpsc::Receiver<News>,
    wishes: mpsc::Sender<Wish>,
    _task: AbortOnDropHandle<()>,
}

/// What the task tells.
#[derive(Debug)]
pub(super) enum News {
    Sample(Box<Sample>),
    /// The daemon doesn't answer, or nothing that makes sense.
    Away(String),
    /// What came of a deed.
    Done(String),
}

#[derive(Debug)]
enum Wish {
    Watch(Option<String>),
    Do(Deed),
}

impl Source {
    /// Begins to ask, the first time after an interval.
    pub(super) fn start(client: Client, interval: Duration) -> Self {
        let (tell, news) = mpsc::channel(NEWS);
        let (wishes, taken) = mpsc::channel(WISHES);
        let task = tokio::spawn(run(client, interval, tell, taken));
        Self { news, wishes, _task: AbortOnDropHandle::new(task) }
    }

    /// Asks about a registration's members from now on as well, and at once.
    pub(super) fn watch(&self, id: Option<String>) -> bool {
        self.wishes.try_send(Wish::Watch(id)).is_ok()
    }

    /// Does something; what came of it is told. Gives `false` if too much waits to be done already.
    pub(super) fn act(&self, deed: Deed) -> bool {
        self.wishes.try_send(Wish::Do(deed)).is_ok()
    }
}

/// Asks for everything that is to be shown.
pub(super) async fn sample(client: &Client, opened: Option<&str>) -> Result<Sample, Fault> {
    let at = Instant::now();
    let asked = async {
        let status = client.read("/v1/status").await?.0;
        let registrations = client.read("/v1/registrations").await?.0;
        let opened = match opened {
            Some(id) => Some((id.to_owned(), members(client, id).await?)),
            None => None,
        };
        Ok(Sample { at, status, registrations, opened })
    };
    let late = || Fault::Unavailable(format!("no answer within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(late()))
}

async fn members(client: &Client, id: &str) -> Result<Option<ws_router_admin_api::RegistrationDetail>, Fault> {
    match client.ask(Method::GET, &format!("/v1/registrations/{id}")).await? {
        Answer::Document(text) => Ok(Some(parse(&text)?)),
        Answer::Unknown(_) => Ok(None),
        Answer::Refused(_, refused) => Err(Fault::Software(refused.error)),
    }
}

async fn run(client: Client, interval: Duration, tell: mpsc::Sender<News>, mut wishes: mpsc::Receiver<Wish>) {
    let (mut watched, mut pause) = (None::<String>, interval);
    loop {
        let asked = async {
            sleep(pause).await;
            let begun = Instant::now();
            (sample(&client, watched.as_deref()).await, begun.elapsed())
        };
        let (news, next) = tokio::select! {
            biased;
            wish = wishes.recv() => match wish {
                None => return,
                // The next sample is taken at once, since there is something new to be seen.
                Some(Wish::Watch(id)) => {
                    (watched, pause) = (id, Duration::ZERO);
                    continue;
                }
                Some(Wish::Do(deed)) => (News::Done(act(&client, &deed).await), Duration::ZERO),
            },
            (sample, took) = asked => match sample {
                Ok(sample) => (News::Sample(Box::new(sample)), interval.max(took * REST)),
                Err(fault) => (News::Away(fault.text().unwrap_or_default().to_owned()), interval.min(RETRY)),
            },
        };
        pause = next;
        if tell.send(news).await.is_err() {
            return;
        }
    }
}

/// Does something to the daemon's registrations or members, and says what came of it.
async fn act(client: &Client, deed: &Deed) -> String {
    match deed {
        Deed::Disconnect(number, called) => {
            delete(client, "connections", number, format!("disconnected {called}"), format!("{called} had left")).await
        }
        Deed::Remove(id, _) => {
            delete(client, "registrations", id, format!("removed {id}"), format!("{id} had ended")).await
        }
    }
}

async fn delete(client: &Client, folder: &str, name: &impl Display, done: String, gone: String) -> String {
    let path = format!("/v1/{folder}/{name}");
    match timeout(PATIENCE, client.ask(Method::DELETE, &path)).await {
        Ok(Ok(Answer::Document(_))) => done,
        Ok(Ok(Answer::Unknown(_))) => format!("{gone} already"),
        Ok(Ok(Answer::Refused(_, refused))) => refused.error,
        Ok(Err(fault)) => format!("not done: {}", fault.text().unwrap_or_default()),
        Err(_) => format!("no answer within {} s; it may be done all the same", PATIENCE.as_secs()),
    }
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A daemon that takes so long for an answer has so many times as long before the next question.
const REST: u32 = 4;
/// How soon a daemon is asked again that didn't answer, if not sooner.
const RETRY: Duration = Duration::from_secs(1);
/// Samples that wait to be drawn: the newest, and one that comes while it is.
const NEWS: usize = 2;
/// What a person can type before the first of it is done.
const WISHES: usize = 16;
