use super::*;

#[test]
fn the_page_has_no_external_resources() {
    for outside in ["http://", "https://", "//cdn", "src=", "@import", "url(", "style=\"", "onclick=", "innerHTML"] {
        assert!(!PAGE.contains(outside), "{outside}");
    }
}

#[test]
fn script_and_style_have_the_nonce_and_appear_once() {
    for mark in ["<script nonce=\"{nonce}\">", "<style nonce=\"{nonce}\">"] {
        assert_eq!(PAGE.matches(mark).count(), 1, "{mark}");
    }
    assert_eq!(PAGE.matches("<script").count() + PAGE.matches("<style").count(), PAGE.matches(NONCE).count());
}

#[test]
fn each_response_has_its_own_nonce() {
    let policy = || {
        let response = page();
        response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned()
    };
    let (one, other) = (policy(), policy());
    assert!(one.contains("script-src 'nonce-") && one.starts_with("default-src 'none'; "), "{one}");
    assert_ne!(one, other);
}
