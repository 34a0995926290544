//! Series as text.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;

use super::figures::{EndpointFigures, Figures, Health};
use super::names::Label;
use super::shard::{Handshake, ListenerTotals, Resumption, RouteTotals, Shard};
use super::useless::Useless;

/// The media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// All that one scrape tells.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) shards: Vec<Arc<Shard>>,
    pub(super) reasons: Vec<&'static str>,
    pub(super) routes: Vec<Label>,
    pub(super) listeners: Vec<Label>,
    pub(super) figures: Figures,
}

impl Scrape {
    /// The text, complete with its end mark.
    pub(super) fn into_text(self) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Only the writer can fail, and a String takes everything.
        let _ = text::encode(&mut text, &registry);
        text
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = Families(&mut encoder);
        self.encode_routes(&mut out)?;
        self.encode_listeners(&mut out)?;
        self.encode_process(&mut out)?;
        self.encode_upstreams(&mut out)?;
        self.encode_discovery(&mut out)?;
        self.encode_endpoints(&mut out)
    }
}

impl Scrape {
    fn encode_routes(&self, out: &mut Families) -> fmt::Result {
        let totals: Vec<_> =
            self.routes.iter().map(|(number, name)| (&**name, self.route(*number))).collect();
        let mut family = out.counter("proxy_requests", "Requests by the class of the answer's status")?;
        for (route, totals) in &totals {
            for (class, count) in CLASSES.iter().zip(totals.classes) {
                family.counter(&[("route", route), ("class", class)], count)?;
            }
        }
        let mut family = out.histogram(
            "proxy_request_duration_seconds",
            "Time from the head of a request to the last byte of its answer",
        )?;
        for (route, totals) in &totals {
            let durations = &totals.durations;
            let labels = [("route", *route)];
            let mut series = family.0.encode_family(&labels)?;
            let sum = durations.sum.as_secs_f64();
            series.encode_histogram::<NoLabelSet>(sum, durations.count(), &durations.bounded(), None)?;
        }
        let mut family = out.counter("proxy_received_bytes", "Bytes of requests")?;
        for (route, totals) in &totals {
            family.counter(&[("route", route)], totals.received)?;
        }
        let mut family = out.counter("proxy_sent_bytes", "Bytes of answers")?;
        for (route, totals) in &totals {
            family.counter(&[("route", route)], totals.sent)?;
        }
        Ok(())
    }

    fn encode_listeners(&self, out: &mut Families) -> fmt::Result {
        let totals: Vec<_> =
            self.listeners.iter().map(|(number, name)| (&**name, self.listener(*number))).collect();
        let mut family = out.counter("proxy_connections", "Connections of clients that were accepted")?;
        for (listener, totals) in &totals {
            family.counter(&[("listener", listener)], totals.accepted)?;
        }
        let mut family = out.gauge("proxy_connections_open", "Connections of clients that are open")?;
        for (listener, totals) in &totals {
            family.gauge(&[("listener", listener)], totals.open)?;
        }
        let mut family = out.counter("proxy_tls_handshakes", "TLS handshakes with clients")?;
        for (listener, totals) in &totals {
            for (handshake, count) in Handshake::ALL.into_iter().zip(totals.handshakes) {
                let [result, version, resumed] = handshake_labels(handshake);
                family.counter(&[("listener", listener), result, version, resumed], count)?;
            }
        }
        Ok(())
    }

