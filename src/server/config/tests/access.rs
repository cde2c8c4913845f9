use ws_router_core::rate::Rate;

use super::mistakes::{has_one, problems};
use super::*;
use crate::peer::Range;

const CA: &str =
    "[[listener]]\naddress = \"[::]:1\"\ntls = { certificate = \"/c\", key = \"/k\", client-ca = \"ca.pem\" }\n";

#[test]
fn rules_are_read_in_order_with_all_their_conditions() {
    let text = r#"
        [[access]]
        name = "banned"
        networks = ["192.0.2.66", "2001:db8:bad::/48"]
        allow = "none"
        [[access]]
        users = [1000, "proxy"]
        tokens = "${CREDENTIALS_DIRECTORY}/tokens"
        client-certificates = ["device-1"]
        origins = ["https://Example.com"]
        [[access]]
        tokens = "tokens"
        client-certificates = true
        allow = "register"
    "#;
    let config = read(&format!("{CA}{text}")).unwrap();
    assert_eq!(config.listeners[0].tls.as_ref().unwrap().client_ca, Some("/etc/ca.pem".into()));
    let expected = [
        Rule {
            name: Some("banned".into()),
            networks: ["192.0.2.66", "2001:db8:bad::/48"]
                .map(|text| text.parse::<Range>().unwrap())
                .into_iter()
                .collect(),
            allow: Allow::NONE,
            ..Rule::default()
        },
        Rule {
            users: vec![User::Id(1000), User::Name("proxy".into())],
            tokens: Some("/run/credentials/tokens".into()),
            client_certificates: Some(ClientNames::Of(vec!["device-1".into()])),
            origins: vec!["https://example.com".into()],
            ..Rule::default()
        },
        Rule {
            tokens: Some("/etc/tokens".into()),
            client_certificates: Some(ClientNames::Any),
            allow: Allow::REGISTER,
            ..Rule::default()
        },
    ];
    assert_eq!(config.access, expected);
    let changed = config.differences(&read(CA).unwrap());
    assert_eq!((changed.live, changed.need_restart), (vec!["access".to_string()], vec![]));
}

