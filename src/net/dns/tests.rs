//! Questions to small servers on loopback, which answer what a case wants.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use super::setup::with_servers;
use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Udp,
    Tcp,
}

type Asked = Arc<Mutex<Vec<(String, RecordType, Over)>>>;

/// A server, which ends with it.
struct Small {
    address: SocketAddr,
    asked: Asked,
    _tasks: JoinSet<()>,
}

impl Small {
    /// Answers as `answer` changes the empty answer; does not when it returns false.
    async fn start(answer: impl Fn(&Message, &mut Message, Over) -> bool + Send + Sync + 'static) -> Small {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let (asked, answer) = (Asked::default(), Arc::new(answer));
        let reply = {
            let asked = asked.clone();
            move |bytes: &[u8], over| {
                let question = Message::from_vec(bytes).unwrap();
                let query = &question.queries[0];
                asked.lock().unwrap().push((query.name().to_ascii(), query.query_type(), over));
                let mut message = question.clone().into_response();
                message.edns = None;
                answer(&question, &mut message, over).then(|| message.to_vec().unwrap())
            }
        };
        let mut tasks = JoinSet::new();
        let over_udp = reply.clone();
        tasks.spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
                if let Some(bytes) = over_udp(&buffer[..length], Over::Udp) {
                    udp.send_to(&bytes, from).await.unwrap();
                }
            }
        });
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut question).await.unwrap();
                if let Some(bytes) = reply(&question, Over::Tcp) {
                    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
                    stream.write_all(&[&length, &*bytes].concat()).await.unwrap();
                }
            }
        });
        Small { address, asked, _tasks: tasks }
    }

    fn resolver(&self) -> Resolver {
        Resolver::new(Server::Ip(self.address))
    }

    fn asked(&self, kind: RecordType) -> usize {
        self.asked.lock().unwrap().iter().filter(|(_, asked, _)| *asked == kind).count()
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn a(owner: &str, ttl: u32, last: u8) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A(Ipv4Addr::new(127, 0, 0, last))))
}

fn aaaa(owner: &str) -> Record {
    Record::from_rdata(name(owner), 60, RData::AAAA(AAAA("::1".parse().unwrap())))
}

fn srv(priority: u16, weight: u16, target: &str) -> Record {
    Record::from_rdata(name("_http._tcp.test."), 60, RData::SRV(SRV::new(priority, weight, 80, name(target))))
}

fn kind(question: &Message) -> RecordType {
    question.queries[0].query_type()
}

