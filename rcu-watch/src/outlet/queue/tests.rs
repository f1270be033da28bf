//! Readers that stop, read again or go away, as pipes.

use std::io::{PipeReader, Read as _, pipe};

use super::*;

/// A queue whose two readers are the test.
struct Pipes {
    queue: Arc<Queue>,
    output: PipeReader,
    error: PipeReader,
}

impl Pipes {
    fn new() -> Self {
        let file = |writer: io::PipeWriter| File::from(std::os::fd::OwnedFd::from(writer));
        let ((output, to_output), (error, to_error)) = (pipe().unwrap(), pipe().unwrap());
        Self { queue: Queue::start(file(to_output), file(to_error)).unwrap(), output, error }
    }

    fn push(&self, class: Class, bytes: &[u8]) {
        self.queue.push(Parcel { lane: Lane::Output, class, messages: 1, bytes: bytes.to_vec() }).unwrap();
    }

    /// All that comes on standard output.
    fn rest(self) -> Vec<u8> {
        let Self { queue, mut output, error } = self;
        queue.end();
        drop((queue, error));
        let mut rest = Vec::new();
        output.read_to_end(&mut rest).unwrap();
        rest
    }
}

const KIB: [u8; 1024] = [b'.'; 1024];

#[test]
fn a_live_run_goes_on_without_its_reader_and_counts_what_found_no_room() {
    let pipes = Pipes::new();
    pipes.queue.set_live();
    let all = LIMIT / KIB.len() * 2;
    for _ in 0..all {
        pipes.push(Class::Plain, &KIB);
    }
    let dropped = pipes.queue.dropped();
    assert!(dropped.messages > 0 && dropped.findings == 0, "{dropped:?}");
    // Nothing is told to a reader that takes nothing.
    assert_eq!(pipes.queue.news(), None);
    let read = pipes.rest();
    assert_eq!(read.len() / KIB.len() + dropped.messages as usize, all);
}

#[test]
fn findings_are_the_last_to_go_but_the_first_and_last_message() {
    let pipes = Pipes::new();
    pipes.queue.set_live();
    pipes.push(Class::Frame, b"header\n");
    let fill = |class, byte: u8| {
        for _ in 0..LIMIT / KIB.len() + 100 {
            pipes.push(class, &[byte; 1024]);
        }
    };
    fill(Class::Plain, b'p');
    assert_eq!(pipes.queue.dropped().findings, 0);
    fill(Class::Finding, b'f');
    let dropped = pipes.queue.dropped();
    assert!(dropped.findings > 0 && dropped.findings < 300, "{dropped:?}");
    pipes.push(Class::Frame, b"summary\n");
    let read = pipes.rest();
    assert!(read.starts_with(b"header\n") && read.ends_with(b"summary\n"));
    // What was in the pipe already stays.
    let plain = read.iter().filter(|&&byte| byte == b'p').count();
    assert!(plain <= 128 * KIB.len(), "{plain}");
}

#[test]
fn what_was_dropped_is_told_once_when_the_reader_goes_on() {
    let mut pipes = Pipes::new();
    pipes.queue.set_live();
    for _ in 0..LIMIT / KIB.len() * 2 {
        pipes.push(Class::Plain, &KIB);
    }
    let dropped = pipes.queue.dropped();
    let mut read = vec![0; LIMIT * 3 / 4];
    pipes.output.read_exact(&mut read).unwrap();
    let told = std::iter::repeat_with(|| pipes.queue.news()).take(1_000_000).find_map(|news| news);
    assert_eq!(told, Some(dropped));
    assert_eq!(pipes.queue.news(), None);
}

#[test]
fn where_nothing_is_attached_a_reader_is_waited_for_until_a_signal_comes() {
    let pipes = Pipes::new();
    thread::scope(|scope| {
        let pusher = scope.spawn(|| {
            for _ in 0..LIMIT / KIB.len() * 2 {
                pipes.push(Class::Plain, &KIB);
            }
        });
        thread::sleep(Duration::from_millis(100));
        assert!(!pusher.is_finished());
        assert!(pipes.queue.dropped().is_none());
        pipes.queue.hurry();
        pusher.join().unwrap();
    });
    assert!(!pipes.queue.dropped().is_none());
}

#[test]
fn the_end_takes_a_reader_that_has_stopped_for_gone() {
    let pipes = Pipes::new();
    for _ in 0..200 {
        pipes.push(Class::Finding, &KIB);
    }
    pipes.queue.hurry();
    assert_eq!(pipes.queue.finish().unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert!(pipes.queue.closed().load(Ordering::Relaxed));
    let OutputDropped { messages, findings } = pipes.queue.dropped();
    assert!(messages > 0 && messages == findings, "{messages}");
    // Standard error still has its reader.
    pipes.queue.last_words("so many\n".to_owned(), Duration::from_secs(10));
    let Pipes { mut error, .. } = pipes;
    let mut said = [0; 8];
    error.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"so many\n");
}

#[test]
fn a_reader_that_goes_away_is_an_error_and_its_neighbour_hears_on() {
    let Pipes { queue, output, mut error } = Pipes::new();
    drop(output);
    let parcel = |lane| Parcel { lane, class: Class::Plain, messages: 1, bytes: b"x\n".to_vec() };
    queue.push(parcel(Lane::Output)).unwrap();
    assert_eq!(queue.finish().unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(queue.push(parcel(Lane::Output)).unwrap_err().kind(), ErrorKind::BrokenPipe);
    queue.push(parcel(Lane::Error)).unwrap();
    let mut said = [0; 2];
    error.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"x\n");
}

#[test]
fn both_streams_keep_their_order_and_a_stopped_one_holds_up_its_own() {
    // Both are one file: what is read is the order.
    let (mut both, writer) = pipe().unwrap();
    let copy = || File::from(std::os::fd::OwnedFd::from(writer.try_clone().unwrap()));
    let queue = Queue::start(copy(), copy()).unwrap();
    drop(writer);
    let parcel = |lane, bytes: Vec<u8>| Parcel { lane, class: Class::Plain, messages: 1, bytes };
    for number in 0..200 {
        let lane = if number % 3 == 0 { Lane::Error } else { Lane::Output };
        queue.push(parcel(lane, format!("{number}\n").into_bytes())).unwrap();
    }
    queue.finish().unwrap();
    queue.end();
    let mut text = String::new();
    both.read_to_string(&mut text).unwrap();
    assert_eq!(
        text.lines().map(str::to_owned).collect::<Vec<_>>(),
        (0..200).map(|n| n.to_string()).collect::<Vec<_>>()
    );

    let Pipes { queue, output, mut error } = Pipes::new();
    queue.push(parcel(Lane::Output, vec![b'.'; 1 << 20])).unwrap();
    queue.push(parcel(Lane::Error, b"on\n".to_vec())).unwrap();
    let mut said = [0; 3];
    error.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"on\n");
    drop(output);
}
