//! The state that one router hands over to the next, so that no connection is dropped and no message lost.
//!
//! It goes through sealed memory and never to a disk, since it holds the value that hashes the registrations' keys.
//! The format has a number, a length and a checksum, and behind them fields by name (MessagePack): a newer program
//! reads an older one's, and what is unknown or damaged is refused rather than guessed at. The descriptors travel
//! beside it in a parcel ([`crate::sys::send_fds`]): first the listeners', then the members', in the state's order.
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

use crate::directory::DirectoryState;
use crate::peer::Peer;

/// All that a successor must know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The version of the program that wrote it.
    pub program: String,
    /// The registrations.
    pub directory: DirectoryState,
    /// The highest member number given.
    pub last_member: u64,
    /// What each listener's descriptor is.
    pub listeners: Vec<String>,
    /// The members, each with a descriptor.
    pub members: Vec<Carried>,
    /// How far it is with being taken out of service, if it is.
    #[serde(default)]
    pub drain: Option<DrainState>,
    /// The restarts before.
    #[serde(default)]
    pub restarts: Restarts,
    /// The last events, as [`State::pack_events`] writes them.
    #[serde(default, with = "serde_bytes")]
    pub history: Vec<u8>,
}

/// What restarts have carried over, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Restarts {
    /// How many there were.
    pub count: u64,
    /// Connections that were carried over.
    pub carried: u64,
    /// Connections that could not be.
    pub lost: u64,
}

/// How far a router is with being taken out of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainState {
    /// Over how long.
    pub over_ms: u64,
    /// How much of that is over.
    pub spent_ms: u64,
    /// The members that there were.
    pub members_before: u64,
}

/// A member on its way to a successor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    /// Where it is a member.
    pub registration: RegistrationId,
    /// How far its stream is.
    pub member: MemberState,
    /// From where it came.
    pub peer: Peer,
}

/// Why a state can't be taken over.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It can't be read at all.
    #[error("handed-over state: {0}")]
    Io(#[from] io::Error),
    /// It isn't a state.
    #[error("handed-over state: not one of ws-router")]
    Foreign,
    /// A later version wrote it.
    #[error("handed-over state: of format {0}, and this version knows {FORMAT} at most")]
    TooNew(u32),
    /// It is cut off or changed.
    #[error("handed-over state: damaged")]
    Damaged,
    /// It doesn't say what it should.
    #[error("handed-over state: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
}

impl State {
    /// Writes events apart from the rest: before everybody waits, and so that a program that doesn't know one of them
    /// does without the events, and not without the members.
    pub fn pack_events(events: &[Event]) -> Vec<u8> {
        rmp_serde::to_vec_named(events).unwrap_or_default()
    }

    /// Reads the events; none, if this program doesn't understand them.
    pub fn events(&self) -> Vec<Event> {
        rmp_serde::from_slice(&self.history).unwrap_or_default()
    }

    /// Writes the state into memory that nobody can change any more; the descriptor stands for it.
    pub fn seal(&self) -> io::Result<OwnedFd> {
        let memory = memfd_create("ws-router-state", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        let mut file = File::from(memory);
        self.write(&mut file)?;
        let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(file.into())
    }

    /// Reads what [`State::seal`] wrote.
    pub fn open(memory: OwnedFd) -> Result<Self, Unreadable> {
        let mut file = File::from(memory);
        file.rewind()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Self::from_bytes(&bytes)
    }

    /// Writes the state as bytes.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        self.write(&mut bytes)?;
        Ok(bytes.into_inner())
    }

    /// Writes the fields, and then what stands in front of them. What members are owed may be hundreds of megabytes,
    /// and everybody waits meanwhile: so nothing of it is copied on its way.
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

    /// Reads a state.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(Unreadable::Foreign)?;
        let (format, rest) = rest.split_first_chunk::<4>().ok_or(Unreadable::Damaged)?;
        let format = u32::from_be_bytes(*format);
        if format > FORMAT {
            return Err(Unreadable::TooNew(format));
        }
        let (len, rest) = rest.split_first_chunk::<8>().ok_or(Unreadable::Damaged)?;
        let (checksum, body) = rest.split_first_chunk::<32>().ok_or(Unreadable::Damaged)?;
        if body.len() as u64 != u64::from_be_bytes(*len) || blake3::hash(body) != blake3::Hash::from_bytes(*checksum) {
            return Err(Unreadable::Damaged);
        }
        Ok(rmp_serde::from_slice(body)?)
    }
}

/// The fields on their way, with what has to be known of them.
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
