//! Files, pipes and disks that behave badly.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::*;

const LONG: Duration = Duration::from_secs(20);

fn start(path: &Path, capacity: usize) -> Writer {
    Writer::start(Output::open(Target::File(path.to_owned())).unwrap(), capacity).unwrap()
}

fn submit(writer: &Writer, text: &str) {
    writer.submit(&mut text.as_bytes().to_vec(), text.lines().count() as u32);
}

fn fifo(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    path
}

#[test]
fn lines_come_out_whole_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    fs::write(&path, "older\n").unwrap();
    let writer = start(&path, CAPACITY);
    let mut expected = String::from("older\n");
    for number in 0..500 {
        let text = format!("first of {number}\nsecond of {number}\n");
        expected.push_str(&text);
        submit(&writer, &text);
    }
    assert_eq!(writer.stop(LONG), Flushed::Complete);
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    assert_eq!(writer.dropped(), 0);
}

#[test]
fn a_file_that_can_not_be_opened_is_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    assert!(Output::open(Target::File(directory.path().join("no/such/directory"))).is_err());
    assert!(Output::open(Target::File(directory.path().to_owned())).is_err());
}

#[test]
fn after_a_reopen_lines_go_to_a_new_file_of_the_name() {
    let directory = tempfile::tempdir().unwrap();
    let (path, rotated) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
    let writer = start(&path, CAPACITY);
    submit(&writer, "before\n");
    fs::rename(&path, &rotated).unwrap();
    submit(&writer, "between\n");
    writer.reopen();
    submit(&writer, "after\n");
    assert_eq!(writer.stop(LONG), Flushed::Complete);
    assert_eq!(fs::read_to_string(&rotated).unwrap(), "before\nbetween\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
}

#[test]
fn a_reopen_that_fails_keeps_the_old_file() {
    let directory = tempfile::tempdir().unwrap();
    let (inner, moved) = (directory.path().join("inner"), directory.path().join("moved"));
    fs::create_dir(&inner).unwrap();
    let writer = start(&inner.join("access.log"), CAPACITY);
    fs::rename(&inner, &moved).unwrap();
    writer.reopen();
    submit(&writer, "still\n");
    assert_eq!(writer.stop(LONG), Flushed::Complete);
    assert_eq!(fs::read_to_string(moved.join("access.log")).unwrap(), "still\n");
}

#[test]
fn a_switch_goes_on_with_another_file_and_off_is_off() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    let writer = start(&first, CAPACITY);
    submit(&writer, "1\n");
    writer.switch(Output::open(Target::File(second.clone())).unwrap());
    submit(&writer, "2\n");
    assert!(writer.is_on());
    writer.switch(Output::open(Target::Off).unwrap());
    assert!(!writer.is_on());
    submit(&writer, "3\n");
    assert_eq!(writer.stop(LONG), Flushed::Complete);
    assert_eq!(fs::read_to_string(&first).unwrap(), "1\n");
    assert_eq!(fs::read_to_string(&second).unwrap(), "2\n");
}

#[test]
fn a_full_disk_drops_and_counts_and_recovers_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let writer = start(&path, CAPACITY);
    // A real file will be where the full device was: what is open fails, the next try does not.
    fs::remove_file(&path).unwrap();
    submit(&writer, "one\ntwo\n");
    assert_eq!(writer.flush(LONG), Flushed::Complete);
    assert_eq!(writer.dropped(), 2);

    submit(&writer, "three\n");
    assert_eq!(writer.stop(LONG), Flushed::Complete);
    assert_eq!(writer.dropped(), 2);
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
}

#[test]
fn a_pipe_that_nobody_reads_never_holds_up_who_submits() {
    let directory = tempfile::tempdir().unwrap();
    let path = fifo(directory.path());
    let writer = start(&path, 64 << 10);
    let batch = format!("{}\n", "x".repeat(4095));
    let begun = Instant::now();
    for _ in 0..1000 {
        submit(&writer, &batch);
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    let dropped = writer.dropped();
    assert!(dropped >= 900, "{dropped}");

    // Every line that was not dropped arrives once somebody reads.
    let kept = 1000 - dropped as usize;
    let lines = BufReader::new(fs::File::open(&path).unwrap()).lines();
    assert_eq!(lines.take(kept).filter(|line| line.as_ref().unwrap().len() == 4095).count(), kept);
    assert_eq!(writer.flush(LONG), Flushed::Complete);
    submit(&writer, "back\n");
    assert_eq!(writer.stop(LONG), Flushed::Complete);
    assert_eq!(writer.dropped(), dropped);
}

#[test]
fn a_stop_does_not_wait_longer_than_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = fifo(directory.path());
    let writer = start(&path, CAPACITY);
    let batch = "line\n".repeat(100_000);
    submit(&writer, &batch);
    submit(&writer, "waiting\n");
    // The first byte shows that the thread has the first batch in hand.
    let mut reader = fs::File::open(&path).unwrap();
    reader.read_exact(&mut [0]).unwrap();
    assert_eq!(writer.stop(Duration::from_millis(50)), Flushed::Late);
    assert_eq!(writer.dropped(), 1, "the batch in hand may still be written, the waiting one not");
    submit(&writer, "late\n");
    assert_eq!(writer.dropped(), 2);
    // Lets the thread go.
    reader.read_exact(&mut vec![0; batch.len() - 1]).unwrap();
}

#[test]
fn buffers_come_back_to_be_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let writer = start(&directory.path().join("access.log"), CAPACITY);
    let mut buffer = Vec::with_capacity(10_000);
    buffer.extend_from_slice(b"line\n");
    writer.submit(&mut buffer, 1);
    assert!(buffer.is_empty());
    assert_eq!(writer.flush(LONG), Flushed::Complete);
    buffer.extend_from_slice(b"line\n");
    writer.submit(&mut buffer, 1);
    assert!(buffer.is_empty() && buffer.capacity() >= 10_000);
}

#[test]
fn a_batch_larger_than_the_queue_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let writer = start(&directory.path().join("access.log"), 10);
    submit(&writer, "longer than ten\n");
    assert_eq!(writer.dropped(), 1);
    submit(&writer, "short\n");
    assert_eq!(writer.stop(LONG), Flushed::Complete);
    assert_eq!(writer.dropped(), 1);
}
