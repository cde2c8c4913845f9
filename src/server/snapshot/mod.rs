//! The format of the state that one process hands over to the next, so that no connection is dropped and no message lost.
//!
//! A snapshot goes through sealed memory and never to a disk, since it holds the value that hashes the registrations'
//! keys. The format has a number, a length and a checksum, and behind them fields by name (MessagePack): a newer program
//! reads an older one's, and what is unknown or damaged is refused rather than guessed at. The descriptors travel beside
//! it ([`crate::sys::send_fds`]): first the listeners', then the members', in the snapshot's order.
//!
//! A member with TLS can't go along: its keys and record numbers are in this process, and rustls gives them away only
//! for good. Where the kernel does the records (Linux's `tls` module, Documentation/networking/tls.rst) such a socket
//! would be handed over like a plain one. What is missing: a handshake whose secrets are taken out
//! (`dangerous_extract_secrets`) and set with `TLS_TX` and `TLS_RX`, which is `unsafe` that nix has no cover for; what
//! rustls has read behind the handshake, given to the member first; and alerts and key updates, which the kernel passes
//! on as messages of their own. The format is open for it: fields are named, and a new one has a default.

use std::fs::File;
use std::io::{self, BufWriter, Cursor, Read, Seek, Write};
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use ws_router_admin_api::event::Event;
use ws_router_core::ids::RegistrationId;
use ws_router_core::shard::MemberState;

use crate::peer::Peer;
use crate::registry::RegistrySnapshot;

/// Everything that the new process has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version of the program that wrote it.
    pub program: String,
    /// Registrations.
    #[serde(rename = "directory")]
    pub registry: RegistrySnapshot,
    /// Highest member number that was given.
    pub last_member: u64,
    /// Key of each listener's descriptor.
    pub listeners: Vec<String>,
    /// Members, each with a descriptor.
    pub members: Vec<MemberSnapshot>,
    /// Progress of draining; `None` in service.
    #[serde(default)]
    pub drain: Option<DrainState>,
    /// Counts of all restarts before.
    #[serde(default)]
    pub restarts: RestartCounts,
    /// Last events, as [`Snapshot::encode_events`] writes them.
    #[serde(default, with = "serde_bytes")]
    pub history: Vec<u8>,
    /// Settings in force, as a configuration file; it names files with keys and tokens, and holds none of their contents.
    #[serde(default)]
    pub settings: Option<String>,
}

/// Counts of restarts and of what they carried over, since the last stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RestartCounts {
    /// Number of restarts.
    pub count: u64,
    /// Connections that were carried over.
    pub carried: u64,
    /// Connections that could not be carried over.
    pub lost: u64,
}

/// Progress of draining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainState {
    /// Time over which members are closed.
    pub over_ms: u64,
    /// Part of that time that has passed.
    pub spent_ms: u64,
    /// Number of members at its start.
    pub members_before: u64,
}

/// A member on its way to the new process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberSnapshot {
    /// Registration that it is a member of.
    pub registration: RegistrationId,
    /// Progress of its stream, in both directions.
    pub member: MemberState,
    /// Address that it came from.
    pub peer: Peer,
}

/// Error of decoding a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The memory can't be read.
    #[error("snapshot: {0}")]
    Io(#[from] io::Error),
    /// The bytes are something else.
    #[error("snapshot: not one of ws-router")]
    Foreign,
    /// A later version of the program wrote it.
    #[error("snapshot: its format is {0}, and this version reads up to {FORMAT}")]
    TooNew(u32),
    /// It is cut off or changed.
    #[error("snapshot: damaged")]
    Damaged,
    /// Its fields are not those of its format.
    #[error("snapshot: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
}

impl Snapshot {
    /// Encodes events apart from the rest, so that a program that doesn't know one of them loses the events and not the
    /// members. This is done before relay threads stop.
    pub fn encode_events(events: &[Event]) -> Vec<u8> {
        rmp_serde::to_vec_named(events).unwrap_or_default()
    }

    /// Decodes the events; none, if this program doesn't know all of them.
    pub fn decode_events(&self) -> Vec<Event> {
        rmp_serde::from_slice(&self.history).unwrap_or_default()
    }

    /// Writes the snapshot into sealed memory, which nobody can change any more, and returns its descriptor.
    pub fn seal(&self) -> io::Result<OwnedFd> {
        let memory = memfd_create("ws-router-snapshot", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        let mut file = File::from(memory);
        self.write(&mut file)?;
        let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(file.into())
    }

    /// Reads the memory that [`Snapshot::seal`] returned.
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

    /// Writes the fields, and then the header in front of them. Outboxes may be hundreds of megabytes, and everybody
    /// waits meanwhile: so nothing of it is copied on its way.
    fn write(&self, to: &mut (impl Write + Seek)) -> io::Result<()> {
        to.write_all(&[0; HEAD])?;
        let body = Body { to: &mut *to, len: 0, checksum: blake3::Hasher::new() };
        let mut body = BufWriter::with_capacity(PIECE, body);
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

/// The fields on their way, with their length and checksum.
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

const MAGIC: &[u8; 16] = b"ws-router state\n";
/// The newest format, which is the one that is written. A field that is added gets a default for older states; what
/// can't be read so raises the number, and the older shape stays readable.
const FORMAT: u32 = 1;
/// Bytes in front of the fields.
const HEAD: usize = MAGIC.len() + 4 + 8 + 32;
/// Small fields are written together, so much at a time.
const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests;
