//! `--check` and `--print-config`: the modes that only read the configuration.

use std::io::{self, Write};
use std::path::Path;

use nix::unistd::Uid;
use ws_router_admin_api::finding::{self, Area, Finding, Severity};

use crate::access::{Access, AccessProblem};
use crate::certificate_store;
use crate::config::{Config, Listener, Problems, Source};
use crate::diagnostics::{self, CREDENTIALS, Capacity, Listening, RightsError, Service};
use crate::exit::{ExitError, Status};
use crate::files::Accept;
use crate::net::Certificates;

/// Options of `--check`.
#[derive(Debug, Default)]
pub struct Options {
    /// The user whose rights are used; by default, root uses those of the installed service.
    pub user: Option<String>,
    /// Whether findings are printed as JSON.
    pub json: bool,
}

/// Reads all files that a start would read, with the rights of the service, and reports every problem. If there are none,
/// prints findings, the worst first, and the maximum resource use that the configuration allows. The process loses its
/// other rights permanently. Findings alone are no failure, since a start would succeed.
pub fn check(source: &Source, options: &Options) -> Result<(), ExitError> {
    let service = service(options.user.as_deref()).map_err(|error| {
        let status = if matches!(error, RightsError::UnknownUser(_)) { Status::Usage } else { Status::NoPermission };
        ExitError::new(status, with_source(&error))
    })?;
    // An administrator's shell has no credentials; those of the running service can be read as its user.
    let source = source.clone().with_credentials(CREDENTIALS);
    let hidden = Some(Path::new(CREDENTIALS)).filter(|folder| !folder.exists());
    let config = read_but(&source, Accept::Any, hidden).map(|(config, _)| config);
    let config = match config {
        Ok(config) => config,
        Err(problems) if options.json => {
            let problems = problems.0.iter().map(|problem| Finding::error(Area::Configuration, problem, ""));
            print_json(&problems.collect::<Vec<_>>());
            return Err(ExitError::new(Status::Configuration, "the configuration has problems"));
        }
        Err(problems) => return Err(problems.into()),
    };
    let capacity = Capacity::of_process();
    // Those from pipes were read above, and can't be read again.
    let tls = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let certificates: Vec<_> = tls.filter_map(|files| Certificates::load(files, Accept::RegularOnly).ok()).collect();
    certificates.iter().for_each(|loaded| loaded.look_for_module());
    let listening = Listening::configured(&config);
    let mut findings = diagnostics::of_configuration(&config, &listening, &certificates, capacity, service.as_ref());
    if hidden.is_some_and(|folder| config.listeners.iter().any(|listener| has_file_in(listener, folder))) {
        let text = "credentials are not checkable here: they exist only while the service runs";
        findings.push(Finding::notice(Area::Files, text, "check again when it runs"));
    }
    if let Some(service) = &service {
        let text = format!("files were read with the rights of user {}", service.name());
        findings.push(Finding::notice(Area::Files, text, "--as root checks with your own"));
    }
    finding::sort(&mut findings);
    if options.json {
        print_json(&findings);
        return Ok(());
    }
    for finding in findings.iter().filter(|finding| finding.severity != Severity::Notice) {
        // If standard error is closed, the output below remains.
        let _ = writeln!(io::stderr(), "{}: {finding}", finding.severity.label());
    }
    for finding in findings.iter().filter(|finding| finding.severity == Severity::Notice) {
        print(&format!("{}: {finding}\n", finding.severity.label()));
    }
    for fact in capacity.worst_case(&config) {
        print(&format!("{fact}\n"));
    }
    print("ok\n");
    Ok(())
}

/// Changes to the rights of a user, or as root to those of the installed service. Returns the user, unless the rights of
/// the process remain unchanged.
fn service(user: Option<&str>) -> Result<Option<Service>, RightsError> {
    let service = match user {
        Some(name) => Some(Service::account(name)?),
        None if Uid::effective().is_root() => Service::installed(),
        None => None,
    };
    let Some(service) = service.filter(|service| service.user() != Uid::effective()) else { return Ok(None) };
    service.assume_rights()?;
    Ok(Some(service))
}

fn with_source(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// Prints the effective configuration with all keys.
pub fn print_config(source: &Source) -> Result<(), ExitError> {
    print(&source.load(Accept::Any).to_toml()?);
    Ok(())
}

/// Reads the configuration and the files that it names. Certificates are only checked, and the files of access rules are
/// loaded. Fails with the problems of all files.
pub fn read(source: &Source, accept: Accept) -> Result<(Config, Access), Problems> {
    read_but(source, accept, None)
}

/// Like [`read`], but without certificates in a folder that doesn't exist for this process.
fn read_but(source: &Source, accept: Accept, hidden: Option<&Path>) -> Result<(Config, Access), Problems> {
    let mut loaded = source.load(accept);
    let is_visible = |listener: &&Listener| hidden.is_none_or(|folder| !has_file_in(listener, folder));
    let visible = loaded.config().listeners.iter().filter(is_visible);
    for problem in certificate_store::certificate_problems(visible, accept) {
        loaded.add_file_problem(&problem);
    }
    let access = Access::load_rules(&loaded.config().access, accept).unwrap_or_else(|problems| {
        for problem in problems {
            match &problem {
                AccessProblem::User { rule, .. } => loaded.add_rule_problem(*rule, problem.to_string()),
                AccessProblem::Tokens(problem) => loaded.add_file_problem(&problem.to_string()),
            }
        }
        Access::default()
    });
    Ok((loaded.finish()?, access))
}

/// Fails for a configuration without access rules that replaces one with rules, unless it contains `access = []`: an
/// emptied or truncated file must not admit everyone.
pub fn keep_access_closed(source: &Source, before: &Config, after: Config) -> Result<Config, Problems> {
    if before.access.is_empty() || !after.access.is_empty() || after.open_access {
        return Ok(after);
    }
    let (file, count) = (source.path().display(), before.access.len());
    Err(Problems(vec![format!(
        "{file}: no access rule is left of {count} in use; if everyone may register and connect, write access = [] \
         above all sections"
    )]))
}

/// Returns whether a listener's certificate or key is in a folder.
fn has_file_in(listener: &Listener, folder: &Path) -> bool {
    listener.tls.as_ref().is_some_and(|tls| tls.certificate.starts_with(folder) || tls.key.starts_with(folder))
}

fn print(text: &str) {
    // If standard output is closed, the exit status remains.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn print_json(findings: &[Finding]) {
    if let Ok(text) = serde_json::to_string(findings) {
        print(&format!("{text}\n"));
    }
}
