//! The certificate chain and key of a listener, and their replacement while the listener is in use.
//!
//! A reload replaces the certified key behind the rustls configuration, so that open connections and handshakes in
//! progress keep the one that they started with. Every client gets this one certificate, whatever name it asks for (SNI)
//! or if it asks for none: deployed devices send no name, and accept any certificate.
//!
//! TLS sessions are resumed by tickets, which the clients store: a mass reconnect costs no signatures, and no memory here
//! for clients that don't return.
//!
//! A listener with `client-ca` requests a certificate, and accepts only those that these authorities have signed. A
//! client without one is admitted, and the access rules decide what it may do. A ticket contains the certificate that
//! the client presented, so a change of the authorities or the revocation lists replaces the ticket key, and the validity
//! of a certificate is checked again after a resumption and at each request ([`ClientCertificate`]).

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use socket2::{Domain, Socket, Type};

use super::certificate_files::{CertificateError, CertificateProblem, KEY_LABELS, read_chain, read_key};
use super::client_auth::{ClientAuth, client_identity};
use crate::config::{self, KernelTls};
use crate::files::Accept;
use crate::peer::ClientIdentity;
use crate::sys::kernel_tls;

/// The certificate and key of a listener.
#[derive(Debug)]
pub struct Certificates {
    files: config::Tls,
    stamps: Mutex<Stamps>,
    current: Arc<Current>,
    tls: RwLock<TlsState>,
    /// Whether the kernel lacks the module for TLS, as far as is known.
    has_no_module: AtomicBool,
}

/// A rustls configuration, and the authorities that it was made with.
#[derive(Debug)]
struct TlsState {
    client_auth: ClientAuth,
    verifier: Arc<dyn ClientCertVerifier>,
    /// Number of the changes of the authorities so far.
    generation: u64,
    config: Arc<ServerConfig>,
    /// The same for connections that are to move into the kernel.
    extractable: Arc<ServerConfig>,
}

/// Contents of a listener's files, read and checked but not in use yet.
#[derive(Debug)]
pub struct FreshCertificates {
    stamps: Stamps,
    certified: CertifiedKey,
    client_auth: ClientAuth,
}

impl Certificates {
    /// Reads and checks the files of a listener.
    pub fn load(files: &config::Tls, accept: Accept) -> Result<Arc<Self>, CertificateError> {
        let fresh = FreshCertificates::read(files, accept)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(fresh.certified))));
        let tls = RwLock::new(TlsState::new(fresh.client_auth, files, &current, 0)?);
        let has_no_module = AtomicBool::new(false);
        Ok(Arc::new(Self { files: files.clone(), stamps: Mutex::new(fresh.stamps), current, tls, has_no_module }))
    }

    /// Returns the problems of all files. Each file is read even if another one can't be used.
    pub fn problems(files: &config::Tls, accept: Accept) -> Vec<CertificateError> {
        let chain = read_chain("certificate", &files.certificate, accept, &KEY_LABELS).err();
        let mut problems: Vec<_> = chain.into_iter().chain(read_key(&files.key, accept).err()).collect();
        problems.extend(ClientAuth::problems(files, accept));
        if problems.is_empty() { Self::load(files, accept).err().into_iter().collect() } else { problems }
    }

    /// Reads and checks the files again, without using them yet. May block as long as a file system does.
    pub fn read_again(&self) -> Result<FreshCertificates, CertificateError> {
        // Recorded even if the files can't be used: after a partial replacement, they are read again when they change
        // further, and not at every check.
        *self.stamps.lock() = Stamps::of(&self.files);
        FreshCertificates::read(&self.files, Accept::RegularOnly)
    }

    /// Replaces the certificate, key, authorities and lists by those that were read again. Returns whether any of them has
    /// changed.
    pub fn replace(&self, fresh: FreshCertificates) -> Result<bool, CertificateError> {
        *self.stamps.lock() = fresh.stamps;
        // It may have been loaded since.
        self.has_no_module.store(false, Ordering::Relaxed);
        let has_other_authorities = self.tls.read().client_auth != fresh.client_auth;
        if has_other_authorities {
            let generation = self.tls.read().generation + 1;
            let state = TlsState::new(fresh.client_auth, &self.files, &self.current, generation)?;
            *self.tls.write() = state;
        }
        let mut current = self.current.0.write();
        let has_other_certificate = current.cert != fresh.certified.cert;
        *current = Arc::new(fresh.certified);
        Ok(has_other_certificate || has_other_authorities)
    }

    /// Returns whether the files have changed since they were read, by size, time and inode. A missing file doesn't count as
    /// changed, since it may be missing only during a replacement. Blocks during file system access.
    pub fn are_stale(&self) -> bool {
        let now = Stamps::of(&self.files);
        let has_all = self.files.client_ca.is_some() == now.client_ca.is_some()
            && self.files.client_crl.is_some() == now.client_crl.is_some();
        now.certificate.is_some() && now.key.is_some() && has_all && now != *self.stamps.lock()
    }

    /// Returns the expiry of the first certificate of the chain, in seconds since the Unix epoch.
    pub fn expires(&self) -> Option<i64> {
        let current = Arc::clone(&self.current.0.read());
        current.cert.iter().filter_map(not_after).min()
    }

    /// Returns the files.
    pub fn files(&self) -> &config::Tls {
        &self.files
    }

    /// Returns the configuration of the next handshake, after which the connection may move into the kernel or not.
    pub(super) fn server_config(&self, uses_kernel: bool) -> Arc<ServerConfig> {
        let tls = self.tls.read();
        Arc::clone(if uses_kernel { &tls.extractable } else { &tls.config })
    }

    /// Returns whether connections move into the kernel, as far as is known.
    pub fn uses_kernel(&self) -> bool {
        self.files.kernel != KernelTls::Off && !self.has_no_module.load(Ordering::Relaxed)
    }

    /// Finds out whether the kernel has the module for TLS, without a listener's socket.
    pub fn look_for_module(&self) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None);
        if socket.is_ok_and(|socket| !kernel_tls::is_available(socket.as_fd())) {
            self.note_no_module();
        }
    }

    /// Records that the kernel has no module for TLS, so that it isn't asked again before the next reload: for a process
    /// with CAP_NET_ADMIN, it would look for the module each time.
    pub(super) fn note_no_module(&self) {
        self.has_no_module.store(true, Ordering::Relaxed);
    }

    /// Returns whether connections that can't move into the kernel are closed.
    pub(super) fn needs_kernel(&self) -> bool {
        self.files.kernel == KernelTls::Required
    }
}

