use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use strum::{EnumCount, VariantArray};
use ws_router_core::rate::Rate;

use super::*;
use crate::peer::Range;

fn duration(least: Duration, most: Duration) -> impl Strategy<Value = Duration> {
    let within = (least.as_nanos() as u64..=most.as_nanos() as u64).prop_map(Duration::from_nanos);
    prop_oneof![Just(least), Just(most), within]
}

fn size(least: ByteSize, most: ByteSize) -> impl Strategy<Value = ByteSize> {
    let whole = (least.as_u64() >> 10..=most.as_u64() >> 10).prop_map(ByteSize::kib);
    let within = (least.as_u64()..=most.as_u64()).prop_map(ByteSize::b);
    prop_oneof![within, whole]
}

fn moments() -> impl Strategy<Value = Duration> {
    duration(Duration::from_millis(10), Duration::from_secs(86_400))
}

fn years() -> impl Strategy<Value = Duration> {
    duration(Duration::from_secs(1), Duration::from_secs(365 * 86_400))
}

fn path() -> impl Strategy<Value = PathBuf> {
    "/[a-zA-Z0-9 .'\"\\\\äß#\n-]{1,20}".prop_map(PathBuf::from)
}

fn permissions() -> impl Strategy<Value = SocketPermissions> {
    let mode = "0[0-7]{3}".prop_map(|text| text.parse().unwrap());
    let group = option::of(Just("root").prop_map(|name| name.parse().unwrap()));
    (mode, group).prop_map(|(mode, group)| SocketPermissions { mode, group })
}

fn metrics() -> impl Strategy<Value = Metrics> {
    let inherited = "[a-z]{1,5}".prop_map(ListenAddress::Inherited);
    let unix = path().prop_map(|path| ListenAddress::Unix(path.with_extension("metrics")));
    prop_oneof![
        inherited.prop_map(|address| Metrics { listen: Some(address), ..Metrics::default() }),
        (option::of(unix), permissions()).prop_map(|(listen, permissions)| Metrics { listen, permissions }),
    ]
}

fn listeners() -> impl Strategy<Value = Vec<Listener>> {
    let tls = || {
        let kernel = prop_oneof![Just(KernelTls::Auto), Just(KernelTls::Off)];
        let files = (path(), path(), option::of((path(), option::of(path()))), kernel);
        option::of(files.prop_map(|(certificate, key, clients, kernel)| {
            let (client_ca, client_crl) = clients.unzip();
            Tls { certificate, key, client_ca, client_crl: client_crl.flatten(), kernel }
        }))
    };
    let address = prop_oneof![
        Just(0).prop_map(|port| ListenAddress::Inet(([127, 0, 0, 1], port).into())),
        any::<u128>().prop_map(|ip| ListenAddress::Inet((std::net::Ipv6Addr::from_bits(ip | 1), 1).into())),
        path().prop_map(ListenAddress::Unix),
        "[a-z]{6,9}".prop_map(ListenAddress::Inherited),
    ];
    let listener = (address, tls(), any::<bool>(), permissions());
    let listener = listener.prop_map(|(address, tls, proxy_protocol, permissions)| {
        let is_unix = matches!(address, ListenAddress::Unix(_));
        let permissions = if is_unix { permissions } else { SocketPermissions::default() };
        Listener { address, tls, proxy_protocol, permissions }
    });
    proptest::collection::vec(listener, 0..4).prop_filter("no two at one place", |all| {
        all.iter().enumerate().all(|(i, one)| all[..i].iter().all(|other| !one.address.conflicts_with(&other.address)))
    })
}

prop_compose! {
    fn registration()(
        auto_remove in any::<bool>(),
        linger in years(),
        unclaimed_timeout in years(),
        reject_taken_ids in any::<bool>(),
        max_wait in (0u64..86_400).prop_map(Duration::from_secs),
        accept_timeout in moments(),
    ) -> Registration {
        Registration { auto_remove, linger, unclaimed_timeout, reject_taken_ids, max_wait, accept_timeout }
    }
}

prop_compose! {
    fn websocket()(
        max_message in size(ByteSize::kib(1), ByteSize::gib(1)),
        ping_interval in moments(),
        pong_timeout in moments(),
        outbox in size(ByteSize::kib(16), ByteSize::gib(1)),
        stall_timeout in moments(),
        slow_receiver in prop_oneof![Just(SlowReceiver::Close), Just(SlowReceiver::Pace)],
        [close_timeout, session_timeout] in [moments(), moments()],
        session_buffer in size(ByteSize::kib(16), ByteSize::mib(64)),
    ) -> Websocket {
        Websocket {
            max_message,
            ping_interval,
            pong_timeout,
            outbox,
            stall_timeout,
            slow_receiver,
            close_timeout,
            session_timeout,
            session_buffer,
        }
    }
}

