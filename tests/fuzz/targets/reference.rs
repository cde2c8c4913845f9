//! RFC 6455 once more, as plainly as can be: a whole stream at once, nothing kept, nothing fast.

use ws_router_core::close::CloseReason;

/// Meaning of a client's stream.
#[derive(Default)]
pub struct Meaning {
    /// Frames that the others receive.
    pub received: Vec<u8>,
    /// The frames that it is sent itself: pongs, and the close if it comes to that.
    pub answered: Vec<u8>,
    pub end: Option<CloseReason>,
}

/// Reads a stream up to its end, its close frame or its first violation.
pub fn read(stream: &[u8], max_message: u64) -> Meaning {
    let mut meaning = Meaning::default();
    let mut code = None;
    match frames(stream, max_message, &mut meaning) {
        Ok(()) => return meaning,
        Err(Stop::Close(given)) => {
            code = given;
            meaning.end = Some(CloseReason::Left);
        }
        Err(Stop::Mistake(reason)) => meaning.end = Some(reason),
    }
    if let Some(reason) = meaning.end {
        let code = code.or(reason.code()).unwrap();
        let payload = [&code.to_be_bytes()[..], reason.text().as_bytes()].concat();
        meaning.answered.extend(server_frame(0x88, &payload));
    }
    meaning
}

enum Stop {
    Close(Option<u16>),
    Mistake(CloseReason),
}

const PROTOCOL: Stop = Stop::Mistake(CloseReason::Protocol);
const INVALID: Stop = Stop::Mistake(CloseReason::InvalidUtf8);

fn frames(stream: &[u8], max_message: u64, meaning: &mut Meaning) -> Result<(), Stop> {
    let mut message: Option<(u8, Vec<u8>)> = None;
    let mut rest = stream;
    while let Some(&first) = rest.first() {
        let (is_final, opcode) = (first & 0x80 != 0, first & 0x0f);
        if first & 0x70 != 0 || !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10) {
            return Err(PROTOCOL);
        }
        let is_control = opcode >= 8;
        let Some(&second) = rest.get(1) else { return Ok(()) };
        let short = second & 0x7f;
        if second & 0x80 == 0 || (is_control && (!is_final || short > 125)) {
            return Err(PROTOCOL);
        }
        let (len, at) = match short {
            126 => {
                let Some(bytes) = rest.get(2..4) else { return Ok(()) };
                (u64::from(u16::from_be_bytes(bytes.try_into().unwrap())), 4)
            }
            127 => {
                let Some(bytes) = rest.get(2..10) else { return Ok(()) };
                (u64::from_be_bytes(bytes.try_into().unwrap()), 10)
            }
            short => (u64::from(short), 2),
        };
        let is_shortest = match short {
            126 => len > 125,
            127 => len > 0xffff && len >> 63 == 0,
            _ => true,
        };
        if !is_shortest {
            return Err(PROTOCOL);
        }
        let Some(mask) = rest.get(at..at + 4) else { return Ok(()) };
        let masked = &rest[at + 4..];
        if !is_control {
            match (&message, opcode) {
                (Some(_), 0) => {}
                (None, 1 | 2) => message = Some((opcode, Vec::new())),
                _ => return Err(PROTOCOL),
            }
            let so_far = message.as_ref().map_or(0, |(_, payload)| payload.len() as u64);
            if len.saturating_add(so_far) > max_message {
                return Err(Stop::Mistake(CloseReason::TooBig));
            }
        }
        let here = len.min(masked.len() as u64) as usize;
        let is_whole = here as u64 == len;
        let payload: Vec<u8> = masked[..here].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        if is_control {
            if !is_whole {
                return Ok(());
            }
            match opcode {
                8 => return Err(close_frame(&payload)),
                9 => meaning.answered.extend(server_frame(0x8a, &payload)),
                _ => {}
            }
        } else if let Some((kind, so_far)) = &mut message {
            so_far.extend(payload);
            if let (1, Err(error)) = (*kind, std::str::from_utf8(so_far))
                && (error.error_len().is_some() || (is_whole && is_final))
            {
                return Err(INVALID);
            }
            if !is_whole {
                return Ok(());
            }
            if is_final {
                meaning.received.extend(server_frame(0x80 | *kind, so_far));
                message = None;
            }
        }
        rest = &masked[here..];
    }
    Ok(())
}

fn close_frame(payload: &[u8]) -> Stop {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Stop::Close(None) } else { PROTOCOL };
    };
    let code = u16::from_be_bytes(*code);
    let is_known = (1000..=1014).contains(&code) && !(1004..=1006).contains(&code);
    if !is_known && !(3000..=4999).contains(&code) {
        return PROTOCOL;
    }
    if std::str::from_utf8(reason).is_err() { INVALID } else { Stop::Close(Some(code)) }
}

fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(len as u8),
        len @ 126..=0xffff => {
            frame.push(126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}
