//! Configurations of several files, and very wrong ones.

use std::fs;
use std::time::Instant;

use super::super::load::{environment, load_default};
use super::*;
use crate::files::Accept;

/// A folder with a main file and files beside it.
fn folder(main: &str, fragments: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.toml");
    fs::write(&path, main).unwrap();
    fs::create_dir(folder.path().join("r.toml.d")).unwrap();
    for (name, text) in fragments {
        fs::write(folder.path().join("r.toml.d").join(name), text).unwrap();
    }
    (folder, path)
}

#[test]
fn tables_of_all_files_are_appended_in_the_order_of_the_files_names() {
    let listener = |port: u16| format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\n");
    let (_folder, path) = folder(
        &listener(1),
        &[
            ("b.toml", &listener(3)),
            ("a.toml", &listener(2)),
            (".hidden.toml", "what is this"),
            ("c.toml~", "what is this"),
            ("Z.toml", "[http]\nconsole = true\n"),
        ],
    );
    let config = load_default(&path, Accept::Any, &environment).finish().unwrap();
    let ports: Vec<_> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(ports, ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]);
    assert!(config.http.console);
    // A named file is the whole configuration.
    assert_eq!(load(&path).unwrap().listeners.len(), 1);
}

#[test]
fn a_key_that_two_files_set_is_reported_with_both_places() {
    let (_folder, path) = folder("[log]\nlevel = \"info\"\n", &[("a.toml", "[log]\nlevel = \"warn\"\n")]);
    let problems = load_default(&path, Accept::Any, &environment).finish().unwrap_err().0;
    let (main, other) = (path.display(), path.with_file_name("r.toml.d/a.toml"));
    let expected = format!("{}:2:9: log.level: set twice, first in {main}:2; keep one of them", other.display());
    assert_eq!(problems, [expected]);
}

#[test]
fn a_rule_that_another_file_makes_useless_is_reported_with_both_places() {
    let (_folder, path) = folder("[[access]]\n", &[("a.toml", "[[access]]\nusers = [0]\n")]);
    let problems = load_default(&path, Accept::Any, &environment).finish().unwrap_err().to_string();
    assert!(problems.contains(&format!("the one in {}:1 applies", path.display())), "{problems}");
    assert!(problems.contains("r.toml.d/a.toml:1:1: access: this rule is never reached"), "{problems}");
}

#[test]
fn relative_paths_begin_in_the_folder_of_the_main_file() {
    let text = "[[listener]]\naddress = \"127.0.0.1:1\"\ntls = { certificate = \"tls/c\", key = \"tls/k\" }\n";
    let (folder, path) = folder("", &[("a.toml", text)]);
    let tls = load_default(&path, Accept::Any, &environment).finish().unwrap().listeners[0].tls.clone().unwrap();
    assert_eq!(tls.certificate, folder.path().join("tls/c"));
}

#[test]
fn the_printed_configuration_has_the_place_of_each_value_and_reads_the_same() {
    let (_folder, path) = folder("[log]\nlevel = \"warn\"\n", &[("a.toml", "[[access]]\nusers = [0]\n")]);
    let loaded = load_default(&path, Accept::Any, &environment);
    let shown = loaded.to_toml().unwrap();
    let place = |name: &str, line| format!(" # {}:{line}\n", path.with_file_name(name).display());
    assert!(shown.contains(&format!("level = \"warn\"{}", place("r.toml", 2))), "{shown}");
    assert!(shown.contains(&format!("[[access]]{}", place("r.toml.d/a.toml", 1))), "{shown}");
    assert!(shown.contains("format = \"auto\"\n"), "{shown}");
    assert_eq!(read(&shown).unwrap(), loaded.finish().unwrap());
}

#[test]
fn a_duplicate_section_or_key_is_reported_with_the_line_of_the_first() {
    let text = "[http]\nconsole = true\n[log]\nlevel = \"info\"\n[http]\npublic-stats = true\n";
    let found = read(text).unwrap_err().to_string();
    assert!(found.contains("/etc/r.toml:5:") && found.contains("the first one is in line 1"), "{found}");
    let text = "[[access]]\nname = \"a\"\nusers = [0]\n[[access]]\nname = \"b\"\nname = \"c\"\n";
    let found = read(text).unwrap_err().to_string();
    assert!(found.contains("/etc/r.toml:6:") && found.contains("the first one is in line 5"), "{found}");
}

#[test]
fn a_problem_of_a_named_file_is_reported_where_its_path_is_written() {
    let text = "[[listener]]\naddress = \"127.0.0.1:1\"\ntls = { certificate = \"/no/c\", key = \"/no/c.key\" }\n";
    let (_folder, path) = folder(text, &[]);
    let mut loaded = load_default(&path, Accept::Any, &environment);
    loaded.add_file_problem("key /no/c.key: no such file");
    loaded.add_file_problem("certificate /no/c: no such file");
    let expected = [
        format!("{}:3:23: certificate /no/c: no such file", path.display()),
        format!("{}:3:38: key /no/c.key: no such file", path.display()),
    ];
    assert_eq!(loaded.finish().unwrap_err().0, expected);
}

#[test]
fn the_list_of_problems_is_bounded_and_takes_linear_time() {
    type Kind = (usize, fn(usize) -> String);
    let kinds: [Kind; 5] = [
        (100_000, |line| format!("what is this {line}\n")),
        (100_000, |line| format!("key-{line} = 1\n")),
        (50_000, |line| format!("[section-{line}]\n")),
        (30_000, |line| format!("[[access]]\nname = \"a-{line}\"\nusers = [\"\"]\n")),
        (30_000, |_| "[[listener]]\naddress = \"127.0.0.1:1\"\n".into()),
    ];
    for (count, kind) in kinds {
        let text: String = (0..count).map(kind).collect();
        let start = Instant::now();
        let problems = read(&text).unwrap_err().0;
        assert_eq!(problems.len(), 101, "{}", problems[0]);
        assert_eq!(problems[100], "only the first 100 problems are listed; fix them, and check again");
        // It took more than a minute when the time grew with the square.
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}: {}", start.elapsed(), problems[0]);
    }
}

#[test]
fn many_valid_tables_are_read_in_linear_time() {
    let listeners = (0..20_000u32).map(|n| {
        let [_, b, c, d] = (n + 1).to_be_bytes();
        format!("[[listener]]\naddress = \"10.{b}.{c}.{d}:80\"\n")
    });
    let start = Instant::now();
    assert_eq!(read(&listeners.collect::<String>()).unwrap().listeners.len(), 20_000);
    let rules = (0..20_000).map(|n| format!("[[access]]\nname = \"a-{n}\"\nusers = [0]\n"));
    assert_eq!(read(&rules.collect::<String>()).unwrap().access.len(), 20_000);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_long_value_is_shortened_and_the_fix_stays() {
    let problem = read(&format!("[log]\nlevel = \"{}\"\n", "x".repeat(1 << 20))).unwrap_err().to_string();
    assert!(problem.len() < 1000 && problem.ends_with("\"trace\"") && problem.contains(" … "), "{problem}");
}
