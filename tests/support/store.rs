//! The service manager's notify socket and descriptor store (sd_notify(3)).
//!
//! A thread reads each message at once, since the kernel queues only a few. Descriptors of FDSTORE=1 are kept under
//! their name until FDSTOREREMOVE=1.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

type Message = (String, Vec<OwnedFd>);

/// Notify socket with its descriptor store.
pub(crate) struct Notifications {
    path: PathBuf,
    messages: Receiver<Message>,
    waiting: Vec<String>,
    store: Vec<(OwnedFd, String)>,
}

impl Notifications {
    /// Creates the socket.
    pub(crate) fn bind(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let (sender, messages) = channel();
        thread::spawn(move || {
            loop {
                let mut message = receive(&socket);
                // All that came before it is as good as stored; the daemon waits for this to be closed.
                if message.0.lines().any(|line| line == "BARRIER=1") {
                    message.1.clear();
                }
                if message.0 == END || sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self { path: path.to_owned(), messages, waiting: Vec::new(), store: Vec::new() }
    }

    /// Returns the next message; `None` if none arrives in time.
    pub(crate) fn next(&mut self, patience: Duration) -> Option<String> {
        if !self.waiting.is_empty() {
            return Some(self.waiting.remove(0));
        }
        let message = self.messages.recv_timeout(patience).ok()?;
        Some(self.take(message))
    }

    /// Waits until everything sent so far has been read; `next` still returns it.
    pub(crate) fn catch_up(&mut self) {
        self.send(MARK);
        while let Ok(message) = self.messages.recv_timeout(super::harness::PATIENCE) {
            if message.0 == MARK {
                return;
            }
            let text = self.take(message);
            self.waiting.push(text);
        }
        panic!("the mark did not come");
    }

    /// Returns copies of the stored descriptors, the newest first, as the service manager passes them.
    pub(crate) fn stored(&self) -> Vec<(OwnedFd, String)> {
        self.store.iter().rev().map(|(descriptor, name)| (descriptor.try_clone().unwrap(), name.clone())).collect()
    }

    /// Stored descriptors with their names.
    pub(crate) fn store(&mut self) -> &mut Vec<(OwnedFd, String)> {
        &mut self.store
    }

    fn take(&mut self, (text, descriptors): Message) -> String {
        let has = |line: &str| text.lines().any(|there| there == line);
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored");
        if has("FDSTOREREMOVE=1") {
            self.store.retain(|(_, stored)| stored != name);
        } else if has("FDSTORE=1") {
            assert!(!descriptors.is_empty(), "nothing to store: {text}");
            assert!(has("FDPOLL=0"), "what hangs up would be dropped: {text}");
            self.store.extend(descriptors.into_iter().map(|descriptor| (descriptor, name.to_owned())));
        } else {
            assert!(descriptors.is_empty(), "descriptors with {text}");
        }
        text
    }

    fn send(&self, text: &str) {
        UnixDatagram::unbound().unwrap().send_to(text.as_bytes(), &self.path).unwrap();
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        // Where the folder is gone already, so is the thread's work.
        let _ = UnixDatagram::unbound().and_then(|socket| socket.send_to(END.as_bytes(), &self.path));
    }
}

fn receive(socket: &UnixDatagram) -> Message {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253), ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    // Not to be passed to what other tests start meanwhile.
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags).unwrap();
    let descriptors = ancillary
        .drain()
        .flat_map(|part| match part {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<_>>(),
            _ => Vec::new(),
        })
        .collect();
    (String::from_utf8_lossy(&bytes[..received.bytes]).into_owned(), descriptors)
}

/// Marks that everything sent before it has been read.
const MARK: &str = "X_MARK=1";

/// Ends the thread.
const END: &str = "X_END=1";
