//! Random histories of the registry against a model that is a list; a history that differs is shrunk.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    /// Which id (none: any), whose keys, of which kind, and whether a taken id is refused.
    Register(Option<usize>, usize, Kind, bool),
    Seat(usize, usize, Option<Role>),
    /// Which seat, and whether its holder had become a member.
    Leave(usize, bool),
    Remove(usize, usize, usize),
    ForceRemove(usize),
    /// Seconds.
    Pass(u64),
    Restore,
}

fn act() -> impl Strategy<Value = Act> {
    let kind = prop_oneof![Just(Kind::Lobby), Just(Kind::HostClient)];
    let role = prop_oneof![Just(None), Just(Some(Role::Host)), Just(Some(Role::Client))];
    prop_oneof![
        4 => (prop::option::of(0..IDS.len()), 0..2usize, kind, any::<bool>())
            .prop_map(|(id, keys, kind, reject)| Act::Register(id, keys, kind, reject)),
        6 => (0..5usize, 0..2usize, role).prop_map(|(id, keys, role)| Act::Seat(id, keys, role)),
        5 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(at, was_member)| Act::Leave(at, was_member)),
        1 => (0..5usize, 0..2usize, 0..2usize).prop_map(|(id, key, host_key)| Act::Remove(id, key, host_key)),
        1 => (0..5usize).prop_map(Act::ForceRemove),
        3 => prop_oneof![Just(1u64), Just(299), Just(300), Just(600)].prop_map(Act::Pass),
        1 => Just(Act::Restore),
    ]
}

/// A registration as the model knows it.
#[derive(Debug, Clone)]
struct Known {
    id: String,
    keys: usize,
    kind: Kind,
    seats: usize,
    ever_joined: bool,
    expected: Option<Instant>,
    ends: Option<Instant>,
}

struct World {
    registry: Arc<Registry>,
    rules: Rules,
    model: Vec<Known>,
    /// Whose, and in which life of the id.
    seats: Vec<Seat>,
    now: Instant,
}

const IDS: [&str; 3] = ["first-id", "second-id", "third-id"];
const KEYS: [&str; 2] = ["k", "other"];

impl World {
    fn new(auto_remove: bool, lingers: bool) -> Self {
        let linger = Duration::from_secs(if lingers { 300 } else { 0 });
        let rules = Rules { auto_remove, linger, max_registrations: 4, max_members: 2, ..rules() };
        let registry = registry(rules.clone());
        Self { registry, rules, model: Vec::new(), seats: Vec::new(), now: Instant::now() }
    }

    /// The id at a place in the model, or one that nobody has.
    fn id(&self, at: usize) -> String {
        self.model.get(at).map_or("nobody-has-it".into(), |known| known.id.clone())
    }

    fn known(&mut self, id: &str) -> Option<&mut Known> {
        self.model.iter_mut().find(|known| known.id == id)
    }

    fn perform(&mut self, act: Act) {
        match act {
            Act::Register(id, keys, kind, reject) => self.register(id.map(|at| IDS[at]), keys, kind, reject),
            Act::Seat(at, keys, role) => self.seat(&self.id(at), keys, role),
            Act::Leave(at, was_member) if !self.seats.is_empty() => self.leave(at % self.seats.len(), was_member),
            Act::Leave(..) => {}
            Act::Remove(at, one, other) => {
                let id = self.id(at);
                let expected = match self.known(&id) {
                    None => Err(RemoveError::Unknown),
                    Some(known) if known.keys != one || known.keys != other => Err(RemoveError::WrongKey),
                    Some(_) => Ok(EndReason::Removed),
                };
                let ended = self.registry.remove(&id, &key(KEYS[one]), &host_key(other));
                assert_eq!(ended.map(|ended| ended.end().unwrap()), expected);
                if expected.is_ok() {
                    self.model.retain(|known| known.id != id);
                }
            }
            Act::ForceRemove(at) => {
                let id = self.id(at);
                assert_eq!(
                    self.registry.force_remove(&id, Peer::Unix { uid: 0, pid: 1 }).is_some(),
                    self.known(&id).is_some()
                );
                self.model.retain(|known| known.id != id);
            }
            Act::Pass(seconds) => {
                self.now += Duration::from_secs(seconds);
                self.registry.sweep(self.now);
                self.model.retain(|known| known.ends.is_none_or(|ends| ends > self.now));
            }
            Act::Restore => self.restore(),
        }
    }

