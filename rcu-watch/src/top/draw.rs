//! The picture as a screen: rates, a strip a CPU, and one panel below.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border::{PLAIN, Set};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Wrap};
use rcu_watch_core::Severity;
use rcu_watch_core::report::GracePeriod;
use rcu_watch_core::report::finding::Holder;

use crate::top::picture::Picture;
use crate::top::strip::{BUCKET_NS, Bucket, Now, Strip};
use crate::top::view::{Panel, View};

/// Before a CPU's strip: its number, what it does now, and its share of EQS.
const LABEL: usize = 22;

pub fn draw(frame: &mut Frame<'_>, picture: &Picture, view: &View) {
    let rows = u16::try_from(picture.cpus.len()).unwrap_or(u16::MAX);
    let [head, cpus, panel, foot] = Layout::vertical([
        Constraint::Length(3),
        // The strips get what they need, up to half of the screen.
        Constraint::Length(rows.saturating_add(1).min(frame.area().height / 2).max(2)),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(title(picture, view)), head);
    frame.render_widget(Paragraph::new(strips(picture, view, cpus)), cpus);
    let names = Panel::ALL.iter().enumerate().map(|(index, panel)| {
        let style =
            if *panel == view.panel { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        Span::styled(format!(" {} {} ", index + 1, panel.title()), style)
    });
    let rule = Set { horizontal_top: if view.ascii { "-" } else { PLAIN.horizontal_top }, ..PLAIN };
    let block = Block::new().borders(Borders::TOP).border_set(rule).title(Line::from_iter(names));
    let lines = Paragraph::new(lines(picture, view.panel)).wrap(Wrap { trim: false });
    frame.render_widget(lines.block(block), panel);
    let keys = "q quit  space pause  tab panel  up/down CPUs  +/- time  ? help";
    frame.render_widget(Paragraph::new(keys).style(Style::new().add_modifier(Modifier::DIM)), foot);
}

fn title(picture: &Picture, view: &View) -> Vec<Line<'static>> {
    let now = &picture.now;
    let seconds = now.elapsed_ns.0 / 1_000_000_000;
    let (state, style) = match picture {
        Picture { ended: Some(why), .. } => (format!("ended: {why}"), Style::new()),
        _ if view.paused => ("paused".to_owned(), Style::new().fg(Color::Yellow)),
        _ if now.findings > 0 => {
            ("BREAK".to_owned(), Style::new().fg(Color::Red).add_modifier(Modifier::BOLD))
        }
        _ if now.lost > 0 => ("LOSS".to_owned(), Style::new().fg(Color::Yellow)),
        _ => ("ok".to_owned(), Style::new().fg(Color::Green)),
    };
    let rates = picture.rates;
    let cost = now.kernel_cost_percent.map_or_else(String::new, |cost| format!("{cost:.2}% + "));
    vec![
        Line::from(vec![
            Span::raw(format!("{}  {:02}:{:02}  ", picture.title, seconds / 60, seconds % 60)),
            Span::styled(state, style),
        ]),
        Line::from(format!(
            "{:.0} switches/s  {:.0} handler calls/s  {:.0} idle entries/s  {:.0} NMIs/s  {:.0} breaks/s",
            rates.switches, rates.handler_calls, rates.idle_entries, rates.nmis, rates.findings
        )),
        Line::from(vec![
            Span::raw(format!(
                "breaks {}  lost {}  missed {}  cost {cost}{:.2}%",
                now.findings, now.lost, now.missed, now.user_cost_percent
            )),
            Span::styled(held(picture), Style::new().fg(Color::Yellow)),
        ]),
    ]
}

/// `  rcu grace period 12 s: cpu 1`
fn held(picture: &Picture) -> String {
    let one = |period: &GracePeriod| {
        let seconds = period.age_ns.0 / 1_000_000_000;
        let who: Vec<String> = period.waited_for.iter().map(who).collect();
        let who = if who.is_empty() { String::new() } else { format!(": {}", who.join(", ")) };
        format!("  {} grace period {seconds} s{who}", period.flavour.name())
    };
    picture.grace_periods.values().map(one).collect()
}

fn who(holder: &Holder) -> String {
    match (holder.cpu, &holder.task) {
        (Some(cpu), _) => format!("cpu {cpu}"),
        (None, Some(task)) => format!("{}[{}]", task.comm, task.pid),
        (None, None) => "?".to_owned(),
    }
}

fn strips(picture: &Picture, view: &View, area: Rect) -> Vec<Line<'static>> {
    let columns = usize::from(area.width).saturating_sub(LABEL);
    let per_column = view.buckets_per_column();
    let column_s = (per_column as u64 * BUCKET_NS) as f64 / 1e9;
    let glyphs = Glyphs::new(view.ascii);
    let legend = format!(
        "{:LABEL$}{column_s} s a column  {} watched  {} {} {} in part  {} EQS  i irq  N NMI  ! new break",
        "CPU  now       EQS", glyphs.0[0], glyphs.0[1], glyphs.0[2], glyphs.0[3], glyphs.0[4]
    );
    let mut lines = vec![Line::styled(legend, Style::new().add_modifier(Modifier::DIM))];
    let rows = usize::from(area.height).saturating_sub(1);
    let first = view.first_cpu.min(picture.cpus.len().saturating_sub(rows));
    lines.extend(picture.cpus.iter().skip(first).take(rows).map(|(cpu, strip)| {
        let mut spans = vec![Span::raw(label(cpu.0, strip))];
        let shown = strip.columns(columns, per_column);
        spans.push(Span::raw(" ".repeat(columns.saturating_sub(shown.len()))));
        spans.extend(shown.iter().map(|bucket| glyphs.of(bucket)));
        Line::from(spans)
    }));
    lines
}

