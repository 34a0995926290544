//! Headers of the PROXY protocol: what is read does not change when more bytes come, no byte behind
//! a header counts, and what the proxy writes itself reads again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::net::proxy_protocol::{Addresses, Greeting, MAX_HEADER, Read, Told, Version, read};

fuzz_target!(|data: &[u8]| {
    let whole = read(data);
    match whole {
        Read::Incomplete => assert!(data.len() < MAX_HEADER, "a header without end is waited for"),
        Read::Header(header) => {
            assert!(header.length <= data.len().min(MAX_HEADER) && header.length > 0);
            assert_eq!(read(&data[..header.length]), whole, "bytes behind the header count");
            if let Told::Addresses(addresses) = header.told {
                again(addresses);
            }
        }
        Read::Malformed => {}
    }
    for end in 0..data.len().min(MAX_HEADER) {
        match read(&data[..end]) {
            Read::Incomplete => {}
            found => {
                assert_eq!(found, whole, "{end} bytes say something else than {}", data.len());
                break;
            }
        }
    }
});

fn again(addresses: Addresses) {
    for version in [Version::V1, Version::V2] {
        let bytes = Greeting::Proxied(version, addresses).bytes();
        let Read::Header(header) = read(&bytes) else { panic!("{addresses:?} is written as no header") };
        assert_eq!(header.length, bytes.len());
        let Told::Addresses(second) = header.told else { panic!("{addresses:?} is not told") };
        // Of two families one is mapped, and a mapped address may become plain; the ports stay.
        let ip = |address: std::net::SocketAddr| (address.ip().to_canonical(), address.port());
        assert_eq!(ip(second.source), ip(addresses.source));
        assert_eq!(ip(second.destination), ip(addresses.destination));
    }
}
