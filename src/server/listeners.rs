//! The sockets on which the router listens, determined from inherited descriptors, command line and configuration.
//!
//! A descriptor that a listener names (`systemd:NAME`) belongs to that listener. Of the other descriptors, `http` replaces
//! all plain listeners, `https` replaces all listeners with TLS, `admin` is the admin socket, and `metrics` serves
//! monitoring. `--listen` replaces the listeners in the configuration. [`plan`] opens nothing, so that a mistake is found
//! before any socket is bound.

use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Domain, Socket, Type};
use ws_router_admin_api::ListenAddress;
use ws_router_admin_api::admin_socket::{DirectoryError, SocketLocator};

use crate::certificate_store::CertificateStore;
use crate::config::{self, Config, FileMode, Listener, SocketPermissions, Tls};
use crate::exit::{ExitError, Status};
use crate::handover::{INHERITED, InheritedState};
use crate::net::{self, SocketFile, UnixSocketError};
use crate::systemd::Inherited;

/// Sockets to listen on.
#[derive(Debug)]
pub struct ListenPlan {
    /// For devices.
    pub devices: Vec<PlannedListener>,
    /// For administrators; if empty, the admin socket is bound.
    pub admin: Vec<OwnedFd>,
    /// For administrators, read-only; if empty, the socket of the configuration is bound, if it has one.
    pub admin_read_only: Vec<OwnedFd>,
    /// For monitoring, besides the admin socket.
    pub metrics: Vec<PlannedListener>,
}

/// A socket for devices or monitoring.
#[derive(Debug)]
pub struct PlannedListener {
    endpoint: Endpoint,
    options: ListenerOptions,
}

/// Address or descriptor of a socket.
#[derive(Debug)]
enum Endpoint {
    Bind(ListenAddress),
    Inherited(Inherited),
    /// Port 8741 of every address of this machine.
    Default,
}

/// Options of a listener other than its address.
#[derive(Debug, Clone, Default)]
struct ListenerOptions {
    tls: Option<Tls>,
    proxy_protocol: bool,
    permissions: SocketPermissions,
}

impl From<&Listener> for ListenerOptions {
    fn from(listener: &Listener) -> Self {
        let Listener { address: _, tls, proxy_protocol, permissions } = listener.clone();
        Self { tls, proxy_protocol, permissions }
    }
}

/// Determines the sockets to listen on, or reports a missing or unknown descriptor.
pub fn plan(
    mut inherited: Vec<Inherited>,
    command_line: &[ListenAddress],
    config: &Config,
) -> Result<ListenPlan, ExitError> {
    let listeners = match command_line {
        [] => config.listeners.clone(),
        addresses => addresses.iter().map(|address| Listener::new(address.clone(), None)).collect(),
    };
    let (named, bound): (Vec<_>, Vec<_>) =
        listeners.iter().partition(|listener| matches!(listener.address, ListenAddress::Inherited(_)));
    let mut devices = take_named(&named, &mut inherited)?;
    let mut metrics = plan_metrics(config, &mut inherited)?;
    let (mut admin, mut admin_read_only) = (Vec::new(), Vec::new());
    let (mut has_http, mut has_https) = (false, false);
    let is_single = inherited.len() == 1;
    for one in inherited {
        match one.name.as_str() {
            "admin" => admin.push(one.descriptor),
            "admin-read-only" => admin_read_only.push(one.descriptor),
            "metrics" => {
                metrics
                    .push(PlannedListener { endpoint: Endpoint::Inherited(one), options: ListenerOptions::default() });
            }
            "https" => {
                has_https = true;
                let options = first_options(config, |listener| listener.tls.is_some()).ok_or_else(no_tls)?;
                devices.push(PlannedListener { endpoint: Endpoint::Inherited(one), options });
            }
            // systemd-socket-activate passes no name by default.
            "http" | "unknown" if one.name == "http" || is_single => {
                has_http = true;
                let options = first_options(config, |listener| listener.tls.is_none()).unwrap_or_default();
                devices.push(PlannedListener { endpoint: Endpoint::Inherited(one), options });
            }
            name => return Err(unknown_name(name)),
        }
    }
    let is_replaced = |listener: &Listener| if listener.tls.is_some() { has_https } else { has_http };
    for listener in bound.into_iter().filter(|listener| !is_replaced(listener)) {
        devices.push(PlannedListener { endpoint: Endpoint::Bind(listener.address.clone()), options: listener.into() });
    }
    if devices.is_empty() {
        devices.push(PlannedListener { endpoint: Endpoint::Default, options: ListenerOptions::default() });
    }
    if metrics.iter().any(|one| matches!(one.endpoint, Endpoint::Inherited(_))) {
        metrics.retain(|one| matches!(one.endpoint, Endpoint::Inherited(_)));
    }
    Ok(ListenPlan { devices, admin, admin_read_only, metrics })
}

