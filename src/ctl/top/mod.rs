//! `top`: a live view of the daemon on the whole terminal.
//!
//! A task requests samples from the daemon (`source`). The state turns them into sorted rows and rates (`state`, `listing`,
//! `rows`, `columns`, `rates`), keys become commands (`keys`), and the state is drawn (`draw`, `theme`). The loop in this
//! file only connects them. Rates are the difference of two samples, so the daemon computes none. Members are requested
//! only for the registration that is open.
//!
//! The terminal is restored however the program ends (`screen`). The program waits for a daemon that stops answering,
//! since a restart keeps its connections and is worth watching.

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

/// Shows the daemon until a key or a signal ends the program.
pub(super) async fn top(client: Client, interval: Duration, format: Format) -> Result<(), Error> {
    if format.is_json() {
        return Err(Error::Usage(format!("top is for people and has no --json; {INSTEAD}")));
    }
    if !screen::is_available() {
        return Err(Error::Usage(format!("top needs a terminal on standard input and output; {INSTEAD}")));
    }
    // Before the terminal is taken over, so that a missing daemon is reported on the ordinary screen.
    let first = source::sample(&client, None).await?;
    let signals = signals().map_err(system)?;
    let mut view = View {
        state: State::new(first, interval),
        source: Source::start(client, interval),
        theme: Theme::new(|name| std::env::var_os(name)),
        screen: Some(Screen::enter().map_err(system)?),
    };
    let ended = view.run(signals).await;
    // Restores the terminal.
    drop(view);
    if let Some(signal) = ended? {
        // The parent process sees which signal ended the program.
        emulate_default_handler(signal).map_err(system)?;
    }
    Ok(())
}

/// State, its source of samples, and the screen.
struct View {
    state: State,
    source: Source,
    theme: Theme,
    /// `None` only while the program is stopped.
    screen: Option<Screen>,
}

impl View {
    /// Draws and handles events until the program ends; returns the signal that ended it, if any.
    async fn run(&mut self, mut signals: Signals) -> Result<Option<i32>, Error> {
        let mut events = EventStream::new();
        let mut clock = interval(TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.draw()?;
            tokio::select! {
                signal = signals.next() => match signal {
                    // Another process stopped the program, and the shell has used the terminal meanwhile.
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
            Some(Update::Done(outcome)) => self.state.set_note(outcome, now),
            // The task runs as long as this end of its channel is open.
            None => return Err(Error::Stopped),
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Result<ControlFlow<()>, Error> {
        // A new size takes effect in the next drawing.
        let Event::Key(key) = event else { return Ok(ControlFlow::Continue(())) };
        let effect = keys::command(key, self.state.mode()).and_then(|command| self.state.apply(command));
        let is_accepted = match effect {
            None => true,
            Some(Effect::Quit) => return Ok(ControlFlow::Break(())),
            Some(Effect::Suspend) => self.suspend().map(|()| true).map_err(system)?,
            Some(Effect::Redraw) => {
                let redrawn = self.screen.as_mut().map_or(Ok(()), Screen::invalidate);
                redrawn.map(|()| true).map_err(system)?
            }
            Some(Effect::Watch(id)) => self.source.watch(id),
            Some(Effect::Do(action)) => self.source.act(action),
        };
        if !is_accepted {
            self.state.set_note("not done; the daemon hasn't answered the previous request yet".into(), Instant::now());
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Leaves the terminal to the shell until the program is continued.
    fn suspend(&mut self) -> io::Result<()> {
        self.screen = None;
        raise(Signal::SIGTSTP)?;
        self.take_terminal()
    }

    /// Takes the terminal over anew.
    fn take_terminal(&mut self) -> io::Result<()> {
        self.screen = None;
        self.screen = Some(Screen::enter()?);
        Ok(())
    }
}

/// Returns the signals that end the program, and SIGCONT. A signal that arrives a second time ends it at once, since a
/// blocked terminal keeps the program from handling the first.
fn signals() -> io::Result<Signals> {
    for signal in ENDING {
        let has_arrived = Arc::new(AtomicBool::new(false));
        // In this order, so that the first signal only sets the flag.
        flag::register_conditional_default(signal, Arc::clone(&has_arrived))?;
        flag::register(signal, has_arrived)?;
    }
    Signals::new([SIGCONT].iter().chain(&ENDING))
}

fn system(error: io::Error) -> Error {
    Error::System("terminal", error)
}

/// Signals that end the program.
const ENDING: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];
/// Interval at which the screen is redrawn without an event, for what changes with time.
const TICK: Duration = Duration::from_secs(1);

const INSTEAD: &str = "for programs there are ws-routerctl list --json, status --json and events --follow --json, \
    and GET /metrics on the admin socket";

#[cfg(test)]
mod tests;
