//! Reads the `[[access]]` tables: who may register and connect.
//!
//! Each table is one rule: what it allows, and conditions that must all hold. The first rule that applies decides, and
//! a file that has rules lets nobody in to whom none applies. So a condition that can't hold, or a rule that none ever
//! comes to, is a mistake and told as one: what an administrator has written down and never takes effect is the way in
//! which doors stay open. What the rules come to is for `crate::access`; files that they name are read there.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use ws_router_core::rate::Rate;

use super::Listener;
use super::ask::Ask;
use super::keys::{ACCESS, ACCESS_KEYS, DAY, MANY, MOMENT};
use super::listener::{Surroundings, unknown_keys};
use super::problems::{Found, place};
use super::units::{self, Setting, quoted, unexpected};
use crate::peer::{Peers, Range, RangeError};

/// A rule of who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// What the rule is called in logs; without it, its number in the file.
    pub name: Option<String>,
    /// What it allows.
    pub allow: Allow,
    /// The networks from which a device comes, or a Unix socket; empty asks for none.
    pub networks: Peers,
    /// The users of this machine, one of whom is at the other end of a Unix socket; empty asks for none.
    pub users: Vec<User>,
    /// The file of tokens, one of which is shown.
    pub tokens: Option<PathBuf>,
    /// The certificate that is shown to a listener with `client-ca`.
    pub client_certificates: Option<ClientNames>,
    /// The origins of web pages, one of which is named if any is; empty asks for none.
    pub origins: Vec<String>,
    /// Registrations at a time that were made under the rule.
    pub registrations: Option<usize>,
    /// Members at a time of each of them.
    pub members: Option<usize>,
    /// Messages that each member may send that was let in by the rule.
    pub messages: Option<Rate>,
    /// Bytes that it may send.
    pub bytes: Option<Rate>,
    /// Another program that has the last word.
    pub ask: Option<Ask>,
    /// How long it may take; 2 seconds if that isn't said.
    pub ask_timeout: Option<Duration>,
}

/// What a rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allow {
    /// To register and to remove.
    Register,
    /// To connect.
    Connect,
    /// To register, to remove and to connect.
    #[default]
    Both,
    /// Nothing: those to whom the rule applies are refused whatever they want.
    None,
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// By number.
    Id(u32),
    /// By name.
    Name(String),
}

/// Whose certificate is good enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientNames {
    /// Every one that the listener's authorities have signed.
    Any,
    /// One in which one of these names stands.
    Of(Vec<String>),
}

/// A rule, and where it and those parts of it stand that others can contradict.
pub(super) struct Placed {
    at: usize,
    name: Option<usize>,
    certificates: Option<usize>,
    is_unconditional: bool,
}

impl Rule {
    /// What the rule is called: its name, or its number in the file.
    pub fn title(&self, index: usize) -> String {
        self.name.clone().unwrap_or_else(|| (index + 1).to_string())
    }
}

impl Allow {
    /// Tells whether a rule has something to say about registering (and removing), and about connecting.
    pub fn concerns(self) -> (bool, bool) {
        (self != Self::Connect, self != Self::Register)
    }
}

/// Reads all rules.
pub(super) fn read_all(
    value: &Spanned<DeValue<'_>>,
    around: &Surroundings<'_>,
    found: &mut Found,
) -> Vec<(Placed, Rule)> {
    let mut rules = Vec::new();
    let DeValue::Array(tables) = value.get_ref() else {
        let mend = "write [[access]] with two brackets on each side, since there may be several";
        found.meaning(value.span().start, format!("{ACCESS}: {}", unexpected(value.get_ref(), "a list", mend)));
        return rules;
    };
    for table in tables {
        match table.get_ref() {
            DeValue::Table(keys) => rules.push(read(table.span().start, keys, around, found)),
            other => {
                let mend = "write [[access]] above its keys";
                found.meaning(table.span().start, format!("{ACCESS}: {}", unexpected(other, "a table", mend)));
            }
        }
    }
    rules
}

/// Finds rules that are called the same, that none comes to, or that ask for what no listener asks for.
pub(super) fn contradictions(rules: &[(Placed, Rule)], listeners: &[Listener], text: &str, found: &mut Found) {
    let asks_for_certificates = listeners.iter().flat_map(|listener| &listener.tls).any(|tls| tls.client_ca.is_some());
    let mut decided = (None, None);
    for (index, (placed, rule)) in rules.iter().enumerate() {
        let namesake = rules[..index].iter().find(|(_, other)| rule.name.is_some() && other.name == rule.name);
        if let (Some((first, _)), Some(at), Some(name)) = (namesake, placed.name, &rule.name) {
            let line = place(text, first.at).0;
            found.meaning(at, format!("access.name: {name:?} is taken by the rule in line {line}; change one of them"));
        }
        if let Some(at) = placed.certificates.filter(|_| !asks_for_certificates) {
            let text = "access.client-certificates: no listener asks for certificates; add client-ca to its tls";
            found.meaning(at, text.into());
        }
        let (registers, connects) = rule.allow.concerns();
        let before = match (registers.then_some(decided.0), connects.then_some(decided.1)) {
            (Some(before), None) | (None, Some(before)) => before,
            (Some(one), Some(other)) => one.and(other),
            (None, None) => None,
        };
        if let Some(before) = before {
            let line = place(text, before).0;
            let text = format!("access: no request comes to this rule, since the one in line {line} decides for all");
            found.meaning(placed.at, format!("{text}; move or remove one of them"));
        }
        if placed.is_unconditional {
            decided.0 = decided.0.or(registers.then_some(placed.at));
            decided.1 = decided.1.or(connects.then_some(placed.at));
        }
    }
}

