//! The journal's message ids: one for each sentence that an administrator may want to look for or have explained.
//!
//! A sentence of the log and its id never part: a script may wait for the id, and `journalctl -x` finds the explanation
//! in packaging/systemd/ws-router.catalog by it. Whoever rewords a sentence keeps the id.

/// Finds the id of a sentence.
pub(super) fn id(sentence: &str) -> Option<&'static str> {
    MESSAGES.iter().find(|(known, _)| *known == sentence).map(|(_, id)| *id)
}

/// Sentences and their ids (128 bits at random, as `systemd-id128 new` makes them).
const MESSAGES: &[(&str, &str)] = &[
    ("ready", "7354e9e4a6f4476b8d67ce66814f8b34"),
    ("listening", "0d48e2adf1c54fb7ad867b30276d58f4"),
    ("administrators are served", "99d825bd892a411f8b255bb35b9ee56e"),
    ("monitoring is answered", "c57469185e3147ba92d1960175bbfcb9"),
    ("stopping", "6d0c687f18644ab5b3e0c51ceca32cdc"),
    ("stopped", "63ff2872da2b46ceb9906718a6be9c93"),
    ("stopped, though not all members were heard of", "cc921c95b4d741d5b05e676d460ebac4"),
    ("reloaded", "7903933d801b4380814a42b03a9e351b"),
    ("some changes take effect only with a restart", "2bb1d00d79024737a0c5570479a0da6c"),
    ("not reloaded, the settings before stay in force", "74cbfd9e87ba4695890fb163d2518fb3"),
    ("certificate read again", "061f319156ec4ef6866066e84af176d4"),
    ("the new certificate can't be used, the one before stays in force", "b758e8bae15648719a008778ebd99eb7"),
    ("the router can't go on", "ab0d6867a6da445c897c6f702d39a015"),
    ("a mistake in the program, the router ends", "f00b7208370e42e28115cd8cbefda750"),
    ("no message passes through the relay, so the watchdog gets no sign of life", "63a453d147064010b222807f73507159"),
    ("accept failed; raise LimitNOFILE= if descriptors have run out", "05c3601fbda54d7fae81945b58a88d87"),
    ("connection rejected: limit reached", "331dd43491b44e52878c68022da6a5b1"),
    ("handing over to the new program", "99fec5a19cf7432489e9084b9251a862"),
    ("the new program can't take over", "83bfcc3fd8304d83a4d0de7cb3349b57"),
    ("handing over to the next process", "7c8a6ece372444ffa10c9d2a5fcc7a17"),
    ("handed over to the next process", "9b97105451a14f9dbcd8f94e4d95cb5d"),
    ("the hand-over failed, members are closed", "e6ace7e16fe14fd48bece285d4e54214"),
    ("carried over", "671cf213a7d0414fa5ac3e5513d5c783"),
    ("the snapshot can't be used, members are told to come back", "78d5107b74f041e8af6daefa6ce273e5"),
    (
        "the configuration can't be used, the settings before the restart stay in force",
        "c4b1d7be2f0a4d6e9b5f3a8e61d2907c",
    ),
    (
        "whether this is a stop or a restart can't be known; members are carried over",
        "fccd72f98c094a1191f94e25fe6b9505",
    ),
    ("a listener can't be opened again", "75d5e38a63c64ad893c87267a1900320"),
    ("draining", "74ab7f2908224947816788af45394210"),
    ("drained", "81bb5fcf42304ca395bd0f5f67142539"),
    ("in service again", "ec26c8c12c9e430d8c5bed3bfd69e7c3"),
    ("drain asked for by an administrator", "0b70732342504ef2a945483067bab161"),
    ("end of the drain asked for by an administrator", "bfa1618857d944bfbe0b6edf89684afc"),
    ("registration removed by an administrator", "d9669da1e50741b4bf7482c1c1415a9c"),
    ("connection closed by an administrator", "b656ad2561a74bc6a7afa8cd54bd6464"),
    ("upgrade asked for by an administrator", "4753042f022e410796a5b0a61545910a"),
    ("reload asked for by an administrator", "58acc89fd1424ed9bcefb5b51074c9ed"),
    ("admin connection refused, too many are open", "7d5fd365e5274cc686d819fbd98eed78"),
    ("registration made", "aa4afc7a777846849114c1a83631b261"),
    ("registration taken up again", "cf16c20a1b62407c9042593108b80aed"),
    ("registration ended", "ee7ea545482a4353ba60bd93512511c1"),
    ("member joined", "7236d04eb87d4ac59434802d11a6ee89"),
    ("member left", "df8b7f432f5140848040c574f2f16a1d"),
    ("events of registrations not logged, there are too many", "28b0b233000442aaab54ac598a622d9d"),
    ("an answer of the admin interface can't be written as JSON", "5936cc96ffd241ffaba2b720629c36b0"),
    ("a relay thread can't be woken", "5eeb1fdfda3b4e7d926096cf1abd6e93"),
];

#[cfg(test)]
mod tests;
