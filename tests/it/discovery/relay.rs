//! Stands between the proxy and a registry, and can break what goes through.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::background::Background;

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They go through.
    Open,
    /// They are answered with bytes that are no HTTP.
    Garbage,
    /// They are answered with this status and a text.
    Status(&'static str),
    /// They are accepted and get no answer.
    Silent,
    /// They are closed at once.
    Closed,
}

/// A relay to one address. A change of its mode ends all connections.
pub struct Relay {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    _background: Background,
}

impl Relay {
    /// A relay that lets everything through.
    pub fn before(target: SocketAddr) -> Relay {
        let background = Background::start();
        let (mode, modes) = watch::channel(Mode::Open);
        let listener = background.handle.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        background.handle.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut modes = modes.clone();
                tokio::spawn(async move {
                    let mode = *modes.borrow_and_update();
                    tokio::select! {
                        _ended = relay(stream, target, mode) => {}
                        _changed = modes.changed() => {}
                    }
                });
            }
        });
        Relay { address, mode, _background: background }
    }

    /// From now on connections are treated so.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn relay(mut stream: TcpStream, target: SocketAddr, mode: Mode) -> std::io::Result<()> {
    match mode {
        Mode::Open => {
            let mut onward = TcpStream::connect(target).await?;
            copy_bidirectional(&mut stream, &mut onward).await?;
        }
        Mode::Closed => {}
        Mode::Silent => std::future::pending().await,
        Mode::Garbage => answer(&mut stream, "\u{1}\u{2}\u{3} this is no HTTP\r\n\r\n").await?,
        Mode::Status(status) => {
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnope");
            answer(&mut stream, &text).await?;
        }
    }
    Ok(())
}

async fn answer(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    let _request = stream.read(&mut [0; 16384]).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}
