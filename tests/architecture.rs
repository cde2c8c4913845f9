//! What Cargo and Clippy can't hold of the structure that `src/server/lib.rs` describes: modules form no circles, and unsafe
//! code stands in one module.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules that a module uses, by name.
type Graph = BTreeMap<String, BTreeSet<String>>;

#[test]
fn modules_of_a_crate_form_no_circle() {
    for folder in CRATES {
        let graph = modules(Path::new(folder));
        assert!(graph.len() > 3, "{folder}: {graph:?}");
        assert_eq!(circle(&graph), None, "{folder}");
    }
}

#[test]
fn the_page_of_the_server_crate_lists_its_modules_above_those_they_use() {
    let page = fs::read_to_string("src/server/lib.rs").unwrap();
    let listed: Vec<_> = page.split("//! - [`").skip(1).map(|rest| rest.split('`').next().unwrap()).collect();
    let graph = modules(Path::new("src/server"));
    assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), graph.keys().map(String::as_str).collect());
    let rank = |name: &str| listed.iter().position(|one| *one == name).unwrap();
    let upward = graph.iter().flat_map(|(user, used)| used.iter().map(move |used| (user, used)));
    let upward: Vec<_> = upward.filter(|(user, used)| rank(user) > rank(used)).collect();
    assert!(upward.is_empty(), "{upward:?}");
}

#[test]
fn unsafe_code_stands_in_sys_alone() {
    let all = CRATES.iter().flat_map(|folder| files(Path::new(folder)));
    let offenders: Vec<_> = all
        .filter(|path| !path.starts_with("src/server/sys"))
        .filter(|path| ["unsafe {", "unsafe fn", "allow(unsafe_code)"].iter().any(|word| code(path).contains(word)))
        .collect();
    assert!(offenders.is_empty(), "{offenders:#?}");
}

#[test]
fn a_circle_is_found() {
    let graph = |pairs: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (user, used) in pairs {
            graph.entry((*user).into()).or_default().insert((*used).into());
            graph.entry((*used).into()).or_default();
        }
        graph
    };
    assert_eq!(circle(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    let found = circle(&graph(&[("a", "b"), ("b", "c"), ("c", "b")])).unwrap();
    assert_eq!(found, ["b", "c"]);
}

#[test]
fn uses_are_found_in_every_form() {
    let code = "use crate::ids::Serial;\nuse crate::{admin, http::{self, Service}, log};\nlet x = crate::net::bind();";
    assert_eq!(uses(code), ["ids", "admin", "http", "log", "net"]);
}

/// Returns modules that use each other in a circle, if there are any.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    let mut left = graph.clone();
    // Modules that use no other one left are in no circle.
    while let Some(leaf) = left.iter().find(|(_, used)| used.is_empty()).map(|(name, _)| name.clone()) {
        left.remove(&leaf);
        for used in left.values_mut() {
            used.remove(&leaf);
        }
    }
    let mut path: Vec<String> = vec![left.keys().next()?.clone()];
    loop {
        let next = left[path.last().unwrap()].iter().next().unwrap();
        if let Some(at) = path.iter().position(|name| name == next) {
            path.drain(..at);
            path.sort();
            return Some(path);
        }
        path.push(next.clone());
    }
}

/// Reads which modules of a crate use which.
fn modules(folder: &Path) -> Graph {
    let sources = files(folder).into_iter().map(|path| {
        let place: Vec<_> = path.strip_prefix(folder).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
        let depth = place.len() - usize::from(place.last() == Some(&"mod.rs"));
        // In a file of a module right below the crate, `super` is the crate.
        let code = code(&path).replace(&"super::".repeat(depth), "crate::");
        (place[0].trim_end_matches(".rs").to_owned(), code)
    });
    let sources: Vec<_> = sources.filter(|(module, _)| module != "lib").collect();
    let names: BTreeSet<_> = sources.iter().map(|(module, _)| module.clone()).collect();
    let mut graph: Graph = names.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
    for (module, code) in sources {
        let used = uses(&code).into_iter().filter(|used| *used != module && names.contains(used));
        graph.get_mut(&module).unwrap().extend(used);
    }
    graph
}

/// Finds every `crate::…`, in `use` lines and in expressions.
fn uses(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for (at, mark) in code.match_indices("crate::") {
        let rest = &code[at + mark.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(branches(group).into_iter().map(word)),
            None => found.push(word(rest)),
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

/// Reads a file without its comments and the tests at its end.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split_once("// ").map_or(line, |(code, _)| code));
    lines.filter(|line| !line.trim_start().starts_with("//")).fold(String::new(), |all, line| all + line + "\n")
}

/// The Rust files below a folder, without those that hold tests.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_test = path.file_name().is_some_and(|name| name == "tests" || name == "tests.rs");
        if path.is_dir() && !is_test {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The crates with modules of their own.
const CRATES: [&str; 4] = ["src/core", "src/admin-api", "src/server", "src/ctl"];
