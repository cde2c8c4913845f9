//! State of the screen: it receives samples and commands, and returns effects.
//!
//! It is pure: time is an argument, and nothing is requested or drawn here. A question identifies its subject by id, so that
//! its answer can't affect another row that has moved under the cursor.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ws_router_admin_api as wire;

use super::columns::Column;
use super::keys::{Command, Mode};
use super::listing::{Listing, Step};
use super::rates::{Counts, History, Rates, span};
use super::rows::{MemberRow, Pace, RegistrationRow, Row, paces};

/// Data of the daemon at one time.
#[derive(Debug)]
pub(super) struct Sample {
    /// Time of the request.
    pub(super) at: Instant,
    pub(super) status: wire::Status,
    pub(super) registrations: Vec<wire::Registration>,
    /// Id of the open registration, with its members; `None` inside if the registration has ended.
    pub(super) detail: Option<(String, Option<wire::RegistrationDetail>)>,
}

/// State of the screen.
#[derive(Debug)]
pub(super) struct State {
    /// Time between two samples.
    pub(super) interval: Duration,
    pub(super) status: wire::Status,
    /// The rates of all registrations together.
    pub(super) totals: History,
    pub(super) registrations: Listing<RegistrationRow>,
    pub(super) detail: Option<Detail>,
    pub(super) dialog: Dialog,
    /// Time since which the daemon hasn't answered, and the error.
    pub(super) away: Option<(Instant, String)>,
    note: Option<(String, Instant)>,
    counts: Counts,
    /// Time of the last sample.
    sampled: Instant,
    /// Time at which `counts` were read.
    based: Instant,
}

/// Part of the screen that receives the keys instead of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dialog {
    None,
    /// The help, with its first visible line.
    Help(usize),
    Question(Action),
    /// A filter that is being typed, with the previous filter.
    Filter(String),
}

/// Request that changes the daemon's registrations or members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Close the connection of a member, with its description.
    Disconnect(u64, String),
    /// Remove a registration, with its number of members.
    Remove(String, u64),
}

/// Effect that the caller has to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    Quit,
    Suspend,
    Redraw,
    Do(Action),
    /// Request the members of a registration from now on, or of none.
    Watch(Option<String>),
}

impl State {
    /// Creates the state from a first sample, which gives no rates yet.
    pub(super) fn new(first: Sample, interval: Duration) -> Self {
        let (counts, based) = (Counts::from(&first.status.relay), first.at);
        let mut registrations = Listing::new(Column::Messages);
        registrations.replace(first.registrations.into_iter().map(|known| row(known, None, None)).collect());
        Self {
            interval,
            status: first.status,
            totals: History::default(),
            registrations,
            detail: None,
            dialog: Dialog::None,
            away: None,
            note: None,
            counts,
            sampled: first.at,
            based,
        }
    }

    /// Applies a sample.
    pub(super) fn sample(&mut self, sample: Sample) {
        let has_restarted = sample.status.uptime_ms < self.status.uptime_ms;
        let restarted = if has_restarted { ", and was restarted" } else { "" };
        match self.away.take() {
            Some((since, _)) => {
                let duration = span(millis(sample.at.saturating_duration_since(since)));
                self.set_note(format!("the daemon is back after {duration}{restarted}"), sample.at);
            }
            None if has_restarted => self.set_note("the daemon was restarted".into(), sample.at),
            None => {}
        }
        let time = self.time_for(self.based, sample.at);
        if time.is_some() || has_restarted {
            let now = Counts::from(&sample.status.relay);
            let rates = time.filter(|_| !has_restarted).and_then(|time| Rates::between(self.counts, now, time));
            self.totals.push(rates);
            (self.counts, self.based) = (now, sample.at);
        }
        (self.status, self.sampled) = (sample.status, sample.at);
        let before = paces(self.registrations.rows());
        let rows = sample.registrations.into_iter();
        self.registrations.replace(rows.map(|known| row(known, Some(&before), time)).collect());
        if let (Some((id, members)), Some(detail)) = (sample.detail, &mut self.detail)
            && detail.id == id
        {
            detail.sample(members, sample.at, self.interval, &self.registrations);
        }
    }

    /// Records that the daemon doesn't answer.
    pub(super) fn lost(&mut self, why: String, now: Instant) {
        self.totals.push(None);
        let since = self.away.as_ref().map_or(now, |(since, _)| *since);
        self.away = Some((since, why));
    }