fn ips(answer: &Answer<IpAddr>) -> Vec<String> {
    answer.records.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn both_families_count_in_whatever_order_they_come() {
    let server = Small::start(|question, answer, _| {
        match kind(question) {
            RecordType::A => answer.add_answers([a("users.test.", 9, 2), a("users.test.", 7, 1)]),
            _ => answer.add_answers([aaaa("users.test.")]),
        };
        true
    });
    let server = server.await;
    let answer = Host::new("users.test").ask(&server.resolver()).await.unwrap();
    assert_eq!(
        (ips(&answer), answer.ttl.as_secs()),
        (vec!["127.0.0.1".into(), "127.0.0.2".into(), "::1".into()], 7)
    );
}

#[tokio::test]
async fn a_family_that_fails_takes_nothing_away_while_the_other_one_answers() {
    let fails = Arc::new(Mutex::new(false));
    let broken = fails.clone();
    let server = Small::start(move |question, answer, _| {
        match kind(question) {
            RecordType::A => _ = answer.add_answer(a("users.test.", 9, 1)),
            _ if *broken.lock().unwrap() => answer.metadata.response_code = ResponseCode::ServFail,
            _ => _ = answer.add_answer(aaaa("users.test.")),
        }
        true
    });
    let server = server.await;
    let mut host = Host::new("users.test");
    assert_eq!(host.ask(&server.resolver()).await.unwrap().records.len(), 2);
    *fails.lock().unwrap() = true;
    assert_eq!(host.ask(&server.resolver()).await.unwrap().records.len(), 2);
    assert_eq!(ips(&Host::new("users.test").ask(&server.resolver()).await.unwrap()), ["127.0.0.1"]);
}

#[tokio::test]
async fn a_family_that_is_silent_does_not_hold_the_other_one_up() {
    let is_silent = Arc::new(Mutex::new(false));
    let silent = is_silent.clone();
    let server = Small::start(move |question, answer, _| {
        match kind(question) {
            RecordType::A => _ = answer.add_answer(a("users.test.", 9, 1)),
            _ if *silent.lock().unwrap() => return false,
            _ => _ = answer.add_answer(aaaa("users.test.")),
        }
        true
    });
    let server = server.await;
    let mut host = Host::new("users.test");
    host.ask(&server.resolver()).await.unwrap();
    *is_silent.lock().unwrap() = true;
    let begun = std::time::Instant::now();
    assert_eq!(host.ask(&server.resolver()).await.unwrap().records.len(), 2, "the last one counts");
    assert!(begun.elapsed() < Duration::from_secs(2), "after {:?}", begun.elapsed());
}

#[tokio::test]
async fn many_names_are_asked_for_in_turns() {
    const MOST: usize = 64;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    let mut asking = JoinSet::new();
    for number in 0..100 {
        let mut host = Host::new(&format!("h{number}.test"));
        asking.spawn(async move { host.ask(&Resolver::new(Server::Ip(server))).await.unwrap() });
    }
    // Answers when nobody asks any more.
    let (mut waiting, mut buffer) = (Vec::new(), [0; 4096]);
    while !asking.is_empty() {
        match tokio::time::timeout(Duration::from_millis(100), socket.recv_from(&mut buffer)).await {
            Ok(received) => {
                let (length, from) = received.unwrap();
                waiting.push((Message::from_vec(&buffer[..length]).unwrap(), from));
                assert!(waiting.len() <= MOST, "{} questions at once", waiting.len());
            }
            Err(_quiet) => {
                for (question, from) in waiting.drain(..) {
                    socket.send_to(&question.into_response().to_vec().unwrap(), from).await.unwrap();
                }
            }
        }
        while asking.try_join_next().is_some() {}
    }
}

#[tokio::test]
async fn absence_is_an_answer_and_needs_both_families() {
    let server = Small::start(|question, answer, _| {
        answer.metadata.response_code = match kind(question) {
            RecordType::A => ResponseCode::NXDomain,
            _ if question.queries[0].name() == &name("half.test.") => ResponseCode::ServFail,
            _ => ResponseCode::NXDomain,
        };
        true
    });
    let server = server.await;
    let gone = Host::new("gone.test").ask(&server.resolver()).await.unwrap();
    assert_eq!((gone.records.len(), gone.exists), (0, false));
    let half = Host::new("half.test").ask(&server.resolver()).await;
    assert!(matches!(half, Err(LookupError::Refused(..))), "{half:?}");
}

#[tokio::test]
async fn a_chain_of_names_is_followed_from_message_to_message_and_the_shortest_ttl_counts() {
    let server = Small::start(|question, answer, _| {
        let cname =
            |owner, ttl, target| Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))));
        match (question.queries[0].name().to_ascii().as_str(), kind(question)) {
            ("users.test.", _) => answer.add_answer(cname("users.test.", 50, "b.test.")),
            ("b.test.", _) => answer.add_answer(cname("b.test.", 3, "c.test.")),
            ("c.test.", RecordType::A) => answer.add_answer(a("c.test.", 40, 1)),
            ("loop.test.", _) => answer.add_answer(cname("loop.test.", 3, "pool.test.")),
            ("pool.test.", _) => answer.add_answer(cname("pool.test.", 3, "loop.test.")),
            _ => answer,
        };
        true
    });
    let server = server.await;
    let answer = Host::new("users.test").ask(&server.resolver()).await.unwrap();
    assert_eq!((ips(&answer), answer.ttl.as_secs()), (vec!["127.0.0.1".into()], 3));
    let endless = Host::new("loop.test").ask(&server.resolver()).await;
    assert!(matches!(endless, Err(LookupError::Invalid(..))), "{endless:?}");
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_over_tcp_and_never_used_itself() {
    let has_tcp = Arc::new(Mutex::new(true));
    let accepts = has_tcp.clone();
    let server = Small::start(move |question, answer, over| {
        if kind(question) == RecordType::A {
            let count = if over == Over::Tcp { 250 } else { 1 };
            answer.add_answers((1..=count).map(|last| a("users.test.", 9, last)));
            answer.metadata.truncation = over == Over::Udp;
        }
        over == Over::Udp || *accepts.lock().unwrap()
    });
    let server = server.await;
    let answer = Host::new("users.test").ask(&server.resolver()).await.unwrap();
    assert_eq!(answer.records.len(), 250);
    *has_tcp.lock().unwrap() = false;
    let failed = Host::new("users.test").ask(&server.resolver()).await;
    assert!(matches!(failed, Err(LookupError::Unreachable(..))), "{failed:?}");
}

