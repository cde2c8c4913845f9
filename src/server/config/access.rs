//! Reads the `[[access]]` tables: which clients may register and connect.
//!
//! Each table is one rule, with the operations that it allows and conditions that must all be met. The first rule that applies
//! decides; if there are rules and none applies, access is denied. Conditions that can never be met and rules that are
//! never reached are reported as problems, since they may allow access that the administrator believes to be denied.
//! `crate::access` evaluates the rules and reads the files that they name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use strum::{EnumCount, IntoStaticStr, VariantArray};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use ws_router_core::rate::Rate;

use super::Listener;
use super::authorizer::AuthorizerAddress;
use super::keys::{ACCESS, ACCESS_KEYS, DAY, MAX_COUNT, MIN_TIMEOUT, each_table, unknown_keys};
use super::reader::{Found, Position, Surroundings};
use super::value::{self, Setting, ValueError, quoted, type_error};
use crate::peer::{Peers, Range};

/// An access rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// Name in logs; without it, the number of the rule is used.
    pub name: Option<String>,
    /// Operations that the rule allows.
    pub allow: Allow,
    /// Networks of the client, one of which must match; empty requires none.
    pub networks: Peers,
    /// Users on this machine, one of whom must be the peer on a Unix socket; empty requires none.
    pub users: Vec<User>,
    /// File of tokens, one of which the request must have.
    pub tokens: Option<PathBuf>,
    /// Client certificate that the client must have, on a listener with `client-ca`.
    pub client_certificates: Option<ClientNames>,
    /// Origins of web pages, one of which must match if the request has any; empty requires none.
    pub origins: Vec<String>,
    /// Limit of concurrent registrations created under the rule.
    pub registrations: Option<usize>,
    /// Limit of concurrent members of each such registration.
    pub members: Option<usize>,
    /// Rate of messages of each member that the rule admitted.
    pub messages: Option<Rate>,
    /// Rate of bytes of each member that the rule admitted.
    pub bytes: Option<Rate>,
    /// External authorizer that makes the final decision.
    pub ask: Option<AuthorizerAddress>,
    /// Time limit of the authorizer; 2 seconds by default.
    pub ask_timeout: Option<Duration>,
}

/// Operation that access rules decide about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Operation {
    /// Registering and removing.
    Register,
    /// Connecting.
    Connect,
    /// Asking for the number of members.
    Members,
    /// Sending a message without being a member.
    Send,
}

/// Operations that a rule allows. With none, the rule denies the requests to which it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allow([bool; Operation::COUNT]);

/// A user on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// User id.
    Id(u32),
    /// User name.
    Name(String),
}

/// Client certificates that satisfy a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientNames {
    /// Any certificate signed by the listener's authorities.
    Any,
    /// A certificate with one of these names.
    Of(Vec<String>),
}

/// Positions of a rule and of its parts that may conflict with other settings.
pub(super) struct RulePositions {
    pub(super) at: Position,
    name: Option<Position>,
    certificates: Option<Position>,
    is_unconditional: bool,
}

impl Rule {
    /// Returns the rule's name, or its number if it has none.
    pub fn title(&self, index: usize) -> String {
        self.name.clone().unwrap_or_else(|| (index + 1).to_string())
    }
}

impl Allow {
    /// No operation.
    pub const NONE: Self = Self([false; Operation::COUNT]);
    /// Registering and removing.
    pub const REGISTER: Self = Self::NONE.and(Operation::Register);
    /// Connecting.
    pub const CONNECT: Self = Self::NONE.and(Operation::Connect);
    /// Registering, removing and connecting.
    pub const BOTH: Self = Self::REGISTER.and(Operation::Connect);

    /// Adds an operation.
    pub const fn and(mut self, operation: Operation) -> Self {
        self.0[operation as usize] = true;
        self
    }

    /// Returns the operations that at least one of the rules names.
    pub fn named_by(rules: &[Rule]) -> Self {
        rules.iter().fold(Self::NONE, |named, rule| named.union(rule.allow))
    }

