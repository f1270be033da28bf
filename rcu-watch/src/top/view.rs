//! Which part of the picture is shown, and what each key does to that.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The lower half of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Panel {
    #[default]
    Findings,
    Guards,
    Handlers,
    Blind,
    Help,
}

impl Panel {
    pub const ALL: &[Self] = &[Self::Findings, Self::Guards, Self::Handlers, Self::Blind, Self::Help];

    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Findings => "findings",
            Self::Guards => "guards",
            Self::Handlers => "handlers",
            Self::Blind => "loss and blind spots",
            Self::Help => "help",
        }
    }
}

/// Buckets of a tenth of a second that one column shows.
const SCALES: &[usize] = &[1, 2, 5, 10];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub panel: Panel,
    /// First CPU row shown.
    pub first_cpu: usize,
    pub paused: bool,
    pub ascii: bool,
    scale: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Stay,
    Quit,
    /// Draw all of it again: somebody else wrote on the terminal, or it was resized.
    DrawAnew,
}

impl View {
    #[must_use]
    pub fn buckets_per_column(&self) -> usize {
        SCALES[self.scale]
    }

    pub fn press(&mut self, key: KeyEvent, cpus: usize) -> Action {
        let at = Panel::ALL.iter().position(|panel| *panel == self.panel).unwrap_or(0);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Action::Quit,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Action::Quit,
            KeyCode::Char('l') if key.modifiers.contains(KeyModifiers::CONTROL) => return Action::DrawAnew,
            KeyCode::Char(' ' | 'p') => self.paused = !self.paused,
            KeyCode::Tab | KeyCode::Right => self.panel = Panel::ALL[(at + 1) % Panel::ALL.len()],
            KeyCode::BackTab | KeyCode::Left => {
                self.panel = Panel::ALL[(at + Panel::ALL.len() - 1) % Panel::ALL.len()];
            }
            KeyCode::Char('h' | '?') => self.panel = Panel::Help,
            KeyCode::Char(digit @ '1'..='5') => self.panel = Panel::ALL[digit as usize - '1' as usize],
            KeyCode::Down | KeyCode::Char('j') => {
                self.first_cpu = (self.first_cpu + 1).min(cpus.saturating_sub(1));
            }
            KeyCode::Up | KeyCode::Char('k') => self.first_cpu = self.first_cpu.saturating_sub(1),
            KeyCode::Char('-') => self.scale = (self.scale + 1).min(SCALES.len() - 1),
            KeyCode::Char('+' | '=') => self.scale = self.scale.saturating_sub(1),
            KeyCode::Char('a') => self.ascii = !self.ascii,
            _ => {}
        }
        Action::Stay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(view: &mut View, code: KeyCode) -> Action {
        view.press(KeyEvent::new(code, KeyModifiers::NONE), 2)
    }

    #[test]
    fn q_escape_and_control_c_quit() {
        let mut view = View::default();
        assert_eq!(press(&mut view, KeyCode::Char('q')), Action::Quit);
        assert_eq!(press(&mut view, KeyCode::Esc), Action::Quit);
        assert_eq!(press(&mut view, KeyCode::Char('c')), Action::Stay);
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(view.press(key, 2), Action::Quit);
    }

    #[test]
    fn control_l_draws_anew_and_l_does_nothing() {
        let mut view = View::default();
        assert_eq!(press(&mut view, KeyCode::Char('l')), Action::Stay);
        let key = KeyEvent::new(KeyCode::Char('l'), KeyModifiers::CONTROL);
        assert_eq!(view.press(key, 2), Action::DrawAnew);
    }

    #[test]
    fn panels_go_round_both_ways_and_by_number() {
        let mut view = View::default();
        press(&mut view, KeyCode::BackTab);
        assert_eq!(view.panel, Panel::Help);
        press(&mut view, KeyCode::Tab);
        assert_eq!(view.panel, Panel::Findings);
        press(&mut view, KeyCode::Char('2'));
        assert_eq!(view.panel, Panel::Guards);
    }

    #[test]
    fn scrolling_and_scaling_stop_at_the_ends() {
        let mut view = View::default();
        for _ in 0..5 {
            press(&mut view, KeyCode::Down);
            press(&mut view, KeyCode::Char('-'));
        }
        assert_eq!((view.first_cpu, view.buckets_per_column()), (1, 10));
        for _ in 0..5 {
            press(&mut view, KeyCode::Up);
            press(&mut view, KeyCode::Char('+'));
        }
        assert_eq!((view.first_cpu, view.buckets_per_column()), (0, 1));
    }
}
