//! Signals, in processes of their own: the first asks, the second insists.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Set in the process that is sent signals.
const ROLE: &str = "RTF_TEST_SIGNALLED";

struct Signalled(Child, BufReader<ChildStdout>);

impl Signalled {
    /// This test binary again, as the process that waits for signals.
    fn start(behaviour: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "waits_for_signals", "--nocapture"])
            .env(ROLE, behaviour)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut signalled = Self(child, lines);
        signalled.read_until("listening");
        signalled
    }

    fn read_until(&mut self, word: &str) {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            let read = self.1.read_line(&mut line).unwrap();
            assert!(read > 0, "it ended without saying `{word}`");
        }
    }

    fn send(&self, signal: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{signal} {}", self.0.id())])
            .status();
        assert!(sent.unwrap().success());
    }

    fn code(mut self) -> Option<i32> {
        // The pipe must not fill up.
        std::io::copy(&mut self.1.by_ref(), &mut std::io::sink()).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Signalled {
    fn drop(&mut self) {
        // It has ended, unless an assertion failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test by itself: what runs in the other process.
#[tokio::test]
async fn waits_for_signals() {
    let Ok(behaviour) = std::env::var(ROLE) else {
        return;
    };
    let shutdown = rtf_service::shutdown::on_signals().unwrap();
    println!("\nlistening");
    shutdown.cancelled().await;
    println!("\nstopping");
    if behaviour == "hangs" {
        std::future::pending::<()>().await;
    }
}

#[test]
fn the_first_signal_asks() {
    for signal in ["TERM", "INT"] {
        let mut signalled = Signalled::start("stops");
        signalled.send(signal);
        signalled.read_until("stopping");
        assert_eq!(signalled.code(), Some(0), "{signal}");
    }
}

#[test]
fn the_second_signal_insists() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut signalled = Signalled::start("hangs");
        signalled.send("TERM");
        signalled.read_until("stopping");
        signalled.send(signal);
        assert_eq!(signalled.code(), Some(code), "{signal}");
    }
}
