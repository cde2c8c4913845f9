//! The names in a client's certificate: what access rules and logs call the one who showed it.
//!
//! That the certificate is good (signed by the listener's authorities, in its time, meant for clients) was found out in
//! the handshake; here it is only read. A name that can't be read is left out, since a name more is what lets somebody
//! in.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::peer::Certified;

/// Reads the subject's common name, and the alternative names: DNS, e-mail and URI.
pub(super) fn certified(certificate: &CertificateDer<'_>) -> Certified {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Certified::default() };
    let common = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let mut names: Vec<String> = common.map(str::to_owned).collect();
    if let Ok(Some(alternative)) = parsed.subject_alternative_name() {
        names.extend(alternative.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                Some((*name).to_owned())
            }
            _ => None,
        }));
    }
    Certified { names }
}