    fn encode_process(&self, out: &mut Families) -> fmt::Result {
        let figures = &self.figures;
        let running: u64 = self.shards.iter().map(|shard| shard.running()).sum();
        out.gauge("proxy_requests_in_flight", "Requests that are being answered")?.gauge(&[], running)?;
        let mut family = out.counter("proxy_replies", "Answers that the proxy made itself, by reason")?;
        for (index, reason) in self.reasons.iter().enumerate() {
            let count = self.shards.iter().map(|shard| shard.answers(index)).sum();
            family.counter(&[("reason", reason)], count)?;
        }
        let mut family =
            out.counter("proxy_floods", "HTTP/2 connections of clients that were ended for a flood")?;
        for kind in Useless::ALL {
            let count = self.shards.iter().map(|shard| shard.floods(kind)).sum();
            family.counter(&[("kind", kind.name())], count)?;
        }
        let mut family = out.counter("proxy_reloads", "Reloads of the configuration by result")?;
        family.counter(&[("result", "success")], figures.reloads_succeeded)?;
        family.counter(&[("result", "failure")], figures.reloads_failed)?;
        out.gauge("proxy_configuration_generation", "Number of the current configuration")?
            .gauge(&[], figures.generation)?;
        out.gauge("proxy_configuration_age_seconds", "Time since the current configuration came into force")?
            .seconds(figures.configuration_age.as_secs_f64())?;
        if let Some(expiry) = figures.certificate_expiry {
            let at = expiry.duration_since(UNIX_EPOCH).unwrap_or_default();
            out.gauge(
                "proxy_certificate_expiry_timestamp_seconds",
                "When the first certificate expires, in seconds since 1970",
            )?
            .gauge(&[], at.as_secs())?;
        }
        let mut family = out.gauge("proxy_tls_handshakes_running", "TLS handshakes with clients that run")?;
        for of in &figures.handshakes {
            family.gauge(&[("listener", &of.listener)], of.running)?;
        }
        let mut family = out
            .gauge("proxy_tls_handshakes_waiting", "TLS handshakes that wait for a place (max_handshakes)")?;
        for of in &figures.handshakes {
            family.gauge(&[("listener", &of.listener)], of.waiting)?;
        }
        out.counter("proxy_access_lines_dropped", "Lines of the access log that were lost")?
            .counter(&[], figures.access_lines_dropped)?;
        out.counter("proxy_log_lines_dropped", "Lines of the proxy's own log that were lost")?
            .counter(&[], figures.log_lines_dropped)
    }

    fn encode_upstreams(&self, out: &mut Families) -> fmt::Result {
        let upstreams = &self.figures.upstreams;
        let mut family = out.counter("proxy_retries", "Attempts after the first one of a request")?;
        for upstream in upstreams {
            family.counter(&[("upstream", &upstream.name)], upstream.retries)?;
        }
        let mut family = out.counter("proxy_retries_refused", "Retries that the budget refused")?;
        for upstream in upstreams {
            family.counter(&[("upstream", &upstream.name)], upstream.retries_refused)?;
        }
        let mut family =
            out.gauge("proxy_upstream_panic", "1 while health is ignored as too few endpoints are fit")?;
        for upstream in upstreams {
            family.gauge(&[("upstream", &upstream.name)], u64::from(upstream.panic))?;
        }
        Ok(())
    }

    fn encode_discovery(&self, out: &mut Families) -> fmt::Result {
        let sources = || {
            let upstreams = self.figures.upstreams.iter();
            upstreams.filter_map(|upstream| Some((&*upstream.name, upstream.discovery.as_ref()?)))
        };
        let mut family =
            out.gauge("proxy_discovery_failing", "1 while the source of endpoints does not answer")?;
        for (upstream, source) in sources() {
            family.gauge(&[("upstream", upstream)], u64::from(source.is_failing))?;
        }
        let mut family =
            out.gauge("proxy_discovery_age_seconds", "Time since the last good answer of the source")?;
        for (upstream, source) in sources() {
            if let Some(age) = source.age {
                family.0.encode_family(&[("upstream", upstream)])?.encode_gauge(&age.as_secs_f64())?;
            }
        }
        let mut family = out.gauge("proxy_discovery_endpoints", "Endpoints that the source has found")?;
        for (upstream, source) in sources() {
            family.gauge(&[("upstream", upstream)], source.endpoints)?;
        }
        let mut family =
            out.gauge("proxy_discovery_unusable", "Entries of the last answer that are no endpoints")?;
        for (upstream, source) in sources() {
            family.gauge(&[("upstream", upstream)], source.unusable)?;
        }
        let mut family = out.counter("proxy_discovery_updates", "Answers that changed the endpoints")?;
        for (upstream, source) in sources() {
            family.counter(&[("upstream", upstream)], source.updates)?;
        }
        let mut family = out.counter("proxy_discovery_failures", "Failures of the source by reason")?;
        for (upstream, source) in sources() {
            for (reason, count) in &source.failures {
                family.counter(&[("upstream", upstream), ("reason", reason)], *count)?;
            }
        }
        Ok(())
    }

