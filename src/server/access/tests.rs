use std::path::Path;

use super::*;
use crate::config::Rule as RuleConfig;
use crate::peer::Range;

fn access(rules: Vec<RuleConfig>) -> Access {
    Access::load(&rules, Accept::Any).unwrap()
}

fn from(address: &str) -> Caller<'static> {
    Caller {
        peer: Peer::inet(format!("{address}:5000").parse().unwrap()),
        user: None,
        certificate: None,
        origin: None,
        is_cross_site: false,
        token: None,
    }
}

/// Returns the name of the rule that allows an action; `None` if none does.
fn allowed<'a>(access: &'a Access, action: Action, caller: &Caller<'_>) -> Option<&'a str> {
    match access.decide(action, caller) {
        Verdict::Open => Some("open"),
        Verdict::Allowed(rule) => Some(&rule.name),
        Verdict::Denied { .. } => None,
    }
}

fn networks(all: &[&str]) -> Peers {
    all.iter().map(|network| network.parse::<Range>().unwrap()).collect()
}

fn problems(rules: &[RuleConfig]) -> Vec<String> {
    Access::load(rules, Accept::Any).unwrap_err().0
}

#[test]
fn without_rules_all_is_allowed_and_with_rules_what_one_of_them_allows() {
    let caller = from("192.0.2.1");
    assert_eq!(allowed(&access(vec![]), Action::Register, &caller), Some("open"));
    let inside = RuleConfig { networks: networks(&["10.0.0.0/8", "2001:db8::/32"]), ..RuleConfig::default() };
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
    let named = |name: &str, allow| RuleConfig { name: Some(name.into()), allow, ..RuleConfig::default() };
    let access = access(vec![
        RuleConfig { networks: networks(&["192.0.2.66/32"]), ..named("banned", Allow::NONE) },
        RuleConfig { networks: networks(&["192.0.2.0/24"]), ..named("near", Allow::REGISTER) },
        named("all", Allow::CONNECT),
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
fn a_rule_for_connecting_covers_members_and_sending_unless_a_rule_names_them() {
    let caller = from("192.0.2.1");
    let named = |name: &str, allow| RuleConfig { name: Some(name.into()), allow, ..RuleConfig::default() };
    let decide = |rules: &[RuleConfig]| {
        let access = access(rules.to_vec());
        let all = [Action::Register, Action::Connect, Action::Members, Action::Send];
        all.map(|action| allowed(&access, action, &caller).unwrap_or("denied").to_owned())
    };
    let (members, send) = (Allow::NONE.and(Operation::Members), Allow::NONE.and(Operation::Send));
    assert_eq!(decide(&[named("a", Allow::CONNECT)]), ["denied", "a", "a", "a"]);
    assert_eq!(decide(&[named("a", Allow::BOTH)]), ["a", "a", "a", "a"]);
    assert_eq!(decide(&[named("a", Allow::REGISTER)]), ["a", "denied", "denied", "denied"]);
    assert_eq!(decide(&[named("a", Allow::CONNECT), named("b", send)]), ["denied", "a", "a", "b"]);
    assert_eq!(decide(&[named("a", members), named("b", Allow::BOTH)]), ["b", "b", "a", "b"]);
    assert_eq!(decide(&[named("a", Allow::CONNECT.and(Operation::Send))]), ["denied", "a", "a", "a"]);
    assert_eq!(decide(&[named("a", send)]), ["denied", "denied", "denied", "a"]);
    // A rule that names an operation does so for all clients, even those to whom it doesn't apply.
    let elsewhere = RuleConfig { networks: networks(&["198.51.100.0/24"]), ..named("b", members) };
    assert_eq!(decide(&[named("a", Allow::BOTH), elsewhere]), ["a", "a", "denied", "a"]);
    let banned = RuleConfig { networks: networks(&["192.0.2.0/24"]), ..named("b", Allow::NONE) };
    assert_eq!(decide(&[banned, named("a", Allow::BOTH), named("c", members)]), ["denied"; 4]);
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let access = access(vec![RuleConfig {
        users: vec![config::User::Id(1000)],
        origins: vec!["https://example.com".into()],
        client_certificates: Some(ClientNames::Of(vec!["device-1".into()])),
        ..RuleConfig::default()
    }]);
    let certificate = ClientIdentity { names: vec!["other".into(), "device-1".into()] };
    let right = Caller {
        peer: Peer::Unix { uid: 1000, pid: 1 },
        user: Some(1000),
        certificate: Some(&certificate),
        origin: Some("https://EXAMPLE.com"),
        is_cross_site: true,
        token: None,
    };
    let stranger = ClientIdentity { names: vec!["device-2".into()] };
    assert_eq!(allowed(&access, Action::Register, &right), Some("1"));
    assert_eq!(allowed(&access, Action::Register, &Caller { origin: None, is_cross_site: false, ..right }), Some("1"));
    for wrong in [
        Caller { user: Some(1001), ..right },
        Caller { user: None, ..right },
        Caller { certificate: None, ..right },
        Caller { certificate: Some(&stranger), ..right },
        Caller { origin: Some("https://example.com.evil.test"), ..right },
        Caller { origin: Some(""), ..right },
        Caller { origin: None, ..right },
    ] {
        assert_eq!(allowed(&access, Action::Register, &wrong), None, "{wrong:?}");
    }
}

#[test]
fn a_rule_that_denies_origins_concerns_only_pages_of_them() {
    let denied = vec!["https://example.com".into()];
    let access = access(vec![
        RuleConfig { allow: Allow::NONE, origins: denied, ..RuleConfig::default() },
        RuleConfig { name: Some("all".into()), ..RuleConfig::default() },
    ]);
    let device = from("192.0.2.1");
    assert_eq!(allowed(&access, Action::Register, &device), Some("all"));
    assert_eq!(allowed(&access, Action::Register, &Caller { is_cross_site: true, ..device }), Some("all"));
    assert_eq!(
        allowed(&access, Action::Register, &Caller { origin: Some("https://other.test"), ..device }),
        Some("all")
    );
    assert_eq!(allowed(&access, Action::Register, &Caller { origin: Some("https://example.com"), ..device }), None);
}

#[test]
fn a_token_would_help_only_where_nothing_else_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let token = Token::from_bits([1; 32]);
    let path = folder.path().join("tokens");
    std::fs::write(&path, format!("# devices\n\n phone:{}\n", token.hash())).unwrap();
    let access = access(vec![
        RuleConfig { networks: networks(&["192.0.2.0/24"]), tokens: Some(path.clone()), ..RuleConfig::default() },
        RuleConfig { networks: networks(&["192.0.2.0/25"]), allow: Allow::NONE, ..RuleConfig::default() },
    ]);
    let would_help = |caller: &Caller<'_>| match access.decide(Action::Connect, caller) {
        Verdict::Denied { token_would_help, .. } => token_would_help,
        _ => panic!("allowed"),
    };
    let near = from("192.0.2.1");
    assert!(would_help(&near) && would_help(&from("192.0.2.200")));
    assert!(!would_help(&from("198.51.100.1")));
    let other = Token::from_bits([2; 32]);
    assert!(would_help(&Caller { token: Some(&other), ..near }));
    assert_eq!(allowed(&access, Action::Connect, &Caller { token: Some(&token), ..near }), Some("1"));
}

#[test]
fn problems_of_a_token_file_name_the_line_and_never_repeat_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    let hash = Token::new("x".into()).hash();
    let text = format!("phone:{hash}\nhunter2\nbad name:{hash}\nlaptop:hunter2\ntablet:{hash}\n");
    std::fs::write(&path, text).unwrap();
    let with = |path: &Path| RuleConfig { tokens: Some(path.into()), ..RuleConfig::default() };
    let shown = path.display();
    // Two rules that name the same file report it once.
    let expected = [
        format!("tokens {shown}:2: not NAME:HASH; \"ws-routerctl token NAME\" makes one"),
        format!("tokens {shown}:3: the name is not valid; use 1 to 64 letters, digits and - _ . @"),
        format!("tokens {shown}:4: the hash is not 64 hex digits; \"ws-routerctl token NAME\" makes one"),
        format!("tokens {shown}:5: another line has the same hash; remove one of them"),
    ];
    assert_eq!(problems(&[with(&path), with(&path)]), expected);
    let missing = folder.path().join("none");
    assert!(
        problems(&[with(&missing)])[0]
            .ends_with("/none: no such file; make it with \"ws-routerctl token NAME\", or correct the path")
    );
}