    /// Shows a line for a few seconds.
    pub(super) fn set_note(&mut self, note: String, now: Instant) {
        self.note = Some((note, now));
    }

    /// Returns the age of the sample if it is older than it should be.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let age = now.saturating_duration_since(self.sampled);
        (age > self.interval * 2 + LATE).then_some(age)
    }

    /// Returns the line to show now.
    pub(super) fn note(&self, now: Instant) -> Option<String> {
        if let Some((since, why)) = &self.away {
            let duration = span(millis(now.saturating_duration_since(*since)));
            return Some(format!("no answer from the daemon for {duration} ({why}); retrying"));
        }
        let recent = self.note.as_ref().filter(|(_, at)| now.saturating_duration_since(*at) < NOTED);
        recent.map(|(note, _)| note.clone())
    }

    /// Returns the part of the screen that receives the keys.
    pub(super) fn mode(&self) -> Mode {
        match (&self.dialog, &self.detail) {
            (Dialog::Help(_), _) => Mode::Help,
            (Dialog::Question(_), _) => Mode::Question,
            (Dialog::Filter(_), _) => Mode::Filter,
            (Dialog::None, Some(_)) => Mode::Members,
            (Dialog::None, None) => Mode::Registrations,
        }
    }

    /// Carries out a command.
    pub(super) fn apply(&mut self, command: Command) -> Option<Effect> {
        match command {
            Command::Quit => return Some(Effect::Quit),
            Command::Suspend => return Some(Effect::Suspend),
            Command::Redraw => return Some(Effect::Redraw),
            Command::Step(step) => self.step(step),
            Command::Open => return self.open(),
            Command::Back => return self.back(),
            Command::SortBy(column) => self.table(|rows| rows.sort_by(column), |rows| rows.sort_by(column)),
            Command::Reverse => self.table(Listing::reverse, Listing::reverse),
            Command::Disconnect => self.ask_to_disconnect(),
            Command::Remove => self.ask_to_remove(),
            Command::Help => self.dialog = Dialog::Help(0),
            Command::Filter => self.dialog = Dialog::Filter(self.filter().to_owned()),
            Command::Type(letter) => self.set_filter(format!("{}{letter}", self.filter())),
            Command::Erase => {
                let mut filter = self.filter().to_owned();
                filter.pop();
                self.set_filter(filter);
            }
            Command::Yes => {
                if let Dialog::Question(action) = std::mem::replace(&mut self.dialog, Dialog::None) {
                    return Some(Effect::Do(action));
                }
            }
            Command::No => {
                if let Dialog::Filter(before) = std::mem::replace(&mut self.dialog, Dialog::None) {
                    self.set_filter(before);
                }
            }
        }
        None
    }

    /// Sets the number of rows that fit the screen, and the last line at which the help can start.
    pub(super) fn fit(&mut self, rows: usize, last_help_line: usize) {
        self.table(|listing| listing.fit(rows), |listing| listing.fit(rows));
        if let Dialog::Help(line) = &mut self.dialog {
            *line = (*line).min(last_help_line);
        }
    }

    /// Returns the filter of the table on the screen.
    pub(super) fn filter(&self) -> &str {
        self.detail.as_ref().map_or(self.registrations.filter(), |detail| detail.members.filter())
    }

    /// Returns the time between two samples, unless it is too short for rates.
    fn time_for(&self, before: Instant, now: Instant) -> Option<Duration> {
        let time = now.saturating_duration_since(before);
        (time * 2 >= self.interval).then_some(time)
    }

    fn step(&mut self, step: Step) {
        if let Dialog::Help(line) = &mut self.dialog {
            *line = match step {
                Step::Up => line.saturating_sub(1),
                Step::Down => line.saturating_add(1),
                Step::PageUp | Step::First => 0,
                Step::PageDown => line.saturating_add(HELP_PAGE),
                Step::Last => usize::MAX,
            };
        } else {
            self.table(|rows| rows.step(step), |rows| rows.step(step));
        }
    }

    fn open(&mut self) -> Option<Effect> {
        if self.detail.is_some() {
            return None;
        }
        let id = self.registrations.picked_row()?.id().clone();
        self.detail = Some(Detail::new(id.clone()));
        Some(Effect::Watch(Some(id)))
    }

    fn back(&mut self) -> Option<Effect> {
        match &self.dialog {
            Dialog::None if !self.filter().is_empty() => self.set_filter(String::new()),
            Dialog::None => return self.detail.take().map(|_| Effect::Watch(None)),
            _ => self.dialog = Dialog::None,
        }
        None
    }

    fn ask_to_disconnect(&mut self) {
        let member = self.detail.as_ref().and_then(|detail| detail.members.picked_row());
        let Some(member) = member.map(|row| &row.known) else { return };
        let description = format!("{} {} from {}", member.role.as_str(), member.id, member.address);
        self.dialog = Dialog::Question(Action::Disconnect(member.id, description));
    }

    fn ask_to_remove(&mut self) {
        let registration = match &self.detail {
            Some(detail) if detail.has_ended => None,
            Some(detail) => detail.known.as_ref(),
            None => self.registrations.picked_row().map(|row| &row.known),
        };
        let Some(registration) = registration else { return };
        self.dialog = Dialog::Question(Action::Remove(registration.id.clone(), registration.seats));
    }

    fn set_filter(&mut self, filter: String) {
        match &mut self.detail {
            Some(detail) => detail.members.set_filter(filter),
            None => self.registrations.set_filter(filter),
        }
    }

    /// Calls one of two functions with the table on the screen.
    fn table(
        &mut self,
        registrations: impl FnOnce(&mut Listing<RegistrationRow>),
        members: impl FnOnce(&mut Listing<MemberRow>),
    ) {
        match &mut self.detail {
            Some(detail) => members(&mut detail.members),
            None => registrations(&mut self.registrations),
        }
    }
}

