//! What hosts of a paired registration send, and the numbers with which they accept, on one shard.
//!
//! A reference decides what each message and number means. Hosts are notified of each client once, with its hello as it is
//! and a number that is its own, and of its going unless they have accepted it. A client is taken once, and closed with the
//! code and reason of the host that rejects it; whatever else a host sends closes that host alone.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use ws_router_core::frame::{client_frame, whole_frame_len};
use ws_router_core::ids::{MemberId, Serial};
use ws_router_core::kind::Role;
use ws_router_core::shard::{
    Arrival, InMemoryLink, MemberState, Moment, Newcomer, Pipe, Presence, Rules, Shard, parse_number,
};

use super::frames;
use super::input::Input;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut scene = Scene::new();
    scene.host();
    for _ in 0..ACTS {
        if input.is_empty() {
            break;
        }
        scene.act(&mut input);
        scene.settle();
        scene.check();
    }
}

/// One end of a connection to the shard.
struct End {
    slot: usize,
    id: MemberId,
    part: Part,
    pipe: Rc<RefCell<Pipe>>,
    inbox: Vec<u8>,
    texts: Vec<String>,
    closed: Option<(u16, String)>,
    expected: Expected,
}

enum Part {
    Host {
        /// Clients that it knows of, by number.
        announced: BTreeMap<u128, usize>,
        /// Clients that are about to be announced to it.
        coming: BTreeSet<usize>,
        /// Numbers of clients that are about to be reported to it as gone.
        going: BTreeSet<u128>,
    },
    Client {
        hello: String,
        until: Moment,
        /// The host's end, once it was accepted.
        end: Option<usize>,
    },
    Accepted,
}

/// What the reference says of an end.
#[derive(Debug, Clone, PartialEq)]
enum Expected {
    Open,
    /// Closed with a code, and with a reason if that is known.
    Closed(u16, Option<String>),
    /// It has left by itself.
    Left,
}

struct Scene {
    shard: Shard<InMemoryLink>,
    rules: Rules,
    now: Moment,
    ends: Vec<End>,
    /// Count of the numbers that were drawn, all of which belong to clients.
    drawn: u64,
    /// The clients of all numbers that are valid.
    valid: BTreeMap<u128, usize>,
    /// Every number there ever was.
    all: Vec<u128>,
    /// Clients by the numbers that no host has received.
    unannounced: BTreeMap<u128, usize>,
}

impl Scene {
    fn new() -> Self {
        // Nobody here answers a ping.
        let rules = Rules { ping_interval: Duration::from_secs(86_400), ..frames::rules(MAX_MESSAGE) };
        let (shard, now) = (Shard::new(rules.clone()), Moment(1_000_000));
        let (valid, unannounced) = (BTreeMap::new(), BTreeMap::new());
        Self { shard, rules, now, ends: Vec::new(), drawn: 0, valid, all: Vec::new(), unannounced }
    }

    fn act(&mut self, input: &mut Input<'_>) {
        let (act, argument) = (input.byte(), input.byte());
        match act % 12 {
            0 | 1 => self.client(input.bytes(usize::from(argument))),
            2 if self.hosts().len() < 4 => self.host(),
            3 | 4 => {
                let text = self.rejection(argument, input);
                self.say(argument, &text, input.byte());
            }
            5 => {
                let len = usize::from(argument) << (act >> 6);
                let text = input.bytes(len).to_vec();
                self.say(argument, &text, 0);
            }
            6 => {
                // In the query it is text, too.
                let text = String::from_utf8_lossy(input.bytes(usize::from(argument % 40))).into_owned();
                let number = parse_number(&text);
                assert_eq!(number, reference_number(&text));
                number.into_iter().for_each(|number| self.accept(number));
            }
            7 | 8 => {
                let number = self.number(argument);
                assert_eq!(parse_number(&format!("{number:032x}")), Some(number));
                self.accept(number);
            }
            9 => self.leave(argument),
            10 => self.pass(Duration::from_millis(u64::from(argument) * 100)),
            11 if argument & 7 == 0 => self.restore(),
            11 if argument & 7 == 1 => {
                let hosts = self.hosts();
                if let Some(host) = hosts.get(usize::from(argument) % hosts.len().max(1)) {
                    self.send(*host, 0x82, b"{}");
                    self.ends[*host].expected = Expected::Closed(4005, None);
                }
            }
            _ => {}
        }
    }

