//! TLS in the kernel (Linux's `tls` module, Documentation/networking/tls.rst): a TCP socket that encrypts what is written
//! and decrypts what is read, with keys that never leave the kernel again.
//!
//! Ordinary reads and writes carry data. A record of another kind, such as an alert, makes a read fail with
//! [`CONTROL_RECORD`] until [`take_control_record`] has taken it.

use std::io::{self, IoSliceMut};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::{TcpTlsRx, TcpTlsTx, TcpUlp, TlsCryptoInfo};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SetSockOpt, TlsGetRecordType, recvmsg, setsockopt};
use rustls::ConnectionTrafficSecrets as Secrets;
use zeroize::Zeroize;

/// Errno of a read whose next record isn't data.
pub const CONTROL_RECORD: i32 = libc::EIO;

/// Version of a TLS connection that the kernel can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsDirection {
    /// What this side sends.
    Send,
    /// What the peer sends.
    Receive,
}

/// A record that isn't data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRecord {
    /// The peer's close_notify, after which it sends nothing more.
    CloseNotify,
    /// Any other alert, by its description (RFC 8446 section 6).
    Alert(u8),
    /// The peer's next records are encrypted with other keys (RFC 8446 section 4.6.3).
    KeyUpdate,
    /// Any other record, by its content type.
    Other(u8),
}

/// Returns whether the kernel has its `tls` module, by a TCP socket that isn't connected, such as a listening one: the
/// module refuses that for another reason. It isn't loaded for a process without CAP_NET_ADMIN.
pub fn is_available(socket: BorrowedFd<'_>) -> bool {
    setsockopt(&socket, TcpUlp::default(), b"tls").is_err_and(|error| matches!(error, Errno::ENOTCONN | Errno::EEXIST))
}

/// Attaches the module to a connected TCP socket. It doesn't change what is sent and received until keys are set.
pub fn attach(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(setsockopt(&socket, TcpUlp::default(), b"tls")?)
}

/// Returns whether the module is attached to a socket, such as one that another process has set up.
pub fn is_attached(socket: BorrowedFd<'_>) -> bool {
    let mut name = [0_u8; MAX_ULP_NAME];
    let mut len = name.len() as libc::socklen_t;
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel writes at most `len` bytes, which is the
    // size of the array.
    let outcome = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_TCP, libc::TCP_ULP, name.as_mut_ptr().cast(), &mut len)
    };
    outcome == 0 && name.starts_with(b"tls\0")
}

/// Gives the kernel the keys of one direction, and the number of its next record. The copies made here are cleared.
pub fn set_keys(
    socket: BorrowedFd<'_>,
    direction: TlsDirection,
    version: TlsVersion,
    (number, secrets): (u64, &Secrets),
) -> io::Result<()> {
    let mut crypto = crypto_info(version, number, secrets)?;
    let outcome = match direction {
        TlsDirection::Send => TcpTlsTx.set(&socket, &crypto),
        TlsDirection::Receive => TcpTlsRx.set(&socket, &crypto),
    };
    match &mut crypto {
        TlsCryptoInfo::Aes128Gcm(info) => info.key.zeroize(),
        TlsCryptoInfo::Aes256Gcm(info) => info.key.zeroize(),
        TlsCryptoInfo::Chacha20Poly1305(info) => info.key.zeroize(),
    }
    Ok(outcome?)
}

/// Takes the record for which a read has failed with [`CONTROL_RECORD`].
pub fn take_control_record(socket: BorrowedFd<'_>) -> io::Result<ControlRecord> {
    let mut content = [0; MAX_CONTROL];
    let mut data = [IoSliceMut::new(&mut content)];
    let mut space = nix::cmsg_space!(u8);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut data, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    let bytes = message.bytes;
    let kind = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::TlsGetRecordType(kind) => Some(kind),
        _ => None,
    });
    Ok(match (kind, &content[..bytes.min(MAX_CONTROL)]) {
        (Some(TlsGetRecordType::Alert), [_, CLOSE_NOTIFY]) => ControlRecord::CloseNotify,
        (Some(TlsGetRecordType::Alert), [_, description]) => ControlRecord::Alert(*description),
        (Some(TlsGetRecordType::Handshake), [KEY_UPDATE, ..]) => ControlRecord::KeyUpdate,
        (Some(TlsGetRecordType::Handshake), _) => ControlRecord::Other(HANDSHAKE),
        (Some(TlsGetRecordType::ChangeCipherSpec), _) => ControlRecord::Other(CHANGE_CIPHER_SPEC),
        (Some(TlsGetRecordType::Unknown(kind)), _) => ControlRecord::Other(kind),
        _ => return Err(io::ErrorKind::InvalidData.into()),
    })
}

