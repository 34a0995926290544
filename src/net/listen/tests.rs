//! Listening sockets: addresses, groups of workers, and honest refusals.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;

fn tcp(text: &str) -> Address {
    text.parse().unwrap()
}

fn none() -> Inherited {
    Inherited::default()
}

fn chosen(bound: &[Bound]) -> SocketAddr {
    match bound[0].local {
        Address::Tcp(at) => at,
        ref other => unreachable!("{other} is not a TCP address"),
    }
}

#[test]
fn an_address_is_written_as_it_is_read() {
    for text in ["127.0.0.1:8080", "[::1]:0", "unix:/run/web.sock", "systemd:web"] {
        assert_eq!(tcp(text).to_string(), text);
    }
}

#[test]
fn a_wrong_address_says_what_would_be_right() {
    let message = |text: &str| text.parse::<Address>().unwrap_err().to_string();
    assert!(message(":8080").contains("\"0.0.0.0:8080\""), "{}", message(":8080"));
    assert!(message("localhost:80").contains("\"127.0.0.1:80\""));
    assert!(message("unix:web.sock").contains("absolute"));
    assert!(message("systemd:").contains("FileDescriptorName="));
    for text in ["", "8080", "127.0.0.1", "127.0.0.1:70000", "::1:80:x"] {
        assert!(matches!(text.parse::<Address>(), Err(AddressError::Form(_))), "{text}");
    }
}

#[test]
fn every_worker_gets_a_socket_on_the_port_that_the_first_one_drew() {
    let bound = bind(&tcp("127.0.0.1:0"), 3, &none()).unwrap();
    assert_ne!(chosen(&bound).port(), 0);
    assert_eq!(bound[0].sockets.len(), 3);
    for socket in &bound[0].sockets {
        assert_eq!(socket.local().unwrap(), bound[0].local);
    }
}

#[test]
fn connections_are_spread_over_the_sockets_of_all_workers() {
    let bound = bind(&tcp("127.0.0.1:0"), 2, &none()).unwrap();
    // The kernel draws a socket by a hash of the ports: 64 times the same is as good as never.
    let clients: Vec<_> = (0..64).map(|_| TcpStream::connect(chosen(&bound)).unwrap()).collect();
    let accepted: Vec<usize> = bound[0].sockets.iter().map(|socket| drain(socket).len()).collect();
    assert_eq!(accepted.iter().sum::<usize>(), clients.len());
    assert!(accepted.iter().all(|count| *count > 0), "{accepted:?}");
}

#[test]
fn accepted_sockets_do_not_delay_small_writes() {
    let bound = bind(&tcp("127.0.0.1:0"), 1, &none()).unwrap();
    let _client = TcpStream::connect(chosen(&bound)).unwrap();
    let accepted = drain(&bound[0].sockets[0]);
    assert!(accepted[0].nodelay().unwrap());
}

/// What waits in the queue of a socket; ends because the socket does not block.
fn drain(socket: &Listener) -> Vec<TcpStream> {
    let Listener::Tcp(socket) = socket else { unreachable!("a TCP address was bound") };
    std::iter::from_fn(|| socket.accept().ok()).map(|(stream, _)| stream).collect()
}

#[test]
fn a_port_is_not_shared_with_a_process_that_would_allow_it() {
    let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    other.set_reuse_address(true).unwrap();
    other.set_reuse_port(true).unwrap();
    other.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    other.listen(1).unwrap();
    let address = Address::Tcp(other.local_addr().unwrap().as_socket().unwrap());
    let error = bind(&address, 2, &none()).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("another process"));
}

#[test]
fn a_port_of_our_own_group_can_not_be_bound_again() {
    let first = bind(&tcp("127.0.0.1:0"), 2, &none()).unwrap();
    let error = bind(&first[0].local, 2, &none()).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    let address = first[0].local.clone();
    drop(first);
    bind(&address, 2, &none()).unwrap();
}

#[test]
fn a_port_with_connections_in_their_last_minute_can_be_bound() {
    let first = bind(&tcp("127.0.0.1:0"), 1, &none()).unwrap();
    let client = TcpStream::connect(chosen(&first)).unwrap();
    let mut accepted = drain(&first[0].sockets[0]);
    // The side that closes first keeps the port in TIME_WAIT.
    accepted.clear();
    drop(client);
    let address = first[0].local.clone();
    drop(first);
    bind(&address, 1, &none()).unwrap();
}

