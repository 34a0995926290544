//! What a gRPC call gets that another request does not: the deadline of its client, and a status
//! when its answer breaks off.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::attempt::Call;
use super::client::Client;
use super::pump::{Nothing, Pump};
use super::recoded::Recoded;
use super::worker::Room;
use crate::clock::{Millis, Stamp};
use crate::http::grpc::{self, Dialect};
use crate::http::{Fields, Framing, Reason};

/// How long a client may take to read the status of an answer that broke off.
const FAREWELL: Duration = Duration::from_secs(1);

/// The deadline of an exchange and what it means when it comes: the nearer one of the route's and,
/// for a gRPC call, the client's own.
pub(super) fn deadline(room: &Room, started: Stamp, limit: Option<Duration>) -> (Millis, Reason) {
    let begin = started.millis();
    let ours = begin.after(limit);
    let told = grpc::dialect(&room.exchange).and_then(|_| grpc::timeout(&room.exchange.request.fields));
    let theirs = begin.after(told);
    if theirs < ours { (theirs, Reason::ClientDeadline) } else { (ours, Reason::RequestDeadline) }
}

/// Ends a gRPC answer that has begun and can not go on with a status in its trailers, so that the
/// client learns more than that its stream was reset. `false` when the answer has to be broken off
/// visibly: it is no gRPC, or the client would take the status for a part of a message.
pub(super) async fn end<C: Client>(call: &mut Call<'_, C>, reason: Reason) -> bool {
    let exchange = &mut call.room.exchange;
    let is_told = match grpc::dialect(exchange) {
        // A call without END_STREAM in its head, whose length is not promised.
        Some(Dialect::Native) => {
            grpc::is_grpc(&exchange.response.fields) && exchange.response.framing == Framing::Chunked
        }
        Some(Dialect::Web) => exchange.download.as_ref().is_some_and(|recoder| recoder.may_end()),
        None => false,
    };
    if !is_told || reason == Reason::ClientClosed || reason == Reason::ClientStalled {
        return false;
    }
    let mut trailers = Fields::default();
    grpc::put_status(reason, &mut trailers);
    let mut last = Nothing(trailers);
    let mut body = Recoded { source: &mut last, recoder: exchange.download.as_deref_mut() };
    let now = call.worker.timers.now();
    let mut pump = Pump::starting_at(now);
    let due = now.after(Some(FAREWELL));
    poll_fn(|context| match pump.poll(context, &mut body, call.client) {
        Poll::Ready(sent) => Poll::Ready(sent.is_ok()),
        Poll::Pending => call.timer.poll(context, due).map(|()| false),
    })
    .await
}
