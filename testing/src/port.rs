//! Ports that are free now and that nobody takes by accident while a server is down.

use std::collections::HashSet;
use std::fs;
use std::net::TcpListener;
use std::sync::Mutex;

use anyhow::{Context, Result};
use rand::Rng;

const PORT_MIN: u16 = 10_240;
/// Where the kernel starts to give local ports to outgoing connections, if it does not say.
const EPHEMERAL_MIN_DEFAULT: u16 = 32_768;
/// With fewer ports below the kernel's own we would rather risk a collision than run out.
const PORTS_MIN: u16 = 1_000;
const ATTEMPTS_MAX: u32 = 1_000;

static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port on 127.0.0.1 that nobody listens on, never the same twice in this process.
///
/// It lies below the kernel's ephemeral range. A port from inside that range, which is what binding port 0
/// gives, may be lent to any outgoing connection before the server binds it or while it is killed;
/// a client that keeps trying to reconnect can even end up connected to itself.
pub fn free_port() -> Result<u16> {
    free_ports_at(&[0])
}

/// How far a role's health port lies above its gRPC port.
pub const HEALTH_PORT_ABOVE: u16 = 100;

/// A port for a role's gRPC whose health port, [`HEALTH_PORT_ABOVE`] above it, is free too.
pub fn free_role_port() -> Result<u16> {
    free_ports_at(&[0, HEALTH_PORT_ABOVE])
}

/// A port that is free together with those at these distances above it.
fn free_ports_at(distances: &[u16]) -> Result<u16> {
    let end = ephemeral_min() - distances.iter().max().copied().unwrap_or_default();
    let mut given = GIVEN.lock().expect("nobody panics while holding the ports");
    let given = given.get_or_insert_default();
    let mut rng = rand::rng();
    let first = (0..ATTEMPTS_MAX)
        .map(|_| rng.random_range(PORT_MIN..end))
        .find(|first| {
            let mut ports = distances.iter().map(|distance| first + distance);
            ports.all(|port| {
                !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok()
            })
        })
        .with_context(|| format!("no free port between {PORT_MIN} and {end}"))?;
    given.extend(distances.iter().map(|distance| first + distance));
    Ok(first)
}

fn ephemeral_min() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|&min: &u16| min >= PORT_MIN + PORTS_MIN)
        .unwrap_or(EPHEMERAL_MIN_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let ports: Vec<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        let listeners: Vec<_> = ports
            .iter()
            .map(|&port| TcpListener::bind(("127.0.0.1", port)))
            .collect();
        assert!(listeners.iter().all(Result::is_ok));
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
    }

    #[test]
    fn roles_get_two_ports_that_nobody_else_gets() {
        let roles: Vec<u16> = (0..20).map(|_| free_role_port().unwrap()).collect();
        let others: Vec<u16> = (0..20).map(|_| free_port().unwrap()).collect();
        let all = roles.iter().map(|port| port + HEALTH_PORT_ABOVE);
        let all: HashSet<u16> = all.chain(roles.iter().copied()).chain(others).collect();
        assert_eq!(all.len(), 60);
    }
}