/// Open registration with its members.
#[derive(Debug)]
pub(super) struct Detail {
    pub(super) id: String,
    /// Its data; `None` before the first sample.
    pub(super) known: Option<wire::Registration>,
    /// Whether it has ended.
    pub(super) has_ended: bool,
    pub(super) rates: History,
    pub(super) members: Listing<MemberRow>,
    based: Option<Instant>,
}

impl Detail {
    /// Creates the view of a registration of which only the id is known.
    pub(super) fn new(id: String) -> Self {
        let (rates, members) = (History::default(), Listing::new(Column::Number));
        Self { id, known: None, has_ended: false, rates, members, based: None }
    }

    /// Applies a sample, or `None` if the registration has ended. Its own rates come from the table of registrations.
    pub(super) fn sample(
        &mut self,
        detail: Option<wire::RegistrationDetail>,
        at: Instant,
        interval: Duration,
        all: &Listing<RegistrationRow>,
    ) {
        let Some(detail) = detail else {
            self.has_ended = true;
            self.rates.push(None);
            self.members.replace(Vec::new());
            return;
        };
        self.has_ended = false;
        let time = self.based.map(|based| at.saturating_duration_since(based)).filter(|time| *time * 2 >= interval);
        if time.is_some() || self.based.is_none() {
            let row = all.rows().iter().find(|row| row.known.id == self.id);
            self.rates.push(row.and_then(|row| row.pace.rates));
            self.based = Some(at);
        }
        let before = paces(self.members.rows());
        let pace = |known: &wire::Member| match before.get(&known.id) {
            Some(pace) => pace.next(known.into(), time),
            None => Pace::first(known.into(), time),
        };
        let rows = detail.members.into_iter().map(|known| MemberRow { pace: pace(&known), known });
        self.members.replace(rows.collect());
        self.known = Some(detail.registration);
    }
}

/// Returns the row of a registration, with its rates if there is an earlier sample.
fn row(known: wire::Registration, before: Option<&HashMap<String, Pace>>, time: Option<Duration>) -> RegistrationRow {
    let now = Counts::from(&known);
    let pace = match before.map(|before| before.get(&known.id)) {
        None => Pace::first(now, None),
        Some(None) => Pace::first(now, time),
        Some(Some(pace)) => pace.next(now, time),
    };
    RegistrationRow { known, pace }
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

/// Delay of a busy daemon that isn't shown.
const LATE: Duration = Duration::from_secs(1);
/// Time for which a note is shown.
const NOTED: Duration = Duration::from_secs(8);
/// Number of lines in a page of the help.
const HELP_PAGE: usize = 5;
