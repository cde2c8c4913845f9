//! The terminal while `top` has it: keys one by one, on the other screen, and given back as it was whatever happens.
//!
//! Given back by the guard's drop when the program ends or fails, and by the panic hook before a panic is told, since
//! its text would be lost with the other screen. Signals end the program's loop, and thereby the guard.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal};
use std::os::fd::AsFd;
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};

/// The terminal, as long as this is there.
#[derive(Debug)]
pub(super) struct Screen {
    // Dropped in this order.
    terminal: Terminal<CrosstermBackend<BufWriter<File>>>,
    _guard: Guard,
}

#[derive(Debug)]
struct Guard;

impl Screen {
    /// Takes the terminal.
    pub(super) fn enter() -> io::Result<Self> {
        give_back_before_a_panic_is_told();
        let guard = Guard;
        TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        let mut out = output()?;
        execute!(out, EnterAlternateScreen, Hide)?;
        Ok(Self { terminal: Terminal::new(CrosstermBackend::new(out))?, _guard: guard })
    }

    /// Draws, in the size that the terminal has now; only what has changed is written.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(|_| ())
    }

    /// Has the next drawing write everything.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        give_back();
    }
}

/// Tells whether there is a terminal that can be drawn on and typed at.
pub(super) fn is_there() -> bool {
    let is_plain = std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_plain
}

fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // If the terminal has gone, there is nothing to give back.
    let _ = output().and_then(|mut out| execute!(out, LeaveAlternateScreen, Show));
    let _ = disable_raw_mode();
}

fn give_back_before_a_panic_is_told() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            tell(panic);
        }));
    });
}

/// A file of its own for the terminal: the library's standard output is locked by who called, and a panic in another
/// thread must be able to write as well.
fn output() -> io::Result<BufWriter<File>> {
    Ok(BufWriter::with_capacity(BUFFER, File::from(io::stdout().as_fd().try_clone_to_owned()?)))
}

/// Whether there is something to give back.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// A full screen in one write, so that none is seen half drawn.
const BUFFER: usize = 64 * 1024;

#[cfg(test)]
mod tests;
