//! The format of the state that one process hands over to the next, so that no connection is dropped and no message is
//! lost.
//!
//! A snapshot is passed in sealed memory and never written to a disk, since it contains the secret with which the keys
//! of registrations are hashed. It starts with a header of fixed length (magic bytes, format number, length, checksum).
//! The body is MessagePack with named fields, so a newer program can read the snapshot of an older one. Unknown formats
//! and damaged snapshots are rejected. The descriptors are sent separately ([`crate::sys::send_fds`]): first those of
//! the listeners, then those of the members, both in the order of the snapshot.
//!
//! A connection with TLS in the kernel is a descriptor like any other: the kernel holds its keys, and none is in the
//! snapshot. Those with TLS in the process can't be handed over, since rustls releases its secrets only by consuming the
//! connection.

use std::fs::File;
use std::io::{self, BufWriter, Cursor, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use ws_router_admin_api::event::{Admission, Event};
use ws_router_core::ids::RegistrationId;
use ws_router_core::shard::{MemberState, WaitingState};

use crate::peer::Peer;
use crate::registry::RegistrySnapshot;

/// State that the new process needs, apart from the descriptors.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version of the program that wrote it.
    #[serde(rename = "program")]
    pub version: String,
    /// Registrations.
    #[serde(rename = "directory")]
    pub registry: RegistrySnapshot,
    /// Highest member id assigned so far.
    pub last_member: u64,
    /// Keys of the listeners, in the order of their descriptors.
    pub listeners: Vec<String>,
    /// Members, each with a descriptor.
    pub members: Vec<MemberSnapshot>,
    /// Members of sessions that are without a connection, and have no descriptor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub away: Vec<MemberSnapshot>,
    /// Messages that wait for a receiver, by registration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<WaitingSnapshot>,
    /// Progress of draining; `None` if the router isn't draining.
    #[serde(default)]
    pub drain: Option<DrainState>,
    /// Counts of all restarts before this one.
    #[serde(default)]
    pub restarts: RestartCounts,
    /// Latest events, encoded by [`Snapshot::encode_events`].
    #[serde(default, with = "serde_bytes")]
    pub history: Vec<u8>,
    /// Settings in use, in the syntax of the configuration file. Keys and tokens are not included, only the paths of
    /// their files.
    #[serde(default)]
    pub settings: Option<String>,
}

/// Counts of restarts and of the connections that they handed over, since the last stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RestartCounts {
    /// Number of restarts.
    pub count: u64,
    /// Connections that were handed over.
    #[serde(rename = "carried")]
    pub handed_over: u64,
    /// Connections that could not be handed over.
    pub lost: u64,
}

/// Progress of draining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainState {
    /// Duration of draining, over which the closing of members is spread, in milliseconds.
    pub over_ms: u64,
    /// Elapsed part of `over_ms`.
    pub spent_ms: u64,
    /// Number of members when draining started.
    pub members_before: u64,
}

/// State of a member that is handed over to the new process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberSnapshot {
    /// Registration to which the member belongs; zeros for a connection that is only closing, and no member any more.
    pub registration: RegistrationId,
    /// Identity, counters and buffered data of the member.
    pub member: MemberState,
    /// The other end of its connection.
    pub peer: Peer,
    /// The access rule and token that admitted it; missing in snapshots of versions that didn't record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Arc<Admission>>,
    /// What the key of a connection with TLS in the kernel has protected, in blocks of 16 bytes, if that is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<u64>,
}

/// Messages that wait for a receiver in a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingSnapshot {
    /// The registration.
    pub registration: RegistrationId,
    /// The messages, with the time for which each has waited.
    pub waiting: WaitingState,
}

/// Error when decoding a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The memory can't be read.
    #[error("snapshot: {0}")]
    Io(#[from] io::Error),
    /// The magic bytes at the start are missing.
    #[error("snapshot: not a snapshot of ws-router")]
    Foreign,
    /// The format is newer than this program.
    #[error("snapshot: format {0} is not supported, the newest supported one is {FORMAT}")]
    TooNew(u32),
    /// The snapshot is truncated, or its length or checksum is wrong.
    #[error("snapshot: damaged")]
    Damaged,
    /// The length and the checksum are right, but the fields can't be decoded.
    #[error("snapshot: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
}

