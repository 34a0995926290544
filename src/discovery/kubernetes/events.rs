//! The events of a watch, one JSON object in each line.

use http_body_util::BodyExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::WatchEvent;
use kube::client::Body;
use tokio::task::consume_budget;

use super::super::client::{LineBuffer, bounded};
use super::super::{Failure, Kind};
use super::cluster;

/// A watch that is being read.
pub(super) struct Events {
    body: Body,
    lines: LineBuffer,
}

impl Events {
    pub(super) fn new(body: Body) -> Events {
        Events { body, lines: LineBuffer::default() }
    }

    /// The next event; `None` when the watch ends. Cancel-safe; the deadline is the caller's.
    pub(super) async fn next(&mut self) -> Result<Option<WatchEvent<EndpointSlice>>, Failure> {
        // Events that have come do not wait, so a burst of them would hold the thread.
        consume_budget().await;
        loop {
            if let Some(line) = self.lines.line()? {
                if line.is_empty() {
                    continue;
                }
                return read(&line).map(Some);
            }
            let Some(frame) = self.body.frame().await else {
                // A line that was cut off is no event; the next watch tells it again.
                return Ok(None);
            };
            let frame = frame.map_err(|error| cluster::broken("the watch broke", error.into()))?;
            if let Ok(data) = frame.into_data() {
                self.lines.push(&data);
            }
        }
    }
}

fn read(line: &[u8]) -> Result<WatchEvent<EndpointSlice>, Failure> {
    bounded(line)?;
    serde_json::from_slice(line)
        .map_err(|error| Failure::because(Kind::Invalid, "what the watch tells is no event", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_are_read_line_by_line_until_the_end() {
        let text = concat!(
            r#"{"type":"ADDED","object":{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","#,
            r#""metadata":{"name":"a"},"addressType":"IPv4","endpoints":null,"ports":null}}"#,
            "\n",
            r#"{"type":"BOOKMARK","object":{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","#,
            r#""metadata":{"resourceVersion":"7"}}}"#,
            "\n",
            r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"old"}}"#,
            "\n{\"type\":\"ADD",
        );
        let mut events = Events::new(Body::from(text.as_bytes().to_vec()));
        assert!(matches!(events.next().await.unwrap(), Some(WatchEvent::Added(_))));
        assert!(matches!(events.next().await.unwrap(), Some(WatchEvent::Bookmark(_))));
        match events.next().await.unwrap() {
            Some(WatchEvent::Error(status)) => assert_eq!(status.code, 410),
            other => panic!("{other:?}"),
        }
        assert!(events.next().await.unwrap().is_none(), "half a line at the end is no event");
    }

    #[tokio::test]
    async fn a_burst_of_events_lets_others_have_their_turn() {
        let event = r#"{"type":"BOOKMARK","object":{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{"resourceVersion":"7"}}}"#;
        let mut events = Events::new(Body::from(format!("{event}\n").repeat(1000).into_bytes()));
        let other = tokio::spawn(async {});
        let mut read = 0;
        while !other.is_finished() && events.next().await.unwrap().is_some() {
            read += 1;
        }
        assert!(read < 1000, "all were read first");
    }

    #[tokio::test]
    async fn what_is_no_event_is_a_failure() {
        for text in ["nonsense\n", "{}\n", "{\"type\":\"MOVED\",\"object\":{}}\n"] {
            let mut events = Events::new(Body::from(text.as_bytes().to_vec()));
            assert_eq!(events.next().await.unwrap_err().kind, Kind::Invalid, "{text}");
        }
    }
}
