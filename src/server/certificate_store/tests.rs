use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use super::*;

fn certify(folder: &Path) -> Tls {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let files = Tls::new(folder.join("own.crt"), folder.join("own.key"));
    fs::write(&files.certificate, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

/// Reads stale files again and puts them into use.
fn refresh(certificates: &mut CertificateStore) {
    let stale = certificates.in_use().into_iter().filter(|known| known.are_stale());
    certificates.replace(stale.map(FreshCertificate::read).collect());
}

/// Returns the lines that `work` logs.
fn logged(folder: &Path, work: impl FnOnce()) -> Vec<String> {
    let path = folder.join("log");
    let writer = Arc::new(File::create(&path).unwrap());
    let subscriber = tracing_subscriber::fmt::fmt().with_writer(writer).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, work);
    fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn two_listeners_with_the_same_files_share_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let files = certify(folder.path());
    let mut certificates = CertificateStore::default();
    let (one, other) = (certificates.load(&files).unwrap(), certificates.load(&files).unwrap());
    assert!(Arc::ptr_eq(&one, &other));
}

#[test]
fn an_unusable_file_is_logged_once_and_a_good_one_is_reloaded() {
    let folder = tempfile::tempdir().unwrap();
    let files = certify(folder.path());
    let mut certificates = CertificateStore::default();
    certificates.load(&files).unwrap();
    fs::write(&files.certificate, "rubbish").unwrap();
    let log = logged(folder.path(), || (0..3).for_each(|_| refresh(&mut certificates)));
    assert_eq!(log.len(), 1, "{log:#?}");
    assert!(log[0].contains("remains in use") && log[0].contains("own.crt"), "{log:#?}");
    certify(folder.path());
    let log = logged(folder.path(), || (0..3).for_each(|_| refresh(&mut certificates)));
    assert_eq!(log.len(), 1, "{log:#?}");
    assert!(log[0].contains("certificate reloaded"), "{log:#?}");
}

#[test]
fn all_certificates_of_a_configuration_are_checked() {
    let missing = |name: &str| {
        let address = ws_router_admin_api::ListenAddress::Inet("127.0.0.1:0".parse().unwrap());
        let tls = Tls::new(format!("/nonexistent/{name}.crt"), "/nonexistent/key");
        crate::config::Listener::new(address, Some(tls))
    };
    let problems = certificate_problems(&[missing("one"), missing("two"), missing("one")], Accept::Any);
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert!(problems[0].contains("one.crt") && problems[1].contains("two.crt"), "{problems:#?}");
}
