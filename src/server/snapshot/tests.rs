use std::time::Instant;

use proptest::prelude::*;
use ws_router_core::kind::Kind;
use ws_router_core::secret::{Key, KeyHasher};

use super::*;
use crate::events::Events;
use crate::registry::{Registry, Request, Rules};

fn snapshot() -> Snapshot {
    let rules = Rules {
        auto_remove: true,
        linger: Default::default(),
        unclaimed_timeout: std::time::Duration::from_secs(60),
        max_registrations: 10,
        max_members: 10,
        quotas: Default::default(),
    };
    let registry = Registry::new(KeyHasher::new([7; 32]), rules, Events::new());
    let request = Request {
        kind: Kind::Lobby,
        key: Key::new("k".into()),
        host_key: Key::new("h".into()),
        wanted: None,
        reject_taken: false,
        rule: None,
        terms: Default::default(),
    };
    registry.register(&request, Instant::now()).unwrap();
    Snapshot {
        version: "0.0.0".into(),
        registry: registry.snapshot(Instant::now()),
        last_member: 7,
        listeners: vec!["bound:127.0.0.1:0".into()],
        members: Vec::new(),
        away: Vec::new(),
        waiting: Vec::new(),
        drain: None,
        restarts: RestartCounts::default(),
        history: Vec::new(),
        settings: None,
    }
}

#[test]
fn a_sealed_snapshot_is_readable_and_immutable() {
    let sealed = snapshot().seal().unwrap();
    let mut writer = File::from(sealed.try_clone().unwrap());
    assert!(writer.write_all(b"x").is_err());
    let read = Snapshot::open(sealed).unwrap();
    assert_eq!((read.last_member, read.listeners.len()), (7, 1));
    assert_eq!(rmp_serde::to_vec_named(&read.registry).unwrap().len(), {
        let again = Snapshot::from_bytes(&read.to_bytes().unwrap()).unwrap();
        rmp_serde::to_vec_named(&again.registry).unwrap().len()
    });
}

#[test]
fn truncated_changed_foreign_and_newer_snapshots_are_rejected() {
    let bytes = snapshot().to_bytes().unwrap();
    for len in 0..bytes.len() {
        assert!(Snapshot::from_bytes(&bytes[..len]).is_err());
    }
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert!(matches!(Snapshot::from_bytes(&changed), Err(DecodeError::Damaged)));
    let mut newer = bytes.clone();
    newer[19] = 2;
    assert!(matches!(Snapshot::from_bytes(&newer), Err(DecodeError::TooNew(2))));
    assert!(matches!(Snapshot::from_bytes(b"something else"), Err(DecodeError::Foreign)));
}

proptest! {
    #[test]
    fn no_body_makes_the_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_be_bytes());
        bytes.extend((body.len() as u64).to_be_bytes());
        bytes.extend(blake3::hash(&body).as_bytes());
        bytes.extend(&body);
        let _ = Snapshot::from_bytes(&bytes);
    }
}

/// Returns a snapshot with a member that has a partial message and buffered output.
fn full() -> Snapshot {
    let member = serde_json::json!({
        "id": 5, "serial": 1, "role": "peer", "age_ms": 1000, "silent_ms": 20, "pinged_ms": 10,
        "tally": { "messages_in": 1, "bytes_in": 2, "messages_out": 3, "bytes_out": 4 },
        "unparsed": { "tail": [], "message": {
            "is_text": true, "payload": [104, 97], "text": { "begun": [0, 0, 0, 0], "len": 0 },
            "frame": { "remaining": 5, "mask": [1, 2, 3, 4], "is_final": true }
        } },
        "owed": [120, 0x82, 1, 121], "begun": 1
    });
    let member = MemberSnapshot {
        registration: RegistrationId::parse("my-device").unwrap(),
        member: serde_json::from_value(member).unwrap(),
        peer: Peer::inet("127.0.0.1:5000".parse().unwrap()),
        admission: None,
        sealed: None,
    };
    Snapshot { members: vec![member], ..snapshot() }
}

#[test]
fn a_format_1_snapshot_is_readable() {
    // The file was written once with `full().to_bytes()`, and must never be written again.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/snapshot/tests/state-1");
    if std::env::var_os("WS_ROUTER_WRITE_SNAPSHOT").is_some() {
        std::fs::write(path, full().to_bytes().unwrap()).unwrap();
    }
    let read = Snapshot::from_bytes(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(read.members, full().members);
    assert_eq!((read.last_member, read.listeners), (7, full().listeners));
    assert_eq!(read.version, "0.0.0");
}

#[test]
fn unknown_fields_are_ignored() {
    #[derive(Serialize)]
    struct Later {
        something_new: Vec<u8>,
        #[serde(flatten)]
        known: Snapshot,
    }
    let body = rmp_serde::to_vec_named(&Later { something_new: vec![1, 2, 3], known: full() }).unwrap();
    let mut bytes = [&MAGIC[..], &FORMAT.to_be_bytes(), &(body.len() as u64).to_be_bytes()].concat();
    bytes.extend(blake3::hash(&body).as_bytes());
    bytes.extend(body);
    assert_eq!(Snapshot::from_bytes(&bytes).unwrap().members, full().members);
}
