//! A certificate chain with its key, as a listener uses them, and their replacement while it runs.
//!
//! What a reload swaps is the certified key behind the rustls configuration, so open connections and handshakes in
//! progress go on with what they began with. A client without SNI, or with any name in
//! it, gets this one certificate: the devices in the field send no name, and accept what they are shown.
//!
//! Sessions are resumed by tickets, which the client keeps: a mass reconnect is spared the signatures, and nothing is
//! stored here for those who don't come back.
//!
//! A listener with `client-ca` asks for a certificate, and takes one only if these authorities have signed it; who shows
//! none is let in as before, and it is for the access rules to say what that is worth. A ticket carries what a client
//! once proved, so with other authorities, or others revoked, comes another configuration, to which no ticket of before
//! is good.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;

use super::client_auth::ClientAuth;
use crate::config;

/// A certificate and key in use, replaced as a whole on reload.
#[derive(Debug)]
pub struct Certificates {
    files: config::Tls,
    seen: Mutex<Stamps>,
    current: Arc<Current>,
    tls: RwLock<InForce>,
}

/// A rustls configuration, and the authorities that it was made with.
#[derive(Debug)]
struct InForce {
    authorities: ClientAuth,
    config: Arc<ServerConfig>,
}

/// Why a certificate or key can't be used; names the file and the mend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CertificateError(pub String);

impl Certificates {
    /// Reads and checks a chain and its key.
    pub fn load(files: &config::Tls) -> Result<Arc<Self>, CertificateError> {
        let seen = Stamps::of(files);
        let current = Arc::new(Current(RwLock::new(Arc::new(read(files)?))));
        let tls = RwLock::new(InForce::new(ClientAuth::read(files)?, files, &current)?);
        Ok(Arc::new(Self { files: files.clone(), seen: Mutex::new(seen), current, tls }))
    }

    /// Returns the problems of all files: each is read, also if another one can't be used.
    pub fn problems(files: &config::Tls) -> Vec<CertificateError> {
        let chain = read_chain("certificate", &files.certificate).err();
        let mut problems: Vec<_> = chain.into_iter().chain(read_key(&files.key).err()).collect();
        problems.extend(ClientAuth::problems(files));
        if problems.is_empty() { Self::load(files).err().into_iter().collect() } else { problems }
    }

    /// Reads the files again; on an error the ones in use stay. Tells whether anything changed.
    pub fn reload(&self) -> Result<bool, CertificateError> {
        // Taken before the files are read, so that a change in between is seen as one later; and kept even if the
        // files are bad, so that a half-done replacement is tried again when it changes, and not all the time.
        *self.seen.lock() = Stamps::of(&self.files);
        let (fresh, authorities) = (read(&self.files)?, ClientAuth::read(&self.files)?);
        let are_others = self.tls.read().authorities != authorities;
        if are_others {
            let fresh = InForce::new(authorities, &self.files, &self.current)?;
            *self.tls.write() = fresh;
        }
        let mut current = self.current.0.write();
        let is_new = current.cert != fresh.cert;
        *current = Arc::new(fresh);
        Ok(is_new || are_others)
    }

    /// Tells whether the files look different (size, time, inode) from when they were read; a file that is missing,
    /// as in the middle of a replacement, doesn't count as different.
    pub fn are_stale(&self) -> bool {
        let now = Stamps::of(&self.files);
        let seen = self.seen.lock();
        let has_all = self.files.client_ca.is_some() == now.client_ca.is_some()
            && self.files.client_crl.is_some() == now.client_crl.is_some();
        now.certificate.is_some() && now.key.is_some() && has_all && now != *seen
    }

    /// Tells when the first certificate of the chain ends, in seconds since the Unix epoch.
    pub fn expires(&self) -> Option<i64> {
        let current = Arc::clone(&self.current.0.read());
        let ends = current.cert.iter().filter_map(|certificate| {
            let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
            Some(certificate.validity().not_after.timestamp())
        });
        ends.min()
    }

    /// The files.
    pub fn files(&self) -> &config::Tls {
        &self.files
    }

    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tls.read().config)
    }
}

