use proptest::prelude::*;

use super::*;

/// A client's frame.
fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    client_frame(first, [0x11, 0x82, 0xa3, 0x4f], payload)
}

fn server(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    [ServerHeader::new(opcode, payload.len()).as_bytes(), payload].concat()
}

#[derive(Debug, Default, PartialEq)]
struct Received {
    bytes: Vec<u8>,
    messages: u64,
    replies: Vec<u8>,
    close: Option<CloseFrame>,
    violation: Option<Violation>,
}

const MAX: u64 = 1 << 20;

/// Feeds a stream in reads of the given sizes, as a relay thread does.
fn feed(stream: &[u8], reads: &[usize]) -> Received {
    let (mut decoder, mut buffers, mut batch) = (Decoder::default(), Buffers::default(), Batch::default());
    let mut scratch = vec![0; 64 << 10];
    let (mut received, mut at, mut turn) = (Received::default(), 0, 0);
    while at < stream.len() && received.close.is_none() && received.violation.is_none() {
        let size = reads[turn % reads.len()].min(stream.len() - at);
        turn += 1;
        let plan = decoder.plan_read(&mut scratch, 4096, &mut buffers);
        let staged = plan.staged;
        let direct = size.min(plan.direct.len());
        plan.direct[..direct].copy_from_slice(&stream[at..at + direct]);
        let overflow = (size - direct).min(plan.overflow);
        scratch[staged..staged + overflow].copy_from_slice(&stream[at + direct..at + direct + overflow]);
        at += direct + overflow;
        batch.clear();
        let outcome = decoder.decode(direct, &mut scratch[..staged + overflow], MAX, &mut buffers, &mut batch);
        for piece in batch.pieces.drain(..) {
            match piece {
                Piece::InPlace(range) => received.bytes.extend(&scratch[range]),
                Piece::Assembled(buffer, range) => {
                    received.bytes.extend(&buffer[range]);
                    buffers.give(buffer);
                }
            }
        }
        received.messages += batch.messages;
        received.replies.extend(&batch.replies);
        received.close = batch.close;
        received.violation = outcome.err();
    }
    received
}

#[test]
fn messages_become_servers_frames_side_by_side() {
    let stream = [client(0x81, b"hello"), client(0x82, &[7; 300]), client(0x81, b"")].concat();
    let received = feed(&stream, &[usize::MAX]);
    let expected = [server(Opcode::Text, b"hello"), server(Opcode::Binary, &[7; 300]), server(Opcode::Text, b"")];
    assert_eq!(received.bytes, expected.concat());
    assert_eq!(received.messages, 3);
}

#[test]
fn fragments_become_one_message_with_pings_in_between_answered() {
    let stream = [
        client(0x01, "grü".as_bytes()),
        client(0x89, b"alive?"),
        client(0x00, b""),
        client(0x80, "ße".as_bytes()),
        client(0x8a, b"unasked pong"),
    ];
    let received = feed(&stream.concat(), &[usize::MAX]);
    assert_eq!(received.bytes, server(Opcode::Text, "grüße".as_bytes()));
    assert_eq!(received.replies, server(Opcode::Pong, b"alive?"));
}

#[test]
fn a_close_frame_ends_the_stream_with_its_code() {
    let stream = [client(0x81, b"bye"), client(0x88, &[3, 232, b'x']), client(0x81, b"never received")].concat();
    let received = feed(&stream, &[usize::MAX]);
    assert_eq!(received.close, Some(CloseFrame { code: Some(1000) }));
    assert_eq!(received.messages, 1);
}

#[test]
fn protocol_violations_are_rejected() {
    let unmasked = vec![0x81, 0x01, b'x'];
    let zero_padded_16 = vec![0x82, 0xfe, 0, 5, 0, 0, 0, 0];
    let zero_padded_64 = vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0];
    let negative = vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let cases = [
        client(0xc1, b"rsv1"),
        client(0x91, b"rsv3"),
        client(0x83, b"opcode 3"),
        client(0x8b, b"opcode 11"),
        vec![0xf1],
        unmasked,
        zero_padded_16,
        zero_padded_64,
        negative,
        client(0x09, b"fragmented ping"),
        client(0x89, &[0; 126]),
        client(0x80, b"continues nothing"),
        [client(0x01, b"begun"), client(0x81, b"begun again")].concat(),
        client(0x88, &[3]),
        client(0x88, &[0, 0]),
        client(0x88, &1005u16.to_be_bytes()),
        client(0x88, &2999u16.to_be_bytes()),
        client(0x88, &5000u16.to_be_bytes()),
    ];
    for case in cases {
        assert_eq!(feed(&case, &[usize::MAX]).violation, Some(Violation::Protocol), "{case:x?}");
        assert_eq!(feed(&case, &[1]).violation, Some(Violation::Protocol), "{case:x?} byte by byte");
    }
}