    fn hosts(&self) -> Vec<usize> {
        self.open(|part| matches!(part, Part::Host { .. }))
    }

    fn waiting(&self) -> Vec<usize> {
        self.open(|part| matches!(part, Part::Client { end: None, .. }))
    }

    fn open(&self, is: impl Fn(&Part) -> bool) -> Vec<usize> {
        let ends = self.ends.iter().enumerate().filter(|(_, end)| end.expected == Expected::Open && is(&end.part));
        ends.map(|(index, _)| index).collect()
    }

    /// Chooses a number: one that was drawn, valid or not, or one that never was.
    fn number(&self, argument: u8) -> u128 {
        let index = usize::from(argument & 0x3f);
        self.all.get(index % (self.all.len() + 1)).copied().unwrap_or(u128::from(argument))
    }

    fn add(
        &mut self,
        role: Role,
        part: Part,
        join: impl FnOnce(&mut Self, &Newcomer, InMemoryLink) -> Option<usize>,
    ) -> bool {
        let id = MemberId(self.ends.len() as u64 + 1);
        let pipe = Pipe::with_room(usize::MAX / 2).shared();
        let newcomer = Newcomer { id, serial: SERIAL, role, receives_only: false, counts: true };
        let Some(slot) = join(self, &newcomer, InMemoryLink(Rc::clone(&pipe))) else { return false };
        let (inbox, texts) = (Vec::new(), Vec::new());
        self.ends.push(End { slot, id, part, pipe, inbox, texts, closed: None, expected: Expected::Open });
        self.shard.arrived(slot, &[], self.now);
        self.shard.writable(slot, self.now);
        true
    }

    fn host(&mut self) {
        let (announced, coming, going) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        self.add(Role::Host, Part::Host { announced, coming, going }, |scene, newcomer, link| {
            Some(scene.shard.join_listening(newcomer, link, scene.now.after(TIMEOUT), scene.now))
        });
        let numbers = self.catch_up();
        let (host, waiting) = (self.ends.len() - 1, self.waiting());
        assert_eq!(numbers.len(), waiting.len(), "all clients that wait are announced to it");
        for (number, client) in numbers.into_iter().zip(waiting) {
            self.announce(host, number, client);
        }
    }

    /// Runs as many iterations as it takes to announce all clients; returns the numbers that were drawn.
    fn catch_up(&mut self) -> Vec<u128> {
        let (mut numbers, mut drawn) = (Vec::new(), self.drawn);
        for _ in 0..ENDS {
            self.shard.announce_some(&mut || draw(&mut drawn, &mut numbers), self.now);
        }
        self.drawn = drawn;
        numbers
    }

    fn client(&mut self, hello: &[u8]) {
        if self.ends.len() >= ENDS {
            return;
        }
        let (hello, until) = (String::from_utf8_lossy(hello).into_owned(), self.now.after(TIMEOUT));
        let (mut numbers, mut drawn, hosts) = (Vec::new(), self.drawn, self.hosts());
        let part = Part::Client { hello: hello.clone(), until, end: None };
        self.add(Role::Client, part, |scene, newcomer, link| {
            let deadline = scene.now.after(TIMEOUT);
            let arrival = Arrival { hello: hello.into(), accept_by: until, end: InMemoryLink::unconnected() };
            let draw = &mut || draw(&mut drawn, &mut numbers);
            Some(scene.shard.join_waiting(newcomer, link, arrival, deadline, draw, scene.now))
        });
        self.drawn = drawn;
        assert_eq!(numbers.len(), hosts.len(), "it is announced to all hosts");
        let client = self.ends.len() - 1;
        for (number, host) in numbers.into_iter().zip(hosts) {
            self.announce(host, number, client);
        }
    }

    fn announce(&mut self, host: usize, number: u128, client: usize) {
        assert_eq!(self.valid.insert(number, client), None, "a number of two clients");
        self.unannounced.insert(number, client);
        self.all.push(number);
        if let Part::Host { coming, .. } = &mut self.ends[host].part {
            coming.insert(client);
        }
    }