/// Plans the listener of the configuration for monitoring. A descriptor with the name `metrics` replaces it.
fn plan_metrics(config: &Config, inherited: &mut Vec<Inherited>) -> Result<Vec<PlannedListener>, ExitError> {
    match &config.metrics.listen {
        None => Ok(Vec::new()),
        Some(address @ ListenAddress::Inherited(_)) => take_named(&[&Listener::new(address.clone(), None)], inherited),
        Some(address) => {
            let options =
                ListenerOptions { permissions: config.metrics.permissions.clone(), ..ListenerOptions::default() };
            Ok(vec![PlannedListener { endpoint: Endpoint::Bind(address.clone()), options }])
        }
    }
}

/// Returns the options of the first listener that a descriptor replaces.
fn first_options(config: &Config, is_replaced: impl Fn(&Listener) -> bool) -> Option<ListenerOptions> {
    config.listeners.iter().find(|listener| is_replaced(listener)).map(ListenerOptions::from)
}

/// Assigns the descriptors of that name to each `systemd:NAME` listener.
fn take_named(listeners: &[&Listener], inherited: &mut Vec<Inherited>) -> Result<Vec<PlannedListener>, ExitError> {
    let mut planned = Vec::new();
    for listener in listeners {
        let ListenAddress::Inherited(wanted) = &listener.address else { continue };
        let names: Vec<_> = inherited.iter().map(|one| one.name.clone()).collect();
        let before = planned.len();
        for one in inherited.extract_if(.., |one| one.name == *wanted) {
            planned.push(PlannedListener { endpoint: Endpoint::Inherited(one), options: (*listener).into() });
        }
        if planned.len() == before {
            let passed = if names.is_empty() { "none".into() } else { names.join(", ") };
            return Err(ExitError::configuration(format_args!(
                "listen systemd:{wanted}: no descriptor of that name was passed (passed: {passed}); \
                 set FileDescriptorName={wanted} in the socket unit, and start by it"
            )));
        }
    }
    Ok(planned)
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
             or --fdname= of systemd-socket-activate, to http, https, admin, admin-read-only or metrics",
        );
    }
    ExitError::configuration(format_args!(
        "inherited descriptor {name}: unknown name; set FileDescriptorName= to http, https, admin, admin-read-only or metrics, \
         or add a [[listener]] with address = \"systemd:{name}\""
    ))
}

impl PlannedListener {
    /// Returns the name of the socket, the same in the old and the new process.
    pub fn key(&self) -> String {
        match &self.endpoint {
            Endpoint::Inherited(one) => format!("{INHERITED}{}", one.name),
            Endpoint::Bind(address) => format!("bound:{address}"),
            Endpoint::Default => format!("bound:{DEFAULT}"),
        }
    }

    /// Binds the socket, or takes over the descriptor that the service manager or the old process passed.
    pub fn open(
        self,
        certificates: &mut CertificateStore,
        inherited_state: &mut InheritedState,
    ) -> Result<net::Listener, ExitError> {
        let left = inherited_state.listener(&self.key());
        let ListenerOptions { tls, proxy_protocol, permissions } = self.options;
        let tls = tls.map(|files| certificates.load(&files)).transpose().map_err(ExitError::configuration)?;
        let address = match self.endpoint {
            Endpoint::Inherited(one) => {
                let listener = net::Listener::inherited(one.descriptor, &one.name, tls);
                return Ok(listener.map_err(ExitError::configuration)?.with_proxy_protocol(proxy_protocol));
            }
            Endpoint::Bind(address) => address,
            Endpoint::Default => DEFAULT,
        };
        let listener = match left {
            Some(left) => net::Listener::rebind(left, &address, &permissions, tls),
            None => net::Listener::bind(&address, &permissions, tls),
        };
        Ok(listener.map_err(cannot_listen)?.with_proxy_protocol(proxy_protocol))
    }
}

fn cannot_listen(error: net::ListenError) -> ExitError {
    ExitError::new(if error.is_forbidden() { Status::NoPermission } else { Status::Unavailable }, error)
}

/// An admin socket.
#[derive(Debug)]
pub struct AdminSocket {
    /// Name of the socket, the same in the old and the new process.
    pub key: String,
    /// The listening socket.
    pub listener: UnixListener,
    /// File of the socket, removed at the end; `None` if the service manager owns it.
    pub file: Option<SocketFile>,
    /// Whether only `GET` is allowed.
    pub is_read_only: bool,
}

impl AdminSocket {
    /// Takes the descriptors that were passed; without any, binds the path of the configuration, or else the default
    /// path of this user.
    pub fn open(
        passed: Vec<OwnedFd>,
        config: &config::Admin,
        inherited_state: &mut InheritedState,
    ) -> Result<Vec<Self>, ExitError> {
        if !passed.is_empty() {
            return passed.into_iter().map(|one| Self::inherited(one, "admin")).collect();
        }
        Ok(Self::bind(config, inherited_state)?.into_iter().collect())
    }

