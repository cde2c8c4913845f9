//! Message ids: one for each log message that an administrator may want to find or have explained.
//!
//! Each message carries its id in the field [`FIELD`], independent of its text, which may be reworded. A script may wait for
//! the id, and `journalctl -x` finds the explanation in packaging/systemd/ws-router.catalog by it. The ids are random
//! (`systemd-id128 new`).

#![allow(missing_docs)] // Each name says which message it is.

/// Name of the field with the id.
pub const FIELD: &str = "message_id";

pub const READY: &str = "7354e9e4a6f4476b8d67ce66814f8b34";
pub const LISTENING: &str = "0d48e2adf1c54fb7ad867b30276d58f4";
pub const SERVING_ADMINISTRATORS: &str = "99d825bd892a411f8b255bb35b9ee56e";
pub const SERVING_METRICS: &str = "c57469185e3147ba92d1960175bbfcb9";
pub const STOPPING: &str = "6d0c687f18644ab5b3e0c51ceca32cdc";
pub const STOPPED: &str = "63ff2872da2b46ceb9906718a6be9c93";
pub const STOPPED_WITHOUT_ANSWERS: &str = "cc921c95b4d741d5b05e676d460ebac4";
pub const RELOADED: &str = "7903933d801b4380814a42b03a9e351b";
pub const RESTART_NEEDED: &str = "2bb1d00d79024737a0c5570479a0da6c";
pub const RELOAD_REFUSED: &str = "74cbfd9e87ba4695890fb163d2518fb3";
pub const CERTIFICATE_RELOADED: &str = "061f319156ec4ef6866066e84af176d4";
pub const CERTIFICATE_UNUSABLE: &str = "b758e8bae15648719a008778ebd99eb7";
pub const FATAL_ERROR: &str = "ab0d6867a6da445c897c6f702d39a015";
pub const INTERNAL_ERROR: &str = "f00b7208370e42e28115cd8cbefda750";
pub const SELF_TEST_FAILED: &str = "63a453d147064010b222807f73507159";
pub const ACCEPT_FAILED: &str = "05c3601fbda54d7fae81945b58a88d87";
pub const CONNECTION_REJECTED: &str = "331dd43491b44e52878c68022da6a5b1";
pub const EXECUTING: &str = "99fec5a19cf7432489e9084b9251a862";
pub const EXECUTION_FAILED: &str = "83bfcc3fd8304d83a4d0de7cb3349b57";
pub const HANDING_OVER: &str = "7c8a6ece372444ffa10c9d2a5fcc7a17";
pub const HANDED_OVER: &str = "9b97105451a14f9dbcd8f94e4d95cb5d";
pub const HANDOVER_FAILED: &str = "e6ace7e16fe14fd48bece285d4e54214";
pub const MEMBERS_HANDED_OVER: &str = "671cf213a7d0414fa5ac3e5513d5c783";
pub const SNAPSHOT_UNUSABLE: &str = "78d5107b74f041e8af6daefa6ce273e5";
pub const CONFIGURATION_STALE: &str = "c4b1d7be2f0a4d6e9b5f3a8e61d2907c";
pub const RESTART_UNKNOWN: &str = "fccd72f98c094a1191f94e25fe6b9505";
pub const LISTENER_LOST: &str = "75d5e38a63c64ad893c87267a1900320";
pub const DRAINING: &str = "74ab7f2908224947816788af45394210";
pub const DRAINED: &str = "81bb5fcf42304ca395bd0f5f67142539";
pub const DRAIN_UNDONE: &str = "ec26c8c12c9e430d8c5bed3bfd69e7c3";
pub const DRAIN_REQUESTED: &str = "0b70732342504ef2a945483067bab161";
pub const DRAIN_UNDO_REQUESTED: &str = "bfa1618857d944bfbe0b6edf89684afc";
pub const REMOVED_BY_ADMINISTRATOR: &str = "d9669da1e50741b4bf7482c1c1415a9c";
pub const DISCONNECTED_BY_ADMINISTRATOR: &str = "b656ad2561a74bc6a7afa8cd54bd6464";
pub const UPGRADE_REQUESTED: &str = "4753042f022e410796a5b0a61545910a";
pub const RELOAD_REQUESTED: &str = "58acc89fd1424ed9bcefb5b51074c9ed";
pub const ADMIN_CONNECTION_REJECTED: &str = "7d5fd365e5274cc686d819fbd98eed78";
pub const REGISTERED: &str = "aa4afc7a777846849114c1a83631b261";
pub const RENEWED: &str = "cf16c20a1b62407c9042593108b80aed";
pub const ENDED: &str = "ee7ea545482a4353ba60bd93512511c1";
pub const JOINED: &str = "7236d04eb87d4ac59434802d11a6ee89";
pub const AWAY: &str = "5413a8a7708b43efbbad4b633cead157";
pub const RETURNED: &str = "9f2a2577479f4c89998083726a178415";
pub const LEFT: &str = "df8b7f432f5140848040c574f2f16a1d";
pub const SENT: &str = "f02649e33c2d402eb1ac37c65e736f22";
pub const EVENTS_SUPPRESSED: &str = "28b0b233000442aaab54ac598a622d9d";
pub const ANSWER_NOT_ENCODED: &str = "5936cc96ffd241ffaba2b720629c36b0";
pub const WAKE_FAILED: &str = "5eeb1fdfda3b4e7d926096cf1abd6e93";
pub const FINDING: &str = "0517efe367f647b19f00e831bd2f3a08";

#[cfg(test)]
mod tests;