/// Notifies the peer that nothing more is sent. Never waits: if the socket is full, the error is `WouldBlock`.
pub fn send_close_notify(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut alert = [WARNING, CLOSE_NOTIFY];
    let mut part = libc::iovec { iov_base: alert.as_mut_ptr().cast(), iov_len: alert.len() };
    // Of u64, since the header must be aligned.
    let mut control = [0_u64; CONTROL_WORDS];
    // SAFETY: CMSG_SPACE only computes.
    let space = unsafe { libc::CMSG_SPACE(1) } as usize;
    assert!(space <= size_of_val(&control), "the constant is computed from the same structure");
    // SAFETY: the structure consists of integers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    (message.msg_control, message.msg_controllen) = (ptr::from_mut(&mut control).cast(), space as _);
    // SAFETY: `msg_control` points to `space` aligned bytes, which is room for one header and a byte of content, as the
    // assertion above shows; so the first header exists, and its content is within the array.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_TLS;
        (*header).cmsg_type = libc::TLS_SET_RECORD_TYPE;
        (*header).cmsg_len = libc::CMSG_LEN(1) as _;
        *libc::CMSG_DATA(header) = ALERT;
    }
    // SAFETY: the descriptor is open as long as it is borrowed, and the message points to the arrays above.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Converts keys to the kernel's form.
