//! A file of tokens: refused with places and without a word of what stands there, or it lets in whom it names and
//! nobody else.

use std::cell::OnceCell;
use std::path::Path;

use tempfile::TempDir;
use ws_router_core::secret::Token;
use ws_router_server::access::{Access, Action, Caller, Verdict};
use ws_router_server::config::parse;
use ws_router_server::files::Accept;
use ws_router_server::peer::Peer;

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

pub fn run(bytes: &[u8]) {
    FOLDER.with(|folder| check(bytes, folder.get_or_init(|| tempfile::tempdir().unwrap()).path()));
}

fn check(bytes: &[u8], folder: &Path) {
    let token = Token::new("a token".into());
    // What the fuzzer writes can't be its hash by chance.
    let bytes = String::from_utf8_lossy(bytes).replace("HASH", &token.hash().to_string());
    let file = folder.join("tokens");
    std::fs::write(&file, &bytes).unwrap();
    let rules = parse(&format!("[[access]]\ntokens = {file:?}\n"), Path::new("/made-up.toml")).unwrap().access;
    let is_named = bytes.lines().map(str::trim).filter(|line| !line.starts_with('#')).any(|line| {
        line.split_once(':').is_some_and(|(_, hash)| hash.trim().eq_ignore_ascii_case(&token.hash().to_string()))
    });
    match Access::load(&rules, Accept::Any) {
        Ok(access) => {
            assert_eq!(lets_in(&access, Some(&token)), is_named);
            assert!(!lets_in(&access, None));
            assert!(!lets_in(&access, Some(&Token::new("another".into()))));
        }
        Err(problems) => {
            for problem in &problems.0 {
                let place = format!("tokens {}:", file.display());
                let said = problem.strip_prefix(&place).unwrap_or_else(|| panic!("{problem}"));
                let said = said.trim_start_matches(|character: char| character.is_ascii_digit() || character == ':');
                // The file's own words are in none of these.
                assert!(PROBLEMS.contains(&said.trim_start()), "{problem}");
            }
        }
    }
}

fn lets_in(access: &Access, token: Option<&Token>) -> bool {
    let peer = Peer::inet(([203, 0, 113, 7], 5).into());
    let caller = Caller { peer, user: None, certificate: None, origin: None, is_cross_site: false, token };
    matches!(access.decide(Action::Connect, &caller), Verdict::Allowed(_))
}

const PROBLEMS: [&str; 4] = [
    "not NAME:HASH; \"ws-routerctl token NAME\" makes one",
    "the name is not valid; use 1 to 64 letters, digits and - _ . @",
    "the hash is not 64 hex digits; \"ws-routerctl token NAME\" makes one",
    "another line has the same hash; remove one of them",
];
