//! What a message says about a name: pure.

use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// How long the absence of a record holds when the answer does not say so.
const ABSENCE: Duration = Duration::from_secs(5);
/// Most names of a chain within one message.
const LONGEST_CHAIN: usize = 16;

/// What a message says.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// These are the records; for so long.
    Records(Vec<Record>, Duration),
    /// There are none; for so long.
    Nothing(Existence, Duration),
    /// It is called otherwise, for so long, and the rest is to be asked for.
    Alias(Name, Duration),
    /// Others would know.
    Referral,
    /// A chain of names without an end.
    Endless,
}

/// Whether a name without the wanted records exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existence {
    /// It has others.
    Exists,
    /// It does not (NXDOMAIN).
    Unknown,
}

/// Reads the answer to a question for records of this kind.
pub(super) fn read(message: &Message, asked: &Name, kind: RecordType) -> Said {
    let (mut name, mut ttl) = (asked.clone(), Duration::MAX);
    let mut links = 0;
    while let Some((target, lives)) = alias(message, &name) {
        (name, ttl) = (target, ttl.min(lives));
        links += 1;
        if links > LONGEST_CHAIN {
            return Said::Endless;
        }
    }
    let is_wanted = |record: &&Record| record.name == name && record.record_type() == kind;
    let records: Vec<Record> = message.answers.iter().filter(is_wanted).cloned().collect();
    if let Some(shortest) = records.iter().map(lives).min() {
        return Said::Records(records, ttl.min(shortest));
    }
    let absence = absence(message);
    // The name that does not exist is the last one of the chain (RFC 6604).
    if message.metadata.response_code == ResponseCode::NXDomain {
        return Said::Nothing(Existence::Unknown, ttl.min(absence.unwrap_or(ABSENCE)));
    }
    if absence.is_none() && links > 0 {
        return Said::Alias(name, ttl);
    }
    let refers = message.authorities.iter().any(|record| record.record_type() == RecordType::NS);
    match absence.is_none() && refers && !message.metadata.authoritative {
        true => Said::Referral,
        false => Said::Nothing(Existence::Exists, ttl.min(absence.unwrap_or(ABSENCE))),
    }
}

fn alias(message: &Message, name: &Name) -> Option<(Name, Duration)> {
    message.answers.iter().filter(|record| record.name == *name).find_map(|record| match &record.data {
        RData::CNAME(target) => Some((target.0.clone(), lives(record))),
        _ => None,
    })
}

/// RFC 2308 §5: the smaller one of the TTL and the last field of the SOA record.
fn absence(message: &Message) -> Option<Duration> {
    message.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(lives(record).min(Duration::from_secs(soa.minimum.into()))),
        _ => None,
    })
}

/// How long a record lives. RFC 2181 §8: with the highest bit set it is 0.
pub(super) fn lives(record: &Record) -> Duration {
    Duration::from_secs(if record.ttl > i32::MAX as u32 { 0 } else { record.ttl.into() })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::op::{MessageType, OpCode};
    use hickory_proto::rr::rdata::{A, CNAME, NS, SOA};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn a(owner: &str, ttl: u32) -> Record {
        Record::from_rdata(name(owner), ttl, RData::A(A(Ipv4Addr::LOCALHOST)))
    }

    fn cname(owner: &str, ttl: u32, target: &str) -> Record {
        Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
    }

    fn soa(ttl: u32, minimum: u32) -> Record {
        let soa = SOA::new(name("ns.test."), name("root.test."), 1, 1, 1, 1, minimum);
        Record::from_rdata(name("test."), ttl, RData::SOA(soa))
    }

    fn message(code: ResponseCode, answers: Vec<Record>, authorities: Vec<Record>) -> Message {
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        message.metadata.response_code = code;
        message.add_answers(answers);
        message.add_authorities(authorities);
        message
    }

    fn seconds(message: &Message) -> (usize, u64) {
        match read(message, &name("users.test."), RecordType::A) {
            Said::Records(records, ttl) => (records.len(), ttl.as_secs()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_shortest_time_to_live_of_the_chain_counts_in_whatever_order_it_comes() {
        let answers =
            vec![a("z.test.", 50), cname("y.test.", 20, "Z.test."), cname("users.test.", 90, "y.test.")];
        assert_eq!(seconds(&message(ResponseCode::NoError, answers, vec![])), (1, 20));
        let answers = vec![a("users.test.", 50), a("other.test.", 1), a("users.test.", 40)];
        assert_eq!(seconds(&message(ResponseCode::NoError, answers, vec![])), (2, 40));
        let answers = vec![a("users.test.", u32::MAX)];
        assert_eq!(seconds(&message(ResponseCode::NoError, answers, vec![])), (1, 0));
    }

    #[test]
    fn a_chain_that_leads_elsewhere_is_followed() {
        let answers = vec![cname("users.test.", 7, "cdn.example.")];
        let said =
            read(&message(ResponseCode::NoError, answers, vec![]), &name("users.test."), RecordType::A);
        assert_eq!(said, Said::Alias(name("cdn.example."), Duration::from_secs(7)));
    }

    #[test]
    fn a_chain_in_a_circle_ends() {
        let answers = vec![cname("users.test.", 7, "b.test."), cname("b.test.", 7, "users.test.")];
        let said =
            read(&message(ResponseCode::NoError, answers, vec![]), &name("users.test."), RecordType::A);
        assert_eq!(said, Said::Endless);
    }

    #[test]
    fn absence_lives_as_long_as_the_authority_says() {
        let read = |code, answers, authorities| {
            read(&message(code, answers, authorities), &name("users.test."), RecordType::A)
        };
        let nothing = |existence, seconds| Said::Nothing(existence, Duration::from_secs(seconds));
        let (ok, unknown) = (ResponseCode::NoError, ResponseCode::NXDomain);
        assert_eq!(read(unknown, vec![], vec![soa(60, 30)]), nothing(Existence::Unknown, 30));
        assert_eq!(read(ok, vec![], vec![soa(20, 30)]), nothing(Existence::Exists, 20));
        assert_eq!(read(ok, vec![], vec![]), nothing(Existence::Exists, 5));
        let chain = vec![cname("users.test.", 7, "b.test.")];
        assert_eq!(read(unknown, chain.clone(), vec![soa(60, 30)]), nothing(Existence::Unknown, 7));
        assert_eq!(read(ok, chain, vec![soa(60, 30)]), nothing(Existence::Exists, 7));
    }

    #[test]
    fn a_server_that_knows_others_only_has_not_answered() {
        let ns = Record::from_rdata(name("test."), 60, RData::NS(NS(name("ns.test."))));
        let said =
            read(&message(ResponseCode::NoError, vec![], vec![ns]), &name("users.test."), RecordType::A);
        assert_eq!(said, Said::Referral);
    }
}
