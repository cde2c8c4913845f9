use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use nix::poll::{PollFd, PollFlags, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use super::*;

/// The test runs itself once more, on a terminal of its own, and panics there while it has the screen.
#[test]
fn a_panic_is_told_on_a_terminal_that_is_as_it_was() {
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
        .args(["--exact", "--nocapture", &format!("{module}::a_panic_is_told_on_a_terminal_that_is_as_it_was")])
        .env(CHILD, "yes")
        .env("RUST_BACKTRACE", "0")
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .unwrap();
    let mut ours = File::from(ours);
    let mut said = String::new();
    let mut piece = [0; 4096];
    while !said.contains("on purpose") {
        // This process has the terminal open too, so there is no end of file if the other one ends early.
        let mut readable = [PollFd::new(ours.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut readable, PATIENCE), Ok(1), "nothing more comes after {said:?}");
        let len = ours.read(&mut piece).unwrap();
        said += &String::from_utf8_lossy(&piece[..len]);
    }
    let place = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text:?} is missing in {said:?}"));
    assert!(place("\x1b[?1049h") < place("\x1b[?1049l") && place("\x1b[?1049l") < place("on purpose"), "{said:?}");
    assert!(place("\x1b[?25h") < place("on purpose"), "{said:?}");
    let modes = tcgetattr(&theirs).unwrap().local_modes;
    assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
    // What else it says fits the terminal's own buffer.
    child.wait().unwrap();
}

const PATIENCE: u16 = 20_000;
const CHILD: &str = "WS_ROUTER_TEST_PANICS_ON_SCREEN";