#[test]
fn an_address_of_no_interface_says_so() {
    // 192.0.2.0/24 is for documentation (RFC 5737).
    let error = bind(&tcp("192.0.2.1:0"), 1, &none()).unwrap_err();
    assert!(matches!(error, BindError::NotLocal { .. }), "{error}");
}

#[test]
fn a_port_that_needs_a_privilege_names_it() {
    let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
    let error = classify(([127, 0, 0, 1], 443).into(), "bind", denied());
    assert!(error.to_string().contains("CAP_NET_BIND_SERVICE"), "{error}");
    let error = classify(([127, 0, 0, 1], 8443).into(), "bind", denied());
    assert!(matches!(error, BindError::Io { step: "bind", .. }), "{error}");
}

#[test]
fn an_ipv6_socket_leaves_ipv4_to_others() {
    let bound = match bind(&tcp("[::1]:0"), 1, &none()) {
        Err(BindError::NotLocal { .. }) => return eprintln!("skipped: this machine has no IPv6"),
        bound => bound.unwrap(),
    };
    let Listener::Tcp(socket) = &bound[0].sockets[0] else { unreachable!("a TCP address was bound") };
    assert!(SockRef::from(socket).only_v6().unwrap());
}

#[test]
fn the_socket_of_a_process_that_is_gone_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "the file outlives the socket");
    let bound = bind(&Address::Unix(path.clone()), 2, &none()).unwrap();
    assert_eq!(bound[0].local, Address::Unix(path.clone()));
    assert_eq!(bound[0].sockets.len(), 2);
    let client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let Listener::Unix(second) = &bound[0].sockets[1] else { unreachable!("a UNIX address was bound") };
    second.accept().unwrap();
}

#[test]
fn the_socket_of_a_living_process_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let other = UnixListener::bind(&path).unwrap();
    let error = bind(&Address::Unix(path.clone()), 1, &none()).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    drop(UnixStream::connect(&path).unwrap());
    drop(other);
}

#[test]
fn a_socket_whose_queue_is_full_is_in_use_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let hanging = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    hanging.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    hanging.listen(0).unwrap();
    let fill = || {
        let client = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
        client.connect(&SockAddr::unix(&path).unwrap()).map(|()| client)
    };
    let _waiting: Vec<_> = std::iter::repeat_with(fill).map_while(Result::ok).take(100).collect();

    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let address = Address::Unix(path.clone());
    std::thread::spawn(move || tell.send(bind(&address, 1, &none())));
    let error = told.recv_timeout(std::time::Duration::from_secs(10)).expect("it waits").unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
}

#[test]
fn sockets_beside_others_of_this_process_take_over_when_they_begin_to_listen() {
    let mut before = bind(&tcp("127.0.0.1:0"), 1, &none()).unwrap().remove(0);
    let Address::Tcp(at) = before.local else { panic!("no port") };
    let beside = bind_beside(([0, 0, 0, 0], at.port()).into(), 2).unwrap();
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], at.port()));
    assert!(TcpStream::connect(elsewhere).is_err(), "they do not listen yet");
    beside.listen().unwrap();
    before.sockets.clear();
    assert!(TcpStream::connect(elsewhere).is_ok() && TcpStream::connect(at).is_ok());
}

#[test]
fn a_file_that_is_no_socket_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "precious").unwrap();
    let error = bind(&Address::Unix(path.clone()), 1, &none()).unwrap_err();
    assert!(matches!(error, BindError::NotSocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn all_sockets_under_an_inherited_name_are_listened_on() {
    let listener = || Listener::Tcp(TcpListener::bind("127.0.0.1:0").unwrap());
    let named = |name: &str| (name.to_owned(), listener());
    let inherited = Inherited::from_sockets(vec![named("web"), named("api"), named("web")]);
    let bound = bind(&Address::Inherited("web".to_owned()), 2, &inherited).unwrap();
    assert_eq!(bound.len(), 2);
    assert!(bound.iter().all(|one| one.sockets.len() == 2));
    let error = bind(&Address::Inherited("wbe".to_owned()), 2, &inherited).unwrap_err();
    assert!(error.to_string().contains("there is: web, api, web"), "{error}");
}

#[test]
fn only_loopback_and_unix_addresses_are_local() {
    assert!(is_local(&tcp("127.0.0.1:1")) && is_local(&tcp("[::1]:1")) && is_local(&tcp("unix:/a")));
    assert!(!is_local(&tcp("0.0.0.0:1")) && !is_local(&tcp("192.0.2.1:1")) && !is_local(&tcp("systemd:a")));
}
