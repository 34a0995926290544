//! The examples of the specification, every piece of them, and what breaks its rules.

use proptest::prelude::*;

use super::*;

fn addresses(source: &str, destination: &str) -> Told {
    Told::Addresses(Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
}

fn told(bytes: &[u8]) -> Option<Told> {
    match read(bytes) {
        Read::Header(header) => {
            assert_eq!(header.length, bytes.len());
            Some(header.told)
        }
        Read::Malformed => None,
        Read::Incomplete => panic!("{bytes:?} is complete"),
    }
}

/// A header of version 2 with the right length.
fn block(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    [v2::SIGNATURE, &[command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
}

const FOUR: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xc3, 0x50, 1, 0xbb];

fn six_block() -> Vec<u8> {
    let mut block = Vec::new();
    for last in [1, 2] {
        block.extend_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    block.extend_from_slice(&[0xc3, 0x50, 1, 0xbb]);
    block
}

/// Valid headers of every kind.
fn valid() -> Vec<Vec<u8>> {
    let values = [&FOUR[..], &[0x04, 0, 2, 0, 0, 0x01, 0, 2, b'h', b'2']].concat();
    vec![
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 2001:DB8::2 50000 443\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff:: x 1 2 3 4\r\n".to_vec(),
        block(0x20, 0, &[]),
        block(0x21, 0, b"anything"),
        block(0x21, 0x11, &FOUR),
        block(0x21, 0x21, &six_block()),
        block(0x21, 0x31, &[b'/'; 216]),
        block(0x21, 0x11, &values),
    ]
}

#[test]
fn the_examples_of_the_specification_are_read() {
    assert_eq!(
        told(b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"),
        Some(addresses("192.168.0.1:56324", "192.168.0.11:443"))
    );
    assert_eq!(
        told(b"PROXY TCP6 2001:db8::1 2001:db8::2 50000 443\r\n"),
        Some(addresses("[2001:db8::1]:50000", "[2001:db8::2]:443"))
    );
    // The worst cases by length: 56, 104, 15 and 107 bytes.
    assert!(told(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n").is_some());
    let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    assert!(told(format!("PROXY TCP6 {full} {full} 65535 65535\r\n").as_bytes()).is_some());
    assert_eq!(told(b"PROXY UNKNOWN\r\n"), Some(Told::Nothing));
    assert_eq!(told(b"PROXY UNKNOWN \xff\0 anything\r\n"), Some(Told::Nothing));
    let longest = format!("PROXY UNKNOWN {full} {full} 65535 65535\r\n");
    assert_eq!(longest.len(), 107);
    assert_eq!(told(longest.as_bytes()), Some(Told::Nothing));
}

#[test]
fn a_line_that_breaks_a_rule_is_malformed() {
    for line in [
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP6 ::1%lo ::2 1 2\r\n",
        "PROXY TCP6 [::1] ::2 1 2\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n",
        "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "GET / HTTP/1.1\r\n",
    ] {
        assert_eq!(told(line.as_bytes()), None, "{line:?}");
    }
    assert_eq!(read(format!("PROXY UNKNOWN {}", "x".repeat(92)).as_bytes()), Read::Incomplete);
    assert_eq!(read(format!("PROXY UNKNOWN {}", "x".repeat(93)).as_bytes()), Read::Malformed);
}

#[test]
fn a_block_tells_both_ends() {
    assert_eq!(told(&block(0x21, 0x11, &FOUR)), Some(addresses("192.0.2.1:50000", "198.51.100.2:443")));
    let six = addresses("[2001:db8::1]:50000", "[2001:db8::2]:443");
    assert_eq!(told(&block(0x21, 0x21, &six_block())), Some(six));
    assert_eq!(told(&block(0x21, 0x31, &[0; 216])), Some(Told::Nameless));
    assert_eq!(told(&block(0x21, 0x00, b"whatever")), Some(Told::Nothing));
    for local in [block(0x20, 0, &[]), block(0x20, 0x11, &FOUR), block(0x20, 0xff, b"x")] {
        assert_eq!(told(&local), Some(Told::Nothing), "LOCAL speaks for the load balancer");
    }
}

#[test]
fn a_block_that_breaks_a_rule_is_malformed() {
    for (what, header) in [
        ("version 1 in the block", block(0x11, 0x11, &FOUR)),
        ("version 3", block(0x31, 0x11, &FOUR)),
        ("a command that there is not", block(0x22, 0x11, &FOUR)),
        ("a family that there is not", block(0x21, 0x41, &FOUR)),
        ("IPv4 over nothing", block(0x21, 0x10, &FOUR)),
        ("IPv4 over a third transport", block(0x21, 0x13, &FOUR)),
        ("too short for its family", block(0x21, 0x11, &FOUR[..11])),
        ("too short for IPv6", block(0x21, 0x21, &FOUR)),
        ("half a value", block(0x21, 0x11, &[&FOUR[..], &[0x04, 0]].concat())),
        ("a value that is longer than the rest", block(0x21, 0x11, &[&FOUR[..], &[0x04, 0, 2, 0]].concat())),
        ("longer than is read", block(0x21, 0, &vec![0; MAX_HEADER - v2::FIXED + 1])),
    ] {
        assert_eq!(told(&header), None, "{what}");
    }
    assert!(told(&block(0x21, 0, &vec![0; MAX_HEADER - v2::FIXED])).is_some(), "just as long as is read");
}

#[test]
fn a_checksum_must_be_right() {
    let mut header = block(0x21, 0x11, &[&FOUR[..], &[0x03, 0, 4, 0, 0, 0, 0, 0x04, 0, 0]].concat());
    let at = v2::FIXED + FOUR.len() + 3;
    let sum = v2::checksum(&header);
    header[at..at + 4].copy_from_slice(&sum);
    assert!(told(&header).is_some());
    for byte in (v2::FIXED..v2::FIXED + FOUR.len()).chain(at..at + 4) {
        let mut wrong = header.clone();
        wrong[byte] ^= 1;
        assert_eq!(told(&wrong), None, "a bit of byte {byte} was changed");
    }
    let short = block(0x21, 0x11, &[&FOUR[..], &[0x03, 0, 3, 0, 0, 0]].concat());
    assert_eq!(told(&short), None);
    // The check value of CRC-32C.
    assert_eq!(v2::checksum(b"123456789"), 0xE306_9283_u32.to_be_bytes());
}

#[test]
fn every_piece_of_a_header_is_incomplete() {
    for header in valid() {
        for length in 0..header.len() {
            assert_eq!(read(&header[..length]), Read::Incomplete, "{length} bytes of {header:?}");
        }
        assert!(told(&header).is_some(), "{header:?}");
        let followed = [&header[..], b"\r\nGET"].concat();
        let Read::Header(found) = read(&followed) else { panic!("{followed:?}") };
        assert_eq!(found.length, header.len(), "what follows is not looked at");
    }
}

#[test]
fn what_is_written_is_read() {
    let pair = |source: &str, destination: &str| (source.parse().unwrap(), destination.parse().unwrap());
    for version in [Version::V1, Version::V2] {
        for (source, destination) in
            [pair("192.0.2.1:50000", "198.51.100.2:443"), pair("[2001:db8::1]:50000", "[2001:db8::2]:443")]
        {
            let bytes = Greeting::for_client(version, source, destination).bytes();
            assert_eq!(told(&bytes), Some(Told::Addresses(Addresses { source, destination })));
        }
        let (source, destination) = pair("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2");
        let bytes = Greeting::for_client(version, source, destination).bytes();
        assert_eq!(told(&bytes), Some(addresses("192.0.2.1:1", "192.0.2.2:2")), "mapped is IPv4");
        let (source, destination) = pair("192.0.2.1:1", "[2001:db8::2]:2");
        let bytes = Greeting::for_client(version, source, destination).bytes();
        assert_eq!(told(&bytes), Some(addresses("[::ffff:192.0.2.1]:1", "[2001:db8::2]:2")), "one family");
        let (nobody, _) = pair("0.0.0.0:0", "0.0.0.0:0");
        assert_eq!(told(&Greeting::for_client(version, nobody, nobody).bytes()), Some(Told::Nothing));
    }
    assert_eq!(Greeting::Local(Version::V1).bytes(), b"PROXY UNKNOWN\r\n");
    assert_eq!(Greeting::Silent.bytes(), b"");
}

proptest! {
    #[test]
    fn no_split_changes_what_is_read(
        kind in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = kind.get(&valid()).clone();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.extend_from_slice(&tail);
        let whole = read(&bytes);
        for length in 0..bytes.len() {
            let part = read(&bytes[..length]);
            prop_assert!(part == Read::Incomplete || part == whole, "{length} bytes: {part:?}, all: {whole:?}");
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Read::Header(header) = read(&[v2::SIGNATURE, &bytes].concat()) {
            prop_assert!(header.length <= MAX_HEADER);
        }
    }
}
