//! A server that does what a well-made one never does. In between it hands on what a real one says.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;

use super::super::background::Background;

/// What becomes of questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They are answered by the real server.
    None,
    /// They get this response code and nothing else.
    Code(u8),
    /// They get no answer.
    Silent,
    /// They are answered with bytes that are no message.
    Garbage,
    /// They get the right answer under another number.
    WrongNumber,
    /// They get an answer that is cut short, and TCP is refused.
    CutShort,
}

/// A server before a real one.
pub struct Hostile {
    pub address: SocketAddr,
    fault: watch::Sender<Fault>,
    _background: Background,
}

impl Hostile {
    /// One that hands everything on.
    pub fn before(target: SocketAddr) -> Hostile {
        let background = Background::start();
        let (fault, faults) = watch::channel(Fault::None);
        let (udp, tcp) = background.handle.block_on(async {
            loop {
                let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
                let address = udp.local_addr().expect("it is bound");
                if let Ok(tcp) = TcpListener::bind(address).await {
                    return (Arc::new(udp), tcp);
                }
            }
        });
        let address = udp.local_addr().expect("it is bound");
        background.handle.spawn(over_udp(udp, target, faults.clone()));
        background.handle.spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                if *faults.borrow() != Fault::None {
                    continue;
                }
                tokio::spawn(async move {
                    if let Ok(mut onward) = TcpStream::connect(target).await {
                        let _ended = copy_bidirectional(&mut stream, &mut onward).await;
                    }
                });
            }
        });
        Hostile { address, fault, _background: background }
    }

    /// From now on questions are treated so.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

async fn over_udp(udp: Arc<UdpSocket>, target: SocketAddr, faults: watch::Receiver<Fault>) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
        let (question, fault, udp) = (buffer[..length].to_vec(), *faults.borrow(), udp.clone());
        tokio::spawn(async move {
            if let Some(answer) = answer(question, target, fault).await {
                let _sent = udp.send_to(&answer, from).await;
            }
        });
    }
}

async fn answer(mut question: Vec<u8>, target: SocketAddr, fault: Fault) -> Option<Vec<u8>> {
    match fault {
        Fault::None => onward(&question, target).await.ok(),
        Fault::Silent => None,
        Fault::Garbage => Some(b"\x01\x02\x03 this is no message \xff\xff\xff\xff".to_vec()),
        Fault::Code(code) => {
            question[2] |= 0x80;
            question[3] = code;
            Some(question)
        }
        Fault::WrongNumber => {
            let mut answer = onward(&question, target).await.ok()?;
            answer[0] ^= 0x55;
            Some(answer)
        }
        Fault::CutShort => {
            question[2] |= 0x82;
            Some(question)
        }
    }
}

async fn onward(question: &[u8], target: SocketAddr) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(target).await?;
    socket.send(question).await?;
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}