    fn register(&mut self, wanted: Option<&str>, keys: usize, kind: Kind, reject_taken: bool) {
        let request = Request { kind, key: key(KEYS[keys]), host_key: host_key(keys), reject_taken, ..request(wanted) };
        let result = self.registry.register(&request, self.now);
        let (now, ends) = (self.now, self.now + self.rules.unclaimed_timeout);
        let is_full = self.model.len() >= self.rules.max_registrations;
        let known = wanted.and_then(|id| self.known(id));
        match known {
            Some(known) if known.keys == keys && known.kind == kind => {
                assert_eq!(result.unwrap().as_str(), known.id);
                known.expected = Some(ends);
                if known.seats == 0 {
                    (known.ever_joined, known.ends) = (false, Some(ends));
                }
            }
            Some(_) if reject_taken => assert_eq!(result, Err(RegisterError::Taken)),
            _ if is_full => assert_eq!(result, Err(RegisterError::Full)),
            taken => {
                let is_free = taken.is_none();
                let id = result.unwrap();
                assert_eq!(is_free && wanted.is_some(), Some(id.as_str()) == wanted);
                let id = id.to_string();
                assert!(self.known(&id).is_none(), "{id} at {now:?} is another's");
                self.model.push(Known {
                    id,
                    keys,
                    kind,
                    seats: 0,
                    ever_joined: false,
                    expected: None,
                    ends: Some(ends),
                });
            }
        }
    }

    fn seat(&mut self, id: &str, keys: usize, role: Option<Role>) {
        let most = self.rules.max_members;
        let taken = self.registry.seat(id, &key(KEYS[keys]), role);
        let expected = match self.known(id) {
            None => Err(SeatError::Unknown),
            Some(known) if known.keys != keys => Err(SeatError::WrongKey),
            Some(known) if known.kind == Kind::HostClient && role.is_none() => Err(SeatError::RoleRequired),
            Some(known) if known.seats >= most => Err(SeatError::Full),
            Some(known) => {
                (known.seats, known.ends) = (known.seats + 1, None);
                Ok(if known.kind == Kind::Lobby { Role::Peer } else { role.unwrap() })
            }
        };
        assert_eq!(taken.as_ref().map(|seat| seat.role).map_err(|error| *error), expected);
        self.seats.extend(taken);
    }

    /// Leaves as a dropped seat does, at the history's own time.
    fn leave(&mut self, at: usize, was_member: bool) {
        let seat = self.seats.swap_remove(at);
        let (registration, role) = (Arc::clone(&seat.registration), seat.role);
        std::mem::forget(seat);
        self.registry.release(&registration, role, was_member, self.now);
        if registration.end().is_some_and(|reason| reason != EndReason::Emptied) {
            return;
        }
        let (now, Rules { auto_remove, linger, unclaimed_timeout, .. }) = (self.now, self.rules.clone());
        let known = self.known(registration.id.as_str()).expect("it lives, and the model knows it");
        (known.seats, known.ever_joined) = (known.seats - 1, known.ever_joined || was_member);
        if known.seats == 0 && !known.ever_joined {
            known.ends = Some(now + unclaimed_timeout);
        } else if known.seats == 0 && auto_remove {
            known.ends = known.expected.into_iter().chain([now + linger]).max();
            self.model.retain(|known| known.ends.is_none_or(|ends| ends > now));
        }
    }

    /// Goes on as a new process, with all members.
    fn restore(&mut self) {
        let bytes = rmp_serde::to_vec_named(&self.registry.snapshot(self.now)).unwrap();
        let state = rmp_serde::from_slice(&bytes).unwrap();
        let new = Registry::restore(state, self.rules.clone(), Events::new(), self.now);
        for seat in std::mem::take(&mut self.seats) {
            let known = &seat.registration;
            self.seats.extend(new.restore_seat(known.id.as_str(), known.serial, seat.role, false));
            std::mem::forget(seat);
        }
        new.finish_restore(Duration::ZERO, self.now);
        // Only members are handed over, and those about to be one are waited for.
        self.model.iter_mut().for_each(|known| known.ever_joined |= known.seats > 0);
        self.registry = new;
    }

    fn check(&self) {
        let shown = |id: &str, seats: usize, ends: bool| (id.to_owned(), seats, ends);
        let mut real: Vec<_> = self
            .registry
            .list()
            .iter()
            .map(|s| shown(s.registration.id.as_str(), s.seats, s.expires.is_some()))
            .collect();
        let mut model: Vec<_> = self.model.iter().map(|k| shown(&k.id, k.seats, k.ends.is_some())).collect();
        real.sort();
        model.sort();
        assert_eq!(real, model);
        assert_eq!(self.registry.lock().deadlines.len(), model.iter().filter(|(.., ends)| *ends).count());
        for seat in &self.seats {
            let is_known = self.model.iter().any(|known| known.id == seat.registration.id.as_str() && known.seats > 0);
            assert!(is_known || seat.registration.end().is_some());
        }
    }
}

fn host_key(keys: usize) -> Key {
    key(&format!("host-{keys}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn in_any_history_the_registry_knows_what_a_list_would(
        acts in prop::collection::vec(act(), 1..60),
        auto_remove: bool,
        lingers: bool,
    ) {
        let mut world = World::new(auto_remove, lingers);
        for act in acts {
            world.perform(act);
            world.check();
        }
        for seat in world.seats {
            std::mem::forget(seat);
        }
    }
}