impl Snapshot {
    /// Encodes events into bytes of their own, so that a program that doesn't know a kind of event can still decode the
    /// members. Called before the relay threads stop, to keep the interruption short.
    pub fn encode_events(events: &[Event]) -> Vec<u8> {
        rmp_serde::to_vec_named(events).unwrap_or_default()
    }

    /// Decodes the events. Returns no events at all if this program doesn't know the kind of one of them.
    pub fn decode_events(&self) -> Vec<Event> {
        rmp_serde::from_slice(&self.history).unwrap_or_default()
    }

    /// Writes the snapshot into a memfd, seals it against changes, and returns its descriptor.
    pub fn seal(&self) -> io::Result<OwnedFd> {
        let memory = memfd_create("ws-router-snapshot", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        let mut file = File::from(memory);
        self.write(&mut file)?;
        let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(file.into())
    }

    /// Reads and decodes the memory that [`Snapshot::seal`] returned.
    pub fn open(memory: OwnedFd) -> Result<Self, DecodeError> {
        let mut file = File::from(memory);
        file.rewind()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Self::from_bytes(&bytes)
    }

    /// Encodes the snapshot.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        self.write(&mut bytes)?;
        Ok(bytes.into_inner())
    }

    /// Writes the body, and then the header in front of it. Outboxes can have hundreds of megabytes, and no message is
    /// relayed while they are written, so the body is not first assembled in a buffer.
    fn write(&self, to: &mut (impl Write + Seek)) -> io::Result<()> {
        to.write_all(&[0; HEADER_LEN])?;
        let body = Body { to: &mut *to, len: 0, checksum: blake3::Hasher::new() };
        let mut body = BufWriter::with_capacity(WRITE_BUFFER, body);
        rmp_serde::encode::write_named(&mut body, self).map_err(io::Error::other)?;
        let Body { len, checksum, .. } = body.into_inner().map_err(io::IntoInnerError::into_error)?;
        to.rewind()?;
        to.write_all(MAGIC)?;
        to.write_all(&FORMAT.to_be_bytes())?;
        to.write_all(&len.to_be_bytes())?;
        to.write_all(checksum.finalize().as_bytes())
    }

    /// Decodes a snapshot.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(DecodeError::Foreign)?;
        let (format, rest) = rest.split_first_chunk::<4>().ok_or(DecodeError::Damaged)?;
        let format = u32::from_be_bytes(*format);
        if format > FORMAT {
            return Err(DecodeError::TooNew(format));
        }
        let (len, rest) = rest.split_first_chunk::<8>().ok_or(DecodeError::Damaged)?;
        let (checksum, body) = rest.split_first_chunk::<32>().ok_or(DecodeError::Damaged)?;
        if body.len() as u64 != u64::from_be_bytes(*len) || blake3::hash(body) != blake3::Hash::from_bytes(*checksum) {
            return Err(DecodeError::Damaged);
        }
        Ok(rmp_serde::from_slice(body)?)
    }
}

/// Writer of the body, which computes its length and checksum.
struct Body<'a, W> {
    to: &'a mut W,
    len: u64,
    checksum: blake3::Hasher,
}

impl<W: Write> Write for Body<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.len += written as u64;
        self.checksum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// First bytes of each snapshot.
const MAGIC: &[u8; 16] = b"ws-router state\n";
/// Newest format, which is always the one written.
///
/// A new field with `serde(default)` keeps the number, since snapshots without it can still be decoded. Any other change
/// increases the number, and the decoder must then still accept the older formats.
const FORMAT: u32 = 1;
/// Length of the header: magic bytes, format number, length and checksum of the body.
const HEADER_LEN: usize = MAGIC.len() + 4 + 8 + 32;
/// Size of the buffer that collects small fields before they are written.
const WRITE_BUFFER: usize = 64 << 10;

#[cfg(test)]
mod tests;
