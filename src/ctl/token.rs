//! `token NAME`: makes a token that lets a device in.
//!
//! The line for the file of tokens is the answer, on standard output, so that it can be appended there. The token itself
//! goes to standard error: to the person who hands it on, and into no file by accident. It is nowhere else afterwards.

use std::io::{self, Write};

use serde_json::json;
use ws_router_core::secret::Token;

use super::fault::Fault;

/// Makes a token, and shows it with its line.
pub(super) fn token(name: &str, json: bool, out: &mut impl Write) -> Result<(), Fault> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).map_err(|error| Fault::Software(format!("random numbers: {error}")))?;
    let token = Token::from_bits(bits);
    let line = format!("{name}:{}", token.hash());
    if json {
        let document = json!({ "name": name, "token": token.reveal(), "line": line });
        return Ok(writeln!(out, "{document}")?);
    }
    // First the token: a line for one that nobody has seen would be of no use.
    writeln!(io::stderr(), "token: {}", token.reveal())?;
    Ok(writeln!(out, "{line}")?)
}
