//! Holds the sources to the layers that `src/server/lib.rs` describes, and to the rules that keep them readable.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A source file without its tests and comments.
struct Source {
    path: PathBuf,
    /// The module right below the crate that it belongs to; `lib` for the crate itself.
    module: String,
    code: String,
}

#[test]
fn every_module_uses_only_its_own_layer_and_those_below() {
    let layers = layers();
    let mut wrong = Vec::new();
    for source in server().iter().filter(|source| layers.contains_key(&source.module)) {
        for used in uses(&source.code) {
            let allowed = used.module == source.module
                || layers.get(&used.module).is_some_and(|below| *below <= layers[&source.module]);
            if !allowed {
                wrong.push(format!("{} uses {}", source.path.display(), used.module));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_module_has_its_place_in_the_table() {
    let mut placed: BTreeSet<_> = layers().into_keys().collect();
    placed.insert("lib".into());
    let there: BTreeSet<_> = server().into_iter().map(|source| source.module).collect();
    assert_eq!(there, placed);
}

#[test]
fn unsafe_code_stands_in_sys_alone() {
    let elsewhere = |source: &&Source| source.module != "sys" && !source.path.ends_with("core/lib.rs");
    let offenders = containing(sources().iter().filter(elsewhere), &["unsafe ", "unsafe_code"]);
    assert!(offenders.is_empty(), "{offenders:#?}");
}

#[test]
fn the_core_knows_no_socket_no_clock_no_chance_and_no_async() {
    let forbidden = [
        "std::net",
        "std::os",
        "std::thread",
        "Instant::now",
        "SystemTime::now",
        "mio::",
        "tokio::",
        "nix::",
        "socket2::",
        "rustls::",
        "getrandom",
        "rand::",
        "async ",
        ".await",
    ];
    let all = sources();
    let pure = all.iter().filter(|source| source.path.starts_with("src/core"));
    let offenders = containing(pure, &forbidden);
    assert!(offenders.is_empty(), "{offenders:#?}");
}

#[test]
fn only_the_programs_for_people_print() {
    let elsewhere = |source: &&Source| source.path.starts_with("src/core") || source.path.starts_with("src/server");
    let offenders = containing(sources().iter().filter(elsewhere), &["print!(", "println!("]);
    assert!(offenders.is_empty(), "{offenders:#?}");
}

#[test]
fn nothing_is_left_for_later() {
    let offenders = containing(sources().iter(), &["todo!", "unimplemented!", "dbg!", "#[ignore"]);
    assert!(offenders.is_empty(), "{offenders:#?}");
}

#[test]
fn a_file_can_be_read_in_one_go() {
    let all = files(Path::new("src")).into_iter().chain(files(Path::new("tests")));
    let counted = all.map(|path| (fs::read_to_string(&path).unwrap().lines().count(), path));
    let long: Vec<_> = counted.filter(|(lines, path)| *lines > most_lines(path)).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn uses_are_found_in_every_form() {
    let code = "use crate::ids::Serial;\nuse crate::{admin, http::{self, Service}, log};\nlet x = crate::net::bind();";
    let found: Vec<_> = uses(code).into_iter().map(|used| used.module).collect();
    assert_eq!(found, ["ids", "admin", "http", "log", "net"]);
}

/// Something that is used of another module.
#[derive(Debug)]
struct Use {
    module: String,
}

/// Finds every `crate::…`, in `use` lines and in expressions.
fn uses(code: &str) -> Vec<Use> {
    let mut found = Vec::new();
    for (at, mark) in code.match_indices("crate::") {
        let rest = &code[at + mark.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(branches(group).into_iter().map(path)),
            None => found.push(path(rest)),
        }
    }
    found
}

/// Splits what stands in braces at the commas of the outermost level.
fn branches(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut branches) = (0, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                branches.push(group[start..at].trim());
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    branches.retain(|branch| !branch.is_empty());
    branches
}

fn path(text: &str) -> Use {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let module = word(text);
    Use { module }
}

/// Reads the table of layers from the crate's own documentation.
fn layers() -> BTreeMap<String, u32> {
    let page: String =
        fs::read_to_string("src/server/lib.rs").unwrap().lines().filter_map(|l| l.strip_prefix("//!")).collect();
    let begin = page.find("Layers,").unwrap();
    let begin = begin + page[begin..].find("): ").unwrap() + 3;
    let table = &page[begin..begin + page[begin..].find(". ").unwrap()];
    let mut layers = BTreeMap::new();
    for (number, layer) in table.split('·').enumerate() {
        assert!(layer.trim().starts_with(&number.to_string()), "layer {number}: {layer}");
        let names = layer.split("[`").skip(1).map(|rest| rest.split('`').next().unwrap().to_owned());
        layers.extend(names.map(|name| (name, number as u32)));
    }
    assert!(layers.len() > 10, "{layers:?}");
    layers
}

fn containing<'a>(sources: impl Iterator<Item = &'a Source>, forbidden: &[&str]) -> Vec<String> {
    let mut offenders = Vec::new();
    for source in sources {
        let found = forbidden.iter().filter(|word| source.code.contains(*word));
        offenders.extend(found.map(|word| format!("{}: {word}", source.path.display())));
    }
    offenders
}

fn server() -> Vec<Source> {
    sources().into_iter().filter(|source| source.path.starts_with("src/server")).collect()
}

fn sources() -> Vec<Source> {
    let all = files(Path::new("src")).into_iter().filter(|path| !is_test(path));
    all.map(|path| {
        let first = path.iter().nth(2).unwrap().to_str().unwrap();
        let module = first.trim_end_matches(".rs").to_owned();
        let code = without_tests_and_comments(&fs::read_to_string(&path).unwrap());
        Source { path, module, code }
    })
    .collect()
}

/// Drops lines that are comments, and the tests at the end of a file.
fn without_tests_and_comments(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split_once("// ").map_or(line, |(code, _)| code));
    lines.filter(|line| !line.trim_start().starts_with("//")).fold(String::new(), |all, line| all + line + "\n")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "tests.rs")
}

/// More than so many is more than one thing; tests are lists, and may be longer.
fn most_lines(path: &Path) -> usize {
    if is_test(path) { 700 } else { 400 }
}
