use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use nix::poll::{PollFd, PollFlags, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use super::*;

/// Runs this test again on a terminal of its own, where it panics while it has the screen.
#[test]
fn a_panic_is_reported_on_a_restored_terminal() {
    if std::env::var_os(CHILD).is_some() {
        let _screen = Screen::enter().unwrap();
        panic!("on purpose");
    }
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let path = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = File::options().read(true).write(true).open(path).unwrap();
    let end = || Stdio::from(theirs.try_clone().unwrap());
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut child = Command::new("setsid")
        .arg("--ctty")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("{module}::a_panic_is_reported_on_a_restored_terminal")])
        .env(CHILD, "yes")
        .env("RUST_BACKTRACE", "0")
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .unwrap();
    let mut ours = File::from(ours);
    let mut output = String::new();
    let mut piece = [0; 4096];
    while !output.contains("on purpose") {
        // This process has the terminal open too, so there is no end of file if the other one ends early.
        let mut readable = [PollFd::new(ours.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut readable, PATIENCE), Ok(1), "no more output after {output:?}");
        let len = ours.read(&mut piece).unwrap();
        output += &String::from_utf8_lossy(&piece[..len]);
    }
    let position = |text: &str| output.find(text).unwrap_or_else(|| panic!("{text:?} is missing in {output:?}"));
    assert!(
        position("\x1b[?1049h") < position("\x1b[?1049l") && position("\x1b[?1049l") < position("on purpose"),
        "{output:?}"
    );
    assert!(position("\x1b[?25h") < position("on purpose"), "{output:?}");
    let modes = tcgetattr(&theirs).unwrap().local_modes;
    assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
    // The rest of its output fits the terminal's own buffer.
    child.wait().unwrap();
}

const PATIENCE: u16 = 20_000;
const CHILD: &str = "WS_ROUTER_TEST_PANICS_ON_SCREEN";
