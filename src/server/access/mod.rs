//! Who may register, connect and remove: the configuration's `[[access]]` rules, with the files that they name read.
//!
//! The rules are looked at in their order, and the first one that applies decides: one that has something to say about
//! the action, and whose conditions all hold. If there are rules and none applies, the answer is no; without any rule
//! it is yes. It is a pure decision over what is known of the one who asks, made for each request anew, so that a reload
//! holds from the next request on. Whoever is a member already stays one.

mod ask;
mod tokens;

use std::path::PathBuf;
use std::sync::Arc;

use nix::unistd::User;
use ws_router_core::secret::Token;
use ws_router_core::shard::Rates;

pub use ask::{Answer, Authority, Wish};

use crate::config::{self, Allow, ClientNames, Problems};
use crate::peer::{Certified, Peer, Peers};
use tokens::Tokens;

/// The rules in force; a reload publishes new ones.
pub type Live = tokio::sync::watch::Receiver<Arc<Access>>;

/// All rules.
#[derive(Debug, Default)]
pub struct Access {
    rules: Vec<Rule>,
}

/// A rule that can be asked.
#[derive(Debug)]
pub struct Rule {
    name: Arc<str>,
    allow: Allow,
    networks: Peers,
    users: Vec<u32>,
    tokens: Option<Arc<Tokens>>,
    certificates: Option<ClientNames>,
    origins: Vec<String>,
    rates: Option<Rates>,
    authority: Option<Authority>,
}

/// What somebody would like to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// To make a registration, or to take one's own over again.
    Register,
    /// To become a member.
    Connect,
    /// To end a registration; who may register may do that.
    Remove,
}

impl Action {
    /// Shows the action as logs have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Connect => "connect",
            Self::Remove => "remove",
        }
    }
}

/// What is known of the one who asks.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Where it comes from.
    pub peer: Peer,
    /// The user whose process has made the connection, if it was made on this machine.
    pub user: Option<u32>,
    /// The certificate that it showed, if it did and the listener's authorities have signed it.
    pub certificate: Option<&'a Certified>,
    /// The web page's origin, if there is one.
    pub origin: Option<&'a str>,
    /// The token that it showed.
    pub token: Option<&'a Token>,
}

/// The answer.
#[derive(Debug, Clone, Copy)]
pub enum Verdict<'a> {
    /// There are no rules.
    Open,
    /// This rule lets it in, once its authority has said yes, if it has one.
    Allowed(&'a Rule),
    /// It isn't let in.
    Refused {
        /// By this rule; `None` if none applies.
        rule: Option<&'a Rule>,
        /// Whether one would have let it in if it had shown a token that is known.
        token_would_help: bool,
    },
}

impl Access {
    /// Reads what the rules name: files of tokens, and users of this machine; or tells everything that is wrong.
    pub fn load(rules: &[config::Rule]) -> Result<Self, Problems> {
        let (mut problems, mut read) = (Vec::new(), Vec::new());
        let rules = rules.iter().enumerate().map(|(index, rule)| {
            let name = rule.title(index);
            Rule {
                allow: rule.allow,
                networks: rule.networks.clone(),
                users: rule.users.iter().filter_map(|user| number(user, &name, &mut problems)).collect(),
                tokens: rule.tokens.as_ref().map(|path| shared(path, &mut read, &mut problems)),
                certificates: rule.client_certificates.clone(),
                origins: rule.origins.clone(),
                rates: (rule.messages.is_some() || rule.bytes.is_some())
                    .then_some(Rates { messages: rule.messages, bytes: rule.bytes }),
                authority: rule.ask.as_ref().map(|ask| Authority::new(ask, rule.ask_timeout.unwrap_or(ASK_TIMEOUT))),
                name: name.into(),
            }
        });
        let rules = rules.collect();
        if problems.is_empty() { Ok(Self { rules }) } else { Err(Problems(problems)) }
    }

