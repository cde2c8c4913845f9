//! A registration that is opened into its members, and what is known of both from sample to sample.
//!
//! It stays open after its end, so that nobody who watches it wonders where it is.

use std::time::{Duration, Instant};

use ws_router_admin_api as wire;

use super::columns::Column;
use super::history::History;
use super::listing::Listing;
use super::rows::{MemberRow, Pace, RegistrationRow, paces};

/// A registration that is opened into its members.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) id: String,
    /// What is known of it, once it was asked about.
    pub(super) known: Option<wire::Registration>,
    /// Whether it has ended meanwhile.
    pub(super) has_ended: bool,
    pub(super) rates: History,
    pub(super) members: Listing<MemberRow>,
    based: Option<Instant>,
}

impl Opened {
    /// Begins with nothing known but the id.
    pub(super) fn new(id: String) -> Self {
        let (rates, members) = (History::default(), Listing::new(Column::Number));
        Self { id, known: None, has_ended: false, rates, members, based: None }
    }

    /// Takes what the daemon told of it; nothing if it has ended. Its own rates are in the list of all.
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
