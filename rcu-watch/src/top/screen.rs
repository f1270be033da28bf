//! The terminal: its thread, its size, its keys, and giving it back.

use std::env;
use std::io::{self, Stdout, Write as _};
use std::panic;
use std::sync::Once;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyEventKind};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{cursor, execute};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};

use crate::top::draw::draw;
use crate::top::picture::Picture;
use crate::top::shared::Shared;
use crate::top::view::{Action, View};

const FRAME: Duration = Duration::from_millis(100);

/// Takes the terminal and draws until the viewer quits or it is dropped, which gives the terminal back.
#[derive(Debug)]
pub(crate) struct Screen {
    shared: Shared,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Screen {
    /// `is_over` is asked ten times a second whether somebody else wants the end.
    pub(crate) fn open(
        shared: Shared,
        mut is_over: impl FnMut() -> bool + Send + 'static,
    ) -> io::Result<Self> {
        static HOOK: Once = Once::new();
        // A panic may end the process at once: what it has to say is to be read on the terminal as it was.
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |panicked| {
                give_back();
                before(panicked);
            }));
        });
        enable_raw_mode()?;
        // From here on whatever fails gives back what was taken.
        let mut screen = Self { shared: shared.clone(), thread: None };
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        screen.thread = Some(thread::Builder::new().name("screen".to_owned()).spawn(move || {
            let shown = show(&shared, &mut is_over);
            // Without a screen nobody watches: the run ends as if the viewer had quit.
            shared.quit.store(true, Ordering::Relaxed);
            shown
        })?);
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::Relaxed);
        let shown = self.thread.take().map(JoinHandle::join);
        give_back();
        if let Some(Ok(Err(error))) = shown {
            let _ = writeln!(io::stderr(), "rcu-watch: cannot draw: {error}");
        }
    }
}

fn give_back() {
    // Where the terminal cannot be restored, no message about it could be read on it either.
    let _ = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}

fn show(shared: &Shared, is_over: &mut impl FnMut() -> bool) -> io::Result<()> {
    let mut terminal = terminal()?;
    let mut view = View::default();
    view.ascii = is_ascii_only();
    let mut frozen = Picture::default();
    while !shared.quit.load(Ordering::Relaxed) && !is_over() {
        if !view.paused {
            // A copy, so that a slow line holds up the drawing and not the run.
            frozen = shared.with(|picture| picture.clone());
            frozen.settle();
        }
        terminal.draw(|frame| draw(frame, &frozen, &view))?;
        let next = Instant::now() + FRAME;
        while let Some(left) = next.checked_duration_since(Instant::now()) {
            if !event::poll(left)? {
                break;
            }
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    match view.press(key, frozen.cpus.len()) {
                        Action::Quit => return Ok(()),
                        Action::DrawAnew => terminal.clear()?,
                        Action::Stay => {}
                    }
                    break;
                }
                // Whoever resized may have moved what was drawn.
                Event::Resize(..) => {
                    terminal.clear()?;
                    break;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A serial console does not know its size and says 0 by 0: it gets that of a VT100.
fn terminal() -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    let backend = CrosstermBackend::new(io::stdout());
    match crossterm::terminal::size() {
        Ok((width, height)) if width > 0 && height > 0 => Terminal::new(backend),
        _ => {
            let viewport = Viewport::Fixed(Rect::new(0, 0, 80, 24));
            Terminal::with_options(backend, TerminalOptions { viewport })
        }
    }
}

/// Whether block characters would come out as something else: no UTF-8 locale, or a terminal of old.
fn is_ascii_only() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| env::var(name).ok().filter(|v| !v.is_empty()));
    let utf8 = locale.is_some_and(|locale| locale.to_ascii_lowercase().replace('-', "").contains("utf8"));
    let old = env::var("TERM").is_ok_and(|term| term.starts_with("vt") || term == "dumb" || term == "ansi");
    old || !utf8
}