#[test]
fn all_mistakes_in_rules_are_reported_with_their_positions() {
    let text = r#"[[access]]
name = "1st"
allow = "conect"
networks = ["10.1.2.3/8", "ten", "::ffff:10.0.0.0/104", 10]
users = ["", -1, 4294967295, true]
tokens = ""
client-certificates = false
origins = ["example.com", "*", ""]
network = "10.0.0.0/8"

[[access]]
networks = []
users = "root"
tokens = ["/t"]
client-certificates = [" "]
"#;
    let expected = [
        "2:8: access.name: \"1st\" is not a name; write a letter and up to 63 letters, digits and - _ .",
        "3:9: access.allow: \"conect\" is not a known value; did you mean \"connect\"?",
        "4:13: access.networks: \"10.1.2.3/8\" is an address inside a network; write \"10.0.0.0/8\" for all of it",
        "4:27: access.networks: \"ten\" is not a network; write one like \"10.0.0.0/8\" or \"2001:db8::/32\", an address, or \"unix\"",
        "4:34: access.networks: \"::ffff:10.0.0.0/104\" is an IPv4 network in IPv6 form; write it as IPv4, without ::ffff:",
        "4:57: access.networks: expected a string, not a number; put it in double quotes",
        "5:10: access.users: \"\" is not a user; write a name or a number",
        "5:14: access.users: -1 is negative; write a number of at least 0",
        "5:18: access.users: not a user id; \"id -u NAME\" prints it",
        "5:30: access.users: expected a user, not true or false; write a name in quotes, or a number without",
        "6:10: access.tokens: \"\" is not a path; name the file of tokens",
        "7:23: access.client-certificates: false requires nothing; remove the key, or write true or a list of names",
        "8:12: access.origins: \"example.com\" is not an origin; write one like \"https://example.com\" without a path",
        "8:27: access.origins: \"*\" is every origin; remove the key, which requires none",
        "8:32: access.origins: \"\" is not an origin; write one like \"https://example.com\" without a path",
        "9:1: unknown key \"network\" in [[access]]; did you mean \"networks\"?",
        "12:12: access.networks: an empty list matches nothing; add a value, or remove the key",
        "13:9: access.users: expected a list, not a string; put it in brackets, even if there is only one value",
        "14:10: access.tokens: expected a string, not a list; put it in double quotes",
        "15:23: access.client-certificates: no listener requests certificates; add client-ca to its tls",
        "15:24: access.client-certificates: \" \" is not a name; write one that the certificate contains",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn limits_of_a_rule_are_read() {
    let text =
        "[[access]]\nregistrations = 10\nmembers = 4\nmessages = \"100/s burst 500\"\nbytes = \"1MiB/s burst 4 MiB\"";
    let rule = &read(text).unwrap().access[0];
    assert_eq!((rule.registrations, rule.members), (Some(10), Some(4)));
    assert_eq!(rule.messages, Some(Rate::per_second(100, 500)));
    assert_eq!(rule.bytes, Some(Rate::per_second(1 << 20, 4 << 20)));
}

#[test]
fn an_invalid_or_ineffective_limit_is_reported() {
    let text = r#"[[access]]
users = [0]
registrations = 0
members = "many"
messages = 100
bytes = "1MiB"
[[access]]
users = [0]
messages = "0/s"
bytes = "2EiB/s"
[[access]]
users = [0]
allow = "connect"
members = 2
[[access]]
allow = "none"
bytes = "1MiB/s"
"#;
    let expected = [
        "3:17: access.registrations: 0 is too little; the minimum is 1",
        "4:11: access.members: expected a number, not a string; write it without quotes and without a unit",
        "5:12: access.messages: expected a rate, not a number; write, for example, \"100/s\" or \"100/s burst 500\"",
        "6:9: access.bytes: \"1MiB\" is not a rate; write a number and s, m or h, such as \"1MiB/s\" or \"1MiB/s burst \
         4MiB\"",
        "9:12: access.messages: \"0/s\" is not a rate; write a number and s, m or h, such as \"100/s\" or \"100/s burst \
         500\"",
        "10:9: access.bytes: \"2EiB/s\" is not a rate; write a number and s, m or h, such as \"1MiB/s\" or \"1MiB/s burst \
         4MiB\"",
        "14:11: access.members: has no effect with allow = \"connect\"; remove one of them",
        "17:9: access.bytes: has no effect with allow = \"none\"; remove one of them",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn an_authorizer_address_has_a_socket_and_a_path() {
    for (text, shown) in [
        ("http://127.0.0.1:9000/allow", "http://127.0.0.1:9000/allow"),
        ("http://[::1]:9000", "http://[::1]:9000/"),
        ("http://auth.internal/a?b=c", "http://auth.internal:80/a?b=c"),
        ("unix:/run/auth.sock:/allow", "unix:/run/auth.sock:/allow"),
    ] {
        let rule = read(&format!("[[access]]\nask = {text:?}\nask-timeout = \"500ms\"")).unwrap().access.remove(0);
        assert_eq!(rule.ask.unwrap().to_string(), shown);
        assert_eq!(rule.ask_timeout, Some(Duration::from_millis(500)));
    }
    for bad in
        ["", "auth", "/run/auth.sock", "http:///allow", "http://a:b@c/", "http://a:99999/", "unix:/run/auth.sock"]
    {
        let fix = "is not an address; write \"http://127.0.0.1:9000/path\" or \"unix:/socket:/path\"";
        has_one(&format!("[[access]]\nask = {bad:?}"), &format!("2:7: access.ask: {bad:?} {fix}"));
    }
    has_one(
        "[[access]]\nask = \"https://auth/\"",
        "2:7: access.ask: \"https://auth/\" requires TLS, which is not supported; use http or a Unix socket on this machine",
    );
    has_one(
        "[[access]]\nask = \"unix:auth.sock:/\"",
        "2:7: access.ask: \"auth.sock\" is not an absolute path; begin it with a slash, such as \"/run/ws-router/http.sock\"",
    );
    has_one(
        "[[access]]\nallow = \"none\"\nask = \"http://127.0.0.1:9000\"",
        "3:7: access.ask: has no effect with allow = \"none\"; remove one of them",
    );
    let text = "[[access]]\nask-timeout = \"0s\"";
    let expected = [
        "2:15: access.ask-timeout: \"0s\" is too little; the minimum is \"10ms\"",
        "2:15: access.ask-timeout: has no effect without ask; add it, or remove this key",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn a_rule_outside_of_an_array_of_tables_is_reported() {
    has_one(
        "[access]\nallow = \"both\"",
        "1:1: access: expected a list, not a table; write [[access]] with two brackets on each side, since there may \
         be several",
    );
    has_one("access = [1]", "1:11: access: expected a table, not a number; write [[access]] above its keys");
}

#[test]
fn an_unreachable_rule_is_reported() {
    let rules = |all: &[&str]| all.iter().map(|rule| format!("[[access]]\n{rule}\n")).collect::<String>();
    let unreached = "access: this rule is never reached, since the one in line";
    has_one(
        &rules(&["allow = \"both\"", "users = [0]\nallow = \"none\""]),
        &format!("3:1: {unreached} 1 applies to all requests; move or remove one of them"),
    );
    has_one(
        &rules(&["allow = \"connect\"", "allow = \"register\"", "users = [0]"]),
        &format!("5:1: {unreached} 1 applies to all requests; move or remove one of them"),
    );
    has_one(
        &rules(&["allow = \"connect\"", "users = [0]\nallow = \"connect\""]),
        &format!("3:1: {unreached} 1 applies to all requests; move or remove one of them"),
    );
    for fine in [
        &["users = [0]", "users = [1]", "allow = \"none\""][..],
        &["allow = \"connect\"", "users = [0]"],
        &["users = [0]\nallow = \"none\"", "allow = \"register\"", "allow = \"connect\""],
    ] {
        assert!(read(&rules(fine)).is_ok(), "{fine:?}");
    }
}

#[test]
fn two_rules_with_the_same_name_are_reported() {
    let text = "[[access]]\nname = \"a\"\nusers = [0]\n[[access]]\nname = \"a\"\n";
    has_one(text, "5:8: access.name: \"a\" is already used by the rule in line 1; rename one of them");
}

#[test]
fn a_rule_may_name_one_operation_or_several() {
    let allow = |value: &str| read(&format!("[[access]]\nallow = {value}\n")).unwrap().access[0].allow;
    assert_eq!(allow("\"members\""), Allow::NONE.and(Operation::Members));
    assert_eq!(allow("[\"send\"]"), allow("\"send\""));
    assert_eq!(allow("[\"connect\", \"register\"]"), Allow::BOTH);
    assert_eq!(allow("[\"send\", \"connect\"]"), Allow::CONNECT.and(Operation::Send));
    for (value, problem) in [
        ("[]", "an empty list allows nothing; add an operation, or write \"none\""),
        ("[\"send\", \"send\"]", "an operation is repeated; name it once"),
        ("[\"member\"]", "\"member\" is not a known value; did you mean \"members\"?"),
        ("[\"both\"]", "\"both\" is not a known value; write one of \"register\", \"connect\", \"members\", \"send\""),
        ("[1]", "expected a string, not a number; write one of \"register\", \"connect\", \"members\", \"send\""),
    ] {
        let found = problems(&format!("[[access]]\nallow = {value}\n"));
        assert!(found.len() == 1 && found[0].ends_with(&format!(" access.allow: {problem}")), "{found:?}");
    }
    has_one(
        "[[access]]\nallow = \"send\"\nbytes = \"1B/s\"\n",
        "3:9: access.bytes: has no effect with allow = \"send\"; remove one of them",
    );
}

#[test]
fn a_rule_for_an_operation_is_reached_unless_one_that_names_it_applies_to_all() {
    let rules = |all: &[&str]| all.iter().map(|rule| format!("[[access]]\n{rule}\n")).collect::<String>();
    let unreached = "access: this rule is never reached, since the one in line";
    assert!(read(&rules(&["allow = \"connect\"", "allow = \"members\""])).is_ok());
    has_one(
        &rules(&["users = [0]", "allow = \"send\"", "users = [1]\nallow = \"send\""]),
        &format!("5:1: {unreached} 3 applies to all requests; move or remove one of them"),
    );
    has_one(
        &rules(&["allow = \"both\"", "allow = [\"members\", \"send\"]", "allow = \"none\""]),
        &format!("5:1: {unreached} 3 applies to all requests; move or remove one of them"),
    );
}
