//! Many small endpoints in one thread; each answers its own address.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::background::Background;

/// Endpoints on addresses of their own within 127.0.0.0/8.
pub struct Endpoints {
    background: Background,
    running: Vec<(SocketAddr, JoinHandle<()>)>,
}

impl Endpoints {
    /// So many, which accept when this returns; on one port, as pods do, unless another test has it.
    pub fn start(count: usize) -> Endpoints {
        Endpoints::listen([127, 9], 0, count)
    }

    /// The same, all of them at one port.
    pub fn at_port(port: u16, count: usize) -> Endpoints {
        Endpoints::listen([127, 9], port, count)
    }

    /// The same on addresses that begin with these two numbers; all of them are this machine's.
    pub fn start_within(network: [u8; 2], count: usize) -> Endpoints {
        Endpoints::listen(network, 0, count)
    }

    fn listen([first, second]: [u8; 2], port: u16, count: usize) -> Endpoints {
        let background = Background::start();
        let running = background.handle.block_on(async {
            let mut running: Vec<(SocketAddr, JoinHandle<()>)> = Vec::new();
            for number in 0..count {
                let ip = Ipv4Addr::new(first, second, (number / 250) as u8, (number % 250 + 1) as u8);
                let wanted = match (port, running.first()) {
                    (0, Some((place, _))) => place.port(),
                    (port, _) => port,
                };
                let listener = match TcpListener::bind((ip, wanted)).await {
                    Err(_taken) if port == 0 => TcpListener::bind((ip, 0)).await,
                    bound => bound,
                };
                let listener = listener.expect("the address is of this machine");
                let place = listener.local_addr().expect("it is bound");
                running.push((place, tokio::spawn(serve(listener, place))));
            }
            running
        });
        Endpoints { background, running }
    }

    /// Where an endpoint is.
    pub fn place(&self, number: usize) -> SocketAddr {
        self.running[number].0
    }

    /// All of them.
    pub fn places(&self) -> Vec<SocketAddr> {
        self.running.iter().map(|(place, _)| *place).collect()
    }

    /// Stops an endpoint later: its connections end and new ones are refused.
    pub fn stop_after(&mut self, number: usize, delay: Duration) {
        let task = self.running[number].1.abort_handle();
        self.background.handle.spawn(async move {
            tokio::time::sleep(delay).await;
            task.abort();
        });
    }
}

/// Connections end with the listener.
async fn serve(listener: TcpListener, place: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, place));
        while connections.try_join_next().is_some() {}
    }
}

/// Answers every head with 200, but for `/never` not at all; requests have no bodies.
async fn converse(mut stream: TcpStream, place: SocketAddr) -> std::io::Result<()> {
    let body = place.to_string();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (mut buffer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(&piece[..count]);
        while let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            if head.starts_with(b"GET /never ") {
                std::future::pending::<()>().await;
            }
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}
