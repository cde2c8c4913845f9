use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::*;

#[test]
fn a_descriptor_arrives_as_the_same_open_file() {
    let (here, there) = UnixStream::pair().unwrap();
    let (mut end, mut other_end) = UnixStream::pair().unwrap();
    send_fd(&here, end.as_fd()).unwrap();
    let mut received = UnixStream::from(recv_fd(&there).unwrap());
    received.write_all(b"x").unwrap();
    let mut byte = [0];
    other_end.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
    other_end.write_all(b"y").unwrap();
    end.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"y");
}

#[test]
fn a_message_without_a_descriptor_is_refused() {
    let (mut here, there) = UnixStream::pair().unwrap();
    here.write_all(b"x").unwrap();
    assert_eq!(recv_fd(&there).unwrap_err().kind(), ErrorKind::InvalidData);
}

#[test]
fn a_second_descriptor_in_a_message_is_closed() {
    let (here, there) = UnixStream::pair().unwrap();
    let (mut end, other_end) = UnixStream::pair().unwrap();
    let null = File::open("/dev/null").unwrap();
    let rights = [other_end.as_raw_fd(), null.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&rights)];
    sendmsg::<()>(here.as_raw_fd(), &[IoSlice::new(b"x")], &message, MsgFlags::empty(), None).unwrap();
    drop(other_end);
    assert_eq!(recv_fd(&there).unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(end.read(&mut [0]).unwrap(), 0, "the second copy is closed too");
}

#[test]
fn an_empty_and_a_closed_stream_have_errors_of_their_own() {
    let (here, there) = UnixStream::pair().unwrap();
    there.set_nonblocking(true).unwrap();
    assert_eq!(recv_fd(&there).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(here);
    assert_eq!(recv_fd(&there).unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn descriptors_arrive_in_order_with_the_data_that_was_sent_meanwhile() {
    // Copies of a few sockets: an ordinary user may have 1,024 open and in flight, and the other tests need some too.
    const SOCKETS: usize = 20;
    const COUNT: usize = SCM_MAX_FD + 47;
    let (mut near, far): (Vec<_>, Vec<_>) = (0..SOCKETS).map(|_| UnixStream::pair().unwrap()).unzip();
    let raw: Vec<RawFd> = far.iter().map(AsRawFd::as_raw_fd).cycle().take(COUNT).collect();
    let socket = send_fds(&raw).unwrap();
    drop(far);
    for number in 0..COUNT {
        near[number % SOCKETS].write_all(&(number as u32).to_be_bytes()).unwrap();
    }
    let taken = recv_fds(&socket).unwrap();
    assert_eq!(taken.len(), COUNT);
    for (number, descriptor) in taken.into_iter().enumerate() {
        let mut received = [0; 4];
        UnixStream::from(descriptor).read_exact(&mut received).unwrap();
        assert_eq!(u32::from_be_bytes(received), number as u32);
    }
}
