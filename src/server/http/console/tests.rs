use super::*;

#[test]
fn the_page_asks_nobody_else_for_anything() {
    for outside in ["http://", "https://", "//cdn", "src=", "@import", "url(", "style=\"", "onclick=", "innerHTML"] {
        assert!(!PAGE.contains(outside), "{outside}");
    }
}

#[test]
fn script_and_style_carry_the_nonce_and_stand_once_each() {
    for mark in ["<script nonce=\"{nonce}\">", "<style nonce=\"{nonce}\">"] {
        assert_eq!(PAGE.matches(mark).count(), 1, "{mark}");
    }
    assert_eq!(PAGE.matches("<script").count() + PAGE.matches("<style").count(), PAGE.matches(NONCE).count());
}

#[test]
fn each_answer_has_a_nonce_of_its_own() {
    let policy = || {
        let reply = page();
        reply.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned()
    };
    let (one, other) = (policy(), policy());
    assert!(one.contains("script-src 'nonce-") && one.starts_with("default-src 'none'; "), "{one}");
    assert_ne!(one, other);
}
