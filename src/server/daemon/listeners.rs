//! Decides where the router listens, from what it inherited, its command line and its configuration.
//!
//! A descriptor that a listener names (`systemd:NAME`) is that listener's. Of the others, `http` takes the place of
//! all plain listeners, `https` of all with TLS, and `admin` is the admin socket; `--listen` takes the place of the
//! file's listeners. The decision is a pure rule, and binding comes after it, so that a mistake is found before
//! anything is bound.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;

use ws_router_admin_api::ListenAddress;

use super::certificates::Certificates;
use super::exit::{ExitError, Status};
use crate::config::{Config, Listener, SocketPermissions, Tls};
use crate::handover::{INHERITED, InheritedState};
use crate::net;
use crate::systemd::Inherited;

/// Where the router is going to listen.
#[derive(Debug)]
pub(super) struct Plan {
    /// For devices.
    pub(super) public: Vec<Public>,
    /// For administrators; none means that the admin socket is to be bound.
    pub(super) admin: Vec<OwnedFd>,
    /// For monitoring, besides the admin socket.
    pub(super) metrics: Vec<Public>,
}

/// A listener for devices or for monitoring.
#[derive(Debug)]
pub(super) struct Public {
    place: Place,
    speech: Speech,
}

/// How its connections begin.
#[derive(Debug, Clone, Default)]
struct Speech {
    tls: Option<Tls>,
    proxy_protocol: bool,
    permissions: SocketPermissions,
}

impl From<&Listener> for Speech {
    fn from(listener: &Listener) -> Self {
        let Listener { address: _, tls, proxy_protocol, permissions } = listener.clone();
        Self { tls, proxy_protocol, permissions }
    }
}

#[derive(Debug)]
enum Place {
    Bind(ListenAddress),
    Inherited(Inherited),
    /// Port 8741 of every address of this machine.
    Default,
}

/// Makes the plan, or tells which descriptor is one too many or too few.
pub(super) fn plan(
    mut inherited: Vec<Inherited>,
    command_line: &[ListenAddress],
    config: &Config,
) -> Result<Plan, ExitError> {
    let listeners = match command_line {
        [] => config.listeners.clone(),
        addresses => addresses.iter().map(|address| Listener::new(address.clone(), None)).collect(),
    };
    let (named, bound): (Vec<_>, Vec<_>) =
        listeners.iter().partition(|listener| matches!(listener.address, ListenAddress::Inherited(_)));
    let mut public = take_named(&named, &mut inherited)?;
    let mut metrics = take_metrics(config, &mut inherited)?;
    let (mut admin, mut has_http, mut has_https) = (Vec::new(), false, false);
    let is_single = inherited.len() == 1;
    for one in inherited {
        match one.name.as_str() {
            "admin" => admin.push(one.descriptor),
            "metrics" => metrics.push(Public { place: Place::Inherited(one), speech: Speech::default() }),
            "https" => {
                has_https = true;
                let speech = speech_of(config, |listener| listener.tls.is_some()).ok_or_else(no_tls)?;
                public.push(Public { place: Place::Inherited(one), speech });
            }
            // systemd-socket-activate passes no name unless it is told to.
            "http" | "unknown" if one.name == "http" || is_single => {
                has_http = true;
                let speech = speech_of(config, |listener| listener.tls.is_none()).unwrap_or_default();
                public.push(Public { place: Place::Inherited(one), speech });
            }
            name => return Err(unknown_name(name)),
        }
    }
    let replaced = |listener: &Listener| if listener.tls.is_some() { has_https } else { has_http };
    for listener in bound.into_iter().filter(|listener| !replaced(listener)) {
        public.push(Public { place: Place::Bind(listener.address.clone()), speech: listener.into() });
    }
    if public.is_empty() {
        public.push(Public { place: Place::Default, speech: Speech::default() });
    }
    if metrics.iter().any(|one| matches!(one.place, Place::Inherited(_))) {
        metrics.retain(|one| matches!(one.place, Place::Inherited(_)));
    }
    Ok(Plan { public, admin, metrics })
}

/// Finds where monitoring is answered; a descriptor that is named `metrics` takes the place of this.
fn take_metrics(config: &Config, inherited: &mut Vec<Inherited>) -> Result<Vec<Public>, ExitError> {
    match &config.metrics.listen {
        None => Ok(Vec::new()),
        Some(address @ ListenAddress::Inherited(_)) => take_named(&[&Listener::new(address.clone(), None)], inherited),
        Some(address) => {
            let speech = Speech { permissions: config.metrics.permissions.clone(), ..Speech::default() };
            Ok(vec![Public { place: Place::Bind(address.clone()), speech }])
        }
    }
}

