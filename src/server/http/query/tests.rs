use proptest::prelude::*;

use super::*;

fn key(raw: &str) -> Result<String, ParamError> {
    Form::new(raw.as_bytes()).required("key").map(Cow::into_owned)
}

#[test]
fn a_value_is_decoded_as_a_form() {
    assert_eq!(key("key=a+b%2Bc%20d").unwrap(), "a b+c d");
    assert_eq!(key("id=x&key=%C3%bc&other").unwrap(), "ü");
    assert_eq!(key("key=a=b!$'()*,;").unwrap(), "a=b!$'()*,;");
    assert_eq!(key("&&k%65y=x&").unwrap(), "x");
}

#[test]
fn a_required_parameter_is_present_once_and_not_empty() {
    assert_eq!(key("id=x"), Err(ParamError::Missing("key")));
    assert_eq!(key(""), Err(ParamError::Missing("key")));
    assert_eq!(key("key=a&key=a"), Err(ParamError::Repeated("key")));
    assert_eq!(key("key=a&%6bey=a"), Err(ParamError::Repeated("key")));
    assert_eq!(key("key="), Err(ParamError::Empty("key")));
    assert_eq!(key("key"), Err(ParamError::Empty("key")));
    assert_eq!(key("keys=a&Key=a&ke=a"), Err(ParamError::Missing("key")));
}

#[test]
fn broken_escapes_and_other_encodings_are_rejected() {
    for broken in ["key=%", "key=%4", "key=a%zz", "key=%+1", "key=%-1", "key=%%41"] {
        assert_eq!(key(broken), Err(ParamError::Escape("key")), "{broken}");
    }
    for other in ["key=%ff", "key=%c3", "key=%ed%a0%80"] {
        assert_eq!(key(other), Err(ParamError::NotUtf8("key")), "{other}");
    }
    assert_eq!(Form::new(b"key=\xff").required("key"), Err(ParamError::NotUtf8("key")));
}

#[test]
fn an_over_long_value_is_rejected() {
    assert_eq!(key(&format!("key={}", "x".repeat(MAX_VALUE))).unwrap().len(), MAX_VALUE);
    assert_eq!(key(&format!("key={}", "%41".repeat(MAX_VALUE))).unwrap().len(), MAX_VALUE);
    assert_eq!(key(&format!("key={}", "x".repeat(MAX_VALUE + 1))), Err(ParamError::TooLong("key")));
}

#[test]
fn unknown_parameters_may_be_malformed() {
    assert_eq!(key("%=%&junk=%zz&%zz=1&junk=2&key=x&\u{1}").unwrap(), "x");
}

#[test]
fn no_error_repeats_a_value() {
    let long = "hunter2".repeat(200);
    for raw in ["key=hunter2&key=hunter2", "key=hunter2%zz", "key=hunter2%ff", &format!("key={long}")] {
        let shown = key(raw).unwrap_err().to_string();
        assert!(shown.contains("key") && !shown.contains("hunter2"), "{shown}");
    }
}

proptest! {
    /// Decoding reverses escaping, whichever bytes are left unescaped.
    #[test]
    fn an_escaped_text_comes_back(text in "\\PC{1,80}", bare in any::<u64>()) {
        let escaped: String = text.bytes().enumerate().map(|(at, byte)| match byte {
            b' ' if bare >> (at % 64) & 1 == 1 => "+".to_owned(),
            b if b.is_ascii_alphanumeric() && bare >> (at % 64) & 1 == 1 => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        }).collect();
        prop_assert_eq!(key(&format!("id=1&key={escaped}&sock_type=host")).unwrap(), text);
    }

    /// No input causes a panic, and whatever is accepted is within the limit.
    #[test]
    fn any_bytes_are_accepted_or_rejected(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        let raw = [&b"key="[..], &raw].concat();
        if let Ok(value) = Form::new(&raw).required("key") {
            prop_assert!(!value.is_empty() && value.len() <= MAX_VALUE);
        }
    }
}
