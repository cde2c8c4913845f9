use super::client::{Member, ask, connect, register};
use super::harness::Setup;

const KEY: &str = "sesame-open-4711";

#[test]
fn no_log_of_any_level_holds_a_key_or_a_query_string() {
    let mut router = Setup::on_loopback().log("format = \"json\"\nlevel = \"trace\"\n").start().ready();
    let address = router.address();
    let id = register(connect(address), KEY);
    let mut one = Member::join(connect(address), &id, KEY);
    let mut other = Member::join(connect(address), &id, KEY);
    one.say("a private word");
    assert_eq!(other.hear(), "a private word");
    let wrong = format!("wrong-{KEY}");
    assert_eq!(ask(connect(address), &format!("/remove?id={id}&key={KEY}&host_key={wrong}")).0, 403);
    assert_eq!(ask(connect(address), &format!("/remove?id={id}&key={KEY}")).0, 400);
    assert_eq!(ask(connect(address), &format!("/nowhere?key={KEY}")).0, 404);
    assert_eq!(ask(connect(address), &format!("/remove?id={id}&key={KEY}&host_key={KEY}")).0, 200);
    assert_eq!(one.closed().0, 4000);
    let end = router.stopped();
    assert!(end.log.len() > 5, "{:#?}", end.log);
    for line in &end.log {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        for secret in [KEY, "host_key", "reg_type", "a private word"] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

#[test]
fn text_is_written_without_colour_where_nobody_looks() {
    let end = Setup::on_loopback().log("format = \"text\"\n").start().ready().stopped();
    assert!(end.log.iter().any(|line| line.contains("INFO listening listener=\"127.0.0.1:")), "{:#?}", end.log);
    assert!(!end.log.iter().any(|line| line.contains('\u{1b}')), "{:#?}", end.log);
}