#[tokio::test]
async fn an_answer_that_fills_its_datagram_is_asked_for_again_since_it_may_be_a_part() {
    let server = Small::start(|question, answer, over| {
        if kind(question) == RecordType::A {
            let count = if over == Over::Tcp { 200 } else { 70 };
            answer.add_answers((1..=count).map(|last| a("users.test.", 9, last)));
        }
        true
    });
    let server = server.await;
    let answer = Host::new("users.test").ask(&server.resolver()).await.unwrap();
    assert_eq!(answer.records.len(), 200);
}

#[tokio::test]
async fn what_is_no_answer_to_the_question_is_passed_over() {
    let server = Small::start(|question, answer, over| {
        if over == Over::Udp && kind(question) == RecordType::A {
            answer.metadata.id = answer.metadata.id.wrapping_add(1);
            answer.add_answer(a("users.test.", 9, 66));
        }
        true
    });
    let server = server.await;
    let failed = Host::new("users.test").ask(&server.resolver()).await;
    assert!(matches!(failed, Err(LookupError::Invalid(..))), "{failed:?}");
}

#[tokio::test]
async fn a_server_from_before_edns_is_asked_without_it() {
    let server = Small::start(|question, answer, _| {
        match (question.edns.is_some(), kind(question)) {
            (true, _) => answer.metadata.response_code = ResponseCode::FormErr,
            (false, RecordType::A) => _ = answer.add_answer(a("users.test.", 9, 1)),
            (false, _) => {}
        }
        true
    });
    let server = server.await;
    assert_eq!(ips(&Host::new("users.test").ask(&server.resolver()).await.unwrap()), ["127.0.0.1"]);
}

#[tokio::test]
async fn addresses_that_come_along_with_services_are_used_and_others_are_asked_for() {
    let server = Small::start(|question, answer, _| {
        match (question.queries[0].name().to_ascii().as_str(), kind(question)) {
            ("_http._tcp.test.", _) => {
                answer.add_answers([srv(1, 5, "B.test."), srv(0, 3, "a.test."), srv(0, 1, ".")]);
                answer.add_additional(a("a.test.", 9, 1))
            }
            ("B.test.", RecordType::A) => answer.add_answer(a("b.test.", 4, 2)),
            _ => answer,
        };
        true
    });
    let server = server.await;
    let mut service = Service::new("_http._tcp.test");
    let answer = service.ask(&server.resolver()).await.unwrap();
    let said =
        |target: &Target| (target.host.clone(), target.priority, target.weight, target.addresses.len());
    let said: Vec<_> = answer.records.iter().map(said).collect();
    assert_eq!(said, [("a.test".to_owned(), 0, 3, 1), ("b.test".to_owned(), 1, 5, 1)]);
    assert_eq!(answer.ttl.as_secs(), 4);
    let again = service.ask(&server.resolver()).await.unwrap();
    assert_eq!(again.records, answer.records);
    assert_eq!((server.asked(RecordType::A), server.asked(RecordType::SRV)), (1, 2), "its TTL is not over");
}

#[tokio::test]
async fn a_service_with_the_target_of_one_dot_has_none() {
    let server = Small::start(|_, answer, _| {
        answer.add_answer(srv(0, 0, "."));
        true
    });
    let answer = Service::new("_http._tcp.test").ask(&server.await.resolver()).await.unwrap();
    assert_eq!((answer.records.len(), answer.exists), (0, true));
}

