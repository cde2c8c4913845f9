use std::path::Path;

use super::*;
use crate::config::Rule as Wish;
use crate::peer::Range;

fn access(rules: Vec<Wish>) -> Access {
    Access::load(&rules).unwrap()
}

fn from(address: &str) -> Caller<'static> {
    Caller {
        peer: Peer::inet(format!("{address}:5000").parse().unwrap()),
        user: None,
        certificate: None,
        origin: None,
        token: None,
    }
}

/// Names the rule that lets somebody do something; `None` if none does.
fn allowed<'a>(access: &'a Access, action: Action, caller: &Caller<'_>) -> Option<&'a str> {
    match access.decide(action, caller) {
        Verdict::Open => Some("open"),
        Verdict::Allowed(rule) => Some(&rule.name),
        Verdict::Refused { .. } => None,
    }
}

fn networks(all: &[&str]) -> Peers {
    all.iter().map(|network| network.parse::<Range>().unwrap()).collect()
}

fn problems(rules: &[Wish]) -> Vec<String> {
    Access::load(rules).unwrap_err().0
}

#[test]
fn without_rules_everybody_may_and_with_rules_only_those_to_whom_one_applies() {
    let caller = from("192.0.2.1");
    assert_eq!(allowed(&access(vec![]), Action::Register, &caller), Some("open"));
    let inside = Wish { networks: networks(&["10.0.0.0/8", "2001:db8::/32"]), ..Wish::default() };
    let access = access(vec![inside]);
    assert_eq!(allowed(&access, Action::Register, &caller), None);
    for near in ["10.1.2.3", "[2001:db8::1]", "[::ffff:10.0.0.1]"] {
        assert_eq!(allowed(&access, Action::Connect, &from(near)), Some("1"), "{near}");
    }
    let unix = Caller { peer: Peer::Unix { uid: 0, pid: 1 }, ..caller };
    assert_eq!(allowed(&access, Action::Register, &unix), None);
}

#[test]
fn the_first_rule_that_concerns_the_action_decides() {
    let named = |name: &str, allow| Wish { name: Some(name.into()), allow, ..Wish::default() };
    let access = access(vec![
        Wish { networks: networks(&["192.0.2.66/32"]), ..named("banned", Allow::None) },
        Wish { networks: networks(&["192.0.2.0/24"]), ..named("near", Allow::Register) },
        named("all", Allow::Connect),
    ]);
    let decide = |action, address: &str| allowed(&access, action, &from(address));
    assert_eq!(decide(Action::Register, "192.0.2.66"), None);
    assert_eq!(decide(Action::Connect, "192.0.2.66"), None);
    assert_eq!(decide(Action::Register, "192.0.2.1"), Some("near"));
    assert_eq!(decide(Action::Remove, "192.0.2.1"), Some("near"));
    assert_eq!(decide(Action::Connect, "192.0.2.1"), Some("all"));
    assert_eq!(decide(Action::Remove, "198.51.100.1"), None);
    assert_eq!(decide(Action::Connect, "198.51.100.1"), Some("all"));
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let access = access(vec![Wish {
        users: vec![config::User::Id(1000)],
        origins: vec!["https://example.com".into()],
        client_certificates: Some(ClientNames::Of(vec!["device-1".into()])),
        ..Wish::default()
    }]);
    let certificate = Certified { names: vec!["other".into(), "device-1".into()] };
    let right = Caller {
        peer: Peer::Unix { uid: 1000, pid: 1 },
        user: Some(1000),
        certificate: Some(&certificate),
        origin: Some("https://EXAMPLE.com"),
        token: None,
    };
    let stranger = Certified { names: vec!["device-2".into()] };
    assert_eq!(allowed(&access, Action::Register, &right), Some("1"));
    assert_eq!(allowed(&access, Action::Register, &Caller { origin: None, ..right }), Some("1"));
    for wrong in [
        Caller { user: Some(1001), ..right },
        Caller { user: None, ..right },
        Caller { certificate: None, ..right },
        Caller { certificate: Some(&stranger), ..right },
        Caller { origin: Some("https://example.com.evil.test"), ..right },
        Caller { origin: Some(""), ..right },
    ] {
        assert_eq!(allowed(&access, Action::Register, &wrong), None, "{wrong:?}");
    }
}

