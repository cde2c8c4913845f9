//! The terminal in raw mode and on its alternate screen, restored however the program ends.
//!
//! A guard restores it when it is dropped, and the panic hook before a panic is reported, since the report would be lost
//! with the alternate screen. A signal ends the program's loop, and thereby drops the guard.

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

/// Terminal in raw mode; dropping it restores the terminal.
#[derive(Debug)]
pub(super) struct Screen {
    // Fields are dropped in this order.
    terminal: Terminal<CrosstermBackend<BufWriter<File>>>,
    _guard: Guard,
}

#[derive(Debug)]
struct Guard;

impl Screen {
    /// Takes the terminal over.
    pub(super) fn enter() -> io::Result<Self> {
        install_panic_hook();
        let guard = Guard;
        TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        let mut out = output()?;
        execute!(out, EnterAlternateScreen, Hide)?;
        Ok(Self { terminal: Terminal::new(CrosstermBackend::new(out))?, _guard: guard })
    }

    /// Draws in the current size of the terminal; only changes are written.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(|_| ())
    }

    /// Makes the next drawing write everything.
    pub(super) fn invalidate(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        restore();
    }
}

/// Returns whether standard input and output are a terminal that can be drawn on.
pub(super) fn is_available() -> bool {
    let is_plain = std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_plain
}

/// Restores the terminal if it is taken over.
fn restore() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // If the terminal is gone, there is nothing to restore.
    let _ = output().and_then(|mut out| execute!(out, LeaveAlternateScreen, Show));
    let _ = disable_raw_mode();
}

/// Makes panics restore the terminal before they are reported.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
    });
}

/// Returns a file of its own for the terminal: the caller may hold the lock of the library's standard output, and a panic
/// in another thread must be able to write.
fn output() -> io::Result<BufWriter<File>> {
    Ok(BufWriter::with_capacity(BUFFER, File::from(io::stdout().as_fd().try_clone_to_owned()?)))
}

/// Whether the terminal is taken over.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Size of the write buffer: a full screen, so that it is written at once and never seen half drawn.
const BUFFER: usize = 64 * 1024;

#[cfg(test)]
mod tests;
