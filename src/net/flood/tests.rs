//! Floods end, and honest connections do not, however long they last.

use super::*;

/// A connection under test, with a clock that the test moves.
struct Connection {
    meter: Meter,
    now: Millis,
}

impl Connection {
    fn with(peer: Peer) -> Connection {
        let mut meter = Meter::new(peer);
        // Its preface, so that the next byte begins a frame.
        meter.read(&[b' '; PREFACE as usize][..if peer == Peer::Client { 24 } else { 0 }], Millis(0));
        meter.wrote(&[b' '; PREFACE as usize][..if peer == Peer::Client { 0 } else { 24 }], Millis(0));
        Connection { meter, now: Millis(0) }
    }

    fn of_client() -> Connection {
        Connection::with(Peer::Client)
    }

    fn comes(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.meter.read(&bytes(kind, flags, stream, payload), self.now);
    }

    fn goes(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.meter.wrote(&bytes(kind, flags, stream, payload), self.now);
    }

    fn pass(&mut self, millis: u64) {
        self.now = Millis(self.now.0 + millis);
    }

    /// After how many rounds it is a flood; `None` when it is none after 5,000.
    fn ends_after(mut self, mut round: impl FnMut(&mut Connection, u32)) -> Option<(u32, Useless)> {
        (1..=5_000).find_map(|number| {
            round(&mut self, number);
            self.meter.flood().map(|flood| (number, flood))
        })
    }
}

fn bytes(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn code(code: u32) -> [u8; 4] {
    code.to_be_bytes()
}

#[test]
fn useless_frames_of_each_type_are_a_flood_before_the_thousandth() {
    let one: [(u8, u8, u32, &[u8], Useless); 10] = [
        (kind::PING, 0, 0, &[0; 8], Useless::Ping),
        (kind::PING, 1, 0, &[0; 8], Useless::Ping),
        (kind::SETTINGS, 0, 0, &[], Useless::Settings),
        (kind::SETTINGS, 1, 0, &[], Useless::Settings),
        (kind::PRIORITY, 0, 1, &[0; 5], Useless::Priority),
        (kind::PRIORITY_UPDATE, 0, 0, &[0; 8], Useless::Priority),
        (kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1], Useless::WindowUpdate),
        (kind::DATA, 0, 1, &[], Useless::EmptyData),
        (kind::CONTINUATION, 0, 1, &[0; 20], Useless::Headers),
        (0xbe, 0, 0, &[0; 100], Useless::Other),
    ];
    for (kind, flags, stream, payload, flood) in one {
        for peer in [Peer::Client, Peer::Endpoint] {
            let ended = Connection::with(peer).ends_after(|connection, _| {
                connection.comes(kind, flags, stream, payload);
            });
            assert_eq!(ended, Some((501, flood)), "type {kind} by {peer:?}");
        }
    }
}

#[test]
fn two_hundred_rapid_resets_in_a_second_are_a_flood_and_so_are_those_that_we_are_made_to_do() {
    let rapid = |connection: &mut Connection, number: u32| {
        connection.pass(5);
        connection.comes(kind::HEADERS, 5, number * 2 - 1, b"fields");
        connection.comes(kind::RST_STREAM, 0, number * 2 - 1, &code(8));
    };
    assert_eq!(Connection::of_client().ends_after(rapid), Some((200, Useless::Reset)));
    let made = |connection: &mut Connection, number: u32| {
        connection.pass(5);
        connection.comes(kind::HEADERS, 5, number * 2 - 1, b"fields");
        connection.meter.accepted(number * 2 - 1);
        connection.goes(kind::RST_STREAM, 0, number * 2 - 1, &code(3));
    };
    assert_eq!(Connection::of_client().ends_after(made), Some((200, Useless::MadeReset)));
}

#[test]
fn a_client_may_give_up_streams_that_were_answered_or_have_lived_for_long() {
    let answered = |connection: &mut Connection, number: u32| {
        connection.comes(kind::HEADERS, 5, number * 2 - 1, b"fields");
        connection.goes(kind::HEADERS, 4, number * 2 - 1, b"fields");
        connection.comes(kind::RST_STREAM, 0, number * 2 - 1, &code(8));
    };
    assert_eq!(Connection::of_client().ends_after(answered), None);
    let patient = |connection: &mut Connection, round: u32| {
        let streams = (0..128).map(|index| (round * 128 + index) * 2 + 1);
        streams.clone().for_each(|stream| connection.comes(kind::HEADERS, 5, stream, b"fields"));
        connection.pass(1_250);
        streams.for_each(|stream| connection.comes(kind::RST_STREAM, 0, stream, &code(8)));
    };
    assert_eq!(Connection::of_client().ends_after(patient), None);
    let again = |connection: &mut Connection, _| {
        connection.comes(kind::HEADERS, 5, 1, b"fields");
        connection.pass(if connection.now == Millis(0) { 2_000 } else { 0 });
        connection.comes(kind::RST_STREAM, 0, 1, &code(8));
    };
    assert_eq!(Connection::of_client().ends_after(again), Some((152, Useless::Reset)));
}

