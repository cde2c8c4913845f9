use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::directory::{Directory, Request, Rules};
use crate::events::Events;
use crate::kind::Kind;
use crate::secret::{Key, KeyHasher};

fn state() -> State {
    let rules = Rules {
        auto_remove: true,
        linger: Default::default(),
        unclaimed_timeout: std::time::Duration::from_secs(60),
        max_registrations: 10,
        max_members: 10,
    };
    let directory = Directory::new(KeyHasher::random().unwrap(), rules, Events::new());
    let request = Request {
        kind: Kind::Lobby,
        key: Key::new("k".into()),
        host_key: Key::new("h".into()),
        wanted: None,
        reject_taken: false,
    };
    directory.register(&request, Instant::now()).unwrap();
    State {
        program: "0.0.0".into(),
        directory: directory.state(Instant::now()),
        last_member: 7,
        listeners: vec!["bound:127.0.0.1:0".into()],
        members: Vec::new(),
    }
}

#[test]
fn a_sealed_state_is_read_again_and_can_not_be_changed() {
    let sealed = state().seal().unwrap();
    let mut writer = File::from(sealed.try_clone().unwrap());
    assert!(writer.write_all(b"x").is_err());
    let read = State::open(sealed).unwrap();
    assert_eq!((read.last_member, read.listeners.len()), (7, 1));
    assert_eq!(rmp_serde::to_vec_named(&read.directory).unwrap().len(), {
        let again = State::from_bytes(&read.to_bytes().unwrap()).unwrap();
        rmp_serde::to_vec_named(&again.directory).unwrap().len()
    });
}

#[test]
fn what_is_cut_off_changed_foreign_or_too_new_is_refused() {
    let bytes = state().to_bytes().unwrap();
    for len in 0..bytes.len() {
        assert!(State::from_bytes(&bytes[..len]).is_err());
    }
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert!(matches!(State::from_bytes(&changed), Err(Unreadable::Damaged)));
    let mut newer = bytes.clone();
    newer[19] = 2;
    assert!(matches!(State::from_bytes(&newer), Err(Unreadable::TooNew(2))));
    assert!(matches!(State::from_bytes(b"something else"), Err(Unreadable::Foreign)));
}

proptest! {
    #[test]
    fn no_body_whatever_makes_the_reader_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_be_bytes());
        bytes.extend((body.len() as u64).to_be_bytes());
        bytes.extend(blake3::hash(&body).as_bytes());
        bytes.extend(&body);
        let _ = State::from_bytes(&bytes);
    }
}