#[tokio::test]
async fn a_host_of_a_service_that_can_not_be_asked_for_keeps_its_addresses() {
    let fails = Arc::new(Mutex::new(false));
    let broken = fails.clone();
    let server = Small::start(move |question, answer, _| {
        match kind(question) {
            RecordType::SRV => _ = answer.add_answers([srv(0, 1, "a.test."), srv(0, 1, "b.test.")]),
            _ if *broken.lock().unwrap() => answer.metadata.response_code = ResponseCode::ServFail,
            RecordType::A => {
                let owner = question.queries[0].name().to_ascii();
                answer.add_answer(a(&owner, 0, owner.as_bytes()[0]));
            }
            _ => {}
        }
        true
    });
    let server = server.await;
    let mut service = Service::new("_http._tcp.test");
    let before = service.ask(&server.resolver()).await.unwrap().records;
    assert!(before.iter().all(|target| target.addresses.len() == 1), "{before:?}");
    *fails.lock().unwrap() = true;
    assert_eq!(service.ask(&server.resolver()).await.unwrap().records, before);
    let nothing = Service::new("_http._tcp.test").ask(&server.resolver()).await;
    assert!(matches!(nothing, Err(LookupError::Refused(..))), "{nothing:?}");
}

#[tokio::test]
async fn a_server_that_is_dead_is_not_asked_first_again() {
    let alive = Small::start(|question, answer, _| {
        if kind(question) == RecordType::A {
            answer.add_answer(a("users.test.", 9, 1));
        }
        true
    });
    let alive = alive.await;
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let setup = with_servers("", &[dead, alive.address]);
    assert_eq!(ips(&Host::new("users.test").ask_with(&setup).await.unwrap()), ["127.0.0.1"]);
    assert_eq!(setup.first.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_family_that_fails_takes_nothing_away_from_a_name_in_a_search_domain() {
    let fails = Arc::new(Mutex::new(false));
    let broken = fails.clone();
    let server = Small::start(move |question, answer, _| {
        match (question.queries[0].name().to_ascii().as_str(), kind(question)) {
            ("users.good.", RecordType::A) => _ = answer.add_answer(a("users.good.", 9, 1)),
            ("users.good.", _) if *broken.lock().unwrap() => {
                answer.metadata.response_code = ResponseCode::ServFail;
            }
            ("users.good.", _) => _ = answer.add_answer(aaaa("users.good.")),
            _ => answer.metadata.response_code = ResponseCode::NXDomain,
        }
        true
    });
    let server = server.await;
    let setup = with_servers("search none good\noptions ndots:5\n", &[server.address]);
    let mut host = Host::new("users");
    assert_eq!(host.ask_with(&setup).await.unwrap().records.len(), 2);
    *fails.lock().unwrap() = true;
    assert_eq!(host.ask_with(&setup).await.unwrap().records.len(), 2);
}

#[tokio::test]
async fn a_search_domain_that_fails_is_passed_over_unless_the_name_was_found_in_it() {
    let fails = Arc::new(Mutex::new(false));
    let broken = fails.clone();
    let server = Small::start(move |question, answer, _| {
        let asked = question.queries[0].name().to_ascii();
        match (asked.as_str(), kind(question)) {
            ("users.odd.", _) => answer.metadata.response_code = ResponseCode::ServFail,
            ("users.good.", _) if *broken.lock().unwrap() => {
                answer.metadata.response_code = ResponseCode::ServFail;
            }
            ("users.good.", RecordType::A) => _ = answer.add_answer(a("users.good.", 9, 1)),
            ("users.wild.", RecordType::A) => _ = answer.add_answer(a("users.wild.", 9, 66)),
            _ => answer.metadata.response_code = ResponseCode::NXDomain,
        }
        true
    });
    let server = server.await;
    let setup = with_servers("search odd none good wild\noptions ndots:5\n", &[server.address]);
    let mut host = Host::new("users");
    assert_eq!(ips(&host.ask_with(&setup).await.unwrap()), ["127.0.0.1"]);
    *fails.lock().unwrap() = true;
    let failed = host.ask_with(&setup).await;
    assert!(matches!(failed, Err(LookupError::Refused(..))), "{failed:?}");
    assert!(!Host::new("users.none.").ask_with(&setup).await.unwrap().exists);
}