fn label(cpu: u32, strip: &Strip) -> String {
    let now = match strip.now {
        Now::Unknown => "?".to_owned(),
        Now::Watching if strip.pid == 0 => "idle task".to_owned(),
        Now::Watching => format!("pid {}", strip.pid),
        Now::Eqs(state) => format!("EQS C{state}"),
    };
    let share =
        strip.eqs_share().map_or_else(|| "   -".to_owned(), |share| format!("{:3.0}%", share * 100.0));
    format!("{cpu:<4} {now:<10.10}{share}   ")
}

/// From watched to EQS. A serial console may know ASCII only.
struct Glyphs([char; 5]);

impl Glyphs {
    fn new(ascii: bool) -> Self {
        Self(if ascii { ['#', '=', '-', ':', '.'] } else { ['█', '▓', '▒', '░', '·'] })
    }

    /// The most telling thing of a bucket.
    fn of(&self, bucket: &Bucket) -> Span<'static> {
        let all = bucket.eqs_ns + bucket.watched_ns;
        let share = |steps: u64| usize::try_from(bucket.eqs_ns * steps / all).unwrap_or(0);
        let (glyph, style) = match bucket {
            Bucket { breaks: 1.., .. } => ('!', Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)),
            Bucket { nmis: 1.., .. } => ('N', Style::new().fg(Color::Magenta)),
            Bucket { irqs: 1.., .. } => ('i', Style::new().fg(Color::Yellow)),
            _ if all == 0 => (' ', Style::new()),
            // Only what is wholly one or the other gets the outer glyphs.
            _ if bucket.eqs_ns == 0 => (self.0[0], Style::new().fg(Color::Green)),
            _ if bucket.watched_ns == 0 => (self.0[4], Style::new().fg(Color::Blue)),
            _ => (self.0[1 + share(3).min(2)], Style::new().fg(Color::Cyan)),
        };
        Span::styled(glyph.to_string(), style)
    }
}

fn lines(picture: &Picture, panel: Panel) -> Vec<Line<'static>> {
    let lines = match panel {
        Panel::Findings => findings(picture),
        Panel::Guards => guards(picture),
        Panel::Handlers => handlers(picture),
        Panel::Blind => blind(picture),
        Panel::Help => help(),
    };
    if lines.is_empty() { vec![Line::from("none")] } else { lines }
}

fn findings(picture: &Picture) -> Vec<Line<'static>> {
    let line = |kind: &&crate::top::picture::Kind| {
        let style = match kind.severity {
            Severity::Error => Style::new().fg(Color::Red),
            Severity::Warning => Style::new().fg(Color::Yellow),
            Severity::Info => Style::new().fg(Color::Cyan),
        };
        let handlers =
            if kind.handlers.is_empty() { String::new() } else { format!(" <- {}", kind.handlers) };
        Line::from(vec![
            Span::raw(format!("{:>10}  ", kind.count)),
            Span::styled(format!("{:7}", kind.severity), style),
            Span::raw(format!(" {} {} {}{handlers}", kind.rule, kind.rule.name(), kind.function)),
        ])
    };
    picture.worst().iter().map(line).collect()
}

fn guards(picture: &Picture) -> Vec<Line<'static>> {
    let guards = picture.guards();
    if guards.is_empty() {
        return vec![Line::from("no break yet that a guard could have prevented")];
    }
    let width = guards.iter().map(|(guard, ..)| guard.name().len()).max().unwrap_or(0);
    guards
        .into_iter()
        .map(|(guard, protects, all)| {
            Line::from(format!("{:width$}  would have protected {protects} of {all}", guard.name()))
        })
        .collect()
}

fn handlers(picture: &Picture) -> Vec<Line<'static>> {
    let line = |site: &rcu_watch_core::report::header::HandledSite| {
        let names: Vec<_> = site.handlers.iter().map(|handler| handler.name.as_str()).collect();
        Line::from(format!("{} <- {}", site.function, names.join(", ")))
    };
    picture.handlers.iter().map(line).collect()
}

fn blind(picture: &Picture) -> Vec<Line<'static>> {
    let lost = picture.notes.iter().rev().take(5).map(|note| Line::from(note.clone()));
    let spots = picture.blind_spots.iter().map(|spot| {
        let remedy = spot.remedy.as_ref().map_or_else(String::new, |remedy| format!(" -> {remedy}"));
        Line::from(format!("not seen: {} ({}){remedy}", spot.what, spot.reason))
    });
    lost.chain(spots).collect()
}

fn help() -> Vec<Line<'static>> {
    [
        "A row is a CPU, a column a piece of time, the newest on the right.",
        "EQS: RCU ignores the CPU (idle, or user space without a tick). Code that uses RCU there is unprotected.",
        "The share is of the last second. irq and NMI show where this kernel lets them be seen.",
        "q, Esc, Ctrl-C  end, with a summary       space, p   stop and go on drawing",
        "tab, 1 to 5     the panels                up, down   scroll the CPUs",
        "+, -            time in a column          a          plain ASCII, for a serial console",
        "Ctrl-L          draw anew",
    ]
    .map(Line::from)
    .to_vec()
}