/// Certificate that a client has presented, whose validity is checked at each use.
///
/// The handshake has verified it, but a connection may outlive it, and a resumed TLS session verifies nothing. The
/// signatures are verified again only if the authorities or the revocation lists have changed, or after its expiry.
#[derive(Debug)]
pub struct ClientCertificate {
    identity: ClientIdentity,
    chain: Vec<CertificateDer<'static>>,
    /// Earliest expiry in the chain, in seconds since the Unix epoch.
    expires: i64,
    certificates: Arc<Certificates>,
    /// Generation of the authorities that have verified it.
    verified: AtomicU64,
}

impl ClientCertificate {
    pub(super) fn new(chain: &[CertificateDer<'static>], certificates: &Arc<Certificates>) -> Option<Self> {
        Some(Self {
            identity: client_identity(chain.first()?),
            expires: chain.iter().filter_map(not_after).min().unwrap_or(i64::MIN),
            chain: chain.to_vec(),
            certificates: Arc::clone(certificates),
            verified: AtomicU64::new(NEVER),
        })
    }

    /// Returns the identity in the certificate; `None` once it has expired or is revoked.
    pub fn identity(&self) -> Option<&ClientIdentity> {
        self.identity_at(UnixTime::now())
    }

    pub(super) fn identity_at(&self, now: UnixTime) -> Option<&ClientIdentity> {
        let (verifier, generation) = {
            let tls = self.certificates.tls.read();
            (Arc::clone(&tls.verifier), tls.generation)
        };
        let is_in_time = i64::try_from(now.as_secs()).is_ok_and(|now| now < self.expires);
        if is_in_time && self.verified.load(Ordering::Relaxed) == generation {
            return Some(&self.identity);
        }
        let (end_entity, intermediates) = self.chain.split_first()?;
        if !verifier.offer_client_auth() || verifier.verify_client_cert(end_entity, intermediates, now).is_err() {
            return None;
        }
        self.verified.store(generation, Ordering::Relaxed);
        Some(&self.identity)
    }
}

impl TlsState {
    fn new(
        client_auth: ClientAuth,
        files: &config::Tls,
        current: &Arc<Current>,
        generation: u64,
    ) -> Result<Self, CertificateError> {
        let verifier = client_auth.verifier(files)?;
        let config = server_config(Arc::clone(&verifier), Arc::clone(current));
        let config = config.map_err(|error| {
            CertificateError::new("certificate", &files.certificate, CertificateProblem::Tls(error))
        })?;
        let mut extractable = config.clone();
        extractable.enable_secret_extraction = true;
        let (config, extractable) = (Arc::new(config), Arc::new(extractable));
        Ok(Self { client_auth, verifier, generation, config, extractable })
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

impl FreshCertificates {
    fn read(files: &config::Tls, accept: Accept) -> Result<Self, CertificateError> {
        // Taken before the files are read, so that a change meanwhile is noticed later.
        let stamps = Stamps::of(files);
        let chain = read_chain("certificate", &files.certificate, accept, &KEY_LABELS)?;
        let key_problem = |problem| CertificateError::new("key", &files.key, problem);
        let key = ring::sign::any_supported_type(&read_key(&files.key, accept)?)
            .map_err(|_| key_problem(CertificateProblem::KeyKind))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(Self { stamps, certified, client_auth: ClientAuth::read(files, accept)? }),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(key_problem(CertificateProblem::KeyMismatch(files.certificate.clone())))
            }
            Err(error) => {
                Err(CertificateError::new("certificate", &files.certificate, CertificateProblem::Certificate(error)))
            }
        }
    }
}

/// Returns the expiry of a certificate, in seconds since the Unix epoch.
fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// The certified key of the next handshake.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

/// Identities of the files' contents.
#[derive(Debug, PartialEq, Eq)]
struct Stamps {
    certificate: Option<Stamp>,
    key: Option<Stamp>,
    client_ca: Option<Stamp>,
    client_crl: Option<Stamp>,
}

/// Device, inode, size and modification time of a file, behind symbolic links (certbot's `live` directory has them).
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

/// Generation of a certificate that was not verified yet.
const NEVER: u64 = u64::MAX;

#[cfg(test)]
mod tests;
