//! One HTTP/2 stream to an endpoint, for one exchange.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ::http::uri::{Authority, PathAndQuery, Scheme};
use ::http::{Request, Uri};
use h2::client::ResponseFuture;

use super::Head;
use super::trunk::{Place, Trunk};
use crate::h1::response;
use crate::http::{Exchange, Fields, Framing, Method, Reason, RequestHead, ResponseHead, Version, forwarded};
use crate::proxy::h2::{Incoming, Map, Outgoing, WriteError, read_fields};

/// A stream, before and after its request was sent. Dropped before its end, it is reset.
#[derive(Debug)]
pub struct H2Link {
    place: Place,
    response: Option<ResponseFuture>,
    incoming: Option<Incoming>,
    outgoing: Outgoing,
    /// Why the request could not be sent.
    unsendable: Option<Reason>,
    /// Whether the endpoint can not have seen the request or has said that it did nothing with it.
    untouched: bool,
    /// Whether the connection, not the endpoint, is what refused it.
    stale: bool,
    none: Fields,
}

impl H2Link {
    /// A place for one stream on a connection.
    pub fn new(trunk: Rc<Trunk>) -> H2Link {
        let place = Place::take(trunk);
        H2Link {
            stale: place.was_idle,
            place,
            response: None,
            incoming: None,
            outgoing: Outgoing::default(),
            unsendable: None,
            untouched: true,
            none: Fields::default(),
        }
    }

    /// Sends the head of a request; what fails shows in [`H2Link::poll_head`].
    pub fn send_head(&mut self, exchange: &Exchange, host: &[u8]) {
        let Some(request) = request(exchange, host, self.place.scheme()) else {
            self.unsendable = Some(Reason::BadRequestTarget);
            return;
        };
        let ends = exchange.request.framing.is_empty();
        match self.place.sender().send_request(request, ends) {
            Ok((response, stream)) => {
                self.response = Some(response);
                self.outgoing = if ends { Outgoing::ended(stream) } else { Outgoing::new(stream) };
                self.untouched = false;
            }
            Err(error) => {
                // The connection was fit a moment ago: it has ended since.
                tracing::debug!(%error, "the request could not be sent");
                self.stale = true;
                self.unsendable = Some(Reason::UpstreamReset);
            }
        }
    }

    /// Whether the endpoint may have closed the connection before it saw this request.
    pub fn is_reused(&self) -> bool {
        self.stale
    }

    /// Whether nothing was done with this request.
    pub fn is_unsent(&self) -> bool {
        self.untouched
    }

    /// Whether any byte of an answer has come.
    pub fn is_answered(&self) -> bool {
        self.place.answered
    }

    /// Reads the next head, interim or final, into `head`.
    pub fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        method: Method,
        head: &mut ResponseHead,
    ) -> Poll<Result<Head, Reason>> {
        if let Some(reason) = self.unsendable {
            return Poll::Ready(Err(reason));
        }
        let Some(response) = &mut self.response else { return Poll::Ready(Err(Reason::UpstreamReset)) };
        match ready!(response.poll_informational(context)) {
            Some(Ok(interim)) => {
                self.place.hear();
                let (parts, ()) = interim.into_parts();
                return Poll::Ready(read_head(&parts, method, head).map(|()| Head::Interim));
            }
            Some(Err(error)) => return Poll::Ready(Err(self.lost(&error))),
            None => {}
        }
        match ready!(Pin::new(response).poll(context)) {
            Ok(answer) => {
                self.place.hear();
                let (parts, body) = answer.into_parts();
                let ended = body.is_end_stream();
                read_head(&parts, method, head)?;
                // What an endpoint sends to HEAD, or with 204 and 304, is not looked at.
                self.incoming = (head.framing != Framing::None).then(|| Incoming::new(body));
                if head.framing == Framing::UntilClose {
                    // The stream shows where the body ends, as chunks would.
                    head.framing = if ended { Framing::Length(0) } else { Framing::Chunked };
                }
                Poll::Ready(Ok(Head::Final))
            }
            Err(error) => Poll::Ready(Err(self.lost(&error))),
        }
    }

    /// What it means that the stream was lost before its answer.
    fn lost(&mut self, error: &h2::Error) -> Reason {
        tracing::debug!(%error, "a stream to the endpoint was lost");
        if error.is_go_away() && error.is_remote() {
            // Streams that the endpoint has taken are finished; this one was opened after the last
            // one that it has taken (RFC 9113 §6.8).
            (self.untouched, self.stale) = (true, true);
            return Reason::UpstreamReset;
        }
        if error.is_reset() && error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM) {
            // RFC 9113 §8.7: nothing was done with it.
            (self.untouched, self.stale) = (true, false);
            return Reason::RefusedStream;
        }
        if self.place.is_flooded() {
            return Reason::UpstreamH2Flood;
        }
        if error.is_library() { Reason::UpstreamH2 } else { Reason::UpstreamReset }
    }

    /// Ready when payload of the answer is there.
    pub fn poll_payload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(Ok(())) };
        let place = &self.place;
        incoming.poll(context).map_err(|error| {
            tracing::debug!(%error, "the answer was broken off");
            if place.is_flooded() {
                return Reason::UpstreamH2Flood;
            }
            if error.is_library() { Reason::UpstreamH2 } else { Reason::UpstreamTruncated }
        })
    }

    /// The payload that is ready.
    pub fn payload(&self) -> &[u8] {
        self.incoming.as_ref().map_or(&[], Incoming::payload)
    }

    /// Drops payload from the front.
    pub fn consume(&mut self, count: usize) {
        if let Some(incoming) = &mut self.incoming {
            incoming.consume(count);
        }
    }

    /// Trailer fields of the answer.
    pub fn trailers(&self) -> &Fields {
        self.incoming.as_ref().map_or(&self.none, Incoming::trailers)
    }

    /// Takes payload of the request.
    pub fn poll_take(&mut self, context: &mut Context<'_>, payload: &[u8]) -> Poll<Result<usize, Reason>> {
        self.outgoing.poll_take(context, payload).map_err(unwritten)
    }

    /// Hands on what was taken.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        self.outgoing.poll_flush(context).map_err(unwritten)
    }

    /// Ends the request.
    pub fn poll_finish(&mut self, context: &mut Context<'_>, trailers: &Fields) -> Poll<Result<(), Reason>> {
        self.outgoing.poll_finish(context, trailers).map_err(unwritten)
    }
}

