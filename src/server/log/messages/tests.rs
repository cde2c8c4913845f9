use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;

const CATALOG: &str = include_str!("../../../../packaging/systemd/ws-router.catalog");

/// All sources without their line breaks, so that a sentence stands behind its call.
fn sources(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.extension() {
            _ if path.is_dir() => all += &sources(&path),
            // The sentences here would prove themselves.
            Some(extension) if extension == "rs" && !path.to_string_lossy().contains("log/messages") => {
                all += &fs::read_to_string(&path).unwrap();
            }
            _ => {}
        }
    }
    all
}

#[test]
fn each_sentence_is_one_that_is_logged_and_has_an_id_of_its_own() {
    let sources = sources(Path::new(env!("CARGO_MANIFEST_DIR")));
    for (sentence, id) in MESSAGES {
        assert!(sources.contains(&format!("\"{sentence}\"")), "{sentence}");
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{id}");
    }
    let ids: BTreeSet<_> = MESSAGES.iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), MESSAGES.len());
}

#[test]
fn each_error_has_an_id() {
    for call in sources(Path::new(env!("CARGO_MANIFEST_DIR"))).split("tracing::error!(").skip(1) {
        let call = call.split(';').next().unwrap();
        assert!(MESSAGES.iter().any(|(sentence, _)| call.contains(&format!("\"{sentence}\""))), "{call}");
    }
}

#[test]
fn each_message_is_explained_in_the_catalog_and_none_else() {
    let ids: Vec<_> = MESSAGES.iter().map(|(_, id)| *id).collect();
    let explained: Vec<_> = CATALOG.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    assert_eq!(explained, ids);
    for entry in CATALOG.split("\n-- ").skip(1) {
        let (head, text) = entry.split_once("\n\n").unwrap();
        assert!(head.contains("\nSubject: ") && head.contains("\nDefined-By: ws-router") && text.len() > 20, "{entry}");
    }
}
