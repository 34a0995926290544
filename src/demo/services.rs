//! Three small services to stand behind the proxy: hello, users and auth.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::answer::Site;

/// Connections that a service has at one time; further ones are closed.
const MAX_CONNECTIONS: usize = 1024;

/// From the first byte of a request to the end of its head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the services listen on 127.0.0.1; 0 is a free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The service "hello".
    pub hello: u16,
    /// The service "users".
    pub users: u16,
    /// The service "auth".
    pub auth: u16,
}

/// The ports that the shipped proxy.toml names.
pub const SHIPPED: Ports = Ports { hello: 9101, users: 9102, auth: 9103 };

/// The running services; they end when this is dropped.
#[derive(Debug)]
pub struct Services {
    services: Vec<Service>,
    thread: Option<JoinHandle<()>>,
}

/// One of them.
#[derive(Debug)]
pub struct Service {
    /// "hello", "users" or "auth".
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
}

/// A port that a service can not have.
#[derive(Debug, thiserror::Error)]
#[error("port {port} on 127.0.0.1, for the demo service `{name}`, can not be bound")]
pub struct PortError {
    /// The port.
    pub port: u16,
    /// The service that wanted it.
    pub name: &'static str,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// Starts the services on a thread of their own; they answer when this returns.
///
/// # Errors
/// When a port is taken.
pub fn services(ports: Ports) -> Result<Services, PortError> {
    let mut running = Vec::new();
    let mut services = Vec::new();
    for (name, port) in [("hello", ports.hello), ("users", ports.users), ("auth", ports.auth)] {
        let failed = |source| PortError { port, name, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let site = Site { service: name, instance: format!("{name}-1"), is_well: AtomicBool::new(true) };
        running.push(Running { listener, site: Arc::new(site), stopped });
        services.push(Service { name, address, stop });
    }
    let thread = std::thread::Builder::new().name("demo-services".to_owned()).spawn(|| serve_all(running));
    let thread = thread.map_err(|source| PortError { port: ports.hello, name: "hello", source })?;
    Ok(Services { services, thread: Some(thread) })
}

impl Services {
    /// The services in the order hello, users, auth.
    pub fn all(&self) -> &[Service] {
        &self.services
    }

    /// The service of this name.
    pub fn find(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }
}

impl Service {
    /// Stops this one as a crash would: its port is closed and its connections are cut.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.name, self.address)
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.services.iter().for_each(Service::stop);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

struct Running {
    listener: TcpListener,
    site: Arc<Site>,
    stopped: watch::Receiver<bool>,
}

fn serve_all(services: Vec<Running>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "the demo services have no runtime"),
    };
    runtime.block_on(async {
        let mut tasks: JoinSet<()> = services.into_iter().map(serve).collect();
        while tasks.join_next().await.is_some() {}
    });
}

/// Accepts until stopped; the connections end with it.
async fn serve(mut service: Running) {
    let listener = match tokio::net::TcpListener::from_std(service.listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a demo service can not listen"),
    };
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _told_or_gone = service.stopped.wait_for(|is_stopped| *is_stopped) => return,
            Some(_ended) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                connections.spawn(converse(stream, service.site.clone()));
            }
            Ok(_one_too_many) => {}
            // Out of file descriptors, as a rule; they come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn converse(stream: TcpStream, site: Arc<Site>) {
    let _small_answers_go_at_once = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let site = site.clone();
        async move { site.answer(request).await }
    });
    // How a connection ends is the peer's matter.
    let _ended = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[cfg(test)]
mod tests;