fn peers() -> impl Strategy<Value = Peers> {
    let networks = ["127.0.0.1", "10.0.0.0/8", "2001:db8::/32", "::1", "unix"];
    let networks = subsequence(networks.to_vec(), 0..=networks.len());
    networks.prop_map(|texts| texts.iter().filter_map(|text| text.parse::<Range>().ok()).collect())
}

prop_compose! {
    fn http()(
        path_prefix in "(/[a-z0-9._~-]{1,5}){0,3}",
        public_stats in any::<bool>(),
        console in any::<bool>(),
        allow_origin in prop_oneof![Just(String::new()), Just("*".into()), "https://[a-z]{1,9}(:[1-9][0-9]{0,3})?"],
        trusted_proxies in peers(),
        forwarded_header in select(vec![ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded]),
        [request_timeout, idle_timeout] in [moments(), moments()],
        hosts in proptest::collection::vec("[a-z0-9-]{1,9}(\\.[a-z]{2,3})?", 0..3),
        require_forwarded in any::<bool>(),
        max_head in size(ByteSize::kib(8), ByteSize::mib(1)),
        max_body in size(ByteSize::kib(1), ByteSize::mib(1)),
        max_send in size(ByteSize::kib(1), ByteSize::mib(64)),
    ) -> Http {
        Http {
            path_prefix,
            public_stats,
            console,
            allow_origin,
            trusted_proxies,
            forwarded_header,
            request_timeout,
            idle_timeout,
            hosts,
            require_forwarded,
            max_head,
            max_body,
            max_send,
        }
    }
}

fn rate_limit() -> impl Strategy<Value = RateLimit> {
    let per = select(vec![1, 60, 3600]).prop_map(Duration::from_secs);
    let rate = (any::<u64>(), per, any::<u64>()).prop_map(|(amount, per, burst)| Rate::new(amount, per, burst));
    option::of(rate).prop_map(RateLimit)
}

prop_compose! {
    fn limits()(
        connections in option::of(1..1_000_000_usize),
        registrations in 1..1_000_000_usize,
        members in 1..1_000_000_usize,
        pending in 1..1_000_000_usize,
        watchers in 1..1_000_000_usize,
        [waiting, away] in [1..1_000_000_usize, 1..1_000_000_usize],
        connections_per_address in option::of(1..1_000_000_usize),
        memory in option::of(size(ByteSize::mib(16), ByteSize::tib(64))),
        [connection_rate, register_rate, send_rate, wrong_key_rate] in
            [rate_limit(), rate_limit(), rate_limit(), rate_limit()],
    ) -> Limits {
        Limits {
            connections,
            connections_per_address,
            registrations,
            members,
            pending,
            watchers,
            waiting,
            away,
            memory,
            connection_rate,
            register_rate,
            send_rate,
            wrong_key_rate,
        }
    }
}

fn log() -> impl Strategy<Value = Log> {
    let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
    let formats = [LogFormat::Auto, LogFormat::Text, LogFormat::Json, LogFormat::Journal];
    (select(levels.to_vec()), select(formats.to_vec())).prop_map(|(level, format)| Log { level, format })
}

/// Returns a rule with a condition, so that it doesn't make later rules unreachable, and with all its limits.
fn rule() -> impl Strategy<Value = Rule> {
    let rate = || {
        let per = select(vec![Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(3600)]);
        (1..1_u64 << 50, per, 1..1_u64 << 50).prop_map(|(amount, per, burst)| Rate::new(amount, per, burst))
    };
    let number = || option::of(1..1_000_000_usize);
    let asks = ["http://127.0.0.1:9000/allow?a=b", "http://localhost:80/", "unix:/run/a b.sock:/x", "unix:/s:y:/"];
    let ask = option::of((select(asks.to_vec()), option::of(moments())));
    (who(), number(), number(), option::of(rate()), option::of(rate()), ask).prop_map(
        |(rule, registrations, members, messages, bytes, ask)| {
            let (ask, ask_timeout) = ask.map_or((None, None), |(ask, timeout)| (ask.parse().ok(), timeout));
            let (registers, connects) =
                (rule.allow.contains(Operation::Register), rule.allow.contains(Operation::Connect));
            Rule {
                registrations: registrations.filter(|_| registers),
                members: members.filter(|_| registers),
                messages: messages.filter(|_| connects),
                bytes: bytes.filter(|_| connects),
                ask: ask.filter(|_| rule.allow != Allow::NONE),
                ask_timeout: ask_timeout.filter(|_| rule.allow != Allow::NONE),
                ..rule
            }
        },
    )
}

