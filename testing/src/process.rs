//! A child process that can be watched, hurt and stopped, and that is gone when its value is dropped.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::{spawner, wait_until};

/// What of a log is shown with an error.
const LOG_TAIL_LINES: usize = 40;
/// How long the kernel may take to stop a process that was sent SIGSTOP.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// A running (or ended) child process, with its output in a file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Where this process's output starts in the log, which may hold that of those before it.
    log_start: u64,
}

impl Process {
    /// Starts `command` (program, arguments, environment and working directory are taken from it) without
    /// input; both its outputs are appended to the file `log`. `name` is for error messages.
    pub fn spawn(name: &str, command: &Command, log: &Path) -> Result<Self> {
        let program = command.get_program();
        if !is_executable(program) {
            bail!(
                "cannot start {name}: there is no program {}",
                program.display()
            );
        }
        let output = open_log(log)?;
        let log_start = output.metadata()?.len();
        let mut child = spawner::bound_to_our_life(program);
        child.args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => child.env(key, value),
                None => child.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            child.current_dir(folder);
        }
        child
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = spawner::spawn(child).with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
            log_start,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file its outputs go to.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What this process has written so far.
    pub fn log(&self) -> Result<String> {
        let mut bytes = Vec::new();
        let mut file =
            File::open(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        file.seek(SeekFrom::Start(self.log_start))?;
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Its exit status if it has ended.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Whether it has not ended yet. A stopped process counts as running.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.status()?.is_none())
    }

    /// Kills it at once (SIGKILL) and waits until it is gone. One that has ended already is fine.
    pub fn kill9(&mut self) -> Result<()> {
        self.child
            .kill()
            .with_context(|| format!("cannot kill {}", self.name))?;
        self.child
            .wait()
            .with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(())
    }

    /// Asks it to stop (SIGTERM) and does not wait.
    pub fn sigterm(&mut self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Presses Ctrl-C (SIGINT) and does not wait.
    pub fn sigint(&mut self) -> Result<()> {
        self.signal(Signal::INT)
    }

    /// Freezes it (SIGSTOP) and waits until it is: it lives and holds its connections, but does nothing.
    pub fn sigstop(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        // A signal is only sent then; one that is sent next may be handled before.
        let child = WaitId::Pid(self.system_pid()?);
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let what = format!("{} to be frozen", self.name);
        wait_until(&what, STOP_WITHIN, || {
            waitid(child.clone(), options).transpose()
        })??;
        Ok(())
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn sigcont(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait_until(&what, within, || self.status().transpose())?
    }

    /// Waits for a line with `text` in its output and returns the line. Fails at once, with the end of
    /// the log, if the process ends before.
    pub fn wait_for_log(&mut self, text: &str, within: Duration) -> Result<String> {
        let what = format!("{text:?} in the log of {}", self.name);
        wait_until(&what, within, || self.find_log_line(text).transpose())?
    }

    /// The line, if it is there. The status is asked for first: a process that has ended writes nothing more.
    fn find_log_line(&mut self, text: &str) -> Result<Option<String>> {
        let status = self.status()?;
        let log = self.log()?;
        let complete = log.rsplit_once('\n').map_or("", |(lines, _)| lines);
        if let Some(line) = complete.lines().find(|line| line.contains(text)) {
            return Ok(Some(line.to_owned()));
        }
        match status {
            None => Ok(None),
            Some(status) => Err(anyhow!(
                "{} ended ({status}) without {text:?}:\n{}",
                self.name,
                tail(&log)
            )),
        }
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        // The id is ours as long as the child was not waited for.
        if let Some(status) = self.status()? {
            bail!("{} has already ended ({status})", self.name);
        }
        kill_process(self.system_pid()?, signal)
            .with_context(|| format!("cannot send {signal:?} to {}", self.name))
    }

    fn system_pid(&self) -> Result<Pid> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        pid.context("a child has a process id")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and after SIGKILL there is hardly one.
        let _ = self.kill9();
        if thread::panicking() {
            let log = self.log().unwrap_or_default();
            eprintln!(
                "--- the end of the log of {} ---\n{}",
                self.name,
                tail(&log)
            );
        }
    }
}

/// Whether the program exists. Else `setpriv` would start and fail, and the error would come late.
fn is_executable(program: &OsStr) -> bool {
    if Path::new(program).components().count() > 1 {
        return Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn open_log(log: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write to {}", log.display()))
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::temp_folder;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str, folder: &Path) -> Process {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        Process::spawn("script", &command, &folder.join("log")).unwrap()
    }

    #[test]
    fn exit_code_and_output_are_kept() {
        let folder = temp_folder("process").unwrap();
        let mut first = shell("echo out; echo err >&2; exit 7", folder.path());
        assert_eq!(first.wait(SOON).unwrap().code(), Some(7));
        assert_eq!(first.log().unwrap(), "out\nerr\n");
        let mut second = shell("echo again", folder.path());
        second.wait(SOON).unwrap();
        assert_eq!(second.log().unwrap(), "again\n");
        assert_eq!(second.log_path(), first.log_path());
    }

    #[test]
    fn environment_and_folder_come_from_the_command() {
        let folder = temp_folder("process").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo \"$RTF_SAMPLE in $PWD\""]);
        command.env("RTF_SAMPLE", "a b").current_dir("/");
        let mut process = Process::spawn("script", &command, &folder.path().join("log")).unwrap();
        process.wait(SOON).unwrap();
        assert_eq!(process.log().unwrap(), "a b in /\n");
    }

