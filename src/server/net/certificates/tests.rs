use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

/// A folder with a certificate and its key.
fn files() -> (TempDir, config::Tls) {
    let folder = tempfile::tempdir().unwrap();
    let files = config::Tls::new(folder.path().join("cert.pem"), folder.path().join("key.pem"));
    renew(&files);
    (folder, files)
}

fn renew(files: &config::Tls) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&files.certificate, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
}

fn problem(files: &config::Tls) -> String {
    Certificates::load(files).unwrap_err().to_string()
}

#[test]
fn a_key_that_does_not_fit_is_refused_by_name() {
    let (_folder, good) = files();
    let (_other_folder, other) = files();
    let mixed = config::Tls { key: other.key.clone(), ..good.clone() };
    assert!(problem(&mixed).starts_with(&format!("key {}: doesn't fit", other.key.display())));
    assert!(Certificates::load(&good).is_ok());
}

#[test]
fn files_that_are_missing_empty_or_garbled_are_named_with_the_mend() {
    let (folder, good) = files();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    fs::write(path("empty"), "").unwrap();
    fs::write(path("garbled"), "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").unwrap();
    fs::write(path("locked"), "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
        .unwrap();
    let certificate = |name: &str| problem(&config::Tls { certificate: path(name), ..good.clone() });
    let key = |name: &str| problem(&config::Tls { key: path(name), ..good.clone() });
    assert!(certificate("missing").contains("missing: no such file"));
    assert!(certificate("empty").contains("no certificate in it"));
    assert!(certificate("garbled").contains("not sound PEM"));
    assert!(key("missing").contains("missing: no such file"));
    assert!(key("empty").contains("no private key in it"));
    assert!(key("locked").contains("decrypt it"));
}

#[test]
fn a_renewed_pair_is_noticed_and_taken_over() {
    let (_folder, files) = files();
    let certificates = Certificates::load(&files).unwrap();
    assert!(!certificates.are_stale());
    assert!(!certificates.reload().unwrap());
    renew(&files);
    assert!(certificates.are_stale());
    assert!(certificates.reload().unwrap());
    assert!(!certificates.are_stale());
}

#[test]
fn a_half_done_renewal_leaves_the_old_pair_in_use_until_it_is_whole() {
    let (_folder, files) = files();
    let certificates = Certificates::load(&files).unwrap();
    let in_use = Arc::clone(&certificates.current.0.read());
    let old_key = fs::read(&files.key).unwrap();
    renew(&files);
    let new_key = fs::read(&files.key).unwrap();
    fs::write(&files.key, old_key).unwrap();
    assert!(certificates.reload().is_err());
    assert!(Arc::ptr_eq(&in_use, &certificates.current.0.read()));
    assert!(!certificates.are_stale());
    fs::remove_file(&files.key).unwrap();
    assert!(!certificates.are_stale());
    fs::write(&files.key, new_key).unwrap();
    assert!(certificates.are_stale());
    assert!(certificates.reload().unwrap());
}

#[test]
fn the_end_of_a_certificate_is_known() {
    let (_folder, files) = files();
    let certificates = Certificates::load(&files).unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    assert!(certificates.reload().unwrap());
    assert_eq!(certificates.expires(), Some(1_893_456_000));
}
