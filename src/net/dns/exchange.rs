//! One question to the servers, until one of them answers it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::LookupError;
use super::setup::Setup;

/// How often each server is asked.
const ROUNDS: usize = 2;
/// Largest answer over UDP that we ask for: what passes without fragments (DNS flag day 2020).
const DATAGRAM: u16 = 1232;
/// An answer of that size may be a part of the whole without a flag that says so: Consul leaves out
/// what does not fit. One record with its address is smaller than the difference.
const NEARLY_FULL: usize = DATAGRAM as usize - 400;

/// The answer to this question, of whatever servers there are the first that gives one. SERVFAIL,
/// REFUSED and the like are none. Cancel-safe.
pub(super) async fn ask(setup: &Setup, name: &Name, kind: RecordType) -> Result<Reply, LookupError> {
    let count = setup.servers.len();
    let first = setup.first.load(Ordering::Relaxed);
    let mut last = None;
    for turn in 0..count * ROUNDS {
        let place = (first + turn) % count;
        let Some(server) = setup.servers.get(place).copied() else { break };
        let question = Question { server, name, kind, deadline: Instant::now() + setup.limit };
        match question.ask().await {
            Ok(message) => {
                setup.first.store(place, Ordering::Relaxed);
                return Ok(Reply { server, message });
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| LookupError::Name(name.to_ascii())))
}

/// What a server has answered.
pub(super) struct Reply {
    pub(super) server: SocketAddr,
    pub(super) message: Message,
}

/// A question to one server.
struct Question<'a> {
    server: SocketAddr,
    name: &'a Name,
    kind: RecordType,
    deadline: Instant,
}

/// Whether a question says that larger answers may come over UDP (RFC 6891).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extension {
    Sent,
    LeftOut,
}

impl Question<'_> {
    async fn ask(&self) -> Result<Message, LookupError> {
        let message = self.exchange(Extension::Sent).await?;
        let message = match message.metadata.response_code {
            // Servers from before the extension.
            ResponseCode::FormErr | ResponseCode::NotImp => self.exchange(Extension::LeftOut).await?,
            _ => message,
        };
        match message.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(message),
            ResponseCode::Refused => Err(LookupError::Denied(self.server)),
            code => Err(LookupError::Refused(self.server, code)),
        }
    }

    /// Over UDP, and over TCP when that was not the whole answer.
    async fn exchange(&self, extension: Extension) -> Result<Message, LookupError> {
        let (length, message) = self.over_udp(extension).await?;
        match (message.metadata.truncation, length >= NEARLY_FULL) {
            (false, false) => Ok(message),
            (false, true) => Ok(self.over_tcp(extension).await.unwrap_or(message)),
            (true, _) => {
                let whole = self.over_tcp(extension).await?;
                match whole.metadata.truncation {
                    true => Err(self.invalid("cuts its answer short over TCP too")),
                    false => Ok(whole),
                }
            }
        }
    }

    /// The answer and its size. What is no answer to this question may come from anybody, so it is
    /// passed over while there is time.
    async fn over_udp(&self, extension: Extension) -> Result<(usize, Message), LookupError> {
        let (id, bytes) = self.bytes(extension)?;
        let any: SocketAddr = match self.server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let mut strangers = 0_u32;
        let waiting = async {
            // Connected, so that the kernel drops what others send, and tells when nobody listens.
            let socket = UdpSocket::bind(any).await?;
            socket.connect(self.server).await?;
            socket.send(&bytes).await?;
            let mut buffer = [0; 4096];
            loop {
                let length = socket.recv(&mut buffer).await?;
                match Message::from_vec(buffer.get(..length).unwrap_or_default()) {
                    Ok(message) if self.is_answered_by(&message, id) => return Ok((length, message)),
                    Ok(_) | Err(_) => strangers += 1,
                }
            }
        };
        match timeout_at(self.deadline, waiting).await {
            Ok(answer) => answer.map_err(|error| LookupError::Unreachable(self.server, error)),
            Err(_late) if strangers > 0 => Err(self.invalid("sends what is no answer to the question")),
            Err(_late) => Err(LookupError::Timeout(self.server)),
        }
    }

    async fn over_tcp(&self, extension: Extension) -> Result<Message, LookupError> {
        let (id, bytes) = self.bytes(extension)?;
        let too_long = || io::Error::other("the question is too long");
        let exchange = async {
            let mut stream = TcpStream::connect(self.server).await?;
            let length = u16::try_from(bytes.len()).map_err(|_| too_long())?;
            stream.write_all(&[&length.to_be_bytes(), &*bytes].concat()).await?;
            let mut answer = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut answer).await?;
            Ok::<_, io::Error>(answer)
        };
        let answer = timeout_at(self.deadline, exchange).await;
        let answer = answer
            .map_err(|_late| LookupError::Timeout(self.server))?
            .map_err(|error| LookupError::Unreachable(self.server, error))?;
        match Message::from_vec(&answer) {
            Ok(message) if self.is_answered_by(&message, id) => Ok(message),
            Ok(_) | Err(_) => Err(self.invalid("sends what is no answer to the question")),
        }
    }

    /// The question as it is sent, with its number.
    fn bytes(&self, extension: Extension) -> Result<(u16, Vec<u8>), LookupError> {
        let mut message = Message::new(fastrand::u16(..), MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), self.kind));
        if extension == Extension::Sent {
            let mut edns = Edns::new();
            edns.set_max_payload(DATAGRAM).set_version(0);
            message.set_edns(edns);
        }
        let bytes = message.to_vec().map_err(|_| LookupError::Name(self.name.to_ascii()))?;
        Ok((message.metadata.id, bytes))
    }

    /// RFC 5452 §9.1. Some servers leave the question out when they refuse.
    fn is_answered_by(&self, message: &Message, id: u16) -> bool {
        let is_ours = |query: &Query| query.name() == self.name && query.query_type() == self.kind;
        let refuses = message.queries.is_empty()
            && !matches!(message.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
        message.metadata.id == id
            && message.metadata.message_type == MessageType::Response
            && (refuses || (message.queries.len() == 1 && message.queries.iter().all(is_ours)))
    }

    fn invalid(&self, what: &'static str) -> LookupError {
        LookupError::Invalid(self.server, what)
    }
}