/// Shows a rule as it stands in a file.
pub(super) fn show(rule: &Rule) -> String {
    let mut table = format!("[[{ACCESS}]]\n");
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            table += &format!("{name} = {value}\n");
        }
    };
    line("name", rule.name.as_ref().map(quoted));
    line("allow", Some(rule.allow.show()));
    line("networks", (!rule.networks.is_empty()).then(|| rule.networks.show()));
    line("users", listed(&rule.users, User::show));
    line("tokens", rule.tokens.as_ref().map(|path| quoted(path.display())));
    line("client-certificates", rule.client_certificates.as_ref().map(ClientNames::show));
    line("origins", listed(&rule.origins, quoted));
    line("registrations", rule.registrations.map(|number| number.to_string()));
    line("members", rule.members.map(|number| number.to_string()));
    line("messages", rule.messages.map(quoted));
    line("bytes", rule.bytes.map(quoted));
    line("ask", rule.ask.as_ref().map(quoted));
    line("ask-timeout", rule.ask_timeout.map(|time| time.show()));
    table
}

fn listed<'a, T>(all: &'a [T], show: impl Fn(&'a T) -> String) -> Option<String> {
    let shown: Vec<String> = all.iter().map(show).collect();
    (!shown.is_empty()).then(|| format!("[{}]", shown.join(", ")))
}

fn read(at: usize, keys: &DeTable<'_>, around: &Surroundings<'_>, found: &mut Found) -> (Placed, Rule) {
    unknown_keys(ACCESS, &ACCESS_KEYS, keys, found);
    let start = |name: &str| keys.get(name).map(|value| value.span().start);
    let is_unconditional = !keys.iter().any(|(name, _)| CONDITIONS.contains(&name.get_ref().as_ref()));
    let mut table = Table { keys, found };
    let rule = Rule {
        name: table.one("name", |value| String::read(value).and_then(name)),
        allow: table.one("allow", Allow::read).unwrap_or_default(),
        networks: table.list("networks", network).into_iter().collect(),
        users: table.list("users", User::read),
        tokens: table
            .one("tokens", |value| String::read(value).and_then(|text| around.file(&text, "the file of tokens"))),
        client_certificates: table.client_names(),
        origins: table.list("origins", |value| {
            let origin = String::read(value)?;
            match origin.as_str() {
                "*" => Err("\"*\" is every origin; remove the key, and none is asked for".into()),
                text if !text.is_empty() && units::origin(&origin).is_ok() => Ok(origin.to_ascii_lowercase()),
                _ => Err(format!("{origin:?} is no origin; write one like \"https://example.com\" without a path")),
            }
        }),
        registrations: table.one("registrations", |value| usize::read(value).and_then(at_least_one)),
        members: table.one("members", |value| usize::read(value).and_then(at_least_one)),
        messages: table
            .one("messages", |value| rate(value, "\"100/s\" or \"100/s burst 500\"", |text| text.parse().ok())),
        bytes: table.one("bytes", |value| rate(value, "\"1MiB/s\" or \"1MiB/s burst 4MiB\"", size)),
        ask: table.one("ask", |value| String::read(value)?.parse()),
        ask_timeout: table.one("ask-timeout", |value| {
            let time = Duration::read(value)?;
            units::between(MOMENT, DAY)(&time).map(|()| time)
        }),
    };
    let (registers, connects) = match rule.allow {
        Allow::None => (false, false),
        some => some.concerns(),
    };
    let useful = [registers, registers, connects, connects, registers || connects];
    for (name, is_useful) in ["registrations", "members", "messages", "bytes", "ask"].into_iter().zip(useful) {
        if let Some(at) = start(name).filter(|_| !is_useful) {
            let allow = rule.allow.show();
            found.meaning(at, format!("{ACCESS}.{name}: has no effect with allow = {allow}; remove one of them"));
        }
    }
    if let Some(at) = start("ask-timeout").filter(|_| !keys.contains_key("ask")) {
        found.meaning(at, format!("{ACCESS}.ask-timeout: nobody is asked; add ask, or remove this key"));
    }
    let certificates = start("client-certificates").filter(|_| rule.client_certificates.is_some());
    (Placed { at, name: start("name"), certificates, is_unconditional }, rule)
}