#[test]
fn a_token_would_help_only_where_nothing_else_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let token = Token::from_bits([1; 32]);
    let path = folder.path().join("tokens");
    std::fs::write(&path, format!("# devices\n\n phone:{}\n", token.hash())).unwrap();
    let access = access(vec![
        Wish { networks: networks(&["192.0.2.0/24"]), tokens: Some(path.clone()), ..Wish::default() },
        Wish { networks: networks(&["192.0.2.0/25"]), allow: Allow::None, ..Wish::default() },
    ]);
    let would_help = |caller: &Caller<'_>| match access.decide(Action::Connect, caller) {
        Verdict::Refused { token_would_help, .. } => token_would_help,
        _ => panic!("let in"),
    };
    let near = from("192.0.2.1");
    assert!(would_help(&near) && would_help(&from("192.0.2.200")));
    assert!(!would_help(&from("198.51.100.1")));
    let other = Token::from_bits([2; 32]);
    assert!(would_help(&Caller { token: Some(&other), ..near }));
    assert_eq!(allowed(&access, Action::Connect, &Caller { token: Some(&token), ..near }), Some("1"));
}

#[test]
fn a_file_of_tokens_is_told_by_its_lines_and_never_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    let hash = Token::new("x".into()).hash();
    let text = format!("phone:{hash}\nhunter2\nbad name:{hash}\nlaptop:hunter2\ntablet:{hash}\n");
    std::fs::write(&path, text).unwrap();
    let with = |path: &Path| Wish { tokens: Some(path.into()), ..Wish::default() };
    let shown = path.display();
    // Two rules that name the same file tell of it once.
    let expected = [
        format!("tokens {shown}:2: no line NAME:HASH; \"ws-routerctl token NAME\" makes one"),
        format!("tokens {shown}:3: the name is unfit; write 1 to 64 letters, digits and - _ . @"),
        format!("tokens {shown}:4: the hash isn't 64 hex digits; \"ws-routerctl token NAME\" makes one"),
        format!("tokens {shown}:5: this hash is in another line already; remove one of them"),
    ];
    assert_eq!(problems(&[with(&path), with(&path)]), expected);
    let missing = folder.path().join("none");
    assert!(
        problems(&[with(&missing)])[0]
            .ends_with("/none: no such file; make it with \"ws-routerctl token NAME\", or mend the path")
    );
}

#[test]
fn a_user_is_found_by_name_or_told_to_be_missing() {
    let by_name = |name: &str| Wish { users: vec![config::User::Name(name.into())], ..Wish::default() };
    let access = access(vec![by_name("root")]);
    let root = Caller { user: Some(0), ..from("127.0.0.1") };
    assert_eq!(allowed(&access, Action::Register, &root), Some("1"));
    let unknown = problems(&[Wish::default(), by_name("no-such-user")]);
    let expected = "access rule 2: user \"no-such-user\": there is no such user; mend the name, or write the number";
    assert_eq!(unknown, [expected]);
}

#[test]
fn files_of_tokens_that_changed_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    for path in [&one, &other] {
        std::fs::write(path, "").unwrap();
    }
    let rules = [&one, &other, &one].map(|path| Wish { tokens: Some(path.clone()), ..Wish::default() });
    let before = Access::load(&rules).unwrap();
    assert!(Access::load(&rules).unwrap().changed_files(&before).is_empty());
    std::fs::write(&one, format!("phone:{}\n", Token::from_bits([3; 32]).hash())).unwrap();
    assert_eq!(Access::load(&rules).unwrap().changed_files(&before), [one]);
}
