//! Why a broker lets us not in, told from librdkafka's words: credentials, certificates, or TLS that it does not speak. None of them gets better
//! by itself.

/// What the words have in common, and what is to be done.
const REFUSALS: [(&str, &str); 7] = [
    (
        "SASL authentication error",
        "correct sasl.username, sasl.password and sasl.mechanism in [kafka.properties], or make that user (kafka-configs.sh --alter --add-config 'SCRAM-SHA-512=[password=…]')",
    ),
    (
        "SASL mechanism",
        "set sasl.mechanism in [kafka.properties] to one that the broker has enabled",
    ),
    (
        "certificate verify failed",
        "name the authority that signed the broker's certificate, as a PEM file, in ssl.ca.location, and in [kafka].bootstrap a host that the certificate is made out to",
    ),
    (
        "broker certificate could not be verified",
        "name the authority that signed the broker's certificate, as a PEM file, in ssl.ca.location, and in [kafka].bootstrap a host that the certificate is made out to",
    ),
    (
        "PLAINTEXT broker listener",
        "the broker speaks no TLS on this port: correct [kafka].bootstrap, or security.protocol in [kafka.properties]",
    ),
    (
        "certificate required",
        "the broker wants a certificate of ours: set ssl.certificate.location and ssl.key.location in [kafka.properties]",
    ),
    (
        "bad certificate",
        "the broker does not trust our certificate: correct ssl.certificate.location and ssl.key.location in [kafka.properties]",
    ),
];

/// What to do if these words say that the broker lets us not in. One that wants TLS, and hears none, just hangs up: that says nothing.
pub(crate) fn advice(words: &str) -> Option<&'static str> {
    let known = REFUSALS.iter().find(|(sign, _)| words.contains(sign));
    known.map(|(_, advice)| *advice)
}

/// Without the thread that noticed it, which stands in front.
pub(crate) fn reason(words: &str) -> &str {
    let after_thread = words
        .strip_prefix("[thrd:")
        .and_then(|words| words.split_once("]: "));
    after_thread.map_or(words, |(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_get_better_by_itself_is_told_from_what_does() {
        let refused = "[thrd:sasl_ssl://h:1/bootstrap]: sasl_ssl://h:1/bootstrap: SASL authentication error: Authentication failed (after 5ms in state AUTH_REQ)";
        assert!(advice(refused).is_some_and(|advice| advice.contains("sasl.password")));
        assert!(reason(refused).starts_with("sasl_ssl://h:1/bootstrap: SASL authentication"));
        let away = "[thrd:h:1/bootstrap]: h:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused";
        assert_eq!(advice(away), None);
        assert_eq!(reason("words"), "words");
    }
}
