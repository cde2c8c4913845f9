//! The parameters of a request: decoded as a reference does it, refused without a word of what they hold.

use ws_router_server::http::query::{Form, ParamError};

pub fn run(bytes: &[u8]) {
    let form = Form::new(bytes);
    for name in ["key", "id", "id_req"] {
        let found = form.optional(name);
        let expected = reference(bytes, name);
        match (&found, &expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found.as_deref(), expected.as_deref()),
            (Err(found), Err(expected)) => {
                assert_eq!(found, expected);
                assert!(found.to_string().starts_with("parameter ") && found.to_string().len() < 90);
            }
            _ => panic!("{name}: {found:?}, and the reference says {expected:?}"),
        }
        let required = form.required(name);
        match found {
            Ok(None) => assert_eq!(required, Err(ParamError::Missing(name))),
            other => assert_eq!(required.map(Some), other),
        }
    }
    // What is escaped as a form comes back as it was, whatever stands around it.
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if (1..=MAX_VALUE).contains(&text.len()) {
        let escaped: String = text
            .bytes()
            .map(|byte| match byte {
                b' ' => "+".to_owned(),
                b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            })
            .collect();
        let query = format!("x=%zz&ke%79={escaped}&&=&keyy=1");
        assert_eq!(Form::new(query.as_bytes()).required("key").as_deref(), Ok(text));
    }
}

/// Decodes a field at a time, into a copy.
fn reference(bytes: &[u8], name: &'static str) -> Result<Option<String>, ParamError> {
    let mut found = Vec::new();
    for field in bytes.split(|byte| *byte == b'&') {
        let end = field.iter().position(|byte| *byte == b'=').unwrap_or(field.len());
        if unescape(&field[..end]).as_deref() == Some(name.as_bytes()) || &field[..end] == name.as_bytes() {
            found.push(field.get(end + 1..).unwrap_or_default());
        }
    }
    match found[..] {
        [] => Ok(None),
        [one] => {
            let value = unescape(one).ok_or(ParamError::Escape(name))?;
            match value.len() {
                0 => Err(ParamError::Empty(name)),
                1..=MAX_VALUE => String::from_utf8(value).map(Some).map_err(|_| ParamError::NotUtf8(name)),
                _ => Err(ParamError::TooLong(name)),
            }
        }
        _ => Err(ParamError::Repeated(name)),
    }
}

fn unescape(raw: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = raw.iter();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [*bytes.next()?, *bytes.next()?];
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => *other,
        });
    }
    Some(plain)
}

const MAX_VALUE: usize = 1024;
