//! The shell completions in packaging/completions match the arguments, and the shells that are installed offer them.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use clap::{Command, CommandFactory};
use clap_complete::{Generator, Shell, generate};
use ws_router_admin_api::cli::{Control, Router};

#[test]
fn the_completions_match_the_arguments() {
    for command in [Router::command(), Control::command()] {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let file = folder().join(shell.file_name(command.get_name()));
            let fresh = completions(shell, command.clone());
            if std::env::var_os(REFRESH).is_some() {
                fs::write(&file, &fresh).unwrap();
            }
            let kept = fs::read_to_string(&file).unwrap_or_default();
            let file = file.display();
            assert!(kept == fresh, "{file} is out of date; refresh it with `{REFRESH}=1 cargo test completions`");
        }
    }
}

#[test]
fn bash_offers_the_options_of_every_command() {
    offers_all("bash", |words| {
        let file = folder().join(format!("{}.bash", words[0]));
        let function = format!("_{}", words[0].replace('-', "__"));
        let script = r#"source "$1"; function=$2; shift 2; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"; printf '%s\n' "${COMPREPLY[@]}""#;
        let arguments = ["--norc", "-c", script, "bash", file.to_str().unwrap(), &function];
        output("bash", &[&arguments[..], words].concat(), "")
    });
}

#[test]
fn fish_offers_the_options_of_every_command() {
    offers_all("fish", |words| {
        let script =
            format!("source {}/{}.fish; complete --do-complete='{}'", folder().display(), words[0], words.join(" "));
        output("fish", &["--no-config", "-c", &script], "")
    });
}

#[test]
fn zsh_offers_the_options_of_every_command() {
    offers_all("zsh", |words| {
        let folder = folder();
        output("zsh", &["-f", "-s", "--", folder.to_str().unwrap(), &words.join(" ")], ZSH)
    });
}

/// Asks a shell for the options of both programs and of each command, if the shell is installed.
fn offers_all(shell: &str, offers: impl Fn(&[&str]) -> String) {
    if Process::new(shell).arg("--version").output().is_err() {
        eprintln!("skipped: {shell} is not installed");
        return;
    }
    for mut program in [Router::command(), Control::command()] {
        program.build();
        let name = program.get_name().to_owned();
        let check = |words: &[&str], command: &Command| {
            let offered = offers(words);
            let offered: Vec<_> = offered.split_whitespace().map(|word| word.trim_start_matches("OFFER:")).collect();
            for option in command.get_arguments().filter_map(|argument| argument.get_long()) {
                let option = format!("--{option}");
                assert!(offered.contains(&option.as_str()), "{shell}: {words:?} has no {option}: {offered:?}");
            }
        };
        check(&[&name, "--"], &program);
        for command in program.get_subcommands() {
            check(&[&name, command.get_name(), "--"], command);
        }
    }
}

fn output(shell: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Process::new(shell)
        .args(arguments)
        .env("HOME", "/nonexistent")
        .env("TERM", "dumb")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/completions")
}

fn completions(shell: Shell, mut command: Command) -> String {
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    generate(shell, &mut command, name, &mut text);
    let text = String::from_utf8(text).unwrap();
    // The generator for bash takes the hyphen of the program's own name for a step to a subcommand where it looks for
    // the subcommands' options, and for part of the name elsewhere, so that the two never meet.
    text.replace("ws__subcmd__router", "ws__router")
}

const REFRESH: &str = "WS_ROUTER_WRITE_COMPLETIONS";

/// Types the words of $2 and a tab into an interactive zsh, and prints what its completion function in the folder $1
/// offers, a line each.
const ZSH: &str = r##"
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PROMPT= PS2= RPROMPT=; stty -echo"
zpty -w shell "fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -u -D; LISTMAX=10000"
zpty -w shell "compadd() {
    if [[ \${@[(I)-(O|A|D)*]} -gt 0 ]]; then builtin compadd \"\$@\"; return; fi
    local -a hits; builtin compadd -A hits \"\$@\"; print -rl -- OFFER:\$^hits; builtin compadd \"\$@\"
}"
zpty -w shell "complete-done() { print -r -- END''-OF-OFFERS }; zle -N complete-done; bindkey '^E' complete-done"
zpty -w shell "print -r -- RE''ADY"
zpty -r -m shell line '*READY*'
zpty -n -w shell "$2"$'\t\x05'
zpty -r -m shell line '*END-OF-OFFERS*'
print -r -- "$line"
zpty -d shell
"##;
