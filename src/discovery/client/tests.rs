//! The client against peers of raw bytes.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;

const SOON: Duration = Duration::from_secs(5);

/// A peer that writes these pieces on every connection and then waits; what it read is kept.
struct Peer {
    base: Base,
    heads: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Peer {
    async fn saying(pieces: &'static [&'static str]) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/api", listener.local_addr().unwrap()).parse().unwrap();
        let (heads, mut task) = (Arc::new(Mutex::new(Vec::new())), JoinSet::new());
        let kept = heads.clone();
        task.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serve(stream, pieces, &kept).await;
            }
        });
        Peer { base, heads, _task: task }
    }

    fn client(&self) -> Client {
        Client::new(self.base.clone(), Tls::default(), Token::None)
    }
}

/// A piece that begins with `END` closes the connection.
async fn serve(
    mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    pieces: &[&str],
    heads: &Mutex<Vec<String>>,
) {
    let mut head = [0; 4096];
    let count = stream.read(&mut head).await.unwrap();
    heads.lock().unwrap().push(String::from_utf8_lossy(&head[..count]).into_owned());
    for piece in pieces {
        if *piece == "END" {
            return;
        }
        stream.write_all(piece.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    let _until_the_client_leaves = stream.read(&mut head).await;
}

#[tokio::test]
async fn a_request_has_its_path_its_host_and_its_fields() {
    let peer = Peer::saying(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: \"1\"\r\n\r\n[]"]).await;
    let ask = Ask::get("/users?a=b", SOON).with(hyper::header::IF_NONE_MATCH, "\"0\"");
    let answer = peer.client().ask(ask).await.unwrap().successful().unwrap();
    assert_eq!(answer.json().await.unwrap(), serde_json::json!([]));
    assert_eq!(answer.field(&hyper::header::ETAG), Some("\"1\""));
    let heads = peer.heads.lock().unwrap();
    assert!(heads[0].starts_with("GET /api/users?a=b HTTP/1.1\r\n"), "{}", heads[0]);
    for field in
        ["host: 127.0.0.1:", "accept: application/json", "if-none-match: \"0\"", "user-agent: tidegate/"]
    {
        assert!(heads[0].contains(field), "{field} in {}", heads[0]);
    }
}

#[tokio::test]
async fn json_is_posted_with_its_type() {
    let peer = Peer::saying(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"]).await;
    peer.client().ask(Ask::post("/range", &serde_json::json!({ "key": 1 }), SOON)).await.unwrap();
    let heads = peer.heads.lock().unwrap();
    assert!(
        heads[0].starts_with("POST ") && heads[0].contains("content-type: application/json"),
        "{}",
        heads[0]
    );
    assert!(heads[0].ends_with("{\"key\":1}"), "{}", heads[0]);
}

#[tokio::test]
async fn a_token_is_read_again_for_every_request_and_never_shown() {
    let peer = Peer::saying(&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let mut client = Client::new(peer.base.clone(), Tls::default(), Token::bearer(&file));
    assert_eq!(client.ask(Ask::get("/", SOON)).await.unwrap_err().kind, Kind::Denied);
    for token in ["first", "second"] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        client.ask(Ask::get("/", SOON)).await.unwrap();
        assert!(
            peer.heads
                .lock()
                .unwrap()
                .last()
                .unwrap()
                .contains(&format!("authorization: Bearer {token}\r\n"))
        );
    }
    let given = Token::Given(AUTHORIZATION, options::Secret("hidden".to_owned()));
    assert!(!format!("{given:?}").contains("hidden"));
}

#[tokio::test]
async fn every_way_to_fail_has_its_kind() {
    let kind = async |pieces: &'static [&'static str]| {
        let peer = Peer::saying(pieces).await;
        let ask = Ask::get("/", Duration::from_millis(300));
        match peer.client().ask(ask).await {
            Ok(answer) => answer.successful().map(|_| ()).unwrap_err().kind,
            Err(failure) => failure.kind,
        }
    };
    assert_eq!(kind(&["HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno"]).await, Kind::Refused);
    assert_eq!(kind(&["HTTP/1.1 403 Oh\r\nContent-Length: 0\r\n\r\n"]).await, Kind::Denied);
    assert_eq!(kind(&["HTTP/1.1 404 Oh\r\nContent-Length: 0\r\n\r\n"]).await, Kind::Missing);
    assert_eq!(kind(&["\u{1}\u{2}garbage\r\n\r\n"]).await, Kind::Invalid);
    assert_eq!(kind(&["HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"]).await, Kind::Invalid);
    assert_eq!(kind(&["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12"]).await, Kind::Timeout);
    assert_eq!(kind(&[]).await, Kind::Timeout);
    assert_eq!(kind(&["END"]).await, Kind::Unreachable);
    assert_eq!(kind(&["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12", "END"]).await, Kind::Unreachable);
    let mut nobody = Client::new("http://127.0.0.1:1".parse().unwrap(), Tls::default(), Token::None);
    assert_eq!(nobody.ask(Ask::get("/", SOON)).await.unwrap_err().kind, Kind::Unreachable);
}

#[tokio::test]
async fn a_stream_is_read_line_by_line_until_it_is_silent() {
    let peer = Peer::saying(&[
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "7\r\n{\"a\":1}\r\n",
        "9\r\n\n{\"b\":2}\n\r\n",
        "3\r\nhal\r\n",
    ])
    .await;
    let mut lines = peer.client().lines(Ask::get("/watch", SOON)).await.unwrap();
    assert_eq!(lines.next(SOON).await.unwrap().unwrap(), b"{\"a\":1}".as_slice());
    assert_eq!(lines.next(SOON).await.unwrap().unwrap(), b"{\"b\":2}".as_slice());
    assert_eq!(lines.next(Duration::from_millis(50)).await.unwrap_err().kind, Kind::Timeout);
}

#[tokio::test]
async fn a_stream_ends_with_what_stands_behind_the_last_line_end() {
    let peer = Peer::saying(&["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na\nb"]).await;
    let mut lines = peer.client().lines(Ask::get("/", SOON)).await.unwrap();
    let mut all = Vec::new();
    while let Some(line) = lines.next(SOON).await.unwrap() {
        all.push(line);
    }
    assert_eq!(all, [b"a".as_slice(), b"b"]);
    let peer = Peer::saying(&["HTTP/1.1 410 Gone\r\nContent-Length: 3\r\n\r\nold"]).await;
    let failure = peer.client().lines(Ask::get("/", SOON)).await.unwrap_err();
    assert_eq!((failure.kind, failure.to_string().as_str()), (Kind::Refused, "status 410: old"));
}

#[tokio::test]
async fn a_unix_socket_is_a_registry_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"], &Mutex::default()).await;
    });
    let base = format!("unix:{}", path.display()).parse().unwrap();
    let mut client = Client::new(base, Tls::default(), Token::None);
    assert_eq!(client.ask(Ask::get("/info", SOON)).await.unwrap().body, "ok");
}

#[tokio::test]
async fn an_answer_of_very_many_tables_is_not_read() {
    let answer = |count: usize| Answer {
        status: 200,
        fields: HeaderMap::new(),
        body: format!("[{}{{}}]", "{},".repeat(count - 1)).into(),
    };
    assert_eq!(answer(MOST_TABLES + 1).json().await.unwrap_err().kind, Kind::Invalid);
    assert_eq!(answer(10).json().await.unwrap().as_array().map(Vec::len), Some(10));
}

#[test]
fn many_lines_that_come_at_once_are_read_in_the_time_of_one_look_at_each() {
    const COUNT: usize = 500_000;
    let mut lines = stream::LineBuffer::default();
    lines.push("x\n".repeat(COUNT).as_bytes());
    lines.push(b"rest");
    let begun = std::time::Instant::now();
    for _ in 0..COUNT {
        assert_eq!(lines.line().unwrap().as_deref(), Some(b"x".as_slice()));
    }
    assert_eq!(lines.line().unwrap(), None);
    assert!(begun.elapsed() < Duration::from_secs(5), "after {:?}", begun.elapsed());
}
