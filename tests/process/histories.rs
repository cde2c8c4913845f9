//! Random histories of registrations of every kind, with restarts in between, against a small model: who may do what, and
//! who receives what.
//!
//! After each step, every device has received what the model says, once and in order, and nothing else; the numbers of
//! GET /members are the model's, and registrations end when the model says. `WS_ROUTER_HISTORIES` sets the number of
//! histories (default 4).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use proptest::prelude::*;
use serde_json::{Value, json};
use ws_router_core::frame::client_frame;

use super::carried::until;
use super::client::{Member, ask, connect};
use super::harness::{Router, Setup};

type Device = Member<TcpStream>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    HostClient,
    Lobby,
    Paired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Full,
    Client,
    Receive,
    Wrong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Host,
    Client,
}

/// A step of a history. Numbers select one of those that there are.
#[derive(Debug, Clone)]
enum Step {
    /// Registers with a client key, a receive key and the term `wait`, or without, where the kind has them.
    Register(Kind, [bool; 3]),
    Join(usize, Key, Role),
    /// Joins a paired registration as a client.
    Call(usize, Key),
    Send(usize, Key, Role),
    Say(usize),
    /// Sends so many bytes of a message before a restart, and the rest after it.
    SayOverRestart(usize, usize),
    Leave(usize, u16),
    Accept(usize, usize),
    /// Two hosts accept at once, with the same number or with two numbers of the same client.
    AcceptRace(usize, usize, usize),
    Reject(usize, usize),
    Remove(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..1000usize;
    let kind = prop_oneof![Just(Kind::HostClient), Just(Kind::Lobby), Just(Kind::Paired)];
    let key = prop_oneof![6 => Just(Key::Full), 3 => Just(Key::Client), 2 => Just(Key::Receive), 1 => Just(Key::Wrong)];
    let role = prop_oneof![Just(Role::Host), Just(Role::Client)];
    let code = prop_oneof![Just(1000), Just(3000)];
    prop_oneof![
        2 => (kind, any::<[bool; 3]>()).prop_map(|(kind, terms)| Step::Register(kind, terms)),
        8 => (at.clone(), key.clone(), role.clone()).prop_map(|(at, key, role)| Step::Join(at, key, role)),
        4 => (at.clone(), key.clone()).prop_map(|(at, key)| Step::Call(at, key)),
        3 => (at.clone(), key, role).prop_map(|(at, key, role)| Step::Send(at, key, role)),
        8 => at.clone().prop_map(Step::Say),
        1 => (at.clone(), 0..30usize).prop_map(|(at, cut)| Step::SayOverRestart(at, cut)),
        3 => (at.clone(), code).prop_map(|(at, code)| Step::Leave(at, code)),
        3 => (at.clone(), at.clone()).prop_map(|(at, host)| Step::Accept(at, host)),
        2 => (at.clone(), at.clone(), at.clone()).prop_map(|(at, one, other)| Step::AcceptRace(at, one, other)),
        1 => (at.clone(), at.clone()).prop_map(|(at, host)| Step::Reject(at, host)),
        1 => at.prop_map(Step::Remove),
        1 => Just(Step::Restart),
    ]
}

/// Part of a member in its registration.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// A host or a peer, or a client.
    Talks(Role),
    /// A client or a peer that only receives.
    Receives,
    /// A host of a paired registration.
    Listens,
    /// A client of a paired registration, with what it has said so far.
    Waits(Vec<String>),
    /// An end of a pair.
    Paired(usize),
}

/// Member with its connection.
struct Present {
    number: usize,
    part: Part,
    device: Device,
    /// Numbers under which clients that wait were announced to this host.
    announced: Vec<(usize, String)>,
}

struct Registration {
    id: String,
    kind: Kind,
    client_key: bool,
    receive_key: bool,
    waits: bool,
    is_claimed: bool,
    members: Vec<Present>,
    /// Messages that wait for a host or a peer, and for a client.
    queues: [Vec<String>; 2],
}

struct World {
    router: Router,
    address: SocketAddr,
    registrations: Vec<Registration>,
    next: usize,
}

impl Registration {
    /// Returns whether a key is one of this registration's.
    fn knows(&self, key: Key) -> bool {
        match key {
            Key::Full => true,
            Key::Client => self.client_key,
            Key::Receive => self.receive_key,
            Key::Wrong => false,
        }
    }