    fn accept(&mut self, number: u128) {
        let client = self.valid.get(&number).copied();
        let is_accepted = self.add(Role::Host, Part::Accepted, |scene, newcomer, link| {
            let deadline = scene.now.after(TIMEOUT);
            Some(scene.shard.accept(SERIAL, number, newcomer.id, link, deadline, scene.now).ok()?.0)
        });
        assert_eq!(is_accepted, client.is_some(), "{number:032x}");
        let Some(client) = client else { return };
        let accepted = self.ends.len() - 1;
        if let Part::Client { end, .. } = &mut self.ends[client].part {
            *end = Some(accepted);
        }
        self.gone(client, Some(number));
    }

    /// A client no longer waits: its numbers are no longer valid, and hosts are notified, save the one that took it.
    fn gone(&mut self, client: usize, taken_with: Option<u128>) {
        self.valid.retain(|_, of| *of != client);
        for end in &mut self.ends {
            let Part::Host { announced, going, .. } = &mut end.part else { continue };
            let numbers = announced.iter().filter(|(_, of)| **of == client);
            let numbers: Vec<u128> = numbers.map(|(number, _)| *number).collect();
            if end.expected == Expected::Open && !taken_with.is_some_and(|number| numbers.contains(&number)) {
                going.extend(numbers);
            }
        }
    }

