use std::collections::BTreeSet;

use super::*;

const EXAMPLE: &str = include_str!("../../../../etc/ws-router/ws-router.toml");
const MANUAL: &str = include_str!("../../../../man/ws-router.toml.5");

/// Returns the example with every key and section uncommented. Explanations start with "# ", and remain.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    EXAMPLE.lines().map(line).collect()
}

#[test]
fn the_example_file_changes_nothing_as_it_is_shipped() {
    assert_eq!(read(EXAMPLE), Ok(Config::default()));
}

#[test]
fn the_example_file_uncommented_is_the_defaults() {
    let defaults = Config { listeners: vec![Listener::default()], ..Config::default() };
    assert_eq!(read(&uncommented()), Ok(defaults));
}

#[test]
fn the_example_file_has_every_key_in_its_section() {
    let mut section = String::new();
    let mut seen = BTreeSet::new();
    for line in uncommented().lines() {
        if let Some(rest) = line.strip_prefix('[') {
            section = rest.trim_matches(['[', ']']).into();
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            seen.insert((section.clone(), name.to_string()));
        }
    }
    // A certificate has no default, and neither has a rule of access; a port has no permissions. So they are only shown.
    let is_shown = |(section, name): &(&str, &str)| {
        matches!((*section, *name), ("listener", "tls" | "mode" | "group") | ("listener.tls" | "access", _))
    };
    for (_, name) in names().filter(is_shown) {
        assert!(EXAMPLE.contains(&format!("{name} = ")), "{name}");
    }
    let keys = names().filter(|key| !is_shown(key));
    assert_eq!(seen, keys.map(|(section, name)| (section.into(), name.into())).collect());
}

#[test]
fn the_manual_has_every_key_and_no_other_under_its_section() {
    let mut section = String::new();
    let mut seen = Vec::new();
    for line in MANUAL.lines() {
        if let Some(rest) = line.strip_prefix(".Ss ") {
            section = rest.split_whitespace().next().unwrap_or_default().trim_matches(['[', ']']).into();
        } else if let Some(name) = line.strip_prefix(".It Ic ") {
            seen.push((section.clone(), name.split_whitespace().next().unwrap_or_default().to_string()));
        }
    }
    let in_manual = |(section, name): (&str, &str)| match section {
        "listener.tls" => ("listener".to_string(), format!("tls.{name}")),
        _ => (section.into(), name.into()),
    };
    let mut keys: Vec<_> = names().map(in_manual).collect();
    seen.sort();
    keys.sort();
    assert_eq!(seen, keys);
}

#[test]
fn the_manual_states_each_default_and_which_keys_need_a_restart() {
    let config = Config::default();
    for key in super::keys::KEYS {
        let entry = MANUAL.split_once(&format!(".It Ic {} ", key.name)).map(|(_, rest)| rest).unwrap();
        let entry = entry.split("\n.It ").next().unwrap().split("\n.El").next().unwrap();
        let default = (key.show)(&config);
        let default = default.trim_matches('"');
        let default = if default.is_empty() { "empty" } else { default };
        assert!(entry.ends_with(&format!("\nDefault: {default}.")), "{}: {default} is not in\n{entry}", key.name);
        assert_eq!(entry.contains("Takes a restart."), key.reload == Reload::Restart, "{}:\n{entry}", key.name);
    }
}

#[test]
fn every_file_in_the_manual_is_a_valid_configuration() {
    let mut files = 0;
    for block in MANUAL.split(".Bd -literal -offset indent").skip(1) {
        let text = block.split_once('\n').unwrap().1.split("\n.Ed").next().unwrap();
        read(text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        files += 1;
    }
    assert!(files > 0);
}