fn unwritten(error: WriteError) -> Reason {
    tracing::debug!(%error, "writing to the endpoint failed");
    Reason::UpstreamReset
}

/// The head of the request that goes to the endpoint; `None` when its target can not be written.
fn request(exchange: &Exchange, host: &[u8], scheme: Scheme) -> Option<Request<()>> {
    let head = &exchange.request;
    let mut map = Map::default();
    forwarded::request_fields(exchange, |name, value| map.put(name, value));
    if let Framing::Length(length) = head.framing {
        map.put(b"content-length", length.to_string().as_bytes());
    }
    let mut parts = ::http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(Authority::try_from(host).ok()?);
    parts.path_and_query = Some(path_and_query(head)?);
    let mut request = Request::new(());
    *request.method_mut() = ::http::Method::from_bytes(head.method_text()).ok()?;
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    *request.headers_mut() = map.0;
    Some(request)
}

fn path_and_query(head: &RequestHead) -> Option<PathAndQuery> {
    let mut text = Vec::with_capacity(head.path().len() + 1 + head.query().map_or(0, <[u8]>::len));
    text.extend_from_slice(head.path());
    if let Some(query) = head.query() {
        text.push(b'?');
        text.extend_from_slice(query);
    }
    PathAndQuery::try_from(text.as_slice()).or_else(|_| PathAndQuery::try_from(escaped(&text))).ok()
}

/// The same target with bytes escaped that no URI may hold as they are (RFC 3986 §2), but which
/// clients send.
fn escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 8);
    for byte in text {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                out.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
            _ => out.push(*byte),
        }
    }
    out
}

/// What HTTP/1.1 adds to the size of each field.
const LINE: usize = ": \r\n".len();

fn read_head(parts: &::http::response::Parts, method: Method, head: &mut ResponseHead) -> Result<(), Reason> {
    head.clear();
    head.status = parts.status.as_u16();
    head.version = Version::Http2;
    let size = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + LINE);
    if parts.headers.len() > response::MAX_FIELDS || size.sum::<usize>() > response::MAX_HEAD {
        return Err(Reason::ResponseHeaderTooLarge);
    }
    match head.status {
        // RFC 9113 §8.6: HTTP/2 has no 101.
        101 => return Err(Reason::UnexpectedUpgrade),
        100..=599 => {}
        _ => return Err(Reason::BadResponseHead),
    }
    read_fields(&parts.headers, &mut head.fields);
    head.framing = response::framing(head, method)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_no_uri_is_escaped_and_any_other_is_left_alone() {
        let target = |path: &[u8], query: Option<&[u8]>| {
            let mut head = RequestHead::default();
            head.path = head.fields.append(path);
            head.query = query.map(|query| head.fields.append(query));
            path_and_query(&head).unwrap().to_string()
        };
        assert_eq!(target(b"/a%2Fb", Some(b"x=%zz&y")), "/a%2Fb?x=%zz&y");
        assert_eq!(target(b"/a", Some(b"")), "/a?");
        assert_eq!(target(b"*", None), "*");
        assert_eq!(target(b"/a<b", Some(b"<`>")), "/a%3Cb?%3C%60%3E");
    }
}
