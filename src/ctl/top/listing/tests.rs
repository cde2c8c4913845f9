use super::super::rows::RegistrationRow;
use super::super::tests::registration;
use super::*;

fn rows(of: &[(&str, u64)]) -> Vec<RegistrationRow> {
    of.iter().map(|(id, seats)| registration(id, *seats)).collect()
}

fn listing(of: &[(&str, u64)]) -> Listing<RegistrationRow> {
    let mut listing = Listing::new(Column::Members);
    listing.fit(3);
    listing.replace(rows(of));
    listing
}

fn on_screen(listing: &Listing<RegistrationRow>) -> Vec<&str> {
    listing.window().0.map(|row| row.known.id.as_str()).collect()
}

fn picked(listing: &Listing<RegistrationRow>) -> Option<&str> {
    listing.picked_row().map(|row| row.known.id.as_str())
}

const FIVE: [(&str, u64); 5] = [("a", 1), ("b", 5), ("c", 3), ("d", 3), ("e", 0)];

#[test]
fn the_largest_come_first_and_equal_ones_by_their_ids() {
    let mut listing = listing(&FIVE);
    assert_eq!(on_screen(&listing), ["b", "c", "d"]);
    listing.sort_by(Column::Members);
    assert_eq!((on_screen(&listing), listing.order()), (vec!["e", "a", "c"], (Column::Members, true)));
    listing.sort_by(Column::Id);
    assert_eq!((on_screen(&listing), listing.order()), (vec!["a", "b", "c"], (Column::Id, false)));
    listing.reverse();
    assert_eq!(on_screen(&listing), ["e", "d", "c"]);
}

#[test]
fn between_equal_numbers_the_registration_with_more_members_comes_first() {
    let mut listing = Listing::new(Column::Messages);
    listing.fit(3);
    listing.replace(rows(&[("a", 1), ("b", 5), ("c", 3)]));
    assert_eq!(on_screen(&listing), ["b", "c", "a"]);
}

#[test]
fn the_selected_row_stays_selected_while_the_order_changes() {
    let mut listing = listing(&FIVE);
    listing.step(Step::Down);
    assert_eq!(picked(&listing), Some("c"));
    listing.replace(rows(&[("a", 1), ("b", 5), ("c", 0), ("d", 3), ("e", 0)]));
    assert_eq!((picked(&listing), on_screen(&listing)), (Some("c"), vec!["d", "a", "c"]));
    listing.reverse();
    assert_eq!(picked(&listing), Some("c"));
}

#[test]
fn when_the_selected_row_is_gone_the_one_in_its_place_is_selected() {
    let mut listing = listing(&FIVE);
    listing.step(Step::Down);
    listing.replace(rows(&[("a", 1), ("b", 5), ("d", 3), ("e", 0)]));
    assert_eq!(picked(&listing), Some("d"));
    listing.step(Step::Last);
    listing.replace(rows(&[("b", 5)]));
    assert_eq!(picked(&listing), Some("b"));
    listing.replace(Vec::new());
    assert_eq!((picked(&listing), listing.window().1), (None, None));
    listing.step(Step::Down);
    listing.replace(rows(&FIVE));
    assert_eq!(picked(&listing), Some("b"));
}

#[test]
fn until_a_row_is_selected_the_first_one_is() {
    let mut listing = listing(&FIVE);
    listing.replace(rows(&[("a", 9), ("b", 5)]));
    assert_eq!(picked(&listing), Some("a"));
    listing.step(Step::Down);
    listing.step(Step::First);
    listing.replace(rows(&[("a", 1), ("b", 5)]));
    assert_eq!(picked(&listing), Some("b"));
}

#[test]
fn the_screen_follows_the_selection_and_stays_full() {
    let mut listing = listing(&FIVE);
    listing.step(Step::Last);
    assert_eq!((on_screen(&listing), listing.window().1, listing.window().2), (vec!["d", "a", "e"], Some(2), 2));
    listing.step(Step::PageUp);
    assert_eq!((picked(&listing), listing.window().1), (Some("d"), Some(0)));
    listing.step(Step::Up);
    listing.step(Step::Up);
    listing.step(Step::Up);
    assert_eq!((on_screen(&listing), listing.window().1), (vec!["b", "c", "d"], Some(0)));
    listing.step(Step::PageDown);
    listing.step(Step::PageDown);
    listing.step(Step::PageDown);
    assert_eq!(picked(&listing), Some("e"));
    listing.fit(10);
    assert_eq!((on_screen(&listing).len(), listing.window().2), (5, 0));
    listing.fit(0);
    assert_eq!(on_screen(&listing), ["e"]);
}

#[test]
fn a_filter_shows_rows_that_contain_the_text_in_any_case() {
    let mut listing = listing(&[("living-room", 1), ("kitchen", 2), ("Bathroom", 3)]);
    listing.set_filter("ROOM".into());
    assert_eq!((on_screen(&listing), listing.len(), listing.rows().len()), (vec!["Bathroom", "living-room"], 2, 3));
    listing.set_filter("garage".into());
    assert_eq!((on_screen(&listing).len(), picked(&listing)), (0, None));
    listing.set_filter(String::new());
    assert_eq!(listing.len(), 3);
}
