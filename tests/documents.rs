//! Compares the manual pages and the other documents with the program: nothing undocumented, and nothing documented that
//! doesn't exist.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use ws_router_admin_api::cli::{Control, Router};
use ws_router_admin_api::event::EndReason;
use ws_router_core::close::CloseReason;
use ws_router_core::shard::DiscardReason;
use ws_router_server::config::{Config, names};
use ws_router_server::metrics::{MetricKind, Refusal, Rejection, families};

const DAEMON: &str = include_str!("../man/ws-router.8");
const CONTROL: &str = include_str!("../man/ws-routerctl.1");
const PROTOCOL: &str = include_str!("../man/ws-router-protocol.7");
const README: &str = include_str!("../README.md");
const OPERATION: &str = include_str!("../packaging/README.md");

#[test]
fn each_option_stands_in_its_page_and_none_else() {
    assert_eq!(options_of(&built(Router::command())), documented_options(DAEMON), "ws-router(8)");
    assert_eq!(options_of(&built(Control::command())), documented_options(CONTROL), "ws-routerctl(1)");
}

#[test]
fn each_command_of_the_control_program_stands_in_its_page_and_none_else() {
    let items = items(CONTROL).filter_map(|item| item.strip_prefix("Cm "));
    let documented: BTreeSet<_> = items.map(|item| item.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(commands_of(&built(Control::command())), documented);
}

#[test]
fn each_close_code_stands_in_the_protocol_with_its_text_and_none_else() {
    let sent = CloseReason::ALL.iter().filter_map(|reason| Some(format!("{} Dq {}", reason.code()?, reason.text())));
    let documented = items(PROTOCOL).filter(|item| item.contains(" Dq ")).map(str::to_owned);
    assert_eq!(sent.collect::<BTreeSet<_>>(), documented.collect());
}

#[test]
fn each_reason_for_a_connections_end_stands_in_the_daemons_page_with_its_code_and_none_else() {
    let page = subsection(DAEMON, "Why a connection ended");
    assert_eq!(words(page), CloseReason::ALL.iter().map(|reason| reason.label()).collect());
    for &reason in CloseReason::ALL {
        let entry = page.split(&format!(".It Ql {}\n", reason.label())).nth(1).unwrap().split(".It").next().unwrap();
        assert!(reason.code().is_none_or(|code| entry.contains(&format!("({code})"))), "{}: {entry}", reason.label());
    }
}

#[test]
fn each_reason_for_a_registrations_end_stands_in_the_daemons_page_and_none_else() {
    let reasons = EndReason::ALL.iter().map(|reason| reason.label());
    assert_eq!(words(subsection(DAEMON, "Why a registration ended")), reasons.collect());
}

#[test]
fn each_reason_for_a_refusal_stands_in_the_daemons_page_and_none_else() {
    assert_eq!(
        words(subsection(DAEMON, "Why a request was refused")),
        Refusal::ALL.iter().map(|reason| reason.label()).collect()
    );
}

#[test]
fn each_metric_stands_in_the_daemons_page_with_its_help_and_none_else() {
    let page = DAEMON.split(".Sh METRICS\n").nth(1).unwrap().split("\n.Sh ").next().unwrap();
    let documented = page.split("\n.It Li ").skip(1).map(|item| item.split("\n.El").next().unwrap());
    let documented: BTreeSet<_> = documented.map(|item| item.replacen('\n', " ", 1).trim().to_owned()).collect();
    let there = families::ALL.iter().map(|family| format!("{} {}", family.name, family.help));
    assert_eq!(there.collect::<BTreeSet<_>>(), documented);
}

#[test]
fn the_dashboard_and_the_alerts_ask_only_for_metrics_that_are_there() {
    let parts = |family: &families::Family| match family.kind {
        MetricKind::Histogram => ["_bucket", "_sum", "_count"].map(|part| format!("{}{part}", family.name)).to_vec(),
        _ => vec![family.name.to_owned()],
    };
    let known: BTreeSet<_> = families::ALL.iter().flat_map(parts).collect();
    for file in ["packaging/examples/prometheus/dashboard.json", "packaging/examples/prometheus/alerts.yml"] {
        let text = fs::read_to_string(file).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: BTreeSet<_> = words.filter(|word| word.starts_with("wsrouter_")).map(str::to_owned).collect();
        assert!(asked.len() > 8, "{file}: {asked:?}");
        assert!(asked.is_subset(&known), "{file}: {:?}", asked.difference(&known));
    }
}

#[test]
fn each_panel_of_the_dashboard_stands_in_a_row_and_has_a_description() {
    let text = fs::read_to_string("packaging/examples/prometheus/dashboard.json").unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (mut lines, mut last) = (0, 0);
    for panel in dashboard["panels"].as_array().unwrap() {
        let (title, place) = (&panel["title"], &panel["gridPos"]);
        let [top, height] = ["y", "h"].map(|key| place[key].as_u64().unwrap());
        assert!(top >= last, "{title} is above the panel before it");
        last = top;
        if panel["type"] == "row" {
            assert_eq!((place["w"].as_u64(), height), (Some(24), 1), "{title}");
            lines += 1;
        } else {
            assert!(lines > 0, "{title} stands in no row");
            assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}");
        }
    }
    assert!(lines > 3);
}

