//! The shell completions in packaging/completions are those of the arguments as they are now.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::{Generator, Shell, generate};
use ws_router_admin_api::cli::{Control, Router};

#[test]
fn the_completions_are_those_of_the_arguments() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/completions");
    for command in [Router::command(), Control::command()] {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let file = folder.join(shell.file_name(command.get_name()));
            let fresh = completions(shell, command.clone());
            if std::env::var_os(REFRESH).is_some() {
                fs::write(&file, &fresh).unwrap();
            }
            let kept = fs::read_to_string(&file).unwrap_or_default();
            let file = file.display();
            assert!(
                kept == fresh,
                "{file} is out of date; refresh it with `{REFRESH}=1 cargo test --test completions`"
            );
        }
    }
}

fn completions(shell: Shell, mut command: Command) -> String {
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    generate(shell, &mut command, name, &mut text);
    String::from_utf8(text).unwrap()
}

const REFRESH: &str = "WS_ROUTER_WRITE_COMPLETIONS";
