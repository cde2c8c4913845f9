//! Access rules: which clients may register, connect, remove, and so on, according to `[[access]]` in the configuration and the
//! files that it names.
//!
//! The first rule that applies decides: it concerns the action, and all its conditions are met. If no rule applies, access
//! is denied; without any rules, it is granted. The decision depends only on the rules and the client, and is made for each
//! request, so a reload takes effect with the next request. Existing members remain.

mod external;
mod tokens;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use nix::unistd::User;
use ws_router_admin_api::event::Admission;
use ws_router_core::secret::Token;
use ws_router_core::shard::Rates;

pub use external::{AuthRequest, AuthorizerError, Decision, ExternalAuthorizer};
pub use tokens::TokenProblem;

use crate::config::{self, Allow, ClientNames, Operation, Problems};
use crate::files::Accept;
use crate::peer::{ClientIdentity, Peer, Peers};
use tokens::Tokens;

/// Receiver of the rules in use, which a reload replaces.
pub type Live = tokio::sync::watch::Receiver<Arc<Access>>;

/// All access rules, in their order.
#[derive(Debug, Default)]
pub struct Access {
    rules: Vec<Rule>,
}

/// One access rule.
#[derive(Debug)]
pub struct Rule {
    name: Arc<str>,
    /// The admissions that the rule's members share: those with a token by its name, and that of all others.
    by_token: HashMap<Arc<str>, Arc<Admission>>,
    without_token: Arc<Admission>,
    allow: Allow,
    /// Operations that the rules name; the others follow one of these.
    named: Allow,
    networks: Peers,
    users: Vec<u32>,
    tokens: Option<Arc<Tokens>>,
    certificates: Option<ClientNames>,
    origins: Vec<String>,
    rates: Option<Rates>,
    authorizer: Option<ExternalAuthorizer>,
}

/// Action that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Creating a registration, or renewing one's own.
    Register,
    /// Becoming a member.
    Connect,
    /// Ending a registration; allowed to clients that may register.
    Remove,
    /// Asking for the number of members; allowed to clients that may connect, unless a rule names it.
    Members,
    /// Sending a message without being a member; allowed to clients that may connect, unless a rule names it.
    Send,
}

impl Action {
    /// Returns the action's name in logs and for external authorizers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Connect => "connect",
            Self::Remove => "remove",
            Self::Members => "members",
            Self::Send => "send",
        }
    }

    /// Returns the operation by whose rules the action is decided.
    fn operation(self) -> Operation {
        match self {
            Self::Register | Self::Remove => Operation::Register,
            Self::Connect => Operation::Connect,
            Self::Members => Operation::Members,
            Self::Send => Operation::Send,
        }
    }
}

/// Client that makes a request.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Address of the client.
    pub peer: Peer,
    /// User of the client's process, if it is connected by a Unix socket.
    pub user: Option<u32>,
    /// Client certificate, verified against the listener's authorities.
    pub certificate: Option<&'a ClientIdentity>,
    /// Origin of the web page that makes the request.
    pub origin: Option<&'a str>,
    /// Whether a browser marks the request as one of another site's page (Sec-Fetch-Site). Images, navigations and
    /// scripts of other sites send no origin.
    pub is_cross_site: bool,
    /// Token of the request, known or not.
    pub token: Option<&'a Token>,
}

/// Decision of the rules.
#[derive(Debug, Clone, Copy)]
pub enum Verdict<'a> {
    /// There are no rules, so everything is allowed.
    Open,
    /// This rule allows it, if its external authorizer does too.
    Allowed(&'a Rule),
    /// Access is denied.
    Denied {
        /// Rule that denies it; `None` if none applies.
        rule: Option<&'a Rule>,
        /// Whether a known token would make a rule allow it.
        token_would_help: bool,
    },
}

/// Problem of an access rule, or of a token file that one names.
#[derive(Debug, thiserror::Error)]
pub enum AccessProblem {
    /// A rule names a user that can't be looked up.
    #[error("access rule {title}: {problem}")]
    User {
        /// Index of the rule in the configuration.
        rule: usize,
        /// The rule's name or number.
        title: String,
        /// The cause.
        #[source]
        problem: UserProblem,
    },
    /// A token file is missing or has an invalid line. Several rules may name it.
    #[error(transparent)]
    Tokens(TokenProblem),
}

/// Reason why a user can't be looked up.
#[derive(Debug, thiserror::Error)]
pub enum UserProblem {
    /// The user database has no such user.
    #[error("user {0:?}: no such user; fix the name, or write the numeric id")]
    Unknown(String),
    /// The user database can't be read.
    #[error("user {name:?}: the user database can't be read ({error}); write the numeric id")]
    Database {
        /// The user's name.
        name: String,
        /// The cause.
        #[source]
        error: nix::Error,
    },
}

impl Access {
    /// Loads the token files and looks up the users that the rules name. Fails with all problems at once.
    pub fn load(rules: &[config::Rule], accept: Accept) -> Result<Self, Problems> {
        Self::load_rules(rules, accept)
            .map_err(|problems| Problems(problems.iter().map(AccessProblem::to_string).collect()))
    }