#[test]
fn a_token_file_may_begin_with_a_byte_order_mark_and_other_bytes_are_named_by_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    let hash = Token::new("x".into()).hash();
    let rules = [RuleConfig { tokens: Some(path.clone()), ..RuleConfig::default() }];
    std::fs::write(&path, format!("\u{feff}phone:{hash}\r\n")).unwrap();
    assert!(Access::load(&rules, Accept::Any).is_ok());
    std::fs::write(&path, [b"# fine\n", format!("phone:{hash}\n").as_bytes(), b"l\xe4ptop:x\n"].concat()).unwrap();
    assert_eq!(problems(&rules), [format!("tokens {}:3: not UTF-8; expected NAME:HASH", path.display())]);
}

#[test]
fn a_user_is_found_by_name_or_reported_as_missing() {
    let by_name = |name: &str| RuleConfig { users: vec![config::User::Name(name.into())], ..RuleConfig::default() };
    let access = access(vec![by_name("root")]);
    let root = Caller { user: Some(0), ..from("127.0.0.1") };
    assert_eq!(allowed(&access, Action::Register, &root), Some("1"));
    let unknown = problems(&[RuleConfig::default(), by_name("no-such-user")]);
    let expected = "access rule 2: user \"no-such-user\": no such user; fix the name, or write the numeric id";
    assert_eq!(unknown, [expected]);
}

#[test]
fn changed_token_files_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    for path in [&one, &other] {
        std::fs::write(path, "").unwrap();
    }
    let rules = [&one, &other, &one].map(|path| RuleConfig { tokens: Some(path.clone()), ..RuleConfig::default() });
    let before = Access::load(&rules, Accept::Any).unwrap();
    assert!(Access::load(&rules, Accept::Any).unwrap().changed_files(&before).is_empty());
    std::fs::write(&one, format!("phone:{}\n", Token::from_bits([3; 32]).hash())).unwrap();
    assert_eq!(Access::load(&rules, Accept::Any).unwrap().changed_files(&before), [one]);
}
