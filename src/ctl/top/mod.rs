//! `top`: what goes on in the daemon, live, on the whole terminal.
//!
//! A task asks the daemon for samples (`source`); the state makes rows, rates and an order of them (`state`, `opened`,
//! `listing`, `rows`, `columns`, `numbers`, `history`); keys become actions (`keys`); and the state is drawn (`draw`,
//! `theme`). The loop here only passes on. Rates are the difference of two samples, so the daemon computes none, and of
//! members it is asked only for the registration that is opened.
//!
//! The terminal is given back whatever ends the program (`screen`). A daemon that goes away is waited for, since a
//! restart keeps its connections and is worth watching.

mod columns;
mod draw;
mod keys;
mod listing;
mod rates;
mod rows;
mod screen;
mod source;
mod state;
mod theme;

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
use super::error::Error;
use super::output::Format;
use screen::Screen;
use source::{Source, Update};
use state::{Effect, State};
use theme::Theme;

/// Shows what goes on until a key or a signal ends it.
pub(super) async fn top(client: Client, interval: Duration, format: Format) -> Result<(), Error> {
    if format.is_json() {
        return Err(Error::Usage(format!("top is for people and has no --json; {INSTEAD}")));
    }
    if !screen::is_there() {
        return Err(Error::Usage(format!("top needs a terminal on standard input and output; {INSTEAD}")));
    }
    // Before the terminal is taken: without a daemon there is nothing to show, and a line says so.
    let first = source::sample(&client, None).await?;
    let signals = signals().map_err(system)?;
    let mut view = View {
        state: State::new(first, interval),
        source: Source::start(client, interval),
        theme: Theme::new(|name| std::env::var_os(name)),
        screen: Some(Screen::enter().map_err(system)?),
    };
    let ended = view.run(signals).await;
    // Gives the terminal back.
    drop(view);
    if let Some(signal) = ended? {
        // Whoever waits for the program sees what ended it.
        emulate_default_handler(signal).map_err(system)?;
    }
    Ok(())
}

/// What is shown, and where.
struct View {
    state: State,
    source: Source,
    theme: Theme,
    /// Always there, save while the program is stopped.
    screen: Option<Screen>,
}

impl View {
    /// Draws, and takes whatever comes next; gives the signal that ended it, if it was one.
    async fn run(&mut self, mut signals: Signals) -> Result<Option<i32>, Error> {
        let mut events = EventStream::new();
        let mut clock = interval(TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.draw()?;
            tokio::select! {
                signal = signals.next() => match signal {
                    // Stopped by somebody else, who left the shell with the terminal meanwhile.
                    Some(SIGCONT) => self.take_terminal().map_err(system)?,
                    ends => return Ok(ends),
                },
                event = events.next() => match event {
                    Some(Ok(event)) => if self.on_event(event)?.is_break() { return Ok(None) },
                    Some(Err(error)) => return Err(system(error)),
                    None => return Ok(None),
                },
                update = self.source.updates.recv() => self.on_update(update)?,
                _ = clock.tick() => {}
            }
        }
    }

    fn draw(&mut self) -> Result<(), Error> {
        let (state, theme, now) = (&mut self.state, &self.theme, Instant::now());
        let Some(screen) = &mut self.screen else { return Ok(()) };
        let drawn = screen.draw(|frame| {
            draw::fit(state, frame.area(), now);
            draw::draw(frame, state, theme, now);
        });
        drawn.map_err(system)
    }

    fn on_update(&mut self, update: Option<Update>) -> Result<(), Error> {
        let now = Instant::now();
        match update {
            Some(Update::Sample(sample)) => self.state.sample(*sample),
            Some(Update::Away(why)) => self.state.lost(why, now),
            Some(Update::Done(told)) => self.state.tell(told, now),
            // The task runs as long as this end of its channel is open.
            None => return Err(Error::Stopped),
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Result<ControlFlow<()>, Error> {
        // Another size shows in the next drawing.
        let Event::Key(key) = event else { return Ok(ControlFlow::Continue(())) };
        let effect = keys::command(key, self.state.mode()).and_then(|command| self.state.apply(command));
        let is_taken = match effect {
            None => true,
            Some(Effect::Quit) => return Ok(ControlFlow::Break(())),
            Some(Effect::Suspend) => self.suspend().map(|()| true).map_err(system)?,
            Some(Effect::Redraw) => {
                let redrawn = self.screen.as_mut().map_or(Ok(()), Screen::forget);
                redrawn.map(|()| true).map_err(system)?
            }
            Some(Effect::Watch(id)) => self.source.watch(id),
            Some(Effect::Do(action)) => self.source.act(action),
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

fn system(error: io::Error) -> Error {
    Error::System("terminal", error)
}

/// Signals that end the program.
const ENDING: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];
/// How often what only time changes is drawn anew.
const TICK: Duration = Duration::from_secs(1);

const INSTEAD: &str = "for programs there are ws-routerctl list --json, status --json and events --follow --json, \
    and GET /metrics on the admin socket";

#[cfg(test)]
mod tests;
