//! What the library refused by itself, in the log and in the metrics.
//!
//! It tells neither the method nor the path of such a request, only what it did: the frames that it
//! wrote show it. So the lines name the client, the reason and the status.

use super::Conversation;
use crate::http::{Client, Reason, Version};
use crate::net::flood::{Refused, Useless};
use crate::proxy::{self, Worker};
use crate::snapshot::Listener;

/// ENHANCE_YOUR_CALM (RFC 9113 §7).
const CALM: u32 = 11;

/// Notes the streams that were refused before they were given to us.
pub(super) fn refused(conversation: &Conversation<'_>) {
    while let Some(refused) = conversation.gauge.next_refused() {
        let reason = match refused {
            Refused::TooLarge => Reason::HeaderTooLarge,
            Refused::Malformed => Reason::BadRequestPseudo,
        };
        note(conversation.worker, &conversation.listener, conversation.peer.clone(), reason);
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
            note(
                conversation.worker,
                &conversation.listener,
                conversation.peer.clone(),
                Reason::BadRequestH2,
            );
        }
        (None, None) => {}
    }
}

fn calm(conversation: &Conversation<'_>, kind: Useless) {
    tracing::debug!(client = %conversation.peer.address, kind = kind.name(), "an HTTP/2 client floods");
    conversation.worker.shard.flood(kind);
    note(conversation.worker, &conversation.listener, conversation.peer.clone(), Reason::H2Flood);
}

/// Writes the line and counts the reason.
pub(super) fn note(worker: &Worker, listener: &Listener, peer: Client, reason: Reason) {
    let mut room = worker.room();
    room.exchange.client = peer;
    room.exchange.request.version = Version::Http2;
    proxy::note(worker, listener, &mut room, reason);
    worker.give_back(room);
}
