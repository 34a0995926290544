//! Requests over HTTP/1.1 at a constant rate, evenly spread over time and connections:
//! `pace ADDRESS HOST PATH RATE CONNECTIONS SECONDS FILE`
//!
//! Writes a line for each request: start in microseconds since 1970, status, microseconds to the last byte. A request
//! that is sent late because its connection still waited for the answer before it starts when it was due (no
//! coordinated omission); one that is late because the sleep was long starts when it is sent. Standard library only.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{BufWriter, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One request: when it starts, its status (0 without an answer), and how long it took.
struct Sample {
    start: Instant,
    status: u16,
    took: Duration,
}

/// When one connection sends: first, how often, how long.
struct Schedule {
    first: Instant,
    every: Duration,
    end: Instant,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, host, path, rate, connections, seconds, file] = arguments.as_slice() else {
        return Err(Error::other("usage: pace ADDRESS HOST PATH RATE CONNECTIONS SECONDS FILE"));
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    let (rate, connections): (f64, u32) = (number(rate)?, number(connections)?);
    let every = Duration::from_secs_f64(f64::from(connections) / rate);
    // All connections are open before the first request.
    let (begin, since) = (Instant::now() + Duration::from_millis(200), SystemTime::now());
    let begun = begin - Duration::from_millis(200);
    let end = begin + Duration::from_secs(number(seconds)?);

    let mut threads = Vec::new();
    for place in 0..connections {
        let (stream, request) = (TcpStream::connect(address)?, request.clone());
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let schedule = Schedule { first: begin + every * place / connections, every, end };
        let small = thread::Builder::new().stack_size(256 << 10);
        threads.push(small.spawn(move || run(stream, &request, &schedule))?);
    }
    let mut out = BufWriter::new(File::create(file)?);
    for thread in threads {
        for sample in thread.join().map_err(|_| Error::other("a connection's thread failed"))? {
            let start = (since + (sample.start - begun)).duration_since(UNIX_EPOCH).map_err(Error::other)?;
            writeln!(out, "{}\t{}\t{}", start.as_micros(), sample.status, sample.took.as_micros())?;
        }
    }
    out.flush()
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::other(format!("`{text}` is not a number")))
}

/// One connection; it ends at its first failure, which is its last sample.
fn run(mut stream: TcpStream, request: &[u8], schedule: &Schedule) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let (mut due, mut answered) = (schedule.first, schedule.first);
    while due < schedule.end {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let start = if answered > due { due } else { Instant::now() };
        let status = stream.write_all(request).and_then(|()| answer(&mut stream, &mut buffer)).unwrap_or(0);
        answered = Instant::now();
        samples.push(Sample { start, status, took: answered - start });
        if status == 0 {
            break;
        }
        due += schedule.every;
    }
    samples
}

/// Reads one answer with a Content-Length; its status.
fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<u16> {
    let mut filled = 0;
    let head = loop {
        filled += some(stream, &mut buffer[filled..])?;
        if let Some(at) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut left = number::<usize>(length.unwrap_or_default().trim())? - (filled - head);
    while left > 0 {
        left -= some(stream, buffer)?;
    }
    number(text.get(9..12).unwrap_or_default())
}

fn some(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<usize> {
    match stream.read(buffer)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}