    fn encode_endpoints(&self, out: &mut Families) -> fmt::Result {
        let endpoints = self.endpoints();
        let mut family = out.counter("proxy_attempts", "Requests that were sent to an endpoint")?;
        for ((upstream, endpoint), totals) in &endpoints {
            family.counter(&[("upstream", upstream), ("endpoint", endpoint)], totals.attempts)?;
        }
        let mut family = out.counter("proxy_attempts_failed", "Attempts without a good answer")?;
        for ((upstream, endpoint), totals) in &endpoints {
            family.counter(&[("upstream", upstream), ("endpoint", endpoint)], totals.failures)?;
        }
        let mut family = out.gauge("proxy_attempts_in_flight", "Attempts that are running")?;
        for ((upstream, endpoint), totals) in &endpoints {
            family.gauge(&[("upstream", upstream), ("endpoint", endpoint)], totals.in_flight)?;
        }
        let mut family = out.counter("proxy_ejections", "Times that an endpoint was ejected")?;
        for ((upstream, endpoint), totals) in &endpoints {
            family.counter(&[("upstream", upstream), ("endpoint", endpoint)], totals.ejections)?;
        }
        let mut family = out.gauge("proxy_endpoints", "Endpoints of that name, by state")?;
        for ((upstream, endpoint), totals) in &endpoints {
            for (state, count) in Health::ALL.iter().zip(totals.states) {
                let labels = [("upstream", *upstream), ("endpoint", *endpoint), ("state", state.name())];
                family.gauge(&labels, count)?;
            }
        }
        Ok(())
    }

    fn route(&self, number: u32) -> RouteTotals {
        let mut totals = RouteTotals::default();
        self.shards.iter().for_each(|shard| shard.add_route(number, &mut totals));
        totals
    }

    fn listener(&self, number: u32) -> ListenerTotals {
        let mut totals = ListenerTotals::default();
        self.shards.iter().for_each(|shard| shard.add_listener(number, &mut totals));
        totals
    }

    /// Endpoints by upstream and name. A name may be there twice, a series may not.
    fn endpoints(&self) -> BTreeMap<(&str, &str), EndpointTotals> {
        let mut endpoints: BTreeMap<_, EndpointTotals> = BTreeMap::new();
        for upstream in &self.figures.upstreams {
            for endpoint in &upstream.endpoints {
                endpoints.entry((&*upstream.name, &*endpoint.name)).or_default().add(endpoint);
            }
        }
        endpoints
    }
}

/// Endpoints of one name, added up.
#[derive(Debug, Default)]
struct EndpointTotals {
    states: [u64; Health::ALL.len()],
    in_flight: u64,
    attempts: u64,
    failures: u64,
    ejections: u64,
}

impl EndpointTotals {
    fn add(&mut self, endpoint: &EndpointFigures) {
        for (total, state) in self.states.iter_mut().zip(Health::ALL) {
            *total += u64::from(state == endpoint.health);
        }
        self.in_flight += endpoint.in_flight;
        self.attempts += endpoint.attempts;
        self.failures += endpoint.failures;
        self.ejections += endpoint.ejections;
    }
}

/// The labels of a handshake; a handshake that failed has neither version nor session.
fn handshake_labels(handshake: Handshake) -> [(&'static str, &'static str); 3] {
    let (result, version, resumed) = match handshake {
        Handshake::Done(version, Resumption::Full) => ("success", version.name(), "false"),
        Handshake::Done(version, Resumption::Resumed) => ("success", version.name(), "true"),
        Handshake::Failed => ("failure", "", ""),
        Handshake::TimedOut => ("timeout", "", ""),
    };
    [("result", result), ("version", version), ("resumed", resumed)]
}

/// Begins families.
struct Families<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Families<'_, '_> {
    /// Begins a counter; the series get `_total` at the end of their name.
    fn counter<'s>(&'s mut self, name: &'s str, help: &str) -> Result<Family<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Counter).map(Family)
    }

    fn gauge<'s>(&'s mut self, name: &'s str, help: &str) -> Result<Family<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge).map(Family)
    }

    fn histogram<'s>(&'s mut self, name: &'s str, help: &str) -> Result<Family<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Histogram).map(Family)
    }
}

/// Writes the series of one family.
struct Family<'a>(MetricEncoder<'a>);

impl Family<'_> {
    fn counter(&mut self, labels: &[(&str, &str)], value: u64) -> fmt::Result {
        if labels.is_empty() {
            return self.0.encode_counter::<NoLabelSet, u64, u64>(&value, None);
        }
        self.0.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&value, None)
    }

    fn gauge(&mut self, labels: &[(&str, &str)], value: u64) -> fmt::Result {
        if labels.is_empty() {
            return self.0.encode_gauge(&value);
        }
        self.0.encode_family(&labels)?.encode_gauge(&value)
    }

    fn seconds(&mut self, value: f64) -> fmt::Result {
        self.0.encode_gauge(&value)
    }
}
