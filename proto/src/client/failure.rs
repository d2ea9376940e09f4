//! A call's failure in words: with its causes, and with what is to be done where certificates are the reason.

use std::error::Error;
use tonic::Status;

/// What the words have in common, in lower case, and what is to be done.
const HINTS: [(&str, &str); 8] = [
    (
        "certificaterequired",
        "it wants a certificate of ours: set [cluster.tls].certificate and key",
    ),
    (
        "invalid peer certificate",
        "its certificate is not trusted: correct [cluster.tls].ca, or the host in its address",
    ),
    (
        "received fatal alert",
        "it does not trust our certificate: its [cluster.tls].ca must have signed [cluster.tls].certificate",
    ),
    (
        "invalidcontenttype",
        "it speaks no TLS: leave [cluster.tls] empty, or set it there too",
    ),
    (
        "frame with invalid size",
        "it may speak TLS: set [cluster.tls]",
    ),
    // Who refuses a certificate, or bytes that are no TLS, says so and hangs up; what is heard of it may be the
    // end alone, and by who was writing, the end of a pipe.
    ("connection closed", HUNG_UP),
    ("connection reset by peer", HUNG_UP),
    ("broken pipe", HUNG_UP),
];

const HUNG_UP: &str =
    "it hung up: if it speaks TLS, set [cluster.tls], or correct [cluster.tls].certificate";

/// The status with its causes: the transport says no more itself than that it failed.
pub fn words(status: &Status) -> String {
    let mut words = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !words.contains(&said) {
            words += ": ";
            words += &said;
        }
        cause = error.source();
    }
    hinted(words)
}

/// With what is to be done, where that is known.
pub fn hinted(words: String) -> String {
    let lower = words.to_lowercase();
    let hint = HINTS.iter().find(|(sign, _)| lower.contains(sign));
    match hint {
        Some((_, hint)) => format!("{words} ({hint})"),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn causes_are_told_once_and_certificates_explained() {
        let inner = io::Error::other("received fatal alert: CertificateRequired");
        let status = Status::from_error(Box::new(io::Error::other(inner)));
        let words = words(&status);
        assert_eq!(words.matches("fatal alert").count(), 1, "{words}");
        assert!(
            words.contains("[cluster.tls].certificate and key"),
            "{words}"
        );
        assert_eq!(super::words(&Status::unavailable("away")), "away");
    }

    /// All that a client heard of a server which speaks TLS while it does not.
    #[test]
    fn who_hung_up_may_want_tls() {
        for heard in [
            "stream closed because of a broken pipe",
            "Connection reset by peer (os error 104)",
            "connection closed before message completed",
            "frame with invalid size",
        ] {
            let words = hinted(format!("transport error: connection error: {heard}"));
            assert!(words.contains("set [cluster.tls]"), "{words}");
        }
    }
}