    /// Loads rules like [`Access::load`], and names the rule of each problem.
    pub fn load_rules(rules: &[config::Rule], accept: Accept) -> Result<Self, Vec<AccessProblem>> {
        let (mut problems, mut read, named) = (Vec::new(), Vec::new(), Allow::named_by(rules));
        let rules = rules.iter().enumerate().map(|(index, rule)| {
            let name = rule.title(index);
            let tokens = rule.tokens.as_ref().map(|path| load_tokens(path, accept, &mut read, &mut problems));
            let title: Arc<str> = name.as_str().into();
            let admission = |token_name| Arc::new(Admission { rule: Arc::clone(&title), token_name });
            Rule {
                by_token: (tokens.iter().flat_map(|tokens| tokens.names()))
                    .map(|name| (Arc::clone(name), admission(Some(Arc::clone(name)))))
                    .collect(),
                without_token: admission(None),
                allow: rule.allow,
                named,
                networks: rule.networks.clone(),
                users: (rule.users.iter())
                    .filter_map(|user| {
                        let found = user_id(user).map_err(|problem| AccessProblem::User {
                            rule: index,
                            title: name.clone(),
                            problem,
                        });
                        found.map_err(|problem| problems.push(problem)).ok()
                    })
                    .collect(),
                tokens,
                certificates: rule.client_certificates.clone(),
                origins: rule.origins.clone(),
                rates: (rule.messages.is_some() || rule.bytes.is_some())
                    .then_some(Rates { messages: rule.messages, bytes: rule.bytes }),
                authorizer: (rule.ask.as_ref())
                    .map(|ask| ExternalAuthorizer::new(ask, rule.ask_timeout.unwrap_or(ASK_TIMEOUT))),
                name: title,
            }
        });
        let rules = rules.collect();
        if problems.is_empty() { Ok(Self { rules }) } else { Err(problems) }
    }

    /// Decides whether a client may perform an action.
    pub fn decide(&self, action: Action, caller: &Caller<'_>) -> Verdict<'_> {
        if self.rules.is_empty() {
            return Verdict::Open;
        }
        let mut token_would_help = false;
        for rule in self.rules.iter().filter(|rule| rule.concerns(action) && rule.holds_except_token(caller)) {
            match (rule.knows_token(caller), rule.allow) {
                (true, Allow::NONE) => return Verdict::Denied { rule: Some(rule), token_would_help },
                (true, _) => return Verdict::Allowed(rule),
                (false, Allow::NONE) => {}
                (false, _) => token_would_help = true,
            }
        }
        Verdict::Denied { rule: None, token_would_help }
    }

    /// Returns whether any rule uses tokens. If none does, a parameter `token` is ignored.
    pub fn uses_tokens(&self) -> bool {
        self.rules.iter().any(|rule| rule.tokens.is_some() || rule.authorizer.is_some())
    }

    /// Returns whether a rule names this origin and allows an action.
    pub fn names_origin(&self, origin: &str) -> bool {
        self.rules.iter().any(|rule| rule.allow != Allow::NONE && rule.has_origin(origin))
    }

    /// Returns the token files whose contents differ from those of an earlier load.
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
    /// The rule's name, or its number.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The external authorizer that has to allow a request as well.
    pub fn authorizer(&self) -> Option<&ExternalAuthorizer> {
        self.authorizer.as_ref()
    }

    /// Returns how the rule admits a client with this token.
    pub fn admission(&self, token: Option<&Token>) -> &Arc<Admission> {
        let known = self.tokens.as_ref().zip(token).and_then(|(known, token)| known.name(token));
        known.and_then(|name| self.by_token.get(name)).unwrap_or(&self.without_token)
    }

    /// Rates of the messages and bytes that a member may send under the rule.
    pub fn rates(&self) -> Option<Rates> {
        self.rates
    }

    fn concerns(&self, action: Action) -> bool {
        self.allow.concerns(action.operation(), self.named)
    }

    fn holds_except_token(&self, caller: &Caller<'_>) -> bool {
        let from = self.networks.is_empty() || self.networks.contain(&caller.peer);
        let is_user = self.users.is_empty() || caller.user.is_some_and(|user| self.users.contains(&user));
        let has_certificate = match (&self.certificates, caller.certificate) {
            (None, _) | (Some(ClientNames::Any), Some(_)) => true,
            (Some(_), None) => false,
            (Some(ClientNames::Of(wanted)), Some(shown)) => shown.names.iter().any(|name| wanted.contains(name)),
        };
        let has_origin = self.origins.is_empty()
            || match (caller.origin, self.allow) {
                (Some(origin), _) => self.has_origin(origin),
                // A rule that denies some pages doesn't concern a client that isn't known to be one of them.
                (None, Allow::NONE) => false,
                // Devices send neither header.
                (None, _) => !caller.is_cross_site,
            };
        from && is_user && has_certificate && has_origin
    }

    fn knows_token(&self, caller: &Caller<'_>) -> bool {
        self.tokens.as_ref().is_none_or(|known| caller.token.is_some_and(|token| known.name(token).is_some()))
    }

    fn has_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| known.eq_ignore_ascii_case(origin))
    }
}

/// Looks up a user's id.
fn user_id(user: &config::User) -> Result<u32, UserProblem> {
    let name = match user {
        config::User::Id(id) => return Ok(*id),
        config::User::Name(name) => name,
    };
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(UserProblem::Unknown(name.clone())),
        Err(error) => Err(UserProblem::Database { name: name.clone(), error }),
    }
}

/// Loads a token file, once even if several rules name it.
fn load_tokens(
    path: &PathBuf,
    accept: Accept,
    read: &mut Vec<Arc<Tokens>>,
    problems: &mut Vec<AccessProblem>,
) -> Arc<Tokens> {
    if let Some(known) = read.iter().find(|tokens| tokens.path() == path) {
        return Arc::clone(known);
    }
    let (tokens, found) = Tokens::read(path, accept);
    problems.extend(found.into_iter().map(AccessProblem::Tokens));
    let tokens = Arc::new(tokens);
    read.push(Arc::clone(&tokens));
    tokens
}

/// Default of `ask-timeout`. Devices in the field wait ten seconds for an HTTP answer, and five for a websocket's.
const ASK_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

#[cfg(test)]
mod tests;
