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

fn reload(certificates: &Certificates) -> Result<bool, CertificateError> {
    certificates.replace(certificates.read_again()?)
}

fn problem(files: &config::Tls) -> String {
    Certificates::load(files, Accept::Any).unwrap_err().to_string()
}

#[test]
fn a_key_that_does_not_fit_is_refused_by_name() {
    let (_folder, good) = files();
    let (_other_folder, other) = files();
    let mixed = config::Tls { key: other.key.clone(), ..good.clone() };
    assert!(problem(&mixed).starts_with(&format!("key {}: doesn't fit", other.key.display())));
    assert!(Certificates::load(&good, Accept::Any).is_ok());
}

#[test]
fn missing_empty_and_garbled_files_are_reported_with_the_fix() {
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
    assert!(certificate("garbled").contains("garbled:2: not base64"));
    assert!(key("missing").contains("missing: no such file"));
    assert!(key("empty").contains("no private key in it"));
    assert!(key("locked").contains("decrypt it"));
}

#[test]
fn a_renewed_pair_is_noticed_and_taken_over() {
    let (_folder, files) = files();
    let certificates = Certificates::load(&files, Accept::Any).unwrap();
    assert!(!certificates.are_stale());
    assert!(!reload(&certificates).unwrap());
    renew(&files);
    assert!(certificates.are_stale());
    assert!(reload(&certificates).unwrap());
    assert!(!certificates.are_stale());
}

#[test]
fn an_incomplete_renewal_leaves_the_old_pair_in_use() {
    let (_folder, files) = files();
    let certificates = Certificates::load(&files, Accept::Any).unwrap();
    let in_use = Arc::clone(&certificates.current.0.read());
    let old_key = fs::read(&files.key).unwrap();
    renew(&files);
    let new_key = fs::read(&files.key).unwrap();
    fs::write(&files.key, old_key).unwrap();
    assert!(reload(&certificates).is_err());
    assert!(Arc::ptr_eq(&in_use, &certificates.current.0.read()));
    assert!(!certificates.are_stale());
    fs::remove_file(&files.key).unwrap();
    assert!(!certificates.are_stale());
    fs::write(&files.key, new_key).unwrap();
    assert!(certificates.are_stale());
    assert!(reload(&certificates).unwrap());
}

#[test]
fn the_end_of_a_certificate_is_known() {
    let (_folder, files) = files();
    let certificates = Certificates::load(&files, Accept::Any).unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    assert!(reload(&certificates).unwrap());
    assert_eq!(certificates.expires(), Some(1_893_456_000));
}

#[test]
fn a_chain_of_joined_files_is_read_completely_or_rejected_with_its_line() {
    let (folder, good) = files();
    let (_other_folder, other) = files();
    let chain = folder.path().join("chain.pem");
    let [first, second] = [&good, &other].map(|files| fs::read_to_string(&files.certificate).unwrap());
    let used = config::Tls { certificate: chain.clone(), ..good.clone() };
    let count = |text: String| {
        fs::write(&chain, text).unwrap();
        Certificates::load(&used, Accept::Any).map(|certificates| certificates.current.0.read().cert.len())
    };
    assert_eq!(count(format!("{first}{second}")).unwrap(), 2);
    assert_eq!(count(format!("\u{feff}{first}\u{feff}{second}")).unwrap(), 2);
    let key = fs::read_to_string(&good.key).unwrap();
    assert_eq!(count(format!("subject=CN = x\n{first}{key}{second}")).unwrap(), 2);

    let lines = first.trim_end().lines().count();
    let at = |line: usize| format!("certificate {}:{line}: ", chain.display());
    let refused = |text: String| count(text).unwrap_err().to_string();
    let joined = refused(format!("{}{second}", first.trim_end()));
    assert!(joined.starts_with(&at(lines)) && joined.contains("on a line of its own"), "{joined}");
    let cut = refused(format!("{first}{}", &second[..second.len() / 2]));
    assert!(cut.starts_with(&at(lines + 1)) && cut.contains("cut off"), "{cut}");
    let foreign =
        refused(format!("{first}-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n"));
    assert!(foreign.starts_with(&at(lines + 1)) && foreign.contains("not expected here"), "{foreign}");
    let damaged = refused(format!("{first}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
    assert!(damaged.starts_with(&at(lines + 1)) && damaged.contains("not an X.509"), "{damaged}");
}

#[test]
fn a_second_key_and_damaged_authorities_are_refused_with_their_line() {
    let (folder, good) = files();
    let key = fs::read_to_string(&good.key).unwrap();
    let lines = key.lines().count();
    fs::write(&good.key, format!("{key}{key}")).unwrap();
    let error = problem(&good);
    assert!(error.starts_with(&format!("key {}:{}: a second private key", good.key.display(), lines + 1)), "{error}");
    fs::write(&good.key, &key).unwrap();

    let bundle = folder.path().join("ca.pem");
    let authority = fs::read_to_string(&good.certificate).unwrap();
    let lines = authority.lines().count();
    fs::write(&bundle, format!("{authority}-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")).unwrap();
    let error = problem(&config::Tls { client_ca: Some(bundle.clone()), ..good.clone() });
    assert!(error.starts_with(&format!("client-ca {}:{}: BEGIN X509 CRL", bundle.display(), lines + 1)), "{error}");
}