impl InForce {
    fn new(authorities: ClientAuth, files: &config::Tls, current: &Arc<Current>) -> Result<Self, CertificateError> {
        let config = server_config(authorities.verifier(files)?, Arc::clone(current));
        let config = config.map_err(|error| CertificateError(format!("tls: {error}")))?;
        Ok(Self { authorities, config: Arc::new(config) })
    }
}

fn server_config(verifier: Arc<dyn ClientCertVerifier>, current: Arc<Current>) -> Result<ServerConfig, rustls::Error> {
    let mut tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(current);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    tls.ticketer = ring::Ticketer::new()?;
    tls.send_tls13_tickets = 1;
    Ok(tls)
}

fn read(files: &config::Tls) -> Result<CertifiedKey, CertificateError> {
    let (chain, key) = (read_chain("certificate", &files.certificate)?, read_key(&files.key)?);
    let shown = files.key.display();
    let key = ring::sign::any_supported_type(&key).map_err(|_| {
        CertificateError(format!("key {shown}: not a kind of key that TLS uses; give an RSA (2048 bits or more), ECDSA (P-256, P-384) or Ed25519 key"))
    })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(CertificateError(format!(
            "key {shown}: doesn't fit the first certificate in {}; give the key that the certificate was made for, and the server's own certificate first",
            files.certificate.display()
        ))),
        Err(error) => Err(CertificateError(format!(
            "certificate {}: {error}; give an X.509 version 3 certificate",
            files.certificate.display()
        ))),
    }
}

/// Reads a chain of certificates; `role` is the key that names the file.
pub(super) fn read_chain(role: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    read_pem(role, path, "certificate", "BEGIN CERTIFICATE")
}

/// Reads what stands in a PEM file, one at least: `what` in words, and the `line` with which it begins.
pub(super) fn read_pem<T: PemObject>(
    role: &str,
    path: &Path,
    what: &str,
    line: &str,
) -> Result<Vec<T>, CertificateError> {
    let problem = |what: String| CertificateError(format!("{role} {}: {what}", path.display()));
    let text = fs::read(path).map_err(|error| problem(unreadable(&error)))?;
    let all: Result<Vec<_>, _> = T::pem_slice_iter(&text).collect();
    let all = all.map_err(|error| problem(format!("not sound PEM ({error}); copy the file again")))?;
    if all.is_empty() {
        return Err(problem(format!("no {what} in it; expected PEM with a {line} line")));
    }
    Ok(all)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let problem = |what: String| CertificateError(format!("key {}: {what}", path.display()));
    let text = fs::read(path).map_err(|error| problem(unreadable(&error)))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let is_encrypted = [&b"BEGIN ENCRYPTED"[..], b"Proc-Type: 4,ENCRYPTED"]
            .iter()
            .any(|mark| text.windows(mark.len()).any(|window| window == *mark));
        problem(match error {
            _ if is_encrypted => "encrypted with a passphrase; decrypt it with `openssl pkey`".into(),
            pem::Error::NoItemsFound => "no private key in it; expected PEM with a BEGIN PRIVATE KEY line".into(),
            error => format!("not sound PEM ({error}); copy the file again"),
        })
    })
}

fn unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file; mend the path in the configuration".into(),
        std::io::ErrorKind::PermissionDenied => {
            "permission denied; let the daemon's user read it, or pass it as a systemd credential".into()
        }
        _ => error.to_string(),
    }
}

/// The certified key of the next handshake.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

/// What the files looked like.
#[derive(Debug, PartialEq, Eq)]
struct Stamps {
    certificate: Option<Stamp>,
    key: Option<Stamp>,
    client_ca: Option<Stamp>,
    client_crl: Option<Stamp>,
}

/// A file's device, inode, size and time of change, behind symbolic links (certbot's `live` folder is made of them).
type Stamp = (u64, u64, u64, i64, i64);

impl Stamps {
    fn of(files: &config::Tls) -> Self {
        let stamp = |path: &Path| {
            let file = fs::metadata(path).ok()?;
            Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
        };
        let (client_ca, client_crl) = (files.client_ca.as_deref(), files.client_crl.as_deref());
        Self {
            certificate: stamp(&files.certificate),
            key: stamp(&files.key),
            client_ca: client_ca.and_then(stamp),
            client_crl: client_crl.and_then(stamp),
        }
    }
}

#[cfg(test)]
mod tests;