    /// Returns whether a rule decides about an operation. A rule that allows nothing decides about all of them, and one
    /// for connecting also about members and sending, unless a rule names them; `named` are the operations that any rule
    /// names.
    pub fn concerns(self, operation: Operation, named: Self) -> bool {
        let follows_connect = matches!(operation, Operation::Members | Operation::Send) && !named.contains(operation);
        self == Self::NONE || self.contains(if follows_connect { Operation::Connect } else { operation })
    }

    pub(super) fn contains(self, operation: Operation) -> bool {
        self.0[operation as usize]
    }

    fn union(self, other: Self) -> Self {
        Operation::VARIANTS.iter().filter(|one| other.contains(**one)).fold(self, |all, one| all.and(*one))
    }

    /// Reads an operation, `both`, `none`, or a list of operations.
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let single = |one: &Operation| (one.label(), Self::NONE.and(*one));
        let DeValue::Array(all) = value else {
            let words = Operation::VARIANTS.iter().map(single).chain([("both", Self::BOTH), ("none", Self::NONE)]);
            return value::word(value, &words.collect::<Vec<_>>());
        };
        if all.is_empty() {
            return Err(ValueError::Useless("an empty list allows nothing; add an operation, or write \"none\""));
        }
        let words: Vec<_> = Operation::VARIANTS.iter().map(|one| (one.label(), *one)).collect();
        all.iter().try_fold(Self::NONE, |named, one| match value::word(one.get_ref(), &words)? {
            one if named.contains(one) => Err(ValueError::Useless("an operation is repeated; name it once")),
            one => Ok(named.and(one)),
        })
    }

    fn show(self) -> String {
        let named = || Operation::VARIANTS.iter().copied().filter(|one| self.contains(*one));
        match (self, named().count()) {
            (Self::NONE, _) => quoted("none"),
            (Self::BOTH, _) => quoted("both"),
            (_, 1) => named().map(|one| quoted(one.label())).collect(),
            _ => format!("[{}]", named().map(|one| quoted(one.label())).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Default for Allow {
    fn default() -> Self {
        Self::BOTH
    }
}

impl Operation {
    /// Returns the name in the configuration, in logs and for external authorizers.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// Reads the rules of a file and appends them to `rules`.
pub(super) fn read_all(
    value: &Spanned<DeValue<'_>>,
    around: &Surroundings<'_>,
    found: &mut Found,
    rules: &mut Vec<(RulePositions, Rule)>,
) {
    each_table(ACCESS, value, found, |at, keys, found| rules.push(read(at, keys, around, found)));
}

/// Reports rules with the same name, rules that are never reached, and rules that require a client certificate although no
/// listener requests one.
pub(super) fn report_conflicts(rules: &[(RulePositions, Rule)], listeners: &[Listener], found: &mut Found) {
    let asks_for_certificates = listeners.iter().flat_map(|listener| &listener.tls).any(|tls| tls.client_ca.is_some());
    let (mut decided, mut names) = ([None; Operation::COUNT], HashMap::new());
    let named = rules.iter().fold(Allow::NONE, |named, (_, rule)| named.union(rule.allow));
    for (positions, rule) in rules {
        if found.is_full() {
            return;
        }
        if let (Some(name), Some(at)) = (&rule.name, positions.name)
            && let Some(first) = names.insert(name, positions.at)
        {
            let line = found.seen_from(first, at);
            found.semantic_error_at(
                at,
                format!("access.name: {name:?} is already used by the rule in {line}; rename one of them"),
            );
        }
        if let Some(at) = positions.certificates.filter(|_| !asks_for_certificates) {
            let problem = "access.client-certificates: no listener requests certificates; add client-ca to its tls";
            found.semantic_error_at(at, problem.into());
        }
        let concerned: Vec<_> = Operation::VARIANTS
            .iter()
            .filter(|one| rule.allow.concerns(**one, named))
            .map(|one| *one as usize)
            .collect();
        let before = concerned.iter().map(|index| decided[*index]).collect::<Option<Vec<Position>>>();
        if let Some(before) = before.as_ref().and_then(|all| all.last()) {
            let line = found.seen_from(*before, positions.at);
            let problem =
                format!("access: this rule is never reached, since the one in {line} applies to all requests");
            found.semantic_error_at(positions.at, format!("{problem}; move or remove one of them"));
        }
        for index in concerned.into_iter().filter(|_| positions.is_unconditional) {
            decided[index].get_or_insert(positions.at);
        }
    }
}

/// Returns a rule in the syntax of the configuration file, with a comment.
pub(super) fn show(rule: &Rule, comment: &str) -> String {
    let mut table = format!("[[{ACCESS}]]{comment}\n");
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

fn read(at: usize, keys: &DeTable<'_>, around: &Surroundings<'_>, found: &mut Found) -> (RulePositions, Rule) {
    unknown_keys(ACCESS, &ACCESS_KEYS, keys, found);
    let start = |name: &str| keys.get(name).map(|value| value.span().start);
    let position = |name: &str, found: &Found| start(name).map(|at| found.position(at));
    let is_unconditional = !keys.iter().any(|(name, _)| CONDITIONS.contains(&name.get_ref().as_ref()));
    let mut table = Table { keys, found };
    let rule = Rule {
        name: table.one("name", |value| String::read(value).and_then(name)),
        allow: table.one("allow", Allow::read).unwrap_or_default(),
        networks: table.list("networks", network).into_iter().collect(),
        users: table.list("users", User::read),
        tokens: table.one("tokens", |value| Ok(around.file(&String::read(value)?, "the file of tokens")?)),
        client_certificates: table.client_names(),
        origins: table.list("origins", |value| {
            let origin = String::read(value)?;
            match origin.as_str() {
                "*" => Err(ValueError::Useless("\"*\" is every origin; remove the key, which requires none")),
                text if !text.is_empty() && value::origin(&origin).is_ok() => Ok(origin.to_ascii_lowercase()),
                _ => Err(ValueError::Invalid {
                    text: origin,
                    expected: "an origin",
                    fix: "write one like \"https://example.com\" without a path".into(),
                }),
            }
        }),
        registrations: table.one("registrations", |value| usize::read(value).and_then(at_least_one)),
        members: table.one("members", |value| usize::read(value).and_then(at_least_one)),
        messages: table
            .one("messages", |value| rate(value, "\"100/s\" or \"100/s burst 500\"", |text| text.parse().ok())),
        bytes: table.one("bytes", |value| rate(value, "\"1MiB/s\" or \"1MiB/s burst 4MiB\"", size)),
        ask: table.one("ask", |value| Ok(String::read(value)?.parse()?)),
        ask_timeout: table.one("ask-timeout", |value| {
            let time = Duration::read(value)?;
            value::between(MIN_TIMEOUT, DAY)(&time).map(|()| time)
        }),
    };
    let (registers, connects) = (rule.allow.contains(Operation::Register), rule.allow.contains(Operation::Connect));
    let useful = [registers, registers, connects, connects, rule.allow != Allow::NONE];
    for (name, is_useful) in ["registrations", "members", "messages", "bytes", "ask"].into_iter().zip(useful) {
        if let Some(at) = start(name).filter(|_| !is_useful) {
            let allow = rule.allow.show();
            found
                .semantic_error(at, format!("{ACCESS}.{name}: has no effect with allow = {allow}; remove one of them"));
        }
    }
    if let Some(at) = start("ask-timeout").filter(|_| !keys.contains_key("ask")) {
        found
            .semantic_error(at, format!("{ACCESS}.ask-timeout: has no effect without ask; add it, or remove this key"));
    }
    if let (Some(at), Some(path)) = (start("tokens"), &rule.tokens) {
        found.named_file(at, path);
    }
    let certificates = position("client-certificates", found).filter(|_| rule.client_certificates.is_some());
    (RulePositions { at: found.position(at), name: position("name", found), certificates, is_unconditional }, rule)
}

/// A rule's table that is being read.
struct Table<'a, 'b> {
    keys: &'a DeTable<'b>,
    found: &'a mut Found,
}

impl Table<'_, '_> {
    /// Reads a value, if the key exists.
    fn one<T>(&mut self, name: &str, read: impl FnOnce(&DeValue<'_>) -> Result<T, ValueError>) -> Option<T> {
        let value = self.keys.get(name)?;
        let read = read(value.get_ref());
        read.map_err(|problem| self.found.semantic_error(value.span().start, format!("{ACCESS}.{name}: {problem}")))
            .ok()
    }

    /// Reads the values of a list, if the key exists.
    fn list<T>(&mut self, name: &str, read: impl Fn(&DeValue<'_>) -> Result<T, ValueError>) -> Vec<T> {
        let Some(value) = self.keys.get(name) else { return Vec::new() };
        let mut problem =
            |at, problem: ValueError| self.found.semantic_error(at, format!("{ACCESS}.{name}: {problem}"));
        let DeValue::Array(all) = value.get_ref() else {
            let fix = "put it in brackets, even if there is only one value";
            problem(value.span().start, type_error(value.get_ref(), "a list", fix));
            return Vec::new();
        };
        if all.is_empty() {
            problem(
                value.span().start,
                ValueError::Useless("an empty list matches nothing; add a value, or remove the key"),
            );
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
                    empty if empty.trim().is_empty() => Err(ValueError::Invalid {
                        text: empty,
                        expected: "a name",
                        fix: "write one that the certificate contains".into(),
                    }),
                    name => Ok(name),
                });
                Some(ClientNames::Of(names))
            }
            _ => self.one(NAME, |value| match value.as_bool() {
                Some(true) => Ok(ClientNames::Any),
                Some(false) => {
                    Err(ValueError::Useless("false requires nothing; remove the key, or write true or a list of names"))
                }
                None => Err(type_error(value, "true or a list of names", "write, for example, [\"device-1\"]")),
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
    fn read(value: &DeValue<'_>) -> Result<Self, ValueError> {
        match value {
            DeValue::Integer(_) => match u32::try_from(usize::read(value)?) {
                Ok(id) if id != u32::MAX => Ok(Self::Id(id)),
                _ => Err(ValueError::Useless("not a user id; \"id -u NAME\" prints it")),
            },
            DeValue::String(name) if name.is_empty() => {
                Err(ValueError::Useless("\"\" is not a user; write a name or a number"))
            }
            DeValue::String(name) => Ok(Self::Name(name.clone().into_owned())),
            _ => Err(type_error(value, "a user", "write a name in quotes, or a number without")),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Id(id) => id.to_string(),
            Self::Name(name) => quoted(name),
        }
    }
}

/// Checks the name of a rule.
fn name(text: String) -> Result<String, ValueError> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let fits =
        text.len() <= MAX_NAME_LEN && text.chars().all(is_valid) && text.starts_with(|c: char| c.is_ascii_alphabetic());
    if fits {
        return Ok(text);
    }
    let fix = format!("write a letter and up to {} letters, digits and - _ .", MAX_NAME_LEN - 1);
    Err(ValueError::Invalid { text, expected: "a name", fix: fix.into() })
}

/// Checks a limit.
fn at_least_one(number: usize) -> Result<usize, ValueError> {
    value::between(1, MAX_COUNT)(&number).map(|()| number)
}

/// Reads a rate. `number` parses its amounts.
fn rate(value: &DeValue<'_>, such_as: &str, number: impl Fn(&str) -> Option<u64>) -> Result<Rate, ValueError> {
    let text =
        String::read(value).map_err(|_| type_error(value, "a rate", format!("write, for example, {such_as}")))?;
    Rate::parse(&text, |text| number(text).filter(|number| *number <= MAX_AMOUNT)).map_err(|_| ValueError::Invalid {
        text: text.clone(),
        expected: "a rate",
        fix: format!("write a number and s, m or h, such as {such_as}").into(),
    })
}

fn size(text: &str) -> Option<u64> {
    text.parse::<ByteSize>().ok().map(|size| size.as_u64())
}

/// Reads a network, a single address, or "unix".
fn network(value: &DeValue<'_>) -> Result<Range, ValueError> {
    Ok(String::read(value)?.parse()?)
}

/// Keys that are conditions.
const CONDITIONS: [&str; 5] = ["networks", "users", "tokens", "client-certificates", "origins"];

/// Maximum amount of a rate: more than any machine sends, and far below an overflow.
const MAX_AMOUNT: u64 = 1 << 50;

/// Maximum length of a rule's name, which is part of each log message about the rule.
const MAX_NAME_LEN: usize = 64;
