//! What the library refused by itself, in the log and in the metrics.
//!
//! It tells neither the method nor the path of such a request, only what it did: the frames that it
//! wrote show it. So the lines name the client, the reason and the status.

use super::Conversation;
use crate::http::Reason;
use crate::net::flood::{Refused, Useless};
use crate::proxy;

/// ENHANCE_YOUR_CALM (RFC 9113 §7).
const CALM: u32 = 11;

/// Notes the streams that were refused before they were given to us.
pub(super) fn refused(conversation: &Conversation<'_>) {
    while let Some(refused) = conversation.gauge.next_refused() {
        let reason = match refused {
            Refused::TooLarge => Reason::HeaderTooLarge,
            Refused::Malformed => Reason::BadRequestPseudo,
        };
        note(conversation, reason);
    }
}

/// Notes a connection that was ended for what the client did.
pub(super) fn ended(conversation: &Conversation<'_>) {
    refused(conversation);
    let flood = conversation.gauge.flood();
    match (flood, conversation.gauge.ended()) {
        (Some(kind), _) | (None, Some((CALM, kind))) => calm(conversation, kind),
        (None, Some((code, _))) => {
            tracing::debug!(client = %conversation.peer.address, code, "an HTTP/2 connection broke a rule");
            note(conversation, Reason::BadRequestH2);
        }
        (None, None) => {}
    }
}

fn calm(conversation: &Conversation<'_>, kind: Useless) {
    tracing::debug!(client = %conversation.peer.address, kind = kind.name(), "an HTTP/2 client floods");
    conversation.worker.shard.flood(kind);
    note(conversation, Reason::H2Flood);
}

fn note(conversation: &Conversation<'_>, reason: Reason) {
    let Conversation { worker, listener, peer, .. } = conversation;
    let mut room = worker.room();
    room.exchange.client = *peer;
    room.exchange.request.version = crate::http::Version::Http2;
    proxy::note(worker, listener, &mut room, reason);
    worker.give_back(room);
}
