use super::*;

fn router(args: &[&str]) -> Result<Router, clap::Error> {
    Router::try_parse_from(["ws-router"].iter().chain(args))
}

fn control(args: &[&str]) -> Result<Control, clap::Error> {
    Control::try_parse_from(["ws-routerctl"].iter().chain(args))
}

#[test]
fn the_arguments_of_both_programs_are_consistent() {
    use clap::CommandFactory;
    Router::command().debug_assert();
    Control::command().debug_assert();
}

#[test]
fn a_reload_signals_a_process_and_never_a_group_of_processes() {
    let reload = |id: &str| control(&["reload", "--or-signal", id]).map(|args| args.command);
    assert_eq!(reload("17").unwrap(), Command::Reload { or_signal: Some(17) });
    for id in ["0", "-1", "4294967295", "self", ""] {
        assert_eq!(exit_status(&reload(id).unwrap_err()), 64, "{id}");
    }
}

#[test]
fn the_daemon_listens_at_each_address_that_is_named() {
    let args = router(&["--listen", "[::]:8741", "--listen=127.0.0.1:0", "--listen", "unix:/run/a.sock"]).unwrap();
    let shown: Vec<String> = args.listen.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["[::]:8741", "127.0.0.1:0", "unix:/run/a.sock"]);
    assert_eq!(args.config, None);
    assert_eq!(router(&["--listen", "systemd:http"]).unwrap().listen, [ListenAddress::Inherited("http".into())]);
}

#[test]
fn an_address_that_cannot_be_listened_at_is_a_usage_error_with_the_mend() {
    let refusal = router(&["--listen", "localhost:80"]).unwrap_err();
    assert_eq!(exit_status(&refusal), 64);
    assert!(refusal.to_string().contains("write \"127.0.0.1:80\""), "{refusal}");
}