#[test]
fn a_text_that_is_not_utf8_is_rejected_at_its_first_invalid_byte() {
    let whole = client(0x81, b"caf\xe9!");
    let begun = &client(0x81, b"\xffmore to come")[..7];
    let cut_character = client(0x81, b"\xe2\x82");
    let large = client(0x81, &[b"x".repeat(40_000), vec![0xc0]].concat());
    let across = [client(0x01, b"\xe2"), client(0x80, b"\x28\xa1")].concat();
    let reason = client(0x88, b"\x03\xe8\xff");
    for case in [&whole[..], begun, &cut_character, &large, &across, &reason] {
        assert_eq!(feed(case, &[usize::MAX]).violation, Some(Violation::InvalidUtf8));
        assert_eq!(feed(case, &[1]).violation, Some(Violation::InvalidUtf8));
    }
}

#[test]
fn a_message_above_the_limit_is_rejected_by_its_header() {
    let mut announced = vec![0x82, 0xff];
    announced.extend((MAX + 1).to_be_bytes());
    announced.extend([0; 4]);
    assert_eq!(feed(&announced, &[usize::MAX]).violation, Some(Violation::TooBig));
    let half = vec![1; MAX as usize / 2 + 1];
    let fragments = [client(0x02, &half), client(0x80, &half)].concat();
    assert_eq!(feed(&fragments, &[usize::MAX]).violation, Some(Violation::TooBig));
    let fits = vec![1; MAX as usize];
    assert_eq!(feed(&client(0x82, &fits), &[usize::MAX]).bytes, server(Opcode::Binary, &fits));
}

#[test]
fn an_announcement_alone_costs_little_memory() {
    let mut decoder = Decoder::default();
    let (mut buffers, mut batch) = (Buffers::default(), Batch::default());
    let mut announced = client(0x82, &[0; 70_000])[..14].to_vec();
    announced[2..10].copy_from_slice(&(1u64 << 30).to_be_bytes());
    decoder.decode(0, &mut announced, 1 << 40, &mut buffers, &mut batch).unwrap();
    assert!(decoder.held() < 300 << 10, "{}", decoder.held());
}

#[test]
fn small_fragments_rarely_move_the_message() {
    let (mut decoder, mut buffers, mut batch) = (Decoder::default(), Buffers::default(), Batch::default());
    let (mut moves, mut held) = (0, 0);
    for turn in 0..16_384 {
        let mut fragment = client(if turn == 0 { 0x02 } else { 0x00 }, &[7; 64]);
        decoder.decode(0, &mut fragment, 1 << 20, &mut buffers, &mut batch).unwrap();
        if decoder.held() != held {
            (moves, held) = (moves + 1, decoder.held());
        }
    }
    assert!(moves < 20, "{moves} moves");
    assert!(held < 4 << 20, "{held} bytes for a message of 1 MiB");
}

#[test]
fn an_idle_stream_holds_nothing() {
    let mut decoder = Decoder::default();
    let (mut buffers, mut batch) = (Buffers::default(), Batch::default());
    let mut frame = client(0x82, b"part");
    decoder.decode(0, &mut frame[..8].to_vec(), MAX, &mut buffers, &mut batch).unwrap();
    assert!(decoder.held() > 0);
    let mut scratch = [0; 64];
    let staged = decoder.plan_read(&mut scratch, 64, &mut buffers).staged;
    scratch[staged..frame.len()].copy_from_slice(&frame.split_off(8));
    decoder.decode(0, &mut scratch[..10], MAX, &mut buffers, &mut batch).unwrap();
    assert_eq!((batch.messages, decoder.held()), (1, 0));
}