#[test]
fn the_dashboard_and_the_alerts_cover_memory_evictions_restart_loops_rejections_and_stale_settings() {
    for file in ["dashboard.json", "alerts.yml"] {
        let text = fs::read_to_string(format!("packaging/examples/prometheus/{file}")).unwrap();
        for metric in [
            "wsrouter_buffered_bytes",
            "wsrouter_buffered_limit_bytes",
            "wsrouter_closes_for_memory_total",
            "wsrouter_requests_out_of_memory_total",
            "changes(wsrouter_start_time_seconds",
            "wsrouter_connections_rejected_total",
            "wsrouter_requests_refused_total",
            "wsrouter_config_stale",
        ] {
            assert!(text.contains(metric), "{file} lacks {metric}");
        }
    }
}

#[test]
fn each_key_that_a_document_names_is_there() {
    let keys: toml::Table = Config::default().to_toml().parse().unwrap();
    let is_there = |name: &str| {
        let (section, key) = name.split_once('.').unwrap();
        keys.get(section).and_then(|section| section.get(key)).is_some()
    };
    let in_pages = [DAEMON, PROTOCOL].into_iter().flat_map(str::lines).filter_map(|line| line.strip_prefix(".Ic "));
    let in_pages = in_pages.map(|line| line.split(' ').next().unwrap());
    let in_guides = [README, OPERATION].into_iter().flat_map(|guide| guide.split('`').skip(1).step_by(2));
    let named = in_pages.chain(in_guides).filter(|name| is_key(name));
    let unknown: Vec<_> = named.filter(|name| !is_there(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn each_limit_stands_in_the_operators_guide_with_its_default_and_counters_that_are_there() {
    let limits = OPERATION.split("\n## Limits\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<Vec<&str>> = limits
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .skip(1)
        .map(|row| row.split(" | ").collect())
        .collect();
    let named = |row: &Vec<&'static str>| row[1].split('`').skip(1).step_by(2).collect::<Vec<_>>();
    let keys: BTreeSet<_> = names().map(|(section, name)| format!("{section}.{name}")).collect();
    let is_unknown = |key: &&str| !keys.contains(*key) && !keys.contains(&format!("access.{key}"));
    assert_eq!(rows.iter().flat_map(named).find(is_unknown), None);
    let limited: BTreeSet<_> = rows.iter().flat_map(named).collect();
    let is_missing = |key: &&String| key.starts_with("limits.") && !limited.contains(key.as_str());
    assert_eq!(keys.iter().find(is_missing), None);
    let families: BTreeSet<_> = families::ALL.iter().map(|family| family.name).collect();
    let reasons = Refusal::ALL.iter().map(|reason| reason.label());
    let reasons = reasons.chain(CloseReason::ALL.iter().map(|reason| reason.label()));
    let reasons = reasons.chain(Rejection::ALL.iter().map(|reason| reason.label()));
    let reasons = reasons.chain(DiscardReason::ALL.iter().map(|reason| reason.label()));
    let reasons: BTreeSet<_> = reasons.chain([EndReason::Unclaimed.label()]).collect();
    for row in &rows {
        let defaults: Vec<_> = named(row).into_iter().filter(|key| key.contains('.')).map(default_of).collect();
        assert!(defaults.is_empty() || defaults.join(", ") == row[2], "{row:?}: {defaults:?}");
        let counters = row[4].split('`').skip(1).step_by(2).filter(|name| families.contains(name));
        let counted = row[4].split('"').skip(1).step_by(2).filter(|name| reasons.contains(name));
        let said = row[4].matches('`').count() / 2 + row[4].matches('"').count() / 2;
        assert!(counters.count() + counted.count() == said && said > 0, "{row:?}");
    }
}

#[test]
fn each_link_of_a_document_leads_somewhere() {
    let mut found = 0;
    for document in DOCUMENTS {
        let (text, folder) = (fs::read_to_string(document).unwrap(), Path::new(document).parent().unwrap());
        let targets = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for target in targets.filter(|target| !target.starts_with("https://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let linked = fs::read_to_string(folder.join(file)).unwrap_or_default();
            let mut headings = linked.lines().filter(|line| line.starts_with('#')).map(anchor);
            assert!(folder.join(file).exists(), "{document}: {target}");
            assert!(heading.is_empty() || headings.any(|anchor| anchor == heading), "{document}: {target}");
            found += 1;
        }
    }
    assert!(found > 8, "{found}");
}

#[test]
fn each_command_of_a_document_is_there() {
    let (options, commands) = (options_of(&built(Router::command())), commands_of(&built(Control::command())));
    let manifest: toml::Table = fs::read_to_string("Cargo.toml").unwrap().parse().unwrap();
    assert!(README.contains("    cargo run --release") && README.contains("    cargo test"));
    assert_eq!(manifest["package"]["default-run"].as_str(), Some("ws-router"));
    for document in DOCUMENTS {
        let text = fs::read_to_string(document).unwrap();
        for (word, next) in text.split_whitespace().zip(text.split_whitespace().skip(1)) {
            let ends_code = word.ends_with('`');
            let (word, next) = (word.trim_matches('`'), next.trim_matches(['`', ';', ',', '.', ':', '(', ')']));
            if word.ends_with("ws-router") && !word.contains('=') && next.starts_with("--") {
                assert!(options.contains(&next[2..]), "{document}: ws-router {next}");
            }
            if word.ends_with("ws-routerctl") && next.starts_with(char::is_lowercase) && !ends_code {
                assert!(commands.contains(next), "{document}: ws-routerctl {next}");
            }
        }
    }
}

#[test]
fn the_change_log_begins_with_what_is_not_released_and_lists_no_later_version_than_this() {
    let text = fs::read_to_string("CHANGELOG.md").unwrap();
    let mut headings = text.lines().filter_map(|line| line.strip_prefix("## "));
    assert_eq!(headings.next(), Some("[Unreleased]"));
    let version = |text: &str| text.split('.').map(|part| part.parse().unwrap()).collect::<Vec<u64>>();
    let released = headings.map(|heading| {
        let (name, _date) = heading.strip_prefix('[').and_then(|rest| rest.split_once("] - ")).unwrap();
        version(name)
    });
    let released: Vec<_> = released.collect();
    assert!(released.is_sorted_by(|newer, older| newer > older), "{released:?}");
    assert!(released.first().is_none_or(|newest| *newest <= version(env!("CARGO_PKG_VERSION"))), "{released:?}");
}

#[test]
fn each_test_and_folder_of_tests_stands_in_their_readme() {
    let readme = fs::read_to_string("tests/README.md").unwrap();
    for entry in fs::read_dir("tests").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || readme.contains(&format!("| `{name}` |")), "{name}");
    }
}

fn built(mut command: Command) -> Command {
    command.build();
    command
}

/// All long options of a program and its commands.
fn options_of(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned);
    own.chain(command.get_subcommands().flat_map(options_of)).collect()
}

fn commands_of(command: &Command) -> BTreeSet<String> {
    command.get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

/// The options that a page explains: the items of its lists that are flags.
fn documented_options(page: &str) -> BTreeSet<String> {
    let flags = items(page).filter(|item| item.starts_with("Fl "));
    flags.flat_map(str::split_whitespace).filter_map(|word| word.strip_prefix('-')).map(str::to_owned).collect()
}

/// The default of a key, as the configuration prints it.
fn default_of(key: &str) -> String {
    let defaults: toml::Table = Config::default().to_toml().parse().unwrap();
    let (section, name) = key.split_once('.').unwrap();
    defaults[section][name].to_string().trim_matches('"').to_owned()
}

/// The anchor that hosting sites give a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn items(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter_map(|line| line.strip_prefix(".It "))
}

fn subsection<'a>(page: &'a str, title: &str) -> &'a str {
    page.split(&format!(".Ss {title}\n")).nth(1).unwrap().split("\n.S").next().unwrap()
}

/// The words that a list explains.
fn words(list: &str) -> BTreeSet<&str> {
    items(list).filter_map(|item| item.strip_prefix("Ql ")).collect()
}

/// Returns whether a word looks like `section.key`.
fn is_key(word: &str) -> bool {
    let is_name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let sections = ["registration", "websocket", "relay", "http", "admin", "metrics", "log", "limits", "service"];
    word.split_once('.').is_some_and(|(section, key)| sections.contains(&section) && is_name(key))
}

/// The documents for people, the manual pages aside.
const DOCUMENTS: [&str; 7] = [
    "README.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "packaging/README.md",
    "tests/README.md",
    "tests/bench/README.md",
    "tests/fuzz/README.md",
];
