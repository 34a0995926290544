//! A scripted endpoint.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::http::{Expect, Reader, Request, ok};
use super::{PATIENCE, free_address, wait_until};

type Script = dyn Fn(&mut Conversation) -> io::Result<()> + Send + Sync;

/// An endpoint that does on each connection what its script says.
pub struct Origin {
    pub address: SocketAddr,
    script: Arc<Script>,
    record: Arc<Record>,
    running: Option<Running>,
}

/// What an origin has seen.
#[derive(Default)]
struct Record {
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    open: AtomicUsize,
}

struct Running {
    ends: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    thread: JoinHandle<()>,
}

impl Origin {
    /// Answers every request with what the function makes of it, and keeps connections.
    pub fn answering(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Origin {
        Origin::scripted(move |conversation| {
            while let Some(request) = conversation.request()? {
                conversation.send(answer(&request))?;
            }
            Ok(())
        })
    }

    /// Answers every request with 200 and this name.
    pub fn named(name: &'static str) -> Origin {
        Origin::answering(move |_| ok(name))
    }

    /// Answers every request with these bytes.
    pub fn saying(bytes: &'static [u8]) -> Origin {
        Origin::answering(move |_| bytes.to_vec())
    }

    /// Runs the script on each connection, which is closed at its end. An error ends it as well.
    pub fn scripted(script: impl Fn(&mut Conversation) -> io::Result<()> + Send + Sync + 'static) -> Origin {
        let mut origin = Origin {
            address: free_address(),
            script: Arc::new(script),
            record: Arc::default(),
            running: None,
        };
        // Another process may take the port between its choice and its use.
        while let Err(error) = origin.try_start() {
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
            origin.address = free_address();
        }
        origin
    }

    /// Listens (again).
    pub fn start(&mut self) {
        self.try_start().unwrap_or_else(|error| panic!("origin can not listen on {}: {error}", self.address));
    }

    fn try_start(&mut self) -> io::Result<()> {
        let listener = TcpListener::bind(self.address)?;
        let (ends, streams) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (script, record) = (self.script.clone(), self.record.clone());
        let (inner_ends, inner_streams) = (ends.clone(), streams.clone());
        let thread =
            std::thread::spawn(move || accept(&listener, &inner_ends, &inner_streams, &script, &record));
        self.running = Some(Running { ends, streams, thread });
        Ok(())
    }

    /// Stops as a killed process does: all connections end, new ones are refused.
    pub fn stop(&mut self) {
        let Some(running) = self.running.take() else { return };
        running.ends.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; it may have seen the end already.
        let _woken = TcpStream::connect(self.address);
        running.thread.join().expect("the origin's thread does not panic");
        for stream in running.streams.lock().expect("no panic holds it").drain(..) {
            let _may_be_closed = stream.shutdown(Shutdown::Both);
        }
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.record.requests.lock().expect("no panic holds it").clone()
    }

    /// The only request so far.
    #[track_caller]
    pub fn request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "the endpoint got {} requests", requests.len());
        requests.remove(0)
    }

    /// Connections that were accepted so far.
    pub fn connections(&self) -> usize {
        self.record.connections.load(Ordering::SeqCst)
    }

    /// Waits until so many requests have come.
    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) {
        wait_until(&format!("{count} requests at the endpoint"), || self.requests().len() >= count);
    }

    /// Waits until the script of every connection has ended.
    #[track_caller]
    pub fn wait_for_ends(&self) {
        wait_until("the endpoint's connections have ended", || self.record.open.load(Ordering::SeqCst) == 0);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(
    listener: &TcpListener,
    ends: &AtomicBool,
    streams: &Mutex<Vec<TcpStream>>,
    script: &Arc<Script>,
    record: &Arc<Record>,
) {
    for stream in listener.incoming() {
        if ends.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(twin) = stream.try_clone() else { continue };
        streams.lock().expect("no panic holds it").push(twin);
        record.connections.fetch_add(1, Ordering::SeqCst);
        record.open.fetch_add(1, Ordering::SeqCst);
        let (script, record) = (script.clone(), record.clone());
        std::thread::spawn(move || {
            let _guard = Open(record.clone());
            let mut conversation = Conversation::new(stream, record);
            let _error_ends_it = script(&mut conversation);
            let _may_be_closed = conversation.reader.stream.shutdown(Shutdown::Both);
        });
    }
}

/// Counts a connection while its script runs.
struct Open(Arc<Record>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One connection as a script sees it.
pub struct Conversation {
    reader: Reader<TcpStream>,
    record: Arc<Record>,
}

impl Conversation {
    fn new(stream: TcpStream, record: Arc<Record>) -> Conversation {
        // Connections of a pool are idle for as long as the test lasts.
        let _socket_is_open = stream.set_nodelay(true);
        Conversation { reader: Reader::new(stream), record }
    }

    /// The next request with its whole body, which is recorded; `None` at the end.
    pub fn request(&mut self) -> io::Result<Option<Request>> {
        let Some(head) = self.reader.head()? else { return Ok(None) };
        let raw_body = self.reader.body(&head, Expect::Request)?;
        Ok(Some(self.keep(head, raw_body)))
    }

    /// The head of the next request, which is recorded without a body.
    pub fn request_head(&mut self) -> io::Result<Option<Request>> {
        let Some(head) = self.reader.head()? else { return Ok(None) };
        Ok(Some(self.keep(head, Vec::new())))
    }

    fn keep(&self, head: String, raw_body: Vec<u8>) -> Request {
        let request = Request { head, raw_body };
        self.record.requests.lock().expect("no panic holds it").push(request.clone());
        request
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.stream.write_all(bytes.as_ref())
    }

    /// Exactly so many bytes of a body.
    pub fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.reader.exactly(count)
    }

    /// Closes so that the proxy gets a reset.
    pub fn reset(&mut self) -> io::Result<()> {
        Ok(rustix::net::connect_unspec(&self.reader.stream)?)
    }

    /// Reads until the proxy closes.
    pub fn wait_for_end(&mut self) -> io::Result<()> {
        self.reader.stream.set_read_timeout(Some(PATIENCE))?;
        while self.reader.stream.read(&mut [0; 1024])? > 0 {}
        Ok(())
    }

    /// Whether the proxy ends the connection within so long.
    pub fn ends_within(&mut self, limit: Duration) -> io::Result<bool> {
        self.reader.stream.set_read_timeout(Some(limit))?;
        loop {
            match self.reader.stream.read(&mut [0; 1024]) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Ok(true),
            }
        }
    }
}
