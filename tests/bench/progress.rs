//! What goes on, on stderr: one line that moves for a person at a terminal, one line a phase for a log.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Between two movements of the bar.
const REDRAW: Duration = Duration::from_millis(100);
const WIDTH: u64 = 30;

/// The line.
pub(crate) struct Progress {
    moves: bool,
    title: String,
    began: Instant,
    drawn: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            moves: stderr().is_terminal(),
            title: String::new(),
            began: Instant::now(),
            drawn: None,
        }
    }

    /// A phase begins.
    pub(crate) fn phase(&mut self, title: impl Into<String>) {
        self.title = title.into();
        self.began = Instant::now();
        self.drawn = None;
        if self.moves {
            self.draw("");
        } else {
            eprintln!("{}", self.title);
        }
    }

    /// So much of it is done.
    pub(crate) fn at(&mut self, done: u64, all: u64) {
        if !self.moves || self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        let all = all.max(1);
        let bar: String = (0..WIDTH)
            .map(|cell| if cell * all < done * WIDTH { '#' } else { '.' })
            .collect();
        let seconds = self.began.elapsed().as_secs();
        self.draw(&format!(" {bar} {:3} %  {seconds} s", done * 100 / all));
    }

    /// Says something that stays.
    pub(crate) fn note(&mut self, text: &str) {
        self.clear();
        eprintln!("{text}");
    }

    /// Takes the moving line away.
    pub(crate) fn clear(&mut self) {
        if self.moves {
            eprint!("\r\x1b[K");
        }
    }

    fn draw(&mut self, rest: &str) {
        self.drawn = Some(Instant::now());
        eprint!("\r\x1b[K{}{rest}", self.title);
        // A terminal that has gone away is no reason to stop measuring.
        let _ = stderr().flush();
    }
}