fn crypto_info(version: TlsVersion, number: u64, secrets: &Secrets) -> io::Result<TlsCryptoInfo> {
    let version_number = match version {
        TlsVersion::V1_2 => libc::TLS_1_2_VERSION,
        TlsVersion::V1_3 => libc::TLS_1_3_VERSION,
    };
    let info = |cipher_type| libc::tls_crypto_info { version: version_number, cipher_type };
    let rec_seq = number.to_be_bytes();
    let gcm = |key: &[u8], iv: &[u8]| {
        if version == TlsVersion::V1_2 && number >= TLS12_RECORDS {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let nonce = gcm_nonce(version, iv)?;
        let salt = array(iv.get(..4).unwrap_or_default())?;
        // rustls has one variant for both lengths with TLS 1.2.
        Ok(if key.len() == 16 {
            TlsCryptoInfo::Aes128Gcm(libc::tls12_crypto_info_aes_gcm_128 {
                info: info(libc::TLS_CIPHER_AES_GCM_128),
                iv: nonce,
                key: array(key)?,
                salt,
                rec_seq,
            })
        } else {
            TlsCryptoInfo::Aes256Gcm(libc::tls12_crypto_info_aes_gcm_256 {
                info: info(libc::TLS_CIPHER_AES_GCM_256),
                iv: nonce,
                key: array(key)?,
                salt,
                rec_seq,
            })
        })
    };
    match secrets {
        Secrets::Aes128Gcm { key, iv } | Secrets::Aes256Gcm { key, iv } => gcm(key.as_ref(), iv.as_ref()),
        Secrets::Chacha20Poly1305 { key, iv } => {
            Ok(TlsCryptoInfo::Chacha20Poly1305(libc::tls12_crypto_info_chacha20_poly1305 {
                info: info(libc::TLS_CIPHER_CHACHA20_POLY1305),
                iv: array(iv.as_ref())?,
                key: array(key.as_ref())?,
                salt: [],
                rec_seq,
            }))
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Returns the part of the nonce behind the salt.
///
/// With TLS 1.3 it is combined with the number of each record, here as in rustls. With TLS 1.2 the kernel counts it up
/// for each record, while rustls has combined it with the numbers of the records before, and a nonce that is used twice
/// breaks AES-GCM. So the kernel begins beyond all numbers below [`TLS12_RECORDS`], of which the handshake uses one.
fn gcm_nonce(version: TlsVersion, iv: &[u8]) -> io::Result<[u8; 8]> {
    let nonce = array(iv.get(4..).unwrap_or_default())?;
    Ok(match version {
        TlsVersion::V1_3 => nonce,
        TlsVersion::V1_2 => (u64::from_be_bytes(nonce) | (TLS12_RECORDS - 1)).wrapping_add(1).to_be_bytes(),
    })
}

fn array<const N: usize>(bytes: &[u8]) -> io::Result<[u8; N]> {
    bytes.try_into().map_err(|_| io::ErrorKind::Unsupported.into())
}

/// Content type of change_cipher_spec records (RFC 8446 section 5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
/// Content type of alerts.
const ALERT: u8 = 21;
/// Content type of handshake messages.
const HANDSHAKE: u8 = 22;
/// Type of the handshake message that announces new keys (RFC 8446 section 4).
const KEY_UPDATE: u8 = 24;
/// Level of an alert that isn't fatal.
const WARNING: u8 = 1;
/// Description of the alert that ends a direction.
const CLOSE_NOTIFY: u8 = 0;
/// Bytes of a control record that are looked at; an alert has two.
const MAX_CONTROL: usize = 64;
/// Room for the header of a control message and its content, in words of eight bytes.
const CONTROL_WORDS: usize = 4;
/// TCP_ULP_NAME_MAX of net/tcp.h.
const MAX_ULP_NAME: usize = 16;
/// Number of records that rustls may have sent with TLS 1.2 before the kernel takes over; a power of two.
const TLS12_RECORDS: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use rustls::crypto::cipher::{AeadKey, Iv};

    use super::*;

    #[test]
    fn a_socket_has_the_module_only_after_it_was_attached() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!is_attached(stream.as_fd()));
        // Depends on the kernel; tests/system/run kernel-tls runs this with the module.
        let is_available = is_available(listener.as_fd());
        assert_eq!(attach(stream.as_fd()).is_ok(), is_available);
        assert_eq!(is_attached(stream.as_fd()), is_available);
    }

    #[test]
    fn the_nonces_of_tls_1_2_begin_beyond_those_of_the_handshake() {
        let iv = [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0x12, 0x34];
        assert_eq!(gcm_nonce(TlsVersion::V1_2, &iv).unwrap(), [0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(gcm_nonce(TlsVersion::V1_2, &[0xff; 12]).unwrap(), [0; 8]);
        assert_eq!(gcm_nonce(TlsVersion::V1_3, &iv).unwrap(), iv[4..]);
    }

    #[test]
    fn keys_of_both_lengths_and_chacha_are_converted() {
        let iv = || Iv::copy(&[7; 12]);
        let long = AeadKey::from([9; 32]);
        let TlsCryptoInfo::Aes256Gcm(info) =
            crypto_info(TlsVersion::V1_3, 3, &Secrets::Aes256Gcm { key: long, iv: iv() }).unwrap()
        else {
            panic!("another cipher");
        };
        assert_eq!((info.key, info.salt, info.iv, info.rec_seq), ([9; 32], [7; 4], [7; 8], [0, 0, 0, 0, 0, 0, 0, 3]));
        let long = AeadKey::from([9; 32]);
        let both = Secrets::Aes128Gcm { key: long, iv: iv() };
        assert!(matches!(crypto_info(TlsVersion::V1_2, 1, &both), Ok(TlsCryptoInfo::Aes256Gcm(_))));
        let chacha = Secrets::Chacha20Poly1305 { key: AeadKey::from([9; 32]), iv: iv() };
        let TlsCryptoInfo::Chacha20Poly1305(info) = crypto_info(TlsVersion::V1_3, 0, &chacha).unwrap() else {
            panic!("another cipher");
        };
        assert_eq!((info.key, info.iv), ([9; 32], [7; 12]));
    }
}
