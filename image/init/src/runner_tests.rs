//! Orders, and what becomes of those that cannot be carried out.

use super::*;

fn start(argv: &[&str]) -> Start {
    // Nothing of anything.
    let nothing: Start = postcard::from_bytes(&[0; 256]).expect("a start");
    Start {
        argv: argv.iter().map(|a| a.as_bytes().to_vec()).collect(),
        env: vec![(b"A".to_vec(), b"b=c".to_vec()), (b"E".to_vec(), Vec::new())],
        cwd: b"/x".to_vec(),
        user: (1000, 1001),
        umask: 0o27,
        stdio: [proto::Stdio::Closed, proto::Stdio::Pipe, proto::Stdio::Closed],
        ..nothing
    }
}

#[test]
fn an_order_is_numbers_and_texts() {
    let (numbers, text) = Order::of(&start(&["sh", "", "\u{fc}"])).bytes().expect("an order");
    assert_eq!(text, "/x\0sh\0\0\u{fc}\0A=b=c\0E=\0".as_bytes());
    let numbers: Vec<u32> = numbers.chunks(4).map(|n| u32::from_ne_bytes(n.try_into().expect("four"))).collect();
    assert_eq!(numbers, [3, 2, text.len() as u32, 1000, 1001, 0o27, 0b101]);
    assert!(Order::of(&start(&["s\0h"])).bytes().is_err(), "it would be two words");
}

#[test]
fn numbers_and_descriptors_arrive_together() {
    let (near, far) = UnixStream::pair().expect("pair");
    let (read, write) = nix::unistd::pipe().expect("pipe");
    let with = [write.as_raw_fd()];
    let with = [ControlMessage::ScmRights(&with)];
    sendmsg::<()>(near.as_raw_fd(), &[IoSlice::new(&[7; NUMBERS * 4])], &with, MsgFlags::empty(), None).expect("send");
    drop(write);
    let mut bytes = [0; NUMBERS * 4];
    let fds = receive(far.as_fd(), &mut bytes).expect("receive");
    assert_eq!((bytes, fds.len()), ([7; NUMBERS * 4], 1));
    nix::unistd::write(&fds[0], b"x").expect("it is open");
    drop((fds, near));
    assert_eq!(nix::unistd::read(&read, &mut [0; 2]).expect("read"), 1);
    assert!(receive(far.as_fd(), &mut bytes).is_err(), "nobody is there any more");
}

#[test]
fn a_directory_that_is_not_there_is_no_fault_of_the_command() {
    assert_eq!(become_command(&[c"/no/such/directory", c"true"], 1, 0), Why::Directory(Errno::ENOENT));
    assert_eq!(become_command(&[c"/dev/null", c"true"], 1, 0), Why::Directory(Errno::ENOTDIR));
    assert_eq!(become_command(&[c"/", c"true"], 2, 0), Why::Unready(Errno::EINVAL));
}