    /// Returns the part of a member that joins with a key in a role, or the status with which it is rejected.
    fn admits(&self, key: Key, role: Role) -> Result<Part, u16> {
        if !self.knows(key) || self.kind != Kind::Lobby && key != Key::Full && role == Role::Host {
            return Err(403);
        }
        Ok(match (self.kind, role) {
            _ if key == Key::Receive => Part::Receives,
            (Kind::Lobby, _) => Part::Talks(Role::Host),
            (Kind::HostClient, role) => Part::Talks(role),
            (Kind::Paired, Role::Host) => Part::Listens,
            (Kind::Paired, Role::Client) => Part::Waits(Vec::new()),
        })
    }

    /// Returns the side on which a member of this part receives.
    fn side(&self, part: &Part) -> Role {
        match part {
            Part::Talks(role) => *role,
            _ if self.kind == Kind::Lobby => Role::Host,
            _ => Role::Client,
        }
    }

    /// A message of a host, a client or a peer: those who receive it do so, and it waits if nobody does who may also send.
    /// Returns the number of receivers.
    fn deliver(&mut self, from: Option<usize>, role: Role, text: &str) -> usize {
        let target = if self.kind == Kind::Lobby || role == Role::Client { Role::Host } else { Role::Client };
        let (mut receivers, mut has_talker) = (0, false);
        for at in 0..self.members.len() {
            let member = &self.members[at];
            if Some(member.number) != from && self.side(&member.part) == target {
                receivers += 1;
                has_talker |= member.part != Part::Receives;
                assert_eq!(self.members[at].device.receive(), text);
            }
        }
        if self.waits && !has_talker {
            self.queues[target as usize].push(text.to_owned());
        }
        receivers
    }

    fn at(&self, number: usize) -> usize {
        self.members.iter().position(|member| member.number == number).unwrap()
    }

    fn count(&self, is_one: impl Fn(&Part) -> bool) -> usize {
        self.members.iter().filter(|member| is_one(&member.part)).count()
    }

    /// Returns the document of GET /members.
    fn document(&self) -> Value {
        let hosts = self.count(|part| matches!(part, Part::Listens | Part::Talks(Role::Host)));
        match self.kind {
            Kind::Lobby => json!({"peers": self.members.len()}),
            Kind::HostClient => json!({"hosts": hosts, "clients": self.members.len() - hosts}),
            Kind::Paired => {
                let pairs = self.count(|part| matches!(part, Part::Paired(_))) / 2;
                json!({"hosts": hosts, "pairs": pairs, "waiting": self.count(|part| matches!(part, Part::Waits(_)))})
            }
        }
    }