    #[test]
    fn sigterm_can_be_handled_and_sigkill_cannot() {
        let folder = temp_folder("process").unwrap();
        let script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done";
        let mut polite = shell(script, folder.path());
        polite.wait_for_log("ready", SOON).unwrap();
        polite.sigterm().unwrap();
        assert_eq!(polite.wait(SOON).unwrap().code(), Some(3));
        assert!(
            polite
                .sigterm()
                .unwrap_err()
                .to_string()
                .contains("already ended")
        );

        let mut killed = shell(script, folder.path());
        killed.wait_for_log("ready", SOON).unwrap();
        killed.kill9().unwrap();
        assert_eq!(killed.status().unwrap().unwrap().signal(), Some(9));
        killed.kill9().unwrap();
    }

    #[test]
    fn frozen_process_does_nothing_until_it_may_go_on() {
        let folder = temp_folder("process").unwrap();
        let mut process = shell("echo ready; while :; do sleep 0.01; done", folder.path());
        process.wait_for_log("ready", SOON).unwrap();
        process.sigstop().unwrap();
        process.sigterm().unwrap();
        assert!(process.wait(Duration::from_millis(50)).is_err());
        process.sigcont().unwrap();
        assert_eq!(process.wait(SOON).unwrap().signal(), Some(15));
    }

    #[test]
    fn drop_kills() {
        let folder = temp_folder("process").unwrap();
        let process = shell("sleep 1000", folder.path());
        let pid = Pid::from_raw(process.pid().cast_signed()).unwrap();
        assert!(rustix::process::test_kill_process(pid).is_ok());
        drop(process);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }

    #[test]
    fn child_outlives_the_thread_that_asked_for_it() {
        let folder = temp_folder("process").unwrap();
        let script = "echo ready; while :; do sleep 0.01; done";
        let mut process =
            thread::scope(|scope| scope.spawn(|| shell(script, folder.path())).join().unwrap());
        process.wait_for_log("ready", SOON).unwrap();
        assert!(process.wait(Duration::from_millis(50)).is_err());
        assert!(process.is_running().unwrap());
    }

    #[test]
    fn early_end_is_reported_with_the_log() {
        let folder = temp_folder("process").unwrap();
        let mut process = shell("echo the port is taken; exit 1", folder.path());
        let error = process.wait_for_log("ready", SOON).unwrap_err().to_string();
        assert!(error.contains("exit status: 1"), "{error}");
        assert!(error.contains("the port is taken"), "{error}");
    }

    #[test]
    fn missing_program_is_named() {
        let folder = temp_folder("process").unwrap();
        for program in ["rtf-no-such-program", "/no/such/program"] {
            let error = Process::spawn("it", &Command::new(program), &folder.path().join("log"))
                .unwrap_err();
            assert!(error.to_string().contains(program), "{error}");
        }
    }
}
