//! What a daemon with a thousand containers would answer: the list and the events of dockerd 20.10,
//! word for word, without the containers. Those would take gigabytes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::super::background::Background;
use super::super::{Data, Registry};

type Places = BTreeSet<SocketAddr>;

/// Answers as a daemon.
pub struct Pretender {
    address: SocketAddr,
    places: watch::Sender<Places>,
    _background: Background,
}

impl Pretender {
    pub fn start() -> Pretender {
        let background = Background::start();
        let (places, shown) = watch::channel(Places::new());
        let listener = background.handle.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        background.handle.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, shown.clone()));
            }
        });
        Pretender { address, places, _background: background }
    }
}

impl Registry for Pretender {
    fn discover(&self) -> String {
        format!(
            "{{ docker = {{ socket = \"http://{}\", label = \"tidegate.service=found\" }} }}",
            self.address
        )
    }

    fn register(&mut self, place: SocketAddr) {
        self.register_all(&[place]);
    }

    fn register_all(&mut self, places: &[SocketAddr]) {
        self.places.send_modify(|known| known.extend(places));
    }

    fn deregister(&mut self, place: SocketAddr) {
        self.places.send_modify(|known| {
            known.remove(&place);
        });
    }

    fn kill(&mut self) {
        panic!("the real one is killed");
    }

    fn restart(&mut self, _: Data) {
        panic!("the real one is restarted");
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(200)
    }
}

async fn answer(mut stream: TcpStream, mut places: watch::Receiver<Places>) -> std::io::Result<()> {
    let mut head = vec![0; 16384];
    let count = stream.read(&mut head).await?;
    if !head[..count].starts_with(b"GET /events?filters=") {
        let list = Value::Array(places.borrow().iter().map(container).collect()).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            list.len()
        );
        stream.write_all((head + &list).as_bytes()).await?;
        return stream.shutdown().await;
    }
    places.mark_unchanged();
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    while places.changed().await.is_ok() {
        let event = json!({ "status": "start", "id": "5", "Type": "container", "Action": "start",
            "Actor": { "ID": "5", "Attributes": { "image": "fleet" } }, "scope": "local", "time": 1_795_667_205 });
        let line = format!("{event}\n");
        stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).await?;
    }
    Ok(())
}

fn container(place: &SocketAddr) -> Value {
    let (ip, port) = (place.ip().to_string(), place.port());
    json!({
        "Id": format!("{:0>64}", ip.replace('.', "")), "Names": [format!("/at-{ip}")], "Image": "fleet",
        "ImageID": "sha256:03c41fcb73502ccab2c8a55834de0e18f7eb5c293c22f90de0eb9aeabc36212f",
        "Command": "/hello", "Created": 1_795_667_312,
        "Ports": [{ "PrivatePort": port, "Type": "tcp" }],
        "Labels": { "tidegate.service": "found" }, "State": "running", "Status": "Up 3 seconds",
        "HostConfig": { "NetworkMode": "fleet" },
        "NetworkSettings": { "Networks": { "fleet": {
            "IPAMConfig": { "IPv4Address": ip }, "Links": null, "Aliases": null,
            "NetworkID": "a433a04cab205388796c3a29c85b10f0403aed04ee6255df8cc8abce0124827d",
            "EndpointID": "370e56fdd125ff22bc91639f23343225f4b1f6002ed63e7ba5dcc1aeaab0477c",
            "Gateway": "10.9.255.254", "IPAddress": ip, "IPPrefixLen": 16, "IPv6Gateway": "",
            "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "MacAddress": "02:42:0a:09:00:07",
            "DriverOpts": null,
        } } },
        "Mounts": [],
    })
}