#[test]
fn nonsense_exits_with_64_and_questions_with_0() {
    for args in
        [&["--frobnicate"][..], &["file"], &["--config"], &["--inetd", "--check"], &["--inetd", "--listen", "[::]:1"]]
    {
        assert_eq!(exit_status(&router(args).unwrap_err()), 64, "{args:?}");
    }
    for args in [&["--help"][..], &["--version"], &["-h"], &["-V"]] {
        assert_eq!(exit_status(&router(args).unwrap_err()), 0, "{args:?}");
        assert_eq!(exit_status(&control(args).unwrap_err()), 0, "{args:?}");
    }
    for args in [
        &[][..],
        &["fly"],
        &["show"],
        &["show", "short"],
        &["show", "abcd1234", "abcd5678"],
        &["remove"],
        &["disconnect", "first"],
        &["check", "example.com"],
        &["check", "ftp://example.com"],
        &["check", "http://user:word@example.com"],
        &["check", "http://user@example.com:80"],
        &["check", "http://example.com:99999"],
        &["check", "http://example.com", "--timeout", "0s"],
        &["list", "--insecure"],
        &["check", "https://example.com", "--client-certificate", "probe.pem"],
        &["pipe", "https://example.com", "--client-key", "probe.key"],
        &["join", "https://example.com"],
        &["join", "--id", "living-room", "--register", "https://example.com"],
        &["join", "--register", "--kind", "group", "https://example.com"],
        &["connect", "https://example.com"],
        &["connect", "--id", "home-home", "--listen", "localhost:80", "https://example.com"],
        &["connect", "--id", "home-home", "a=b", "https://example.com"],
        &["expose", "https://example.com"],
        &["expose", "localhost", "https://example.com"],
        &["expose", "=localhost:22", "https://example.com"],
        &["expose", "ssh=:22", "https://example.com"],
        &["expose", "ssh=::1:22", "https://example.com"],
        &["expose", "localhost:0", "https://example.com"],
        &["expose", "localhost:22", "--connections", "0", "https://example.com"],
    ] {
        assert_eq!(exit_status(&control(args).unwrap_err()), 64, "{args:?}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let text = router(&["--version"]).unwrap_err().to_string();
    assert_eq!(text, concat!("ws-router ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn the_control_program_takes_options_before_and_after_the_command() {
    for args in [&["--socket", "/s", "--json", "list"][..], &["list", "--json", "--socket", "/s"]] {
        let args = control(args).unwrap();
        assert_eq!(
            (args.socket, args.json, args.command),
            (Some("/s".into()), true, Command::List(ListOptions::default()))
        );
    }
}

#[test]
fn each_command_takes_what_it_acts_on() {
    let id = |text| RegistrationId::parse(text).unwrap();
    let cases = [
        (&["show", "abcd1234"][..], Command::Show { id: id("abcd1234") }),
        (&["remove", "abcd1234", "abcd5678"], Command::Remove { ids: vec!["abcd1234".into(), "abcd5678".into()] }),
        (&["list", "--busy", "--sort", "bytes"], Command::List(ListOptions { busy: true, sort: Some(SortKey::Bytes) })),
        (&["show", "--", "-abcd123"], Command::Show { id: id("-abcd123") }),
        (
            &["remove", "--", "-abcd123", "--json-x"],
            Command::Remove { ids: vec!["-abcd123".into(), "--json-x".into()] },
        ),
        (&["why", "--", "--abcd12"], Command::Why { id: id("--abcd12") }),
        (&["disconnect", "7", "12"], Command::Disconnect { members: vec![MemberId(7), MemberId(12)] }),
        (&["status"], Command::Status),
        (&["events"], Command::Events { follow: false }),
        (&["events", "--follow"], Command::Events { follow: true }),
        (&["events", "-f"], Command::Events { follow: true }),
        (&["why", "abcd1234"], Command::Why { id: id("abcd1234") }),
        (&["drain"], Command::Drain { over: Duration::from_secs(60), undo: false }),
        (&["drain", "--over", "0s"], Command::Drain { over: Duration::ZERO, undo: false }),
        (&["drain", "--undo"], Command::Drain { over: Duration::from_secs(60), undo: true }),
        (&["top"], Command::Top { interval: Duration::from_secs(1) }),
        (&["top", "-d", "100ms"], Command::Top { interval: Duration::from_millis(100) }),
        (&["reload"], Command::Reload { or_signal: None }),
        (&["upgrade"], Command::Upgrade),
        (&["version"], Command::Version),
    ];
    for (args, command) in cases {
        assert_eq!(control(args).unwrap().command, command);
    }
}

#[test]
fn an_interval_that_nobody_could_follow_is_a_usage_error_with_the_mend() {
    for (interval, fix) in
        [("0s", "must be longer than 0"), ("10ms", "100ms to 1h"), ("2h", "100ms to 1h"), ("2", "a unit")]
    {
        let refusal = control(&["top", "--interval", interval]).unwrap_err();
        assert_eq!(exit_status(&refusal), 64);
        assert!(refusal.to_string().contains(fix), "{refusal}");
    }
}

#[test]
fn limits_of_a_check_are_days_and_a_time() {
    let millis = Duration::from_millis;
    assert_eq!(thresholds("days=21"), Ok(Thresholds { days: Some(21), rtt: None }));
    assert_eq!(thresholds("rtt=500ms,days=1"), Ok(Thresholds { days: Some(1), rtt: Some(millis(500)) }));
    for wrong in ["", "21", "days=", "days=x", "rtt=5", "rtt=0s", "days=1,days=2", "weeks=1", "days=1,"] {
        assert!(thresholds(wrong).is_err(), "{wrong}");
    }
    let refusal = control(&["check", "http://example.com", "--warning", "days=1"]).unwrap_err();
    assert_eq!(exit_status(&refusal), 64);
}

#[test]
fn by_default_a_check_gives_each_step_ten_seconds_and_requires_a_valid_certificate() {
    let check = |args: &[&str]| match control(args).unwrap().command {
        Command::Check(check) => check,
        other => panic!("{other:?}"),
    };
    let plain = check(&["check", "http://127.0.0.1:8741"]);
    assert_eq!((plain.deployment.insecure, plain.timeout), (false, Duration::from_secs(10)));
    let given = check(&["check", "wss://example.com:8741/sub", "--insecure", "--timeout", "500ms"]);
    assert_eq!((given.deployment.insecure, given.timeout), (true, Duration::from_millis(500)));
    assert_eq!(given.deployment.url.path(), "/sub");
    let loud = check(&["check", "WSS://Example.com:8741/Sub"]);
    assert_eq!((loud.deployment.url.scheme_str(), loud.deployment.url.path()), (Some("wss"), "/Sub"));
    assert_eq!(check(&["check", "HTTP://example.com"]).deployment.url.scheme_str(), Some("http"));
}

#[test]
fn services_have_names_or_are_named_by_their_addresses() {
    let args = control(&["expose", "ssh=localhost:22", "[::1]:80", "https://example.com"]).unwrap();
    let Command::Expose(args) = args.command else { panic!("{args:?}") };
    let service = |name: &str, host: &str, port| Service { name: name.into(), host: host.into(), port };
    assert_eq!(args.services, [service("ssh", "localhost", 22), service("[::1]:80", "::1", 80)]);
    assert_eq!(args.deployment.url, "https://example.com");
}

#[test]
fn a_client_names_a_service_or_none_and_listens_on_the_loopback_interface_or_elsewhere() {
    let connect = |more: &[&str]| {
        let args = control(&[&["connect", "--id", "home-home"], more].concat()).unwrap();
        let Command::Connect(args) = args.command else { panic!("{args:?}") };
        (args.name, args.listen.map(|address| address.to_string()))
    };
    assert_eq!(connect(&["http://[::1]"]), (None, None));
    assert_eq!(connect(&["ssh", "http://[::1]"]), (Some("ssh".into()), None));
    assert_eq!(connect(&["--listen", "0", "http://[::1]"]), (None, Some("127.0.0.1:0".into())));
    assert_eq!(connect(&["--listen", "[::]:80", "web", "http://[::1]"]), (Some("web".into()), Some("[::]:80".into())));
}
