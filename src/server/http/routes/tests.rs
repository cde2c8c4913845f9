use proptest::prelude::*;

use super::*;

#[test]
fn doubled_and_trailing_slashes_are_tolerated() {
    for path in ["/register", "//register", "/register/", "///register///", "register"] {
        assert_eq!(Route::find(path, ""), Some(Route::Register), "{path}");
    }
    assert_eq!(Route::find("//connect", ""), Some(Route::Connect));
    assert_eq!(Route::find("/remove//", ""), Some(Route::Remove));
    assert_eq!(Route::find("/healthz/", ""), Some(Route::Health));
    assert_eq!(Route::find("/stats", ""), Some(Route::Stats));
}

#[test]
fn a_prefix_is_optional() {
    for path in ["/relay/register", "//relay//register/", "/register"] {
        assert_eq!(Route::find(path, "/relay"), Some(Route::Register), "{path}");
    }
    assert_eq!(Route::find("/a/b/connect", "/a/b"), Some(Route::Connect));
    for path in ["/relay", "/relay/relay/register", "/relayregister", "/other/register", "/register/relay"] {
        assert_eq!(Route::find(path, "/relay"), None, "{path}");
    }
    // A prefix with a route's name hides no route.
    assert_eq!(Route::find("/connect/connect", "/connect"), Some(Route::Connect));
    assert_eq!(Route::find("/connect", "/connect"), Some(Route::Connect));
}

#[test]
fn other_paths_are_unknown() {
    for path in ["", "/", "//", "*", "/Register", "/register/x", "/%72egister", "/../register"] {
        assert_eq!(Route::find(path, ""), None, "{path}");
    }
}

proptest! {
    #[test]
    fn slashes_never_matter(counts in proptest::collection::vec(1..4_usize, 3), end in 0..4_usize) {
        let [first, second, third] = counts[..] else { unreachable!() };
        let slashes = |count| "/".repeat(count);
        let path = format!("{}a{}b{}register{}", slashes(first), slashes(second), slashes(third), slashes(end));
        prop_assert_eq!(Route::find(&path, "/a/b"), Some(Route::Register));
        prop_assert_eq!(Route::find(&path, ""), None);
    }
}