    /// Makes a message that is, or nearly is, a rejection.
    fn rejection(&self, argument: u8, input: &mut Input<'_>) -> Vec<u8> {
        let (form, code, spoil) = (input.byte(), [input.byte(), input.byte()], input.byte());
        let number = self.number(argument);
        let number = if form & 1 == 0 { format!("{number:032x}") } else { format!("{number:032X}") };
        let mut text = format!(r#"{{"reject":"{number}""#);
        if form & 2 != 0 {
            text += &format!(r#","code":{}"#, u16::from_be_bytes(code));
        }
        if form & 4 != 0 {
            let reason = String::from_utf8_lossy(input.bytes(usize::from(code[1]))).into_owned();
            text += &format!(r#","reason":{}"#, Value::from(reason));
        }
        match form >> 4 {
            1 => text += r#","more":1"#,
            2 => text += r#","code":null"#,
            3 => text = format!(r#"["{number}",4000,"as a list""#),
            4 => text += r#","reject":"again""#,
            5 => text = format!(" \n{text}"),
            _ => {}
        }
        let mut text = text.into_bytes();
        text.push(if form >> 4 == 3 { b']' } else { b'}' });
        // One of its bytes is another.
        if spoil != 0 {
            let at = usize::from(spoil) % text.len();
            text[at] = input.byte();
        }
        text
    }

    /// A host sends a text, in one frame or in two.
    fn say(&mut self, argument: u8, text: &[u8], cut: u8) {
        let hosts = self.hosts();
        let Some(host) = hosts.get(usize::from(argument) % hosts.len().max(1)).copied() else { return };
        if cut == 0 {
            self.send(host, 0x81, text);
        } else {
            let (first, rest) = text.split_at(usize::from(cut).min(text.len()));
            self.send(host, 0x01, first);
            self.send(host, 0x80, rest);
        }
        let Ok(text) = std::str::from_utf8(text) else {
            self.ends[host].expected = Expected::Closed(1007, None);
            return;
        };
        let Some((number, code, reason)) = reference(text) else {
            self.ends[host].expected = Expected::Closed(4005, None);
            return;
        };
        let Some(client) = self.valid.get(&number).copied() else { return };
        self.gone(client, None);
        self.ends[client].expected = Expected::Closed(code, reason);
    }

    fn send(&mut self, end: usize, first: u8, payload: &[u8]) {
        self.ends[end].pipe.borrow_mut().inbound.extend(client_frame(first, [1, 2, 3, 4], payload));
    }

    /// One that is there vanishes.
    fn leave(&mut self, argument: u8) {
        let open = self.open(|_| true);
        let Some(who) = open.get(usize::from(argument) % open.len().max(1)).copied() else { return };
        self.ends[who].pipe.borrow_mut().has_ended = true;
        self.ends[who].expected = Expected::Left;
        let other = match &self.ends[who].part {
            Part::Host { .. } => return,
            Part::Client { end: None, .. } => return self.gone(who, None),
            Part::Client { end: Some(end), .. } => *end,
            Part::Accepted => {
                let is_its = |end: &End| matches!(end.part, Part::Client { end: Some(end), .. } if end == who);
                self.ends.iter().position(is_its).unwrap()
            }
        };
        if self.ends[other].expected == Expected::Open {
            self.ends[other].expected = Expected::Closed(4007, None);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        for client in self.waiting() {
            let Part::Client { until, .. } = self.ends[client].part else { continue };
            if until <= self.now {
                self.gone(client, None);
                self.ends[client].expected = Expected::Closed(4006, None);
            }
        }
        self.shard.sweep(self.now);
    }

    fn restore(&mut self) {
        self.shard.flush(self.now);
        let states: Vec<MemberState> = self.shard.export(self.now).map(|(_, state)| state).collect();
        let read: Vec<MemberState> = rmp_serde::from_slice(&rmp_serde::to_vec_named(&states).unwrap()).unwrap();
        assert_eq!(read, states);
        self.shard = Shard::new(self.rules.clone());
        for state in read {
            let end = self.ends.iter_mut().find(|end| end.id == state.id).unwrap();
            end.pipe.borrow_mut().is_dropped = false;
            let link = InMemoryLink(Rc::clone(&end.pipe));
            let slot = self.shard.restore(state, link, InMemoryLink::unconnected, self.now);
            end.slot = slot.unwrap_or_else(|_| panic!("a state of ours is refused"));
        }
        self.shard.finish_restore(self.now);
        // Clients that were announced before aren't again, whatever number is drawn for them.
        self.catch_up();
    }

    /// Everybody reads and is read; one that was closed goes.
    fn settle(&mut self) {
        for _ in 0..6 {
            self.shard.begin_iteration(self.ends.len());
            for end in &self.ends {
                if end.pipe.borrow().is_dropped {
                    continue;
                }
                self.shard.writable(end.slot, self.now);
                let has_ended = end.pipe.borrow().has_ended;
                if !end.pipe.borrow().is_dropped {
                    self.shard.readable(end.slot, has_ended, self.now);
                }
            }
            self.shard.resume(self.now);
            self.shard.flush(self.now);
            self.ends.iter_mut().for_each(End::take);
        }
    }

    fn check(&mut self) {
        for who in 0..self.ends.len() {
            let end = &self.ends[who];
            let closed = end.closed.as_ref().map(|(code, reason)| (*code, reason.as_str()));
            match &end.expected {
                Expected::Open => assert_eq!(closed, None, "{who}"),
                Expected::Closed(code, reason) => {
                    let closed = closed.unwrap_or_else(|| panic!("{who} isn't closed"));
                    assert_eq!(closed.0, *code, "{who}: {closed:?}");
                    assert!(reason.as_ref().is_none_or(|reason| closed.1 == reason), "{who}: {closed:?}");
                }
                Expected::Left => {}
            }
            let texts = std::mem::take(&mut self.ends[who].texts);
            if self.ends[who].expected == Expected::Open {
                texts.iter().for_each(|text| self.on_notice(who, text));
                if let Part::Host { coming, going, .. } = &self.ends[who].part {
                    assert!(coming.is_empty() && going.is_empty(), "{who} isn't notified: {coming:?} {going:?}");
                }
            }
        }
        let pairs = self.open(|part| matches!(part, Part::Client { end: Some(_), .. })).len();
        let expected = Presence { hosts: self.hosts().len(), pairs, waiting: self.waiting().len() };
        let found = self.shard.presence(SERIAL);
        // Pairs that end aren't counted alike until both ends are gone.
        assert_eq!((found.hosts, found.waiting), (expected.hosts, expected.waiting));
        assert!(found.pairs >= expected.pairs, "{found:?} {expected:?}");
    }

    /// A host receives a message.
    fn on_notice(&mut self, host: usize, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap();
        let fields: Vec<_> = message.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value)).collect();
        let hello_of = |client: usize| match &self.ends[client].part {
            Part::Client { hello, .. } => hello.clone(),
            _ => panic!("{client} is no client"),
        };
        let (is_gone, number, hello) = match fields[..] {
            [("gone", number)] => (true, number, None),
            [("hello", hello), ("incoming", number)] => (false, number, hello.as_str()),
            _ => panic!("{text}"),
        };
        let number = number.as_str().filter(|text| *text == text.to_lowercase()).and_then(reference_number).unwrap();
        // Which of a client's numbers a host gets doesn't matter; no two hosts get the same.
        let newcomer = if is_gone { None } else { self.unannounced.remove(&number) };
        let expected = newcomer.map(hello_of);
        let Part::Host { announced, coming, going } = &mut self.ends[host].part else {
            panic!("{host} is no host, and receives {text}");
        };
        match newcomer {
            Some(client) => {
                assert_eq!(hello, expected.as_deref(), "{text}");
                assert!(coming.remove(&client) && announced.insert(number, client).is_none(), "{text}");
            }
            None => assert!(going.remove(&number) && announced.remove(&number).is_some(), "{text}"),
        }
    }
}

impl End {
    /// Takes what the shard has sent.
    fn take(&mut self) {
        let mut pipe = self.pipe.borrow_mut();
        self.inbox.append(&mut pipe.outbound);
        while let Some(len) = whole_frame_len(&self.inbox).filter(|len| *len <= self.inbox.len()) {
            let frame: Vec<u8> = self.inbox.drain(..len).collect();
            assert_eq!(self.closed, None, "a frame after the close frame");
            let payload = if frame[1] == 126 { &frame[4..] } else { &frame[2..] };
            match (frame[0], payload) {
                (0x81, text) => self.texts.push(String::from_utf8(text.to_vec()).unwrap()),
                (0x88, [high, low, reason @ ..]) => {
                    let reason = String::from_utf8(reason.to_vec()).unwrap();
                    self.closed = Some((u16::from_be_bytes([*high, *low]), reason));
                    pipe.has_ended = true;
                }
                (first, _) => panic!("first byte {first:x}"),
            }
        }
    }
}

/// Draws a number, of which all digits are used.
fn draw(drawn: &mut u64, numbers: &mut Vec<u128>) -> u128 {
    *drawn += 1;
    let number = u128::from(*drawn).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    numbers.push(number);
    number
}

/// Decodes a message of a host by another way: the number of the client that it rejects, the code that the client is
/// closed with, and the reason unless it is the router's own. `None` for what closes the host.
fn reference(text: &str) -> Option<(u128, u16, Option<String>)> {
    if text.len() > 2048 {
        return None;
    }
    let Fields(fields) = serde_json::from_str(text).ok()?;
    let (mut number, mut code, mut reason) = (None, None, None);
    for (at, (name, value)) in fields.iter().enumerate() {
        let is_repeated = fields[..at].iter().any(|(before, _)| before == name);
        match (name.as_str(), value) {
            _ if is_repeated => return None,
            ("reject", Value::String(text)) => number = Some(reference_number(text)?),
            ("code" | "reason", Value::Null) => {}
            ("code", Value::Number(value)) => code = Some(u16::try_from(value.as_u64()?).ok()?),
            ("reason", Value::String(text)) if text.len() <= 123 => reason = Some(text.clone()),
            _ => return None,
        }
    }
    let passed_on =
        code.filter(|code| (3000..5000).contains(code) && !(4000..4100).contains(code) && !(4400..4500).contains(code));
    Some(match (passed_on, code, reason) {
        (Some(code), _, reason) => (number?, code, Some(reason.unwrap_or_default())),
        (None, None, Some(reason)) if !reason.is_empty() => (number?, 4006, Some(reason)),
        _ => (number?, 4006, None),
    })
}

fn reference_number(text: &str) -> Option<u128> {
    let digit = |number: u128, letter: char| Some(number << 4 | u128::from(letter.to_digit(16)?));
    (text.chars().count() == 32).then(|| text.chars().try_fold(0, digit)).flatten()
}

/// The fields of an object in their order, with those that are repeated.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

const SERIAL: Serial = Serial(7);
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_MESSAGE: u64 = 300_000;
/// Acts of one history, and ends in it beside those of pairs.
const ACTS: usize = 200;
const ENDS: usize = 24;
