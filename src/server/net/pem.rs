//! PEM files (RFC 7468), read strictly: a line that isn't understood is an error, and never skipped silently.
//!
//! A certificate that a lenient reader skips is missed only by some clients, long after `--check` has reported ok. A byte
//! order mark is accepted, also in the middle, where editors leave it when files are joined. Text between blocks is
//! allowed, as openssl(1) writes it.

use rustls::pki_types::pem::PemObject;

/// Block of a PEM file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block<'a> {
    /// Label of the BEGIN line.
    pub(super) label: &'a str,
    /// Number of the BEGIN line, from 1.
    pub(super) line: usize,
    /// The block with its BEGIN and END lines.
    text: &'a str,
}

/// The problem of a line of a PEM file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct PemError {
    /// Number of the line, from 1.
    pub(super) line: usize,
    problem: Problem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("not text; convert the file to PEM, for example with `openssl x509 -inform der`")]
    NotText,
    #[error("not a BEGIN or END line alone; put each of them on a line of its own")]
    NotALine,
    #[error("an END line without its BEGIN line; copy the whole file")]
    NoBegin,
    #[error("a BEGIN line without its END line; the file is cut off, copy it again")]
    NoEnd,
    #[error("the END line doesn't match its BEGIN line; copy the file again")]
    Mismatch,
    #[error("not base64; copy the file again")]
    NotBase64,
}

impl<'a> Block<'a> {
    /// Decodes the block as an object of the label's kind.
    pub(super) fn decode<T: PemObject>(&self) -> Result<T, PemError> {
        T::from_pem_slice(self.text.as_bytes()).map_err(|_| PemError { line: self.line, problem: Problem::NotBase64 })
    }

    /// Returns whether the block is a key that is encrypted with a passphrase (RFC 1421 headers, or PKCS #8).
    pub(super) fn is_encrypted(&self) -> bool {
        self.label == "ENCRYPTED PRIVATE KEY" || self.text.contains("Proc-Type: 4,ENCRYPTED")
    }

    fn new(label: &'a str, line: usize, text: &'a str) -> Self {
        Self { label, line, text }
    }
}

/// Splits a file into its blocks.
pub(super) fn blocks(bytes: &[u8]) -> Result<Vec<Block<'_>>, PemError> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    let text = text.ok_or(PemError { line: 1, problem: Problem::NotText })?;
    let (mut blocks, mut open, mut start) = (Vec::new(), None::<(&str, usize, usize)>, 0);
    for (index, whole) in text.split_inclusive('\n').enumerate() {
        let (number, from) = (index + 1, start);
        start += whole.len();
        let problem = |problem| Err(PemError { line: number, problem });
        let line = whole.trim_matches(|c: char| c.is_whitespace() || c == BYTE_ORDER_MARK);
        match (open, mark(line)) {
            (None, Mark::Begin(label)) => {
                open = Some((label, number, from + whole.find(MARK).unwrap_or_default()));
            }
            (Some((label, number, from)), Mark::End(end)) => {
                if label != end {
                    return problem(Problem::Mismatch);
                }
                blocks.push(Block::new(label, number, &text[from..start]));
                open = None;
            }
            (None, Mark::End(_)) => return problem(Problem::NoBegin),
            (Some((_, line, _)), Mark::Begin(_)) => return Err(PemError { line, problem: Problem::NoEnd }),
            (_, Mark::Broken) => return problem(Problem::NotALine),
            (Some(_), Mark::None) if !is_content(line) => return problem(Problem::NotBase64),
            (_, Mark::None) => {}
        }
    }
    match open {
        Some((_, line, _)) => Err(PemError { line, problem: Problem::NoEnd }),
        None => Ok(blocks),
    }
}

/// What a line of a PEM file marks.
enum Mark<'a> {
    None,
    Begin(&'a str),
    End(&'a str),
    /// A line that looks like a mark, but isn't one.
    Broken,
}

fn mark(line: &str) -> Mark<'_> {
    // Comments often contain rules of dashes.
    if !line.contains(MARK) || line.starts_with('#') {
        return Mark::None;
    }
    let label = |begin: &str| {
        let label = line.strip_prefix(MARK)?.strip_prefix(begin)?.strip_suffix(MARK)?;
        (!label.is_empty() && !label.contains('-')).then_some(label)
    };
    match (label("BEGIN "), label("END ")) {
        (Some(label), _) => Mark::Begin(label),
        (_, Some(label)) => Mark::End(label),
        (None, None) => Mark::Broken,
    }
}

