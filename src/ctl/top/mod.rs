//! `top`: what goes on in the daemon, live, on the whole terminal.
//!
//! A task asks the daemon for samples (`source`); the state makes rows, rates and an order of them (`state`, `opened`,
//! `listing`, `rows`, `columns`, `numbers`, `history`); keys become actions (`keys`); and the state is drawn (`draw`,
//! `look`). The loop here only passes on. Rates are the difference of two samples, so the daemon computes none, and of
//! members it is asked only for the registration that is opened.
//!
//! The terminal is given back whatever ends the program (`screen`). A daemon that goes away is waited for, since a
//! restart keeps its connections and is worth watching.

mod columns;
mod draw;
mod history;
mod keys;
mod listing;
mod look;
mod numbers;
mod opened;
mod rows;
mod screen;
mod source;
mod state;

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use nix::sys::signal::{Signal, raise};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::emulate_default_handler;
use signal_hook_tokio::Signals;
use tokio::time::{MissedTickBehavior, interval};

use super::client::Client;
use super::fault::Fault;
use look::Look;
use screen::Screen;
use source::{News, Source};
use state::{Effect, State};

/// Shows what goes on until a key or a signal ends it.
pub(super) async fn top(client: Client, interval: Duration, json: bool) -> Result<(), Fault> {
    if json {
        return Err(Fault::Usage(format!("top is for people and has no --json; {INSTEAD}")));
    }
    if !screen::is_there() {
        return Err(Fault::Usage(format!("top needs a terminal on standard input and output; {INSTEAD}")));
    }
    // Before the terminal is taken: without a daemon there is nothing to show, and a line says so.
    let first = source::sample(&client, None).await?;
    let signals = signals().map_err(|error| system(&error))?;
    let mut view = View {
        state: State::new(first, interval),
        source: Source::start(client, interval),
        look: Look::of(|name| std::env::var_os(name)),
        screen: Some(Screen::enter().map_err(|error| system(&error))?),
    };
    let ended = view.run(signals).await;
    // Gives the terminal back.
    drop(view);
    if let Some(signal) = ended? {
        // Whoever waits for the program sees what ended it.
        emulate_default_handler(signal).map_err(|error| system(&error))?;
    }
    Ok(())
}

/// What is shown, and where.
struct View {
    state: State,
    source: Source,
    look: Look,
    /// Always there, save while the program is stopped.
    screen: Option<Screen>,
}

impl View {
    /// Draws, and takes whatever comes next; gives the signal that ended it, if it was one.
    async fn run(&mut self, mut signals: Signals) -> Result<Option<i32>, Fault> {
        let mut events = EventStream::new();
        let mut clock = interval(TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.draw()?;
            tokio::select! {
                signal = signals.next() => match signal {
                    // Stopped by somebody else, who left the shell with the terminal meanwhile.
                    Some(SIGCONT) => self.take_terminal().map_err(|error| system(&error))?,
                    ends => return Ok(ends),
                },
                event = events.next() => match event {
                    Some(Ok(event)) => if self.take(event)?.is_break() { return Ok(None) },
                    Some(Err(error)) => return Err(system(&error)),
                    None => return Ok(None),
                },
                news = self.source.news.recv() => self.hear(news)?,
                _ = clock.tick() => {}
            }
        }
    }

    fn draw(&mut self) -> Result<(), Fault> {
        let (state, look, now) = (&mut self.state, &self.look, Instant::now());
        let Some(screen) = &mut self.screen else { return Ok(()) };
        let drawn = screen.draw(|frame| {
            draw::fit(state, frame.area(), now);
            draw::draw(frame, state, look, now);
        });
        drawn.map_err(|error| system(&error))
    }

    fn hear(&mut self, news: Option<News>) -> Result<(), Fault> {
        let now = Instant::now();
        match news {
            Some(News::Sample(sample)) => self.state.sample(*sample),
            Some(News::Away(why)) => self.state.lost(why, now),
            Some(News::Done(told)) => self.state.tell(told, now),
            None => return Err(Fault::Software("the task that asks the daemon has ended".into())),
        }
        Ok(())
    }

    fn take(&mut self, event: Event) -> Result<ControlFlow<()>, Fault> {
        // Another size shows in the next drawing.
        let Event::Key(key) = event else { return Ok(ControlFlow::Continue(())) };
        let effect = keys::action(key, self.state.mode()).and_then(|action| self.state.act(action));
        let is_taken = match effect {
            None => true,
            Some(Effect::Quit) => return Ok(ControlFlow::Break(())),
            Some(Effect::Suspend) => self.suspend().map(|()| true).map_err(|error| system(&error))?,
            Some(Effect::Redraw) => {
                let redrawn = self.screen.as_mut().map_or(Ok(()), Screen::forget);
                redrawn.map(|()| true).map_err(|error| system(&error))?
            }
            Some(Effect::Watch(id)) => self.source.watch(id),
            Some(Effect::Do(deed)) => self.source.act(deed),
        };
        if !is_taken {
            self.state
                .tell("not done, since the daemon hasn't answered to what was asked before".into(), Instant::now());
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Leaves the terminal to the shell until somebody has the program go on.
    fn suspend(&mut self) -> io::Result<()> {
        self.screen = None;
        raise(Signal::SIGTSTP)?;
        self.take_terminal()
    }

    /// Takes the terminal as if for the first time.
    fn take_terminal(&mut self) -> io::Result<()> {
        self.screen = None;
        self.screen = Some(Screen::enter()?);
        Ok(())
    }
}

/// Listens to those that end the program, and to the one after a stop. One that comes a second time ends it at once,
/// since a terminal that takes nothing keeps it from getting to the first.
fn signals() -> io::Result<Signals> {
    for signal in ENDING {
        let has_come = Arc::new(AtomicBool::new(false));
        // In this order, so that the first one only leaves its mark.
        flag::register_conditional_default(signal, Arc::clone(&has_come))?;
        flag::register(signal, has_come)?;
    }
    Signals::new([SIGCONT].iter().chain(&ENDING))
}

fn system(error: &io::Error) -> Fault {
    Fault::Software(format!("the terminal: {error}"))
}

/// Signals that end the program.
const ENDING: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];
/// How often what only time changes is drawn anew.
const TICK: Duration = Duration::from_secs(1);

const INSTEAD: &str = "for programs there are ws-routerctl list --json, status --json and events --follow, \
    and GET /metrics on the admin socket";

#[cfg(test)]
mod tests;
