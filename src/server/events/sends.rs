//! Messages that clients send without joining (`POST /send`), added up until an event reports them.
//!
//! An event for each message would flood the log and push everything else out of the history, and members' messages cause
//! none either. So there is one for each registration and admission a minute at most, and one before a registration ends.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use ws_router_admin_api::event::{Admission, EventKind};
use ws_router_core::ids::RegistrationId;

use crate::sync::Arc;

/// What was sent and isn't reported yet.
#[derive(Debug, Default)]
pub(super) struct UnreportedSends {
    by_registration: HashMap<RegistrationId, Vec<Usage>>,
    /// Number of all usages.
    len: usize,
    /// Time of the first send.
    since: Option<Instant>,
}

/// Messages that were sent under one admission.
#[derive(Debug)]
struct Usage {
    admission: Option<Arc<Admission>>,
    messages: u64,
    bytes: u64,
}

impl UnreportedSends {
    /// Counts a message. Returns the events of all others before it if there are too many to hold.
    pub(super) fn count(
        &mut self,
        registration: &RegistrationId,
        admission: Option<Arc<Admission>>,
        bytes: usize,
        now: Instant,
    ) -> Vec<EventKind> {
        let known = self.by_registration.get_mut(registration.as_str());
        let known = known.and_then(|usages| usages.iter_mut().find(|usage| usage.admission == admission));
        if let Some(usage) = known {
            usage.messages += 1;
            usage.bytes += bytes as u64;
            return Vec::new();
        }
        let full = if self.len >= MAX_USAGES { self.take_all() } else { Vec::new() };
        let usage = Usage { admission, messages: 1, bytes: bytes as u64 };
        self.by_registration.entry(registration.clone()).or_default().push(usage);
        self.len += 1;
        self.since.get_or_insert(now);
        full
    }

    /// Returns the events that are due.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<EventKind> {
        let is_due = self.since.is_some_and(|since| now.saturating_duration_since(since) >= INTERVAL);
        if is_due { self.take_all() } else { Vec::new() }
    }

    /// Returns the events of a registration.
    pub(super) fn take(&mut self, registration: &RegistrationId) -> Vec<EventKind> {
        let Entry::Occupied(entry) = self.by_registration.entry(registration.clone()) else { return Vec::new() };
        let (registration, usages) = entry.remove_entry();
        self.len -= usages.len();
        if self.len == 0 {
            self.since = None;
        }
        events(registration, usages).collect()
    }

    /// Returns the events of all registrations.
    pub(super) fn take_all(&mut self) -> Vec<EventKind> {
        let Self { by_registration, .. } = std::mem::take(self);
        by_registration.into_iter().flat_map(|(registration, usages)| events(registration, usages)).collect()
    }
}

fn events(registration: RegistrationId, usages: Vec<Usage>) -> impl Iterator<Item = EventKind> {
    usages.into_iter().map(move |Usage { admission, messages, bytes }| EventKind::Sent {
        registration: registration.clone(),
        messages_in: messages,
        bytes_in: bytes,
        admission,
    })
}

/// Time after the first send after which it is reported, with all others until then.
const INTERVAL: Duration = Duration::from_secs(60);

/// Maximum number of usages, which take two hundred kilobytes. With more, they are reported at once.
const MAX_USAGES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> RegistrationId {
        RegistrationId::parse(name).unwrap()
    }

    fn admission(token: &str) -> Option<Arc<Admission>> {
        Some(Arc::new(Admission { rule: "devices".into(), token_name: Some(token.into()) }))
    }

    fn sent(name: &str, token: &str, messages_in: u64, bytes_in: u64) -> EventKind {
        EventKind::Sent { registration: id(name), messages_in, bytes_in, admission: admission(token) }
    }

    #[test]
    fn sends_of_one_registration_and_admission_are_one_event_a_minute_later() {
        let (mut sends, begin) = (UnreportedSends::default(), Instant::now());
        for (at, (token, bytes)) in [("phone", 5), ("tablet", 7), ("phone", 11)].into_iter().enumerate() {
            let now = begin + Duration::from_secs(at as u64);
            assert_eq!(sends.count(&id("my-device"), admission(token), bytes, now), []);
        }
        assert_eq!(sends.take_due(begin + INTERVAL - Duration::from_millis(1)), []);
        let due = sends.take_due(begin + INTERVAL);
        assert_eq!(due, [sent("my-device", "phone", 2, 16), sent("my-device", "tablet", 1, 7)]);
        assert_eq!(sends.take_due(begin + INTERVAL * 9), []);
    }

    #[test]
    fn those_of_a_registration_that_ends_are_taken_alone() {
        let (mut sends, begin) = (UnreportedSends::default(), Instant::now());
        sends.count(&id("my-device"), admission("phone"), 5, begin);
        sends.count(&id("other-device"), admission("phone"), 6, begin);
        assert_eq!(sends.take(&id("my-device")), [sent("my-device", "phone", 1, 5)]);
        assert_eq!(sends.take(&id("my-device")), []);
        assert_eq!(sends.take_due(begin + INTERVAL), [sent("other-device", "phone", 1, 6)]);
        assert_eq!((sends.len, sends.since), (0, None));
    }

    #[test]
    fn not_more_than_the_maximum_is_held() {
        let (mut sends, now) = (UnreportedSends::default(), Instant::now());
        for number in 0..MAX_USAGES {
            assert_eq!(sends.count(&id(&format!("device-{number}")), None, 1, now), []);
        }
        // One that is known needs no room.
        assert_eq!(sends.count(&id("device-0"), None, 1, now), []);
        let events = sends.count(&id("one-too-many"), None, 1, now);
        assert_eq!((events.len(), sends.len), (MAX_USAGES, 1));
    }
}
