//! Whether roles listen where the configuration says, or could.

use super::because;
use super::finding::Finding;
use crate::admin::Report;
use crate::status;
use futures::future::join_all;
use rtf_config::Config;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// Asks all of them. When none answers, whether their ports are free.
pub async fn check(config: &Config) -> Vec<Finding> {
    let remotes = match status::remotes(config) {
        Ok(remotes) => remotes,
        Err(error) => {
            let advice = "correct [cluster.tls]";
            return vec![Finding::fail("roles", because(error), advice)];
        }
    };
    let reports = join_all(remotes.iter().map(|role| role.report())).await;
    // One that does not answer has no version.
    let answers = |report: &Report| !report.version.is_empty();
    if !reports.iter().any(answers) {
        return vec![nobody(config)];
    }
    let mut findings: Vec<Finding> = reports.iter().map(|r| judge(r, answers(r))).collect();
    findings.push(page(config.web.listen).await);
    findings
}

fn judge(report: &Report, answers: bool) -> Finding {
    let role = report.role.as_str();
    if !answers {
        let advice = format!(
            "start it (`rtf {role}`), or correct its address in [cluster] or [{role}].listen"
        );
        return Finding::warn(role, &report.reason, advice);
    }
    if !report.ready {
        let words = format!("answers, but is not ready: {}", report.reason);
        return Finding::warn(
            role,
            words,
            "`rtf status` tells more; docs/failure-modes.md what to do",
        );
    }
    Finding::ok(role, format!("ready, version {}", report.version))
}

async fn page(listen: SocketAddr) -> Finding {
    let connecting = tokio::net::TcpStream::connect(listen);
    match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
        Ok(Ok(_)) => Finding::ok("web", format!("the page is at http://{listen}")),
        _ => Finding::warn(
            "web",
            format!("nobody listens at {listen}"),
            "start it (`rtf web`), or correct [web].listen",
        ),
    }
}

/// Nothing runs yet.
fn nobody(config: &Config) -> Finding {
    let addresses = [
        ("registry.listen", config.registry.listen),
        ("registry.http", config.registry.http()),
        ("joiner.listen", config.joiner.listen),
        ("joiner.http", config.joiner.http()),
        ("dispatcher.listen", config.dispatcher.listen),
        ("dispatcher.http", config.dispatcher.http()),
        ("publisher.listen", config.publisher.listen),
        ("publisher.http", config.publisher.http()),
        ("web.listen", config.web.listen),
    ];
    let taken: Vec<String> = addresses
        .iter()
        .filter(|(_, address)| TcpListener::bind(address).is_err())
        .map(|(key, address)| format!("{key} ({address})"))
        .collect();
    if taken.is_empty() {
        return Finding::ok("roles", "none runs yet, and their ports here are free");
    }
    let words = format!(
        "none answers, and {} cannot be listened at here",
        taken.join(", ")
    );
    Finding::warn(
        "roles",
        words,
        "somebody else has the port, or it is another machine's: `rtf run` would not start here",
    )
}