#[test]
fn a_close_frame_carries_code_and_reason() {
    let frame = close_frame(CloseReason::TooSlow, None).unwrap();
    assert_eq!(frame, [&[0x88, 10, 0x0f, 0xa3][..], b"too slow"].concat());
    let answer = close_frame(CloseReason::Left, Some(CloseFrame { code: Some(3000) })).unwrap();
    assert_eq!(answer[2..4], 3000u16.to_be_bytes());
    assert_eq!(close_frame(CloseReason::Lost, None), None);
}

/// A message with the sizes of its fragments.
fn message() -> impl Strategy<Value = (bool, Vec<u8>, Vec<usize>)> {
    let payload = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..200),
        2 => prop::collection::vec(any::<u8>(), 4000..5000),
        1 => (10_000usize..90_000).prop_map(|len| (0..len).map(|at| (at * 7) as u8).collect()),
    ];
    (any::<bool>(), payload, prop::collection::vec(0usize..60_000, 0..3))
}

proptest! {
    #[test]
    fn however_a_stream_is_cut_the_messages_are_the_same(
        messages in prop::collection::vec(message(), 1..8),
        reads in prop::collection::vec(prop_oneof![1usize..20, 1usize..70_000], 1..6),
        pings in prop::collection::vec(any::<bool>(), 8),
    ) {
        let (mut stream, mut expected, mut pongs) = (Vec::new(), Vec::new(), Vec::new());
        for ((text, payload, cuts), ping) in messages.iter().zip(pings) {
            let payload: Vec<u8> = if *text { payload.iter().map(|byte| byte & 0x7f).collect() } else { payload.clone() };
            let opcode = if *text { Opcode::Text } else { Opcode::Binary };
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| *cut.min(&payload.len())).collect();
            cuts.sort_unstable();
            let (mut from, mut first) = (0, opcode as u8);
            for cut in cuts {
                stream.extend(client(first, &payload[from..cut]));
                if ping {
                    stream.extend(client(0x89, b"?"));
                    pongs.extend(server(Opcode::Pong, b"?"));
                }
                (from, first) = (cut, 0);
            }
            stream.extend(client(0x80 | first, &payload[from..]));
            expected.extend(server(opcode, &payload));
        }
        let received = feed(&stream, &reads);
        prop_assert_eq!(received.violation, None);
        prop_assert_eq!(received.messages, messages.len() as u64);
        prop_assert!(received.bytes == expected);
        prop_assert_eq!(received.replies, pongs);
    }

    #[test]
    fn any_bytes_are_decoded_the_same_however_they_are_cut(
        stream in prop::collection::vec(any::<u8>(), 0..300),
        cut in 1usize..9,
    ) {
        let (whole, pieces) = (feed(&stream, &[usize::MAX]), feed(&stream, &[cut]));
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn a_close_frame_is_found_behind_discarded_frames_however_they_are_cut(
        sizes in prop::collection::vec(prop_oneof![0usize..200, 60_000usize..70_000], 0..4),
        cut in 0usize..200_000,
        read in prop_oneof![1usize..20, 1000usize..100_000],
    ) {
        let mut stream: Vec<u8> = sizes.iter().flat_map(|size| client(0x82, &vec![7; *size])).collect();
        stream.extend(client(0x88, &1000u16.to_be_bytes()));
        let (decoded, discarded) = stream.split_at(cut.min(stream.len() - 1));
        let (mut decoder, mut buffers, mut batch) = (Decoder::default(), Buffers::default(), Batch::default());
        let mut decoded = decoded.to_vec();
        decoder.decode(0, &mut decoded, 1 << 20, &mut buffers, &mut batch).unwrap();
        decoder.start_discarding(&mut buffers);
        let mut found = Discarded::Frames;
        for piece in discarded.chunks(read) {
            prop_assert_eq!(found, Discarded::Frames, "found before it was there");
            found = decoder.discard(piece).unwrap();
        }
        prop_assert_eq!(found, Discarded::CloseFrame);
    }

    #[test]
    fn utf8_in_pieces_is_valid_exactly_if_the_whole_is(bytes in prop::collection::vec(any::<u8>(), 0..40), cut in 1usize..5) {
        let mut state = Utf8::default();
        let pieces = bytes.chunks(cut).try_for_each(|piece| state.push(piece)).and_then(|()| state.finish());
        prop_assert_eq!(pieces.is_ok(), std::str::from_utf8(&bytes).is_ok());
    }
}
