//! One HTTP/2 stream of a client: the client's side of one exchange.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason as Code, RecvStream};

use crate::clock::Timers;
use crate::h1::write::framing_for;
use crate::http::{Exchange, Fields, Framing, Name, Reason, ResponseHead, Version, forwarded};
use crate::proxy::h2::{Incoming, Map, Outgoing, WriteError};
use crate::proxy::pump::{Sink, Source};
use crate::proxy::{Client, Gone};

/// One stream. Dropped before its end, it is reset.
pub(super) struct Stream {
    respond: SendResponse<Bytes>,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Largest request body, in bytes.
    limit: u64,
}

impl Stream {
    pub(super) fn new(body: RecvStream, respond: SendResponse<Bytes>, limit: u64) -> Stream {
        Stream { respond, incoming: Incoming::new(body), outgoing: Outgoing::default(), limit }
    }

    fn poll_reset(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let reset = match self.outgoing.stream() {
            Some(stream) => stream.poll_reset(context),
            None => self.respond.poll_reset(context),
        };
        reset.map(drop)
    }
}

impl Client for Stream {
    fn interim(&mut self, exchange: &Exchange) {
        let head = head(&exchange.response, None);
        if let Err(error) = self.respond.send_informational(head) {
            tracing::debug!(%error, "an interim answer was not sent");
        }
    }

    fn respond(&mut self, exchange: &Exchange, _: &Timers) {
        let (request, response) = (&exchange.request, &exchange.response);
        let framing = framing_for(Version::Http2, request.method, response.status, response.framing);
        let told = response.fields.get(Name::ContentLength);
        let counted;
        let length = match framing {
            Framing::Length(length) if told.is_some() || length > 0 => {
                counted = length.to_string();
                Some(counted.as_bytes())
            }
            Framing::None if response.status == 204 => None,
            Framing::None => told,
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose | Framing::Tunnel => None,
        };
        let ends = framing.is_empty();
        match self.respond.send_response(head(response, length), ends) {
            Ok(stream) if ends => self.outgoing = Outgoing::ended(stream),
            Ok(stream) => self.outgoing = Outgoing::new(stream),
            // Nothing can be written then, which the first write tells.
            Err(error) => tracing::debug!(%error, "the answer could not begin"),
        }
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<Gone> {
        self.poll_reset(context).map(|()| Gone::Away)
    }

    fn is_request_read(&self) -> bool {
        self.incoming.is_done()
    }

    fn abort(&mut self) {
        self.respond.send_reset(Code::INTERNAL_ERROR);
    }
}

/// The head of an answer, without what speaks of a connection.
fn head(response: &ResponseHead, length: Option<&[u8]>) -> ::http::Response<()> {
    let mut map = Map::default();
    forwarded::response_fields(response, |name, value| map.put(name, value));
    if let Some(length) = length {
        map.put(b"content-length", length);
    }
    // RFC 9113 §8.2.2 knows no Upgrade, not even with 426.
    map.0.remove(::http::header::UPGRADE);
    let mut head = ::http::Response::new(());
    // RFC 8441 §5: a tunnel opens with 200.
    let status = if response.framing == Framing::Tunnel { 200 } else { response.status };
    *head.status_mut() = ::http::StatusCode::from_u16(status).unwrap_or(::http::StatusCode::BAD_GATEWAY);
    *head.headers_mut() = map.0;
    head
}

impl Source for Stream {
    fn poll_payload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        // Payload that the endpoint has not taken yet: a client that goes meanwhile is only seen
        // by looking for it.
        if !self.incoming.payload().is_empty() && self.poll_reset(context).is_ready() {
            return Poll::Ready(Err(Reason::ClientClosed));
        }
        let read = ready!(self.incoming.poll(context));
        if self.incoming.size() > self.limit {
            return Poll::Ready(Err(Reason::BodyTooLarge));
        }
        Poll::Ready(read.map_err(|error| {
            tracing::debug!(%error, "the request body was broken off");
            // The library resets a stream itself when its body is not what its head has promised.
            if error.is_library() { Reason::BadRequestFraming } else { Reason::ClientClosed }
        }))
    }

    fn payload(&self) -> &[u8] {
        self.incoming.payload()
    }

    fn consume(&mut self, count: usize) {
        self.incoming.consume(count);
    }

    fn trailers(&self) -> &Fields {
        self.incoming.trailers()
    }
}

impl Sink for Stream {
    fn poll_take(&mut self, context: &mut Context<'_>, payload: &[u8]) -> Poll<Result<usize, Reason>> {
        self.outgoing.poll_take(context, payload).map_err(gone)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        self.outgoing.poll_flush(context).map_err(gone)
    }

    fn poll_finish(&mut self, context: &mut Context<'_>, trailers: &Fields) -> Poll<Result<(), Reason>> {
        self.outgoing.poll_finish(context, trailers).map_err(gone)
    }
}

fn gone(error: WriteError) -> Reason {
    tracing::debug!(%error, "writing to the client failed");
    Reason::ClientClosed
}
