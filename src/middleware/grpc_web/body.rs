//! The bodies of gRPC-Web: base64 in text mode, and trailers as the last frame of an answer.

use super::base64::{Decoder, Encoder, Invalid};
use crate::http::exchange::GrpcWeb as Form;
use crate::http::recode::Recode;
use crate::http::{Fields, Reason};

/// The flag of the frame that holds trailers.
const TRAILERS: u8 = 0x80;

impl From<Invalid> for Reason {
    fn from(Invalid: Invalid) -> Reason {
        Reason::BadGrpcWeb
    }
}

/// A request in base64.
#[derive(Debug, Default)]
pub(super) struct TextRequest {
    decoder: Decoder,
}

impl Recode for TextRequest {
    fn piece(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
        Ok(self.decoder.feed(piece, out)?)
    }

    fn end(&mut self, _: &Fields, _: &mut Vec<u8>) -> Result<(), Reason> {
        if self.decoder.is_whole() { Ok(()) } else { Err(Reason::BadGrpcWeb) }
    }

    fn may_end(&self) -> bool {
        false
    }
}

/// An answer, which passes as it is or in base64, with its trailers at the end.
#[derive(Debug)]
pub(super) struct Answer {
    form: Form,
    encoder: Encoder,
    frames: Frames,
    /// The status, when the head of the answer had it.
    status: Fields,
}

impl Answer {
    /// An answer in this form; `status` is what its head told.
    pub(super) fn new(form: Form, status: Fields) -> Answer {
        Answer { form, encoder: Encoder::default(), frames: Frames::default(), status }
    }

    fn put(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.form {
            Form::Binary => out.extend_from_slice(bytes),
            Form::Text => self.encoder.feed(bytes, out),
        }
    }
}

impl Recode for Answer {
    fn piece(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
        self.frames.pass(piece);
        self.put(piece, out);
        if self.frames.is_between() {
            // A message that is there is shown, whenever the next one comes.
            self.encoder.pad(out);
        }
        Ok(())
    }

    fn end(&mut self, trailers: &Fields, out: &mut Vec<u8>) -> Result<(), Reason> {
        let mut text = Vec::new();
        for (_, name, value) in self.status.iter().chain(trailers.iter()) {
            text.extend(name.iter().map(u8::to_ascii_lowercase));
            text.extend_from_slice(b": ");
            text.extend_from_slice(value);
            text.extend_from_slice(b"\r\n");
        }
        // Bounded by the limits of a head, far below 4 GiB.
        let length = (text.len() as u32).to_be_bytes();
        self.encoder.pad(out);
        self.put(&[TRAILERS], out);
        self.put(&length, out);
        self.put(&text, out);
        self.encoder.pad(out);
        Ok(())
    }

    fn may_end(&self) -> bool {
        self.frames.is_between()
    }
}

/// Follows the frames of a body: a flag, four bytes of length, a message.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; 5],
    /// Bytes of the head that have come.
    known: usize,
    /// Bytes of the message that are still to come.
    left: u64,
}

impl Frames {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.known < self.head.len() {
                let room = &mut self.head[self.known..];
                let count = room.len().min(bytes.len());
                room[..count].copy_from_slice(&bytes[..count]);
                self.known += count;
                bytes = &bytes[count..];
                if self.known == self.head.len() {
                    let [_, length @ ..] = self.head;
                    self.left = u64::from(u32::from_be_bytes(length));
                }
            } else {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= count as u64;
                bytes = &bytes[count..];
            }
            if self.known == self.head.len() && self.left == 0 {
                self.known = 0;
            }
        }
    }

    /// Whether no frame has begun that has not ended.
    fn is_between(&self) -> bool {
        self.known == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &[u8]) -> Vec<u8> {
        [&[0][..], &(text.len() as u32).to_be_bytes(), text].concat()
    }

    fn trailers() -> Fields {
        let mut trailers = Fields::default();
        trailers.push(b"grpc-status", b"0");
        trailers.push(b"X-Trailer", b"1");
        trailers
    }

    /// What an answer becomes that comes in pieces of this size.
    fn recoded(form: Form, body: &[u8], size: usize) -> Vec<u8> {
        let (mut answer, mut out) = (Answer::new(form, Fields::default()), Vec::new());
        body.chunks(size).for_each(|piece| answer.piece(piece, &mut out).unwrap());
        answer.end(&trailers(), &mut out).unwrap();
        out
    }

    const LAST: &[u8] = b"\x80\0\0\0\x1egrpc-status: 0\r\nx-trailer: 1\r\n";

    #[test]
    fn trailers_are_the_last_frame_of_a_binary_answer() {
        let body = [message(b"hello"), message(b"")].concat();
        for size in 1..body.len() {
            assert_eq!(recoded(Form::Binary, &body, size), [&body, LAST].concat());
        }
    }

    #[test]
    fn each_message_of_a_text_answer_is_padded_by_itself() {
        let body = message(b"hello");
        for size in 1..body.len() {
            let text = recoded(Form::Text, &body, size);
            let (first, last) = text.split_at(16);
            assert_eq!(first, b"AAAAAAVoZWxsbw==", "in pieces of {size}");
            let (mut decoder, mut out) = (Decoder::default(), Vec::new());
            decoder.feed(last, &mut out).unwrap();
            assert!(decoder.is_whole());
            assert_eq!(out, LAST);
        }
    }

    #[test]
    fn an_answer_may_end_between_messages_only() {
        let mut answer = Answer::new(Form::Binary, Fields::default());
        let mut may_end = |piece: &[u8]| {
            answer.piece(piece, &mut Vec::new()).unwrap();
            answer.may_end()
        };
        assert!(may_end(b""));
        assert!(!may_end(b"\0\0\0\0\x02a"));
        assert!(may_end(b"b"));
        assert!(!may_end(b"\0"));
        assert!(may_end(b"\0\0\0\0"));
    }

    #[test]
    fn a_text_request_is_decoded_as_it_comes_and_must_be_whole() {
        let (mut request, mut out) = (TextRequest::default(), Vec::new());
        request.piece(b"AAAAAA", &mut out).unwrap();
        assert_eq!(out, b"\0\0\0");
        assert_eq!(request.end(&Fields::default(), &mut out), Err(Reason::BadGrpcWeb));
        request.piece(b"A=", &mut out).unwrap();
        assert_eq!(out, b"\0\0\0\0\0");
        request.end(&Fields::default(), &mut out).unwrap();
        assert_eq!(request.piece(b"!!!!", &mut out), Err(Reason::BadGrpcWeb));
    }
}