fn who() -> impl Strategy<Value = Rule> {
    let user = prop_oneof![any::<u32>().prop_map(|id| User::Id(id / 2)), "[a-zäß\"]{1,9}".prop_map(User::Name)];
    let lists = (proptest::collection::vec(user, 0..3), proptest::collection::vec("https?://[a-z]{1,9}", 0..3));
    let names = proptest::collection::vec("[a-z'\"\\\\ .]{0,9}[a-z]", 1..3);
    let certificates = option::of(prop_oneof![Just(ClientNames::Any), names.prop_map(ClientNames::Of)]);
    let allow = subsequence(Operation::VARIANTS.to_vec(), 0..=Operation::COUNT)
        .prop_map(|named| named.into_iter().fold(Allow::NONE, Allow::and));
    (
        option::of("[a-zA-Z][a-z0-9._-]{20,63}"),
        allow,
        peers().prop_filter("one at least", |peers| !peers.is_empty()),
        lists,
        option::of(path()),
        certificates,
    )
        .prop_map(|(name, allow, networks, (users, origins), tokens, client_certificates)| Rule {
            name,
            allow,
            networks,
            users,
            tokens,
            client_certificates,
            origins,
            ..Rule::default()
        })
}

prop_compose! {
    fn config()(
        // Boxed, since all of them together would be too much for the stack of a test.
        listeners in listeners().boxed(),
        registration in registration().boxed(),
        websocket in websocket().boxed(),
        threads in option::of(1..=1024_usize),
        busy_poll in duration(Duration::ZERO, Duration::from_millis(10)),
        http in http().boxed(),
        socket in option::of(path().prop_map(|path| path.with_extension("admin"))),
        metrics in metrics().boxed(),
        log in log().boxed(),
        limits in limits().boxed(),
        exit_when_idle in years(),
        mut access in proptest::collection::vec(rule().boxed(), 0..4),
    ) -> Config {
        if listeners.iter().flat_map(|listener| &listener.tls).all(|tls| tls.client_ca.is_none()) {
            access.iter_mut().for_each(|rule| rule.client_certificates = None);
        }
        let mut listeners = listeners;
        for listener in &mut listeners {
            listener.proxy_protocol &= !http.trusted_proxies.is_empty();
        }
        let relay = Relay { threads: threads.and_then(std::num::NonZeroUsize::new), busy_poll };
        let service = Service { exit_when_idle, debuggable: http.console };
        let read_only_socket = OptionalSocket(metrics.listen.is_none().then(|| "/read-only".into()));
        let admin = Admin { socket, read_only_socket, read_only_permissions: metrics.permissions.clone() };
        let open_access = access.is_empty() && listeners.is_empty();
        Config {
            listeners, registration, websocket, relay, http, admin, metrics, log, limits, service, access, open_access,
        }
    }
}

proptest! {
    #[test]
    fn a_printed_configuration_says_the_same(config in config()) {
        let printed = config.to_toml();
        prop_assert_eq!(read(&printed).map_err(|problems| format!("{problems}\n{printed}")), Ok(config));
    }

    #[test]
    fn configurations_differ_exactly_where_their_values_do(old in config(), new in config()) {
        prop_assert!(old.differences(&old).is_empty());
        let both = old.differences(&new);
        prop_assert_eq!(old.registration.linger != new.registration.linger, both.live.contains(&"registration.linger".into()));
        prop_assert_eq!(old.admin.socket != new.admin.socket, both.need_restart.contains(&"admin.socket".into()));
        prop_assert_eq!(both.is_empty(), old.differences(&new) == Differences::default());
    }
}

#[test]
fn a_printed_configuration_names_every_key() {
    let tls = Tls { client_ca: Some("/ca".into()), client_crl: Some("/crl".into()), ..Tls::new("/c", "/k") };
    let rule = Rule {
        name: Some("office".into()),
        allow: Allow::BOTH,
        networks: ["10.0.0.0/8".parse::<Range>().unwrap()].into_iter().collect(),
        users: vec![User::Id(1000), User::Name("proxy".into())],
        tokens: Some("/t".into()),
        client_certificates: Some(ClientNames::Any),
        origins: vec!["https://example.com".into()],
        registrations: Some(1),
        members: Some(2),
        messages: Some(Rate::per_second(3, 3)),
        bytes: Some(Rate::per_second(4, 5)),
        ask: "http://127.0.0.1:9000".parse().ok(),
        ask_timeout: Some(Duration::from_secs(1)),
    };
    let unix = Listener::new(ListenAddress::Unix("/run/s".into()), None);
    let listeners = vec![Listener { tls: Some(tls), ..Listener::default() }, unix];
    let printed = Config { listeners, access: vec![rule], ..Config::default() }.to_toml();
    for (section, name) in names() {
        assert!(printed.contains(&format!("{name} = ")), "{section}.{name} is not in\n{printed}");
    }
    assert!(printed.starts_with("[[listener]]\naddress = \"[::]:8741\"\n"), "{printed}");
    assert!(printed.contains("\n[websocket]\nmax-message = \"64MiB\"\n"), "{printed}");
    assert!(printed.contains("threads = \"auto\"\nbusy-poll = \"0s\"\n"), "{printed}");
}