#[test]
fn a_download_pays_for_its_window_updates_and_pings_but_not_byte_by_byte() {
    let large = |connection: &mut Connection, _| {
        connection.goes(kind::DATA, 0, 1, &[0; 16 * 1024]);
        (0..8).for_each(|_| connection.comes(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 8, 0]));
        (0..8).for_each(|_| connection.comes(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 8, 0]));
        connection.comes(kind::PING, 0, 0, &[0; 8]);
    };
    assert_eq!(Connection::of_client().ends_after(large), None);
    let messages = |connection: &mut Connection, _| {
        connection.goes(kind::DATA, 0, 1, &[0; 12]);
        connection.comes(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 12]);
        connection.comes(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 12]);
        connection.comes(kind::PING, 0, 0, &[0; 8]);
    };
    assert_eq!(Connection::of_client().ends_after(messages), None);
    let dribble = |connection: &mut Connection, _| {
        connection.comes(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
        connection.goes(kind::DATA, 0, 1, &[0; 1]);
    };
    assert_eq!(Connection::of_client().ends_after(dribble), Some((501, Useless::WindowUpdate)));
}

#[test]
fn a_quiet_connection_may_ping_for_ever_and_a_busy_one_may_order_its_requests() {
    let keepalive = |connection: &mut Connection, _| {
        connection.pass(1_000);
        (0..40).for_each(|_| connection.comes(kind::PING, 0, 0, &[0; 8]));
    };
    assert_eq!(Connection::of_client().ends_after(keepalive), None);
    let browser = |connection: &mut Connection, _| {
        (0..4).for_each(|_| connection.comes(kind::PRIORITY_UPDATE, 0, 0, &[0; 8]));
        connection.meter.useful();
    };
    assert_eq!(Connection::of_client().ends_after(browser), None);
    let answers = |connection: &mut Connection, _| {
        connection.goes(kind::PING, 0, 0, &[0; 8]);
        connection.goes(kind::SETTINGS, 0, 0, &[]);
        connection.comes(kind::PING, 1, 0, &[0; 8]);
        connection.comes(kind::SETTINGS, 1, 0, &[]);
    };
    assert_eq!(Connection::with(Peer::Endpoint).ends_after(answers), None);
}

#[test]
fn an_endpoint_may_refuse_every_request_of_ours_but_not_more() {
    let overloaded = |connection: &mut Connection, number: u32| {
        connection.goes(kind::HEADERS, 5, number * 2 - 1, b"fields");
        connection.comes(kind::RST_STREAM, 0, number * 2 - 1, &code(7));
    };
    assert_eq!(Connection::with(Peer::Endpoint).ends_after(overloaded), None);
    let again = |connection: &mut Connection, _| connection.comes(kind::RST_STREAM, 0, 1, &code(7));
    assert_eq!(Connection::with(Peer::Endpoint).ends_after(again), Some((151, Useless::Reset)));
}

#[test]
fn streams_that_the_library_refuses_are_told_once() {
    let mut connection = Connection::of_client();
    for stream in [1, 3, 5, 7] {
        connection.comes(kind::HEADERS, 5, stream, b"fields");
    }
    connection.meter.accepted(1);
    connection.goes(kind::HEADERS, 5, 1, b"200");
    connection.goes(kind::RST_STREAM, 0, 1, &code(1));
    connection.goes(kind::RST_STREAM, 0, 3, &code(1));
    connection.goes(kind::HEADERS, 5, 5, b"431");
    connection.goes(kind::RST_STREAM, 0, 5, &code(1));
    connection.goes(kind::RST_STREAM, 0, 7, &code(7));
    let told: Vec<_> = std::iter::from_fn(|| connection.meter.next_refused()).collect();
    assert_eq!(told, [Refused::TooLarge, Refused::Malformed]);
}

#[test]
fn a_goaway_of_ours_is_remembered_with_its_code() {
    let mut connection = Connection::of_client();
    connection.goes(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 9]);
    assert_eq!((connection.meter.ended(), connection.meter.flood()), (9, None));
}