/// A rule's table while it is read.
struct Table<'a, 'b> {
    keys: &'a DeTable<'b>,
    found: &'a mut Found,
}

impl Table<'_, '_> {
    /// Reads a value, if it is there.
    fn one<T>(&mut self, name: &str, read: impl FnOnce(&DeValue<'_>) -> Result<T, String>) -> Option<T> {
        let value = self.keys.get(name)?;
        let read = read(value.get_ref());
        read.map_err(|problem| self.found.meaning(value.span().start, format!("{ACCESS}.{name}: {problem}"))).ok()
    }

    /// Reads the values of a list, if it is there.
    fn list<T>(&mut self, name: &str, read: impl Fn(&DeValue<'_>) -> Result<T, String>) -> Vec<T> {
        let Some(value) = self.keys.get(name) else { return Vec::new() };
        let mut problem = |at, problem| self.found.meaning(at, format!("{ACCESS}.{name}: {problem}"));
        let DeValue::Array(all) = value.get_ref() else {
            let mend = "put it in brackets, even if it is one";
            problem(value.span().start, unexpected(value.get_ref(), "a list", mend));
            return Vec::new();
        };
        if all.is_empty() {
            problem(value.span().start, "an empty list lets nobody pass; name what does, or remove the key".into());
        }
        let read = |one: &Spanned<DeValue<'_>>| read(one.get_ref()).map_err(|why| problem(one.span().start, why)).ok();
        all.iter().filter_map(read).collect()
    }

    /// Reads `client-certificates`: true, or a list of names.
    fn client_names(&mut self) -> Option<ClientNames> {
        const NAME: &str = "client-certificates";
        match self.keys.get(NAME)?.get_ref() {
            DeValue::Array(_) => {
                let names = self.list(NAME, |value| match String::read(value)? {
                    empty if empty.trim().is_empty() => {
                        Err(format!("{empty:?} is no name; write one that stands in the certificate"))
                    }
                    name => Ok(name),
                });
                Some(ClientNames::Of(names))
            }
            _ => self.one(NAME, |value| match value.as_bool() {
                Some(true) => Ok(ClientNames::Any),
                Some(false) => Err("false asks for nothing; remove the key, or write true or a list of names".into()),
                None => Err(unexpected(value, "true or a list of names", "write for instance [\"device-1\"]")),
            }),
        }
    }
}

impl ClientNames {
    fn show(&self) -> String {
        match self {
            Self::Any => "true".into(),
            Self::Of(names) => listed(names, quoted).unwrap_or_default(),
        }
    }
}

impl User {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Integer(_) => match u32::try_from(usize::read(value)?) {
                Ok(id) if id != u32::MAX => Ok(Self::Id(id)),
                _ => Err("this is no user's number; \"id -u NAME\" tells it".into()),
            },
            DeValue::String(name) if name.is_empty() => Err("\"\" is no user; write a name or a number".into()),
            DeValue::String(name) => Ok(Self::Name(name.clone().into_owned())),
            _ => Err(unexpected(value, "a user", "write a name in quotes, or a number without")),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Id(id) => id.to_string(),
            Self::Name(name) => quoted(name),
        }
    }
}

/// Takes a rule's name.
fn name(text: String) -> Result<String, String> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let fits =
        text.len() <= LONGEST_NAME && text.chars().all(is_fit) && text.starts_with(|c: char| c.is_ascii_alphabetic());
    if fits {
        return Ok(text);
    }
    Err(format!(
        "{text:?} is no name; begin with a letter, and go on with up to {} letters, digits, - _ .",
        LONGEST_NAME - 1
    ))
}

/// Takes a number of things that there may be at a time.
fn at_least_one(number: usize) -> Result<usize, String> {
    units::between(1, MANY)(&number).map(|()| number)
}

/// Takes a rate, whose numbers `number` reads.
fn rate(value: &DeValue<'_>, such_as: &str, number: impl Fn(&str) -> Option<u64>) -> Result<Rate, String> {
    let text =
        String::read(value).map_err(|_| unexpected(value, "a rate", &format!("write for instance {such_as}")))?;
    let mend = || format!("{text:?} is no rate; write a number and s, m or h, such as {such_as}");
    Rate::parse(&text, |text| number(text).filter(|number| *number <= MOST_A_TIME)).map_err(|_| mend())
}

fn size(text: &str) -> Option<u64> {
    text.parse::<ByteSize>().ok().map(|size| size.as_u64())
}

/// Takes a network, a single address, or "unix".
fn network(value: &DeValue<'_>) -> Result<Range, String> {
    String::read(value)?.parse().map_err(|error: RangeError| error.to_string())
}

/// The keys that ask something of a device.
const CONDITIONS: [&str; 5] = ["networks", "users", "tokens", "client-certificates", "origins"];

/// More at a time than any machine sends, and far from any overflow.
const MOST_A_TIME: u64 = 1 << 50;

/// A name stands in each line that is logged of its rule.
const LONGEST_NAME: usize = 64;