/// Returns whether a line can stand in a block: base64, or a header of an encrypted key (RFC 1421).
fn is_content(line: &str) -> bool {
    let is_base64 = line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    is_base64 || ["Proc-Type:", "DEK-Info:"].iter().any(|header| line.starts_with(header))
}

/// Both ends of a BEGIN or END line.
const MARK: &str = "-----";

/// U+FEFF in front of a text, as some editors write it.
const BYTE_ORDER_MARK: char = '\u{feff}';

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn lines(text: &str) -> Vec<(&str, usize)> {
        blocks(text.as_bytes()).unwrap().into_iter().map(|block| (block.label, block.line)).collect()
    }

    fn problem(text: &str) -> (usize, Problem) {
        let error = blocks(text.as_bytes()).unwrap_err();
        (error.line, error.problem)
    }

    #[test]
    fn blocks_are_found_with_their_lines_and_text_between_them_is_allowed() {
        let text = format!("subject=CN = x\n# ----- text -----\n{ONE}\nBag Attributes\n{ONE}");
        assert_eq!(lines(&text), [("CERTIFICATE", 3), ("CERTIFICATE", 8)]);
        assert_eq!(lines(&ONE.replace('\n', "\r\n")), [("CERTIFICATE", 1)]);
        assert_eq!(lines(""), []);
    }

    #[test]
    fn a_byte_order_mark_is_accepted_wherever_a_file_begins() {
        let text = format!("\u{feff}{ONE}\u{feff}{ONE}");
        assert_eq!(lines(&text), [("CERTIFICATE", 1), ("CERTIFICATE", 4)]);
        let content: rustls::pki_types::CertificateDer<'_> = blocks(text.as_bytes()).unwrap()[1].decode().unwrap();
        assert_eq!(content.as_ref(), [0, 0, 0]);
    }

    #[test]
    fn certificates_that_were_joined_without_a_line_break_are_named_by_their_line() {
        assert_eq!(problem(&format!("{}{ONE}", ONE.trim_end())), (3, Problem::NotALine));
    }

    #[test]
    fn cut_off_files_are_named_by_the_line_of_the_damage() {
        assert_eq!(problem("-----BEGIN CERTIFICATE-----\nAAAA\n"), (1, Problem::NoEnd));
        assert_eq!(problem(&format!("{ONE}-----BEGIN CERTIFICATE-----\nAAAA\n{ONE}")), (4, Problem::NoEnd));
        assert_eq!(problem(&format!("AAAA\n-----END CERTIFICATE-----\n{ONE}")), (2, Problem::NoBegin));
        assert_eq!(problem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERT"), (3, Problem::NotALine));
        assert_eq!(problem("-----BEGIN CERTIFICATE----\nAAAA\n"), (1, Problem::NotALine));
    }

    #[test]
    fn invalid_base64_is_reported_with_its_line() {
        assert_eq!(problem(&ONE.replace("AAAA", "AA!A")), (2, Problem::NotBase64));
        assert_eq!(problem(&ONE.replace("END CERTIFICATE", "END X509 CRL")), (3, Problem::Mismatch));
        assert_eq!(problem("0\u{0}"), (1, Problem::NotText));
        let decoded = blocks(b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n").unwrap()[0]
            .decode::<rustls::pki_types::CertificateDer<'_>>();
        assert_eq!(decoded.unwrap_err(), PemError { line: 1, problem: Problem::NotBase64 });
    }

    #[test]
    fn an_encrypted_key_is_recognized() {
        let encrypted = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
                         -----END RSA PRIVATE KEY-----\n";
        assert!(blocks(encrypted.as_bytes()).unwrap()[0].is_encrypted());
        assert!(!blocks(ONE.as_bytes()).unwrap()[0].is_encrypted());
    }
}
