//! The committed corpora and found cases of `tests/fuzz`, each through its target: what the fuzzer once found stays
//! mended, on any toolchain.
#![allow(clippy::unwrap_used)]

#[path = "fuzz/targets/mod.rs"]
mod targets;

use std::fs;
use std::path::PathBuf;

/// Runs one target with all of its corpus; a broken promise names its file.
fn replay(name: &str) {
    let (_, target) = targets::ALL.iter().find(|(known, _)| *known == name).unwrap();
    target(&[]);
    for file in corpus(name) {
        let bytes = fs::read(&file).unwrap();
        if let Err(panic) = std::panic::catch_unwind(|| target(&bytes)) {
            eprintln!("with {}", file.display());
            std::panic::resume_unwind(panic);
        }
    }
}

fn corpus(name: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut folders: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let mut targets: Vec<String> = targets::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    folders.sort();
    targets.sort();
    assert_eq!(folders, targets);
    assert!(targets.iter().all(|name| !corpus(name).is_empty()));
}

#[test]
fn frames_mean_what_the_reference_decoder_says() {
    replay("frames");
}

#[test]
fn in_every_history_of_sessions_the_invariants_hold() {
    replay("sessions");
}

#[test]
fn whatever_a_host_sends_decides_about_the_clients_that_it_names_or_closes_the_host() {
    replay("listening");
}

#[test]
fn forms_are_decoded_as_the_reference_does() {
    replay("form");
}

#[test]
fn the_public_routes_answer_any_input() {
    replay("http");
}

#[test]
fn the_admin_interface_answers_any_input() {
    replay("admin");
}

#[test]
fn a_configuration_is_refused_with_places_or_printed_and_read_again() {
    replay("config");
}

#[test]
fn a_proxy_header_is_taken_to_its_last_byte_and_no_further() {
    replay("proxy");
}

#[test]
fn nothing_that_a_client_says_outweighs_what_a_trusted_proxy_appends() {
    replay("forwarded");
}

#[test]
fn a_file_of_tokens_lets_in_whom_it_names_and_nobody_else() {
    replay("tokens");
}

#[test]
fn a_handed_over_state_is_refused_or_read_and_written_the_same() {
    replay("state");
}
