use std::env;
use std::process::{Command, Stdio};

use super::*;
use crate::config;
use crate::log::{self, LogTarget};

/// Runs one of the tests below in a process of its own; returns its exit status and its output.
fn elsewhere(test: &str) -> (Option<i32>, String) {
    let name = format!("exit::tests::{test}");
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", &name, "--nocapture"]).env(ELSEWHERE, "1").stdin(Stdio::null());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn panic_if_elsewhere(panic: impl FnOnce() + Send + 'static) -> bool {
    let is_elsewhere = env::var_os(ELSEWHERE).is_some();
    if is_elsewhere {
        log::start(&config::Log::default(), LogTarget::StandardError).unwrap();
        exit_on_panic();
        let _ = thread::Builder::new().name("relay-7".into()).spawn(panic).unwrap().join();
    }
    is_elsewhere
}

const ELSEWHERE: &str = "WS_ROUTER_TEST_PANICS";

#[test]
fn a_panic_in_any_thread_ends_the_process_with_70_and_a_line() {
    if panic_if_elsewhere(|| panic!("the impossible")) {
        return;
    }
    let (status, log) = elsewhere("a_panic_in_any_thread_ends_the_process_with_70_and_a_line");
    assert_eq!(status, Some(70), "{log}");
    for part in ["ERROR", "the impossible", "relay-7", "exit/tests.rs"] {
        assert!(log.contains(part), "{log}");
    }
}

#[test]
fn the_formatted_message_of_a_panic_is_not_logged() {
    let quoted = std::hint::black_box("sesame");
    if panic_if_elsewhere(move || panic!("what a peer sent: {quoted}")) {
        return;
    }
    let (status, log) = elsewhere("the_formatted_message_of_a_panic_is_not_logged");
    assert_eq!(status, Some(70), "{log}");
    assert!(!log.contains("sesame"), "{log}");
}
