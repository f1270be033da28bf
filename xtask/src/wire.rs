//! Frames from the guest's PID 1 to the host, over a serial port of their own.
//!
//! The kernel's console is the other port: nothing that the kernel prints can fall between a command's
//! bytes, so output arrives intact, NDJSON included. A frame is its kind (1 byte), the length of its label
//! (1 byte), the length of its payload (4 bytes, little endian), the label, the payload.

const HEADER_LEN_BYTES: usize = 6;

/// What a frame says about its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// User space is up. Payload: the kernel's release.
    Booted,
    /// The scenario of that name begins.
    Scenario,
    /// A command's standard output.
    Stdout,
    /// A command's standard error.
    Stderr,
    /// A command ended. Payload: an [`Exit`] as text.
    Exit,
    /// A file that the plan asked for. Payload: its content.
    File,
    /// A step of the plan could not be done. Payload: why.
    Failed,
    /// Something that only the host can do to the machine; the label says what: `nmi`.
    Monitor,
    /// The plan is at its end.
    Done,
}

impl Kind {
    const ALL: [(Self, u8); 9] = [
        (Self::Booted, b'B'),
        (Self::Scenario, b'S'),
        (Self::Stdout, b'o'),
        (Self::Stderr, b'e'),
        (Self::Exit, b'x'),
        (Self::File, b'f'),
        (Self::Failed, b'!'),
        (Self::Monitor, b'm'),
        (Self::Done, b'D'),
    ];

    fn byte(self) -> u8 {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or(b'?', |(_, byte)| *byte)
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, b)| *b == byte).map(|(kind, _)| *kind)
    }
}

/// One message of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub label: String,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The label is cut at 255 bytes; a payload of 4 GiB cannot be had in a guest.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { kind, label, payload } = self;
        let label = &label.as_bytes()[..label.len().min(usize::from(u8::MAX))];
        let mut bytes = Vec::with_capacity(HEADER_LEN_BYTES + label.len() + payload.len());
        bytes.push(kind.byte());
        bytes.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(label);
        bytes.extend_from_slice(payload);
        bytes
    }
}

/// The channel carried something that is not a frame: PID 1 is broken, or something else wrote to its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAFrame(pub u8);

/// Frames out of a stream that may be cut anywhere.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one yet.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, NotAFrame> {
        let Some(&[kind, label_len, a, b, c, d]) = self.buffer.first_chunk::<HEADER_LEN_BYTES>() else {
            return Ok(None);
        };
        let kind = Kind::from_byte(kind).ok_or(NotAFrame(kind))?;
        let payload_at = HEADER_LEN_BYTES + usize::from(label_len);
        let end = payload_at + u32::from_le_bytes([a, b, c, d]) as usize;
        if self.buffer.len() < end {
            return Ok(None);
        }
        let label = String::from_utf8_lossy(&self.buffer[HEADER_LEN_BYTES..payload_at]).into_owned();
        let payload = self.buffer[payload_at..end].to_vec();
        self.buffer.drain(..end);
        Ok(Some(Frame { kind, label, payload }))
    }
}

/// How a command of the plan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// Killed at the plan's time limit.
    TimedOut,
    /// Could not be started: the shell's 127.
    NotStarted,
}

impl Exit {
    #[must_use]
    pub fn encode(self) -> String {
        match self {
            Self::Code(code) => format!("code {code}"),
            Self::Signal(signal) => format!("signal {signal}"),
            Self::TimedOut => "timed-out".to_owned(),
            Self::NotStarted => "not-started".to_owned(),
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            Some(("code", code)) => code.parse().ok().map(Self::Code),
            Some(("signal", signal)) => signal.parse().ok().map(Self::Signal),
            None if text == "timed-out" => Some(Self::TimedOut),
            None if text == "not-started" => Some(Self::NotStarted),
            _ => None,
        }
    }

    /// As a shell would say it.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
            Self::TimedOut => 124,
            Self::NotStarted => 127,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_a_stream_cut_at_every_byte() {
        let frames: Vec<Frame> = Kind::ALL
            .iter()
            .map(|(kind, byte)| Frame {
                kind: *kind,
                label: "watch".into(),
                payload: vec![*byte, 0, b'\n', 0xff],
            })
            .collect();
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for byte in bytes {
            decoder.push(&[byte]);
            while let Some(frame) = decoder.next_frame().unwrap() {
                seen.push(frame);
            }
        }
        assert_eq!(seen, frames);
    }

    #[test]
    fn a_foreign_byte_is_refused_and_not_skipped() {
        let mut decoder = Decoder::default();
        decoder.push(b"[    0.000000] Linux");
        assert_eq!(decoder.next_frame(), Err(NotAFrame(b'[')));
    }

    #[test]
    fn exits_survive_their_text() {
        for exit in [Exit::Code(0), Exit::Code(255), Exit::Signal(9), Exit::TimedOut, Exit::NotStarted] {
            assert_eq!(Exit::parse(&exit.encode()), Some(exit));
        }
        assert_eq!(Exit::parse("code x"), None);
    }
}