    /// Decides.
    pub fn decide(&self, action: Action, caller: &Caller<'_>) -> Verdict<'_> {
        if self.rules.is_empty() {
            return Verdict::Open;
        }
        let mut token_would_help = false;
        for rule in self.rules.iter().filter(|rule| rule.concerns(action) && rule.holds_but_for_token(caller)) {
            match (rule.knows_token(caller), rule.allow) {
                (true, Allow::None) => return Verdict::Refused { rule: Some(rule), token_would_help },
                (true, _) => return Verdict::Allowed(rule),
                (false, Allow::None) => {}
                (false, _) => token_would_help = true,
            }
        }
        Verdict::Refused { rule: None, token_would_help }
    }

    /// Tells whether any rule looks at tokens; if none does, a parameter of that name is nothing to us.
    pub fn looks_at_tokens(&self) -> bool {
        self.rules.iter().any(|rule| rule.tokens.is_some() || rule.authority.is_some())
    }

    /// Tells whether a rule names this origin.
    pub fn names_origin(&self, origin: &str) -> bool {
        self.rules.iter().any(|rule| rule.allow != Allow::None && rule.has_origin(origin))
    }

    /// Names the files of tokens that say something else than they did before.
    pub fn changed_files(&self, before: &Self) -> Vec<PathBuf> {
        let all = |access: &Self| access.rules.iter().filter_map(|rule| rule.tokens.clone()).collect::<Vec<_>>();
        let known = all(before);
        let changed = |now: &&Arc<Tokens>| known.iter().any(|old| old.path() == now.path() && old != *now);
        let mut files: Vec<_> = all(self).iter().filter(changed).map(|tokens| tokens.path().to_owned()).collect();
        files.dedup();
        files
    }
}

impl Rule {
    /// What the rule is called.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Who is to be asked before the rule lets anybody in.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// How much a member may send whom the rule lets in.
    pub fn rates(&self) -> Option<Rates> {
        self.rates
    }

    fn concerns(&self, action: Action) -> bool {
        let (registers, connects) = self.allow.concerns();
        if action == Action::Connect { connects } else { registers }
    }

    fn holds_but_for_token(&self, caller: &Caller<'_>) -> bool {
        let from = self.networks.is_empty() || self.networks.contain(&caller.peer);
        let is_user = self.users.is_empty() || caller.user.is_some_and(|user| self.users.contains(&user));
        let has_certificate = match (&self.certificates, caller.certificate) {
            (None, _) | (Some(ClientNames::Any), Some(_)) => true,
            (Some(_), None) => false,
            (Some(ClientNames::Of(wanted)), Some(shown)) => shown.names.iter().any(|name| wanted.contains(name)),
        };
        // Who names no origin is no web page, and may say what it likes.
        let has_origin = self.origins.is_empty() || caller.origin.is_none_or(|origin| self.has_origin(origin));
        from && is_user && has_certificate && has_origin
    }

    fn knows_token(&self, caller: &Caller<'_>) -> bool {
        self.tokens.as_ref().is_none_or(|known| caller.token.is_some_and(|token| known.name(token).is_some()))
    }

    fn has_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| known.eq_ignore_ascii_case(origin))
    }
}

/// Finds a user's number.
fn number(user: &config::User, rule: &str, problems: &mut Vec<String>) -> Option<u32> {
    let name = match user {
        config::User::Id(id) => return Some(*id),
        config::User::Name(name) => name,
    };
    let why = match User::from_name(name) {
        Ok(Some(user)) => return Some(user.uid.as_raw()),
        Ok(None) => "there is no such user; mend the name, or write the number".to_owned(),
        Err(error) => format!("the system doesn't tell who that is ({error}); write the number"),
    };
    problems.push(format!("access rule {rule}: user {name:?}: {why}"));
    None
}

/// Reads a file of tokens, once however many rules name it.
fn shared(path: &PathBuf, read: &mut Vec<Arc<Tokens>>, problems: &mut Vec<String>) -> Arc<Tokens> {
    if let Some(known) = read.iter().find(|tokens| tokens.path() == path) {
        return Arc::clone(known);
    }
    let tokens = Arc::new(Tokens::read(path, problems));
    read.push(Arc::clone(&tokens));
    tokens
}

/// A device waits ten seconds for HTTP, and for a websocket five.
const ASK_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

#[cfg(test)]
mod tests;
