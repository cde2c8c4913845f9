use super::*;

/// Returns the problems of a configuration, without the path in front of each.
pub(super) fn problems(text: &str) -> Vec<String> {
    let lines = read(text).unwrap_err().0;
    lines.iter().map(|line| line.strip_prefix("/etc/r.toml:").unwrap().to_string()).collect()
}

/// Asserts that a configuration has exactly one problem, with this position and text.
#[track_caller]
pub(super) fn has_one(text: &str, expected: &str) {
    assert_eq!(problems(text), [expected], "{text}");
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_places_and_fixes() {
    let text = r#"# a file
[websocket]
max-mesage = "1MiB"
ping-interval = 30
pong-timeout = "0s"
slow-receiver = "paced"

[relay]
threads = "many"

[regstration]
linger = "1m"

[[listener]]
address = "8741"
tls = { certificate = "/c.pem" }

[http]
linger = "5s"
"#;
    let expected = [
        "3:1: unknown key \"max-mesage\" in [websocket]; did you mean \"max-message\"?",
        "4:17: websocket.ping-interval: 30 has no unit; write \"30s\"",
        "5:16: websocket.pong-timeout: \"0s\" is too little; the minimum is \"10ms\"",
        "6:17: websocket.slow-receiver: \"paced\" is not a known value; did you mean \"pace\"?",
        "9:11: relay.threads: expected a number, not a string; write it without quotes and without a unit, or \"auto\"",
        "11:2: unknown section [regstration]; did you mean [registration]?",
        "15:11: listener.address: \"8741\" has no address; write \"[::]:8741\" for every address",
        "16:7: listener.tls: key is missing; add key = \"/path/key.pem\"",
        "19:1: unknown key \"linger\" in [http]; it belongs in [registration]",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn invalid_toml_is_reported_with_its_position_and_hides_no_other_mistake() {
    let text = "[relay\nthreads = 1\n[http]\nrequest-timeout = 10s\npublic-stats = 1\n[log]\nlevel = \"info\"\nlevel = \"warn\"\n";
    let expected = [
        "1:7: unclosed table, expected `]`; close it on this line",
        "4:19: string values must be quoted, expected literal string; write \"10s\"",
        "5:16: http.public-stats: expected true or false, not a number; write it without quotes",
        "8:1: duplicate key; the first one is in line 7; keep one of them",
    ];
    assert_eq!(problems(text), expected);
    has_one(
        "what is this",
        "1:6: key with no value, expected `=`; a line is a [section], a key = value, or a # comment",
    );
    has_one("[log]\nlevel = \"info\n", "2:14: invalid basic string, expected `\"`; close it on this line");
}

#[test]
fn columns_count_characters_and_not_bytes() {
    let text = "relay = { busy-poll = \"0s\", \"größe\" = 1, \"ü\" = 2 }";
    let expected = [
        "1:29: unknown key \"größe\" in [relay]; its keys are threads, busy-poll",
        "1:42: unknown key \"ü\" in [relay]; its keys are threads, busy-poll",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn metrics_need_an_address_of_their_own() {
    has_one(
        "[metrics]\nlisten = 9741",
        "2:10: metrics.listen: expected a string, not a number; write an address such as \"127.0.0.1:9741\", or \"off\"",
    );
    has_one(
        "[metrics]\nlisten = \"[::]:8741\"\n[[listener]]\naddress = \"127.0.0.1:8741\"",
        "4:11: listener.address: 127.0.0.1:8741 conflicts with metrics.listen; change one of them",
    );
    assert_eq!(read("[metrics]\nlisten = \"off\"").unwrap().metrics.listen, None);
}

#[test]
fn permissions_are_for_unix_sockets_that_the_router_binds() {
    let unix = read("[[listener]]\naddress = \"unix:/s\"\nmode = \"0666\"\ngroup = \"root\"").unwrap();
    let permissions = &unix.listeners[0].permissions;
    assert_eq!((permissions.mode.bits(), permissions.group.as_ref().map(GroupName::as_str)), (0o666, Some("root")));
    has_one(
        "[[listener]]\naddress = \"[::]:1\"\nmode = \"0660\"",
        "3:8: listener.mode: has no effect on [::]:1: only a Unix socket has one; remove this key",
    );
    has_one(
        "[[listener]]\naddress = \"systemd:http\"\ngroup = \"root\"",
        "3:9: listener.group: has no effect on systemd:http: the socket unit decides; set SocketGroup= there",
    );
    has_one(
        "[metrics]\nlisten = \"127.0.0.1:1\"\ngroup = \"root\"",
        "3:9: metrics.group: has no effect on 127.0.0.1:1: only a Unix socket has one; remove this key",
    );
    for mode in ["660 ", "0o660", "1777", "0888", "", "+660"] {
        has_one(
            &format!("[metrics]\nlisten = \"unix:/s\"\nmode = {mode:?}"),
            &format!("3:8: metrics.mode: {mode:?} is not a file mode; write octal digits, such as \"0660\""),
        );
    }
    has_one(
        "[[listener]]\naddress = \"unix:/s\"\nmode = 0o660",
        "3:8: listener.mode: expected a string, not a number; write, for example, \"0660\"",
    );
}

#[test]
fn a_group_that_does_not_exist_is_a_mistake() {
    has_one(
        "[[listener]]\naddress = \"unix:/s\"\ngroup = \"no-such-group\"",
        "3:9: listener.group: there is no group \"no-such-group\"; create it, or name one of /etc/group",
    );
    has_one(
        "[metrics]\nlisten = \"unix:/s\"\ngroup = \"no-such-group\"",
        "3:9: metrics.group: there is no group \"no-such-group\"; create it, or name one of /etc/group",
    );
}

#[test]
fn an_unknown_key_is_reported_with_its_section_or_a_similar_key() {
    has_one("port = 8080", "1:1: unknown key \"port\" outside of any section; ws-router.toml(5) lists the keys");
    has_one("level = \"info\"", "1:1: unknown key \"level\" outside of any section; it belongs in [log]");
    has_one(
        "[websocket]\nMax_Message = 1",
        "2:1: unknown key \"Max_Message\" in [websocket]; did you mean \"max-message\"?",
    );
    has_one(
        "[http]\nping-intervall = 1",
        "2:1: unknown key \"ping-intervall\" in [http]; did you mean \"ping-interval\" in [websocket]?",
    );
    has_one("[log]\ncolour = 1", "2:1: unknown key \"colour\" in [log]; its keys are level, format");
    has_one(
        "[[listener]]\naddress = \"[::]:1\"\ncertificate = \"/c\"",
        "3:1: unknown key \"certificate\" in [[listener]]; it belongs in a listener's tls",
    );
    has_one(
        "[[listener]]\naddress = \"[::]:1\"\ntls = { certificate = \"/c\", key = \"/k\", ca = \"/a\" }",
        "3:41: unknown key \"ca\" in a listener's tls; its keys are certificate, key, client-ca, client-crl, kernel",
    );
    has_one(
        "[[listener]]\naddress = \"[::]:1\"\ntls = { certificate = \"/c\", key = \"/k\", client-crl = \"/l\" }",
        "3:54: listener.tls.client-crl: has no effect without client-ca; add it, or remove this key",
    );
    has_one(
        "[[listener]]\naddress = \"[::]:1\"\ntls = { certificate = \"/c\", key = \"/k\", kernel = \"on\" }",
        "3:50: listener.tls.kernel: \"on\" is not a known value; write one of \"auto\", \"off\", \"required\"",
    );
    has_one(
        "[[listener]]\naddress = \"unix:/s\"\ntls = { certificate = \"/c\", key = \"/k\", kernel = \"required\" }",
        "3:7: listener.tls.kernel: \"required\" is not possible on a Unix socket; write \"auto\"",
    );
    has_one(
        "[ssl]\nx = 1",
        "1:2: unknown section [ssl]; the sections are [[listener]], [registration], [websocket], [relay], [http], [admin], \
         [metrics], [log], [limits], [service], [[access]]",
    );
}

#[test]
fn a_value_of_the_wrong_type_is_reported_with_the_right_type() {
    let cases = [
        ("[registration]\nauto-remove = \"no\"", "expected true or false, not a string; write it without quotes"),
        (
            "[registration]\nlinger = true",
            "expected a duration, not true or false; write, for example, \"30s\" or \"10m\"",
        ),
        ("[websocket]\noutbox = 1.5", "expected a size, not a number with a fraction; write, for example, \"64MiB\""),
        ("[limits]\nmembers = \"10\"", "expected a number, not a string; write it without quotes and without a unit"),
        ("[limits]\nmembers = -1", "-1 is negative; write a number of at least 0"),
        ("[http]\npath-prefix = []", "expected a string, not a list; put it in double quotes"),
        (
            "[log]\nlevel = 1979-05-27",
            "expected a string, not a date; write one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        ),
        (
            "[log]\nlevel = { }",
            "expected a string, not a table; write one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        ),
        (
            "[log]\nformat = \"xml\"",
            "\"xml\" is not a known value; write one of \"auto\", \"text\", \"json\", \"journal\"",
        ),
    ];
    for (text, expected) in cases {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].ends_with(&format!(": {expected}")), "{text}: {found:?}");
    }
    has_one(
        "relay = 4",
        "1:9: relay: expected a table, not a number; write [relay] on a line of its own, and the keys below it",
    );
    has_one(
        "[listener]\naddress = \"[::]:1\"",
        "1:1: listener: expected a list, not a table; write [[listener]] with two brackets on each side, since there \
         may be several",
    );
    has_one("listener = [1]", "1:13: listener: expected a table, not a number; write [[listener]] above its keys");
}

#[test]
fn invalid_and_untrusted_proxies_are_reported() {
    has_one(
        "[http]\ntrusted-proxies = [\"10.0.0.1/8\"]",
        "2:19: http.trusted-proxies: \"10.0.0.1/8\" is an address inside a network; write \"10.0.0.0/8\" for all of it",
    );
    has_one(
        "[http]\ntrusted-proxies = \"unix\"",
        "2:19: http.trusted-proxies: expected a list, not a string; write, for example, [\"127.0.0.1\", \"10.0.0.0/8\", \
         \"unix\"]",
    );
    has_one(
        "[http]\nforwarded-header = \"x-real-ip\"",
        "2:20: http.forwarded-header: \"x-real-ip\" is not a known value; write one of \"x-forwarded-for\", \"forwarded\"",
    );
    has_one(
        "[[listener]]\naddress = \"[::]:1\"\nproxy-protocol = true",
        "2:11: listener.proxy-protocol: no proxy is trusted; name the proxies in http.trusted-proxies",
    );
    has_one(
        "[[listener]]\naddress = \"[::]:1\"\nproxy-protocol = \"v2\"",
        "3:18: listener.proxy-protocol: expected true or false, not a string; write it without quotes",
    );
}

#[test]
fn an_invalid_rate_is_reported_with_the_syntax() {
    has_one(
        "[limits]\nregister-rate = 20",
        "2:17: limits.register-rate: expected a rate, not a number; write, for example, \"20/s burst 1000\", or \"unlimited\"",
    );
    has_one(
        "[limits]\nregister-rate = \"20\"",
        "2:17: limits.register-rate: \"20\" is not a rate; write a number and s, m or h, such as \"20/s\" or \"20/s burst \
         1000\", or \"unlimited\"",
    );
}

#[test]
fn an_invalid_unit_is_reported_with_the_valid_ones() {
    for text in ["30", "", "soon", "-5s", "5 parsecs"] {
        has_one(
            &format!("[registration]\nlinger = {text:?}"),
            &format!(
                "2:10: registration.linger: {text:?} is not a duration; write a number and a unit (us, ms, s, m, h, d), \
                 such as \"30s\" or \"10m\""
            ),
        );
    }
    for text in ["", "big", "1 MiX", "-1MiB"] {
        has_one(
            &format!("[websocket]\noutbox = {text:?}"),
            &format!(
                "2:10: websocket.outbox: {text:?} is not a size; write a number and a unit (B, KiB, MiB, GiB), such as \
                 \"64MiB\""
            ),
        );
    }
}

#[test]
fn a_value_outside_of_its_limits_is_reported_with_the_limit() {
    let cases = [
        ("[registration]\nlinger = \"1000years\"", "is too much; the maximum is \"1year\""),
        ("[websocket]\nmax-message = \"1TiB\"", "\"1024GiB\" is too much; the maximum is \"1GiB\""),
        ("[websocket]\nmax-message = 0", "\"0B\" is too little; the minimum is \"1KiB\""),
        ("[http]\nmax-head = \"1KiB\"", "\"1KiB\" is too little; the minimum is \"8KiB\""),
        ("[relay]\nthreads = 0", "0 is too little; the minimum is 1, or \"auto\""),
        ("[relay]\nthreads = 5000", "5000 is too much; the maximum is 1024"),
        ("[relay]\nbusy-poll = \"1s\"", "\"1s\" is too much; the maximum is \"10ms\""),
        ("[limits]\nconnections = 0", "0 is too little; the minimum is 1"),
        ("[limits]\nmembers = 99999999999999999999999", "is too much; the maximum is 1000000000"),
    ];
    for (text, expected) in cases {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].ends_with(expected), "{text}: {found:?}");
    }
}

#[test]
fn a_path_prefix_begins_with_a_slash_and_ends_without() {
    for good in ["", "/relay", "/a/b-c", "/~me"] {
        assert_eq!(read(&format!("[http]\npath-prefix = {good:?}")).unwrap().http.path_prefix, good);
    }
    for (bad, fix) in [("relay", "/relay"), ("/relay/", "/relay"), ("/", ""), ("//a//b", "/a/b")] {
        has_one(
            &format!("[http]\npath-prefix = {bad:?}"),
            &format!("2:15: http.path-prefix: {bad:?} has its slashes in the wrong place; write {fix:?}"),
        );
    }
    assert!(problems("[http]\npath-prefix = \"/a b\"")[0].contains("contains ' '"));
    assert!(problems("[http]\npath-prefix = \"/a?x\"")[0].contains("contains '?'"));
}

#[test]
fn an_allowed_origin_has_no_path() {
    for good in ["", "*", "null", "https://example.com", "http://localhost:3000"] {
        assert_eq!(read(&format!("[http]\nallow-origin = {good:?}")).unwrap().http.allow_origin, good);
    }
    for bad in
        ["example.com", "https://", "https://example.com/", "https://a, https://b", "https://a\\r\\nX: y", "ftp://a"]
    {
        let found = problems(&format!("[http]\nallow-origin = \"{bad}\""));
        assert!(found[0].contains("is not an origin; write \"*\", or one like"), "{found:?}");
    }
}

#[test]
fn an_invalid_listen_address_is_reported_with_a_valid_one() {
    let cases = [
        ("", "the address is missing; write one like \"[::]:8741\", \"unix:/path\" or \"systemd:NAME\""),
        (":80", "\":80\" has no address; write \"[::]:80\" for every address"),
        ("*:80", "\"*:80\" has no address; write \"[::]:80\" for every address"),
        ("127.0.0.1", "\"127.0.0.1\" has no port; write \"127.0.0.1:8741\""),
        ("::1", "\"::1\" has no port; write \"[::1]:8741\""),
        ("[::]", "\"[::]\" has no port; write \"[::]:8741\""),
        ("[::]:", "\"[::]:\" is not an address; write one like \"[::]:8741\", \"unix:/path\" or \"systemd:NAME\""),
        ("[::]:70000", "70000 is not a port; the maximum is 65535"),
        ("localhost:80", "\"localhost:80\" is a host name; write \"127.0.0.1:80\" or \"[::1]:80\""),
        ("example.com:80", "\"example.com\" is not an IP address; write an address of this machine, or \"[::]:80\""),
        ("http://[::]:80", "\"http://[::]:80\" is a URL; write only an address and a port, such as \"[::]:8741\""),
        ("/run/s", "\"/run/s\" is a path; write \"unix:/run/s\" for a Unix socket"),
        ("unix:s", "\"s\" is not an absolute path; begin it with a slash, such as \"/run/ws-router/http.sock\""),
        ("unix:/run/", "\"/run/\" is a folder; name a socket in it"),
        ("systemd:", "\"\" is not a descriptor name; write the socket unit's FileDescriptorName=, such as \"http\""),
        (
            "systemd:a b",
            "\"a b\" is not a descriptor name; write the socket unit's FileDescriptorName=, such as \"http\"",
        ),
        ("systemd:admin", "\"systemd:admin\" is the admin socket, which needs no listener; remove this one"),
    ];
    for (address, expected) in cases {
        has_one(&format!("[[listener]]\naddress = {address:?}"), &format!("2:11: listener.address: {expected}"));
    }
    let long = format!("unix:/{}", "x".repeat(107));
    has_one(
        &format!("[[listener]]\naddress = {long:?}"),
        "2:11: listener.address: the path of the socket has 108 bytes; the maximum is 107",
    );
    has_one(
        "[[listener]]\naddress = 8741",
        "2:11: listener.address: expected a string, not a number; put it in double quotes",
    );
    has_one("[[listener]]", "1:1: listener: address is missing; add, for example, address = \"[::]:8741\"");
}

#[test]
fn conflicting_listeners_are_reported() {
    let two = |one: &str, two: &str| format!("[[listener]]\naddress = {one:?}\n[[listener]]\naddress = {two:?}\n");
    for (one, other) in [
        ("[::]:80", "[::]:80"),
        ("[::]:80", "0.0.0.0:80"),
        ("127.0.0.1:80", "[::]:80"),
        ("127.0.0.1:80", "0.0.0.0:80"),
        ("[::1]:80", "[::]:80"),
        ("unix:/a", "unix:/a"),
        ("systemd:http", "systemd:http"),
    ] {
        has_one(
            &two(one, other),
            &format!("4:11: listener.address: {other} conflicts with {one} in line 2; remove or change one of them"),
        );
    }
    for (one, other) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("127.0.0.1:80", "[::1]:80"),
        ("0.0.0.0:80", "[::1]:80"),
        ("[::]:80", "[::]:81"),
        ("unix:/a", "unix:/b"),
    ] {
        assert!(read(&two(one, other)).is_ok(), "{one} {other}");
    }
    has_one(
        "[[listener]]\naddress = \"unix:/a\"\n[admin]\nsocket = \"/a\"",
        "2:11: listener.address: unix:/a is the admin socket (admin.socket); change one of them",
    );
}

#[test]
fn inherited_sockets_use_tls_if_their_name_says_so() {
    has_one(
        "[[listener]]\naddress = \"systemd:http\"\ntls = { certificate = \"/c\", key = \"/k\" }",
        "3:7: listener.tls: systemd:http is the name of the plain socket; write systemd:https, or remove tls",
    );
    has_one(
        "[[listener]]\naddress = \"systemd:https\"",
        "2:11: listener.address: systemd:https uses TLS; add tls = { certificate = \"…\", key = \"…\" }",
    );
}

#[test]
fn tls_needs_valid_paths_of_a_certificate_and_a_key() {
    let tls = |tls: &str| format!("[[listener]]\naddress = \"[::]:1\"\ntls = {tls}");
    has_one(
        &tls("true"),
        "3:7: listener.tls: expected a table, not true or false; write { certificate = \"/path/cert.pem\", key = \
         \"/path/key.pem\" }",
    );
    assert_eq!(problems(&tls("{ }")).len(), 2);
    has_one(
        &tls("{ certificate = \"\", key = \"/k\" }"),
        "3:23: listener.tls.certificate: \"\" is not a path; name a PEM file",
    );
    has_one(
        &tls("{ certificate = \"/c\", key = \"${HOME}/k\" }"),
        "3:35: listener.tls.key: \"${HOME}/k\" has an unknown variable; only ${CREDENTIALS_DIRECTORY} at the beginning \
         is replaced",
    );
    let text = tls("{ certificate = \"${CREDENTIALS_DIRECTORY}/c\", key = \"/k\" }");
    let unset = parse_in(&text, Path::new("/etc/r.toml"), &|_| None).unwrap_err();
    assert_eq!(
        unset.to_string(),
        "/etc/r.toml:3:23: listener.tls.certificate: CREDENTIALS_DIRECTORY is not set; add \
         LoadCredential= to the service unit, or write the whole path"
    );
}

#[test]
fn an_admin_socket_has_an_absolute_path() {
    has_one(
        "[admin]\nsocket = \"admin.sock\"",
        "2:10: admin.socket: \"admin.sock\" is not an absolute path; begin it with a slash, such as \
         \"/run/ws-router/http.sock\", or \"auto\"",
    );
    assert_eq!(read("[admin]\nsocket = \"/a\"").unwrap().admin.socket, Some("/a".into()));
}

#[test]
fn problems_of_any_file_have_positions_inside_it() {
    use proptest::prelude::*;
    let piece = prop_oneof![
        Just("[relay]\n".to_string()),
        Just("[[listener]]\n".to_string()),
        Just("threads = ".to_string()),
        Just("tls = { key = 1".to_string()),
        Just("\"\"\"".to_string()),
        "\\PC{0,6}",
        "[ \\n\\r\\t=\"'{}\\[\\],.#]{0,4}",
    ];
    proptest!(|(pieces in proptest::collection::vec(piece, 0..12))| {
        let text = pieces.concat();
        if let Err(Problems(lines)) = read(&text) {
            prop_assert!(!lines.is_empty());
            for line in lines {
                let mut parts = line.strip_prefix("/etc/r.toml:").unwrap().splitn(3, ':');
                let place: usize = parts.next().unwrap().parse().unwrap();
                prop_assert!((1..=text.matches('\n').count() + 1).contains(&place), "{line}");
                prop_assert!(parts.next().unwrap().parse::<usize>().unwrap() >= 1);
                prop_assert!(!line.contains('\n'), "{line:?}");
            }
        }
    });
}
