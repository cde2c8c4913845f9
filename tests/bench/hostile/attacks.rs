//! The attacks, with the responses that each has to get.

use std::io;

use crate::daemon::Setting;
use crate::stage::Stage;
use crate::{door, members};

/// Kind of attack.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Response that has to be among those of the attack.
    pub(crate) expected: &'static str,
    /// Configuration of the daemon that the attack needs.
    pub(crate) setting: Setting,
    /// Attacks until the time is over, and counts the responses.
    pub(crate) run: fn(&Stage) -> io::Result<()>,
}

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "slow heads",
        what: "400 connections send a request's head one byte at a time",
        expected: "408",
        setting: Setting::Plain,
        run: door::slow_heads,
    },
    Attack {
        name: "slow frames",
        what: "400 members send a message of 1 MiB one byte at a time",
        expected: "no answer",
        setting: Setting::Plain,
        run: members::slow_frames,
    },
    Attack {
        name: "slow closes",
        what: "members break the protocol, ignore the close and go on sending",
        expected: "1002",
        setting: Setting::Plain,
        run: members::slow_closes,
    },
    Attack {
        name: "endless fragments",
        what: "members send fragments of 1 KiB of a message that never ends",
        expected: "1009",
        setting: Setting::Plain,
        run: members::fragments,
    },
    Attack {
        name: "pings",
        what: "members send pings and read no pongs",
        expected: "no answer",
        setting: Setting::Plain,
        run: members::pings,
    },
    Attack {
        name: "tiny messages",
        what: "members of a lobby send messages of one byte, and one of them reads none",
        expected: "no answer",
        setting: Setting::Plain,
        run: members::tiny,
    },
    Attack {
        name: "false lengths",
        what: "members announce 16 MiB, send a few bytes and stay",
        expected: "no answer",
        setting: Setting::Plain,
        run: members::lies,
    },
    Attack {
        name: "impossible lengths",
        what: "members announce more than the limit",
        expected: "1009",
        setting: Setting::Plain,
        run: members::impossible,
    },
    Attack {
        name: "wrong keys",
        what: "clients connect with wrong keys",
        expected: "429",
        setting: Setting::Plain,
        run: door::wrong_keys,
    },
    Attack {
        name: "registrations",
        what: "clients make registrations that nobody joins",
        expected: "200",
        setting: Setting::Plain,
        run: door::registrations,
    },
    Attack {
        name: "resets",
        what: "members join and reset their connection",
        expected: "101",
        setting: Setting::Plain,
        run: members::resets,
    },
    Attack {
        name: "empty connections",
        what: "connections send nothing and close",
        expected: "no answer",
        setting: Setting::Plain,
        run: door::empty,
    },
    Attack {
        name: "slow PROXY headers",
        what: "400 connections send a PROXY header one byte at a time, or less of it than they announce",
        expected: "closed",
        setting: Setting::Proxies,
        run: door::slow_headers,
    },
    Attack {
        name: "wrong PROXY headers",
        what: "connections send garbage, wrong addresses and wrong lengths as a PROXY header",
        expected: "closed",
        setting: Setting::Proxies,
        run: door::wrong_headers,
    },
    Attack {
        name: "guessed tokens",
        what: "clients of 200 networks connect with guessed tokens",
        expected: "401",
        setting: Setting::Tokens,
        run: door::tokens,
    },
    Attack {
        name: "huge messages",
        what: "a member of a lobby sends messages of 16 MiB; 4,000 others don't read, and one does",
        expected: "delivered",
        setting: Setting::Plain,
        run: members::huge_messages,
    },
    Attack {
        name: "joins and leaves",
        what: "in a lobby of 5,000 one sends a message 100 times a second, and 100 a second join and leave",
        expected: "101",
        setting: Setting::Plain,
        run: members::joins_and_leaves,
    },
    Attack {
        name: "external authorizer",
        what: "400 connections of 200 networks register, and the external authorizer never answers",
        expected: "503",
        setting: Setting::Questions,
        run: door::questions,
    },
];
