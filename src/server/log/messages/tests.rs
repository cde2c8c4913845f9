use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const CATALOG: &str = include_str!("../../../../packaging/systemd/ws-router.catalog");
const IDS: &str = include_str!("../messages.rs");

/// Returns the names and ids, in their order.
fn all() -> Vec<(&'static str, &'static str)> {
    let lines = IDS.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": &str = \""));
    lines.map(|(name, id)| (name, id.trim_end_matches("\";"))).filter(|(name, _)| *name != "FIELD").collect()
}

/// Returns all sources of the crate but the ids themselves.
fn sources(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.extension() {
            _ if path.is_dir() => all += &sources(&path),
            Some(extension) if extension == "rs" && !path.to_string_lossy().contains("log/messages") => {
                all += &fs::read_to_string(&path).unwrap();
            }
            _ => {}
        }
    }
    all
}

#[test]
fn each_id_is_unique_and_is_logged() {
    let sources = sources(Path::new(env!("CARGO_MANIFEST_DIR")));
    for (name, id) in all() {
        assert!(sources.contains(&format!("message_id = messages::{name},")), "{name}");
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{id}");
    }
    let ids: BTreeSet<_> = all().into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), all().len());
}

#[test]
fn each_error_has_an_id() {
    for call in sources(Path::new(env!("CARGO_MANIFEST_DIR"))).split("tracing::error!(").skip(1) {
        let call = call.split(';').next().unwrap();
        assert!(call.contains("message_id = messages::"), "{call}");
    }
}

#[test]
fn each_id_is_explained_in_the_catalog_and_no_other_one() {
    let ids: Vec<_> = all().into_iter().map(|(_, id)| id).collect();
    let explained: Vec<_> = CATALOG.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    assert_eq!(explained, ids);
    for entry in CATALOG.split("\n-- ").skip(1) {
        let (head, text) = entry.split_once("\n\n").unwrap();
        assert!(head.contains("\nSubject: ") && head.contains("\nDefined-By: ws-router") && text.len() > 20, "{entry}");
    }
}
