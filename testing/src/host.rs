//! Host: where a process runs, this machine's loopback or a network namespace of its own. It must not know how namespaces are made.

use std::process::Command;

/// An address, and the command that enters the network it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    ip: String,
    enter: Vec<String>,
}

impl Default for Host {
    /// The loopback of this process's own network.
    fn default() -> Self {
        Self::new("127.0.0.1", &[])
    }
}

impl Host {
    /// With this address, in the network that `enter` enters before it runs the command behind it; empty: our own.
    pub fn new(ip: &str, enter: &[&str]) -> Self {
        Self {
            ip: ip.into(),
            enter: enter.iter().map(|word| (*word).into()).collect(),
        }
    }

    /// Its address.
    pub fn ip(&self) -> &str {
        &self.ip
    }

    /// The command that runs `command` there.
    pub(crate) fn within(&self, command: Command) -> Command {
        let Some((program, arguments)) = self.enter.split_first() else {
            return command;
        };
        let mut inside = Command::new(program);
        inside
            .args(arguments)
            .arg(command.get_program())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(key, value),
                None => inside.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_run_where_the_host_is() {
        let mut command = Command::new("env");
        command.arg("A").env("B", "C").current_dir("/");
        let words = |command: &Command| format!("{command:?}");
        let there = Host::new("10.0.0.2", &["ip", "netns", "exec", "east"]);
        assert_eq!(there.ip(), "10.0.0.2");
        let inside = there.within(command);
        assert!(words(&inside).ends_with(r#""ip" "netns" "exec" "east" "env" "A""#));
        assert_eq!(inside.get_envs().count(), 1);
        assert!(inside.get_current_dir().is_some());
        let plain = Host::default().within(Command::new("true"));
        assert_eq!(words(&plain), r#""true""#);
    }
}
