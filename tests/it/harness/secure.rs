//! An endpoint that speaks TLS: HTTP/1.1 and HTTP/2 by ALPN, and says what it saw.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::authority::{Authority, Signed};

/// What the endpoint shows and wants.
pub struct Site<'a> {
    pub certificate: Signed,
    /// For ALPN; nothing when it does not know ALPN.
    pub alpn: &'a [&'a str],
    /// Clients need a certificate of this authority.
    pub clients: Option<&'a Authority>,
    pub versions: &'a [&'static SupportedProtocolVersion],
    /// What is done on an HTTP/1.1 connection after an answer.
    pub after: After,
}

/// What the endpoint does on a connection that has become idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Nothing,
    /// Sends a message of TLS itself (RFC 8446 §4.6.3).
    KeyUpdate,
    /// Sends an answer that nobody has asked for.
    Answer,
    /// The same in one write with the answer, whose last byte fills the buffer of the proxy.
    Full,
}

pub const BOTH_VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

impl<'a> Site<'a> {
    pub fn of(certificate: Signed) -> Site<'a> {
        Site { certificate, alpn: &[], clients: None, versions: BOTH_VERSIONS, after: After::Nothing }
    }
}

/// An endpoint; each answer is one line of facts: protocol, server name, client, scheme.
pub struct SecureOrigin {
    pub address: SocketAddr,
    record: Arc<Record>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Record {
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    resumed: AtomicUsize,
    requests: AtomicUsize,
    errors: Mutex<Vec<String>>,
}

impl SecureOrigin {
    pub fn start(site: Site<'_>) -> SecureOrigin {
        let (config, after) = (Arc::new(config(&site)), site.after);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("the socket is open");
        let address = listener.local_addr().expect("it is bound");
        let record = Arc::new(Record::default());
        let (end, ended) = oneshot::channel::<()>();
        let inner = record.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let accepting = accept(listener, TlsAcceptor::from(config), inner, after);
            runtime.block_on(async move {
                tokio::select! {
                    () = accepting => {}
                    _ = ended => {}
                }
            });
        });
        SecureOrigin { address, record, end: Some(end), thread: Some(thread) }
    }

    /// Connections that were accepted so far.
    pub fn connections(&self) -> usize {
        self.record.connections.load(Ordering::SeqCst)
    }

    /// Handshakes that were finished so far, and how many of them resumed a session.
    pub fn handshakes(&self) -> (usize, usize) {
        (self.record.handshakes.load(Ordering::SeqCst), self.record.resumed.load(Ordering::SeqCst))
    }

    pub fn requests(&self) -> usize {
        self.record.requests.load(Ordering::SeqCst)
    }
}

impl Drop for SecureOrigin {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the endpoint's thread does not panic");
        }
    }
}

fn config(site: &Site<'_>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificate = CertificateDer::from_pem_slice(site.certificate.cert.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(site.certificate.key.as_bytes()).expect("PEM");
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(site.versions)
        .expect("versions");
    let builder = match site.clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let trusted = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM");
            roots.add(trusted).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let mut config = builder.with_single_cert(vec![certificate], key).expect("a certificate and its key");
    config.alpn_protocols = site.alpn.iter().map(|one| one.as_bytes().to_vec()).collect();
    config
}

async fn accept(listener: std::net::TcpListener, acceptor: TlsAcceptor, record: Arc<Record>, after: After) {
    let listener = TcpListener::from_std(listener).expect("it does not block");
    while let Ok((stream, _)) = listener.accept().await {
        record.connections.fetch_add(1, Ordering::SeqCst);
        // Otherwise a second write waits until the first is acknowledged.
        stream.set_nodelay(true).expect("it was just accepted");
        let (acceptor, record) = (acceptor.clone(), record.clone());
        tokio::spawn(async move {
            let served = match acceptor.accept(stream).await {
                Ok(stream) => serve(stream, &record, after).await,
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = served {
                record.errors.lock().expect("no panic holds it").push(error);
            }
        });
    }
}

async fn serve(stream: TlsStream<TcpStream>, record: &Record, after: After) -> Result<(), String> {
    let session = stream.get_ref().1;
    record.handshakes.fetch_add(1, Ordering::SeqCst);
    if session.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
        record.resumed.fetch_add(1, Ordering::SeqCst);
    }
    let name = session.server_name().unwrap_or("-").to_owned();
    let client = session.peer_certificates().and_then(|chain| chain.first()).map(common_name);
    let version = if session.protocol_version() == Some(ProtocolVersion::TLSv1_3) { "1.3" } else { "1.2" };
    let facts = format!("sni={name} client={} tls={version}", client.unwrap_or("-".to_owned()));
    match session.alpn_protocol() == Some(b"h2") {
        true => serve_h2(stream, record, &facts).await.map_err(|error| error.to_string()),
        false => serve_h1(stream, record, &facts, after).await.map_err(|error| error.to_string()),
    }
}

fn common_name(certificate: &CertificateDer<'_>) -> String {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(certificate).expect("X.509");
    let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    name.unwrap_or("?").to_owned()
}

const UNASKED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nunasked";

async fn serve_h1(
    mut stream: TlsStream<TcpStream>,
    record: &Record,
    facts: &str,
    after: After,
) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        record.requests.fetch_add(1, Ordering::SeqCst);
        let mut answer = super::ok(format!("h1 {facts}"));
        if after == After::Full {
            answer = super::ok(format!("h1 {facts:<16339}"));
            assert_eq!(answer.len(), 16 * 1024);
            answer.extend_from_slice(UNASKED);
        }
        stream.write_all(&answer).await?;
        stream.flush().await?;
        match after {
            After::Nothing | After::Full => {}
            After::KeyUpdate => {
                stream.get_mut().1.refresh_traffic_keys().map_err(std::io::Error::other)?;
                stream.flush().await?;
            }
            After::Answer => {
                stream.write_all(UNASKED).await?;
                stream.flush().await?;
            }
        }
    }
}

/// Reads each request and answers it with the facts and the scheme, and with trailers.
async fn serve_h2(stream: TlsStream<TcpStream>, record: &Record, facts: &str) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        record.requests.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(answer_h2(request, respond, facts.to_owned()));
    }
    Ok(())
}

async fn answer_h2(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    facts: String,
) -> Result<(), h2::Error> {
    let body = format!("h2 {facts} scheme={}", request.uri().scheme_str().unwrap_or("-"));
    let mut request = request.into_body();
    while let Some(data) = request.data().await {
        data?;
    }
    let mut send = respond.send_response(Response::new(()), false)?;
    send.send_data(Bytes::from(body), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    send.send_trailers(trailers)
}