/// What the first listener of the file says whose place a descriptor takes.
fn speech_of(config: &Config, is_such: impl Fn(&Listener) -> bool) -> Option<Speech> {
    config.listeners.iter().find(|listener| is_such(listener)).map(Speech::from)
}

/// Gives each `systemd:NAME` listener the descriptors of that name.
fn take_named(listeners: &[&Listener], inherited: &mut Vec<Inherited>) -> Result<Vec<Public>, ExitError> {
    let mut public = Vec::new();
    for listener in listeners {
        let ListenAddress::Inherited(wanted) = &listener.address else { continue };
        let names: Vec<_> = inherited.iter().map(|one| one.name.clone()).collect();
        let before = public.len();
        for one in inherited.extract_if(.., |one| one.name == *wanted) {
            public.push(Public { place: Place::Inherited(one), speech: (*listener).into() });
        }
        if public.len() == before {
            let passed = if names.is_empty() { "none".into() } else { names.join(", ") };
            return Err(ExitError::configuration(format_args!(
                "listen systemd:{wanted}: no descriptor of that name was passed (passed: {passed}); \
                 set FileDescriptorName={wanted} in the socket unit, and start by it"
            )));
        }
    }
    Ok(public)
}

fn no_tls() -> ExitError {
    ExitError::configuration(
        "inherited descriptor https: no listener of the configuration has a certificate; \
         add a [[listener]] with tls = { certificate, key }",
    )
}

fn unknown_name(name: &str) -> ExitError {
    if name == "unknown" {
        return ExitError::configuration(
            "inherited descriptors: several, and one without a name; set FileDescriptorName= in the socket units, \
             or --fdname= of systemd-socket-activate, to http, https, admin or metrics",
        );
    }
    ExitError::configuration(format_args!(
        "inherited descriptor {name}: not a name that is known; set FileDescriptorName= to http, https, admin or metrics, \
         or add a [[listener]] with address = \"systemd:{name}\""
    ))
}

impl Public {
    /// Names it, the same in the old and the new process.
    pub(super) fn key(&self) -> String {
        match &self.place {
            Place::Inherited(one) => format!("{INHERITED}{}", one.name),
            Place::Bind(address) => format!("bound:{address}"),
            Place::Default => format!("bound:{DEFAULT}"),
        }
    }

    /// Binds it, or takes over the descriptor that was passed or that the old process left.
    pub(super) fn open(
        self,
        certificates: &mut Certificates,
        inherited_state: &mut InheritedState,
    ) -> Result<net::Listener, ExitError> {
        let left = inherited_state.listener(&self.key());
        let Speech { tls, proxy_protocol, permissions } = self.speech;
        let tls = tls.map(|files| certificates.load(&files)).transpose().map_err(ExitError::configuration)?;
        let listener = match (self.place, left) {
            (Place::Bind(address), Some(left)) => {
                net::Listener::rebind(left, &address, &permissions, tls).map_err(cannot_listen)
            }
            (Place::Default, Some(left)) => {
                net::Listener::rebind(left, &DEFAULT, &permissions, tls).map_err(cannot_listen)
            }
            (Place::Inherited(one), _) => {
                net::Listener::inherited(one.descriptor, &one.name, tls).map_err(ExitError::configuration)
            }
            (Place::Bind(address), None) => net::Listener::bind(&address, &permissions, tls).map_err(cannot_listen),
            (Place::Default, None) => net::Listener::bind(&DEFAULT, &permissions, tls).map_err(cannot_listen),
        }?;
        Ok(listener.with_proxy_protocol(proxy_protocol))
    }
}

fn cannot_listen(error: net::ListenError) -> ExitError {
    let status = match &error {
        net::ListenError::Unavailable(_) => Status::Unavailable,
        net::ListenError::Forbidden(_) => Status::NoPermission,
    };
    ExitError::new(status, error)
}

/// Everywhere; an unspecified IPv6 address takes IPv4 too.
const DEFAULT: ListenAddress =
    ListenAddress::Inet(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 8741, 0, 0)));

#[cfg(test)]
mod tests;