    /// A client no longer waits: the hosts hear that, except the one that accepted it.
    fn withdraw(&mut self, client: usize, except: Option<usize>) {
        for host in &mut self.members {
            let Some(at) = host.announced.iter().position(|(number, _)| *number == client) else { continue };
            let (_, number) = host.announced.remove(at);
            if except != Some(host.number) {
                assert_eq!(host.device.receive(), format!(r#"{{"gone":"{number}"}}"#));
            }
        }
    }

    /// Returns a client that waits and two hosts to which it was announced, with its numbers there.
    fn announcement(&self, at: usize, one: usize, other: usize) -> Option<(usize, [(usize, String); 2])> {
        let mut waiting = self.members.iter().filter(|member| matches!(member.part, Part::Waits(_)));
        let client = waiting.nth(at % self.count(|part| matches!(part, Part::Waits(_))).max(1))?.number;
        let found = self.members.iter().flat_map(|host| {
            let numbers = host.announced.iter().filter(|(number, _)| *number == client);
            numbers.map(|(_, number)| (host.number, number.clone()))
        });
        let found: Vec<_> = found.collect();
        let of = |at: usize| found.get(at % found.len().max(1)).cloned();
        Some((client, [of(one)?, of(other)?]))
    }
}

impl World {
    fn new() -> Self {
        let config = "[websocket]\nping-interval = \"1h\"\n[registration]\naccept-timeout = \"5m\"\n\
            [limits]\nwrong-key-rate = \"unlimited\"\n";
        let mut router = Setup::on_loopback().config(config).start().ready();
        let address = router.address();
        Self { router, address, registrations: Vec::new(), next: 0 }
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn register(&mut self, kind: Kind, [client_key, receive_key, waits]: [bool; 3]) {
        let client_key = client_key && kind != Kind::Lobby;
        let (receive_key, waits) = (receive_key && kind != Kind::Paired, waits && kind != Kind::Paired);
        let name = match kind {
            Kind::HostClient => "hostclient",
            Kind::Lobby => "lobby",
            Kind::Paired => "paired",
        };
        let terms = [(client_key, "&client_key=c"), (receive_key, "&receive_key=r"), (waits, "&wait=120")];
        let terms: String = terms.iter().filter(|(is_there, _)| *is_there).map(|(_, term)| *term).collect();
        let path = format!("/register?key=k&host_key=h&reg_type={name}{terms}");
        let (status, id) = ask(connect(self.address), &path);
        assert_eq!(status, 200, "{id}");
        let (members, queues) = (Vec::new(), [Vec::new(), Vec::new()]);
        let registration =
            Registration { id, kind, client_key, receive_key, waits, is_claimed: false, members, queues };
        self.registrations.push(registration);
    }

    fn join(&mut self, at: usize, key: Key, role: Role) {
        let number = self.number();
        let Some(registration) = pick(&mut self.registrations, at) else { return };
        let query = format!("id={}&{}&{}&hello=me-{number}", registration.id, parameter(key), role_parameter(role));
        let expected = registration.admits(key, role);
        let mut device = match (Member::try_with(connect(self.address), &query), &expected) {
            (Ok(device), Ok(_)) => device,
            (Err(status), Err(expected)) => return assert_eq!(status, *expected, "{query}"),
            (Err(status), Ok(_)) => panic!("{query} was answered with {status}"),
            (Ok(_), Err(status)) => panic!("{query} wasn't answered with {status}"),
        };
        let (part, mut announced) = (expected.unwrap(), Vec::new());
        registration.is_claimed |= registration.kind != Kind::Paired || part == Part::Listens;
        match &part {
            Part::Talks(_) => {
                let side = registration.side(&part) as usize;
                for text in registration.queues[side].drain(..) {
                    assert_eq!(device.receive(), text);
                }
            }
            Part::Listens => {
                for client in registration.members.iter().filter(|member| matches!(member.part, Part::Waits(_))) {
                    announced.push((client.number, incoming(&mut device, client.number)));
                }
            }
            Part::Waits(_) => {
                for host in registration.members.iter_mut().filter(|member| member.part == Part::Listens) {
                    host.announced.push((number, incoming(&mut host.device, number)));
                }
            }
            Part::Receives | Part::Paired(_) => {}
        }
        device.expect_nothing_more();
        registration.members.push(Present { number, part, device, announced });
    }

    fn call(&mut self, at: usize, key: Key) {
        let kinds = self.registrations.iter().enumerate();
        let paired: Vec<_> = kinds.filter(|(_, it)| it.kind == Kind::Paired).map(|(at, _)| at).collect();
        if !paired.is_empty() {
            self.join(paired[at % paired.len()], key, Role::Client);
        }
    }

    fn send(&mut self, at: usize, key: Key, role: Role) {
        let text = format!("sent {}", self.number());
        let Some(registration) = pick(&mut self.registrations, at) else { return };
        let query = format!("id={}&{}&{}", registration.id, parameter(key), role_parameter(role));
        let (status, body) = post(self.address, &format!("/send?{query}"), &text);
        let expected = match registration.admits(key, role) {
            _ if registration.kind == Kind::Paired && registration.knows(key) => 400,
            Err(status) => status,
            Ok(Part::Receives) => 403,
            Ok(_) => {
                let receivers = registration.deliver(None, role, &text);
                match receivers {
                    0 if registration.waits => 202,
                    0 => 503,
                    _ => {
                        assert_eq!(body, format!("{{\"receivers\":{receivers}}}"));
                        200
                    }
                }
            }
        };
        assert_eq!(status, expected, "{query}: {body}");
    }

    /// A member sends a text, before a restart in part if `cut` says where.
    fn say(&mut self, at: usize, cut: Option<usize>) {
        let text = format!("said {}", self.number());
        let Some((at, member)) = self.pick_member(at) else { return };
        let part = self.registrations[at].members[member].part.clone();
        let may_say = !matches!(part, Part::Listens) && (cut.is_none() || part != Part::Receives);
        if !may_say {
            return;
        }
        let frame = client_frame(0x81, [1, 2, 3, 4], text.as_bytes());
        let (begun, rest) = frame.split_at(cut.unwrap_or(0) % frame.len());
        let write = |world: &mut Self, bytes: &[u8]| {
            world.registrations[at].members[member].device.stream().write_all(bytes).unwrap();
        };
        write(self, begun);
        if cut.is_some() {
            self.router.replace();
        }
        write(self, rest);
        let registration = &mut self.registrations[at];
        if part == Part::Receives {
            let member = registration.members.remove(member);
            return assert_eq!(member.device.expect_close(), 4005);
        }
        registration.members[member].device.expect_nothing_more();
        let from = registration.members[member].number;
        match part {
            Part::Talks(role) => _ = registration.deliver(Some(from), role, &text),
            Part::Paired(other) => {
                let other = registration.at(other);
                assert_eq!(registration.members[other].device.receive(), text);
            }
            Part::Waits(mut said) => {
                said.push(text);
                registration.members[member].part = Part::Waits(said);
            }
            Part::Receives | Part::Listens => {}
        }
    }

    fn leave(&mut self, at: usize, code: u16) {
        let Some((at, member)) = self.pick_member(at) else { return };
        let registration = &mut self.registrations[at];
        let Present { number, part, device, .. } = registration.members.remove(member);
        assert_eq!(device.leave(code), code);
        match part {
            Part::Waits(_) => registration.withdraw(number, None),
            Part::Paired(other) => {
                let other = registration.members.remove(registration.at(other));
                assert_eq!(other.device.expect_close(), if code == 3000 { 3000 } else { 4007 });
            }
            Part::Talks(_) | Part::Receives | Part::Listens => {}
        }
    }

    /// A host accepts a client, or two do at the same time: exactly one of them succeeds.
    fn accept(&mut self, at: usize, hosts: [usize; 2], is_race: bool) {
        let numbers = [self.number(), self.number()];
        let address = self.address;
        let Some(registration) = self.pick_announcing(at) else { return };
        let Some((client, tries)) = registration.announcement(at, hosts[0], hosts[1]) else { return };
        let id = registration.id.clone();
        let attempt = |number: &str| Member::try_with(connect(address), &format!("id={id}&accept={number}"));
        let results = if is_race {
            thread::scope(|scope| {
                tries.each_ref().map(|(_, number)| scope.spawn(|| attempt(number))).map(|it| it.join().unwrap())
            })
        } else {
            let first = attempt(&tries[0].1);
            [first, attempt(&tries[1].1)]
        };
        let mut ends = Vec::new();
        for (result, (host, _)) in results.into_iter().zip(tries) {
            match result {
                Ok(device) => ends.push((device, host)),
                Err(status) => assert_eq!(status, 404),
            }
        }
        assert_eq!(ends.len(), 1, "of two that accept a client, one succeeds");
        let (mut device, host) = ends.remove(0);
        registration.withdraw(client, Some(host));
        let waiting = registration.at(client);
        let Part::Waits(said) = registration.members[waiting].part.clone() else { panic!("{client} doesn't wait") };
        for text in said {
            assert_eq!(device.receive(), text);
        }
        device.expect_nothing_more();
        registration.members[waiting].part = Part::Paired(numbers[0]);
        let end = Present { number: numbers[0], part: Part::Paired(client), device, announced: Vec::new() };
        registration.members.push(end);
    }

    fn reject(&mut self, at: usize, host: usize) {
        let Some(registration) = self.pick_announcing(at) else { return };
        let Some((client, [(host, number), _])) = registration.announcement(at, host, host) else { return };
        let host = registration.at(host);
        registration.members[host].device.send_text(&format!(r#"{{"reject":"{number}"}}"#));
        let rejected = registration.members.remove(registration.at(client));
        assert_eq!(rejected.device.expect_close(), 4006);
        registration.withdraw(client, None);
    }

    fn remove(&mut self, at: usize) {
        if self.registrations.is_empty() {
            return;
        }
        let registration = self.registrations.swap_remove(at % self.registrations.len());
        let path = format!("/remove?id={}&key=k&host_key=", registration.id);
        assert_eq!(ask(connect(self.address), &format!("{path}wrong")).0, 403);
        assert_eq!(ask(connect(self.address), &format!("{path}h")).0, 200);
        for member in registration.members {
            assert_eq!(member.device.expect_close(), 4000);
        }
        assert_eq!(ask(connect(self.address), &format!("{path}h")).0, 404);
    }

    /// Asserts that every device has received everything, and that registrations exist as the model says.
    fn check(&mut self) {
        let address = self.address;
        self.registrations.retain_mut(|registration| {
            registration.members.iter_mut().for_each(|member| member.device.expect_nothing_more());
            let path = format!("/members?id={}&key=k", registration.id);
            let is_over = registration.is_claimed
                && registration.members.is_empty()
                && registration.queues.iter().all(Vec::is_empty);
            if is_over {
                until("the registration ends", || ask(connect(address), &path).0 == 404);
                return false;
            }
            let expected = registration.document();
            let mut last = String::new();
            let is_expected = || {
                last = ask(connect(address), &path).1;
                serde_json::from_str::<Value>(&last).is_ok_and(|document| document == expected)
            };
            until(&format!("{} has {expected}", registration.id), is_expected);
            true
        });
    }

    /// Selects a registration in which clients are announced to hosts.
    fn pick_announcing(&mut self, at: usize) -> Option<&mut Registration> {
        let is_one = |registration: &&mut Registration| registration.members.iter().any(|it| !it.announced.is_empty());
        let mut found: Vec<_> = self.registrations.iter_mut().filter(is_one).collect();
        (!found.is_empty()).then(|| found.swap_remove(at % found.len()))
    }

    /// Selects a member, with its registration.
    fn pick_member(&self, at: usize) -> Option<(usize, usize)> {
        let all = || {
            let registrations = self.registrations.iter().enumerate();
            registrations.flat_map(|(at, registration)| (0..registration.members.len()).map(move |member| (at, member)))
        };
        all().nth(at % all().count().max(1))
    }
}

fn pick<T>(all: &mut [T], at: usize) -> Option<&mut T> {
    let count = all.len().max(1);
    all.get_mut(at % count)
}

/// Receives the announcement of a client, and returns its number.
fn incoming(host: &mut Device, client: usize) -> String {
    let text = host.receive();
    let message: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(message["hello"], format!("me-{client}"), "{text}");
    message["incoming"].as_str().unwrap().to_owned()
}

fn parameter(key: Key) -> &'static str {
    match key {
        Key::Full => "key=k",
        Key::Client => "client_key=c",
        Key::Receive => "receive_key=r",
        Key::Wrong => "key=guess",
    }
}

fn role_parameter(role: Role) -> &'static str {
    match role {
        Role::Host => "sock_type=host",
        Role::Client => "sock_type=client",
    }
}

/// Sends a text by a request; returns the status and the body.
fn post(address: SocketAddr, path: &str, text: &str) -> (u16, String) {
    let mut stream = connect(address);
    let head = format!("POST {path} HTTP/1.1\r\nHost: router\r\nConnection: close\r\nContent-Type: text/plain\r\n");
    write!(stream, "{head}Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn run(steps: Vec<Step>) {
    let mut world = World::new();
    for step in steps {
        match step {
            Step::Register(kind, terms) => world.register(kind, terms),
            Step::Join(at, key, role) => world.join(at, key, role),
            Step::Call(at, key) => world.call(at, key),
            Step::Send(at, key, role) => world.send(at, key, role),
            Step::Say(at) => world.say(at, None),
            Step::SayOverRestart(at, cut) => world.say(at, Some(cut)),
            Step::Leave(at, code) => world.leave(at, code),
            Step::Accept(at, host) => world.accept(at, [host, host], false),
            Step::AcceptRace(at, one, other) => world.accept(at, [one, other], true),
            Step::Reject(at, host) => world.reject(at, host),
            Step::Remove(at) => world.remove(at),
            Step::Restart => world.router.restart(),
        }
        world.check();
    }
}

proptest! {
    // Each case has a router of its own. A failure is shrunk for a while only.
    #![proptest_config(ProptestConfig {
        cases: histories(),
        max_shrink_iters: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn histories_of_registrations_agree_with_the_model(steps in proptest::collection::vec(step(), 20..80)) {
        // So that there is something to begin with.
        let hosts = [Step::Join(0, Key::Full, Role::Host), Step::Join(0, Key::Full, Role::Host)];
        let [paired, other] = [Kind::Paired, Kind::HostClient].map(|kind| Step::Register(kind, [true; 3]));
        let first = [paired].into_iter().chain(hosts).chain([other]);
        run(first.chain(steps).collect());
    }
}

/// Returns the number of histories.
fn histories() -> u32 {
    std::env::var("WS_ROUTER_HISTORIES").map_or(4, |text| text.parse().unwrap())
}