    /// Takes the descriptors that were passed for the read-only socket; without any, binds the path of the configuration, if
    /// it has one.
    pub fn open_read_only(
        passed: Vec<OwnedFd>,
        config: &config::Admin,
        inherited_state: &mut InheritedState,
    ) -> Result<Vec<Self>, ExitError> {
        if !passed.is_empty() {
            return passed.into_iter().map(|one| Self::inherited(one, "admin-read-only")).collect();
        }
        let Some(path) = &config.read_only_socket.0 else { return Ok(Vec::new()) };
        let key = format!("bound-admin-read-only:{}", path.display());
        let (socket, file) = match inherited_state.listener(&key) {
            Some(left) => net::rebind_unix(left, path, &config.read_only_permissions, BACKLOG),
            None => net::bind_unix(path, &config.read_only_permissions, BACKLOG),
        }
        .map_err(|error| cannot_bind(path, "admin.read-only-socket", &error))?;
        Ok(vec![Self { key, listener: socket.into(), file: Some(file), is_read_only: true }])
    }

    fn inherited(descriptor: OwnedFd, name: &str) -> Result<Self, ExitError> {
        let socket = Socket::from(descriptor);
        let is_unix = socket.domain().is_ok_and(|domain| domain == Domain::UNIX);
        let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
        if !(is_unix && is_stream && getsockopt(&socket, sockopt::AcceptConn).unwrap_or(false)) {
            return Err(ExitError::configuration(format_args!(
                "inherited descriptor {name}: not a listening Unix stream socket; \
                 use ListenStream= with a path in its socket unit, and Accept=no",
            )));
        }
        let (key, is_read_only) = (format!("{INHERITED}{name}"), name != "admin");
        Ok(Self { key, listener: UnixListener::from(OwnedFd::from(socket)), file: None, is_read_only })
    }

    /// Returns `None` if there is no directory for the default path, as in a container without `/tmp`.
    fn bind(config: &config::Admin, inherited_state: &mut InheritedState) -> Result<Option<Self>, ExitError> {
        let path = match config.socket.clone().map_or_else(|| SocketLocator::from_process().to_bind(), Ok) {
            Ok(path) => path,
            Err(error @ DirectoryError::NoRuntimeDirectory { .. }) => {
                tracing::warn!(%error, "no admin socket; set admin.socket or XDG_RUNTIME_DIR");
                return Ok(None);
            }
            Err(error) => return Err(no_directory(&error)),
        };
        let key = format!("bound-admin:{}", path.display());
        let left = inherited_state.listener(&key);
        let (socket, file) =
            bind_for_administrators(&path, left).map_err(|error| cannot_bind(&path, "admin.socket", &error))?;
        Ok(Some(Self { key, listener: socket.into(), file: Some(file), is_read_only: false }))
    }
}

/// Binds the admin socket, or takes over that of the old process. Its group is `ws-router`, whose members are
/// administrators, if that group exists and this user may assign it.
fn bind_for_administrators(path: &Path, left: Option<OwnedFd>) -> Result<(OwnedFd, SocketFile), UnixSocketError> {
    let permissions = SocketPermissions { mode: FileMode::OWNER_AND_GROUP, group: ADMINISTRATORS.parse().ok() };
    let open = |permissions: &SocketPermissions, left: Option<OwnedFd>| match left {
        Some(left) => net::rebind_unix(left, path, permissions, BACKLOG),
        None => net::bind_unix(path, permissions, BACKLOG),
    };
    let copy = left.as_ref().map(OwnedFd::try_clone).transpose()?;
    open(&permissions, left).or_else(|error| match error {
        UnixSocketError::Group { error, .. } => {
            tracing::debug!(%error, "group ws-router can't be assigned to the admin socket");
            open(&SocketPermissions { group: None, ..permissions }, copy)
        }
        error => Err(error),
    })
}

fn cannot_bind(path: &Path, key: &str, error: &UnixSocketError) -> ExitError {
    let status = if error.is_forbidden() { Status::NoPermission } else { Status::Unavailable };
    ExitError::new(status, format_args!("admin socket {}: {error}, or set {key}", path.display()))
}

fn no_directory(error: &DirectoryError) -> ExitError {
    let is_forbidden = matches!(error, DirectoryError::Io { error, .. } if error.kind() == ErrorKind::PermissionDenied);
    let status = if is_forbidden { Status::NoPermission } else { Status::Unavailable };
    ExitError::new(status, format_args!("directory of the admin socket {error}, or set admin.socket"))
}

/// Every address; an unspecified IPv6 address accepts IPv4 too.
const DEFAULT: ListenAddress =
    ListenAddress::Inet(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 8741, 0, 0)));

/// Group of administrators.
const ADMINISTRATORS: &str = "ws-router";

/// Length of the kernel's queue of administrators' connections, of which there are few.
const BACKLOG: i32 = 128;

#[cfg(test)]
mod tests;
