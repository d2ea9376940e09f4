//! Several endpoints of one service and which of them to ask. Knows no call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

/// An endpoint in the configuration that is not a URL.
#[derive(Debug, thiserror::Error)]
#[error("`{url}` is not an endpoint (expected something like http://127.0.0.1:7401): {words}")]
pub struct BadEndpoint {
    url: String,
    words: String,
}

/// A peer that is silent is asked for a sign of life so often, and given up when none comes: frozen, or cut off without a word. Whoever waited
/// for its answer asks the next one then.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(2);
const SIGN_OF_LIFE_WITHIN: Duration = Duration::from_secs(3);

/// One lazily connected channel per endpoint.
#[derive(Debug)]
pub struct Endpoints {
    channels: Vec<(String, Channel)>,
    /// When each of them failed last; 0: never.
    failed: Vec<AtomicU64>,
    failures: AtomicU64,
}

impl Endpoints {
    /// Prepares channels without TLS; connects when first used, and again whenever a connection broke.
    ///
    /// # Errors
    /// [`BadEndpoint`] for an unreadable URL or an empty list.
    pub fn new(urls: &[String]) -> Result<Self, BadEndpoint> {
        Self::over(urls, None)
    }

    /// Prepares channels, those to https:// over TLS.
    ///
    /// # Errors
    /// [`BadEndpoint`] for an unreadable URL, an empty list, or certificates that are none.
    pub fn over(urls: &[String], tls: Option<&ClientTlsConfig>) -> Result<Self, BadEndpoint> {
        if urls.is_empty() {
            return Err(BadEndpoint {
                url: String::new(),
                words: "the list is empty".into(),
            });
        }
        let channels = urls.iter().map(|url| Ok((url.clone(), channel(url, tls)?)));
        Ok(Self {
            channels: channels.collect::<Result<_, _>>()?,
            failed: urls.iter().map(|_| AtomicU64::new(0)).collect(),
            failures: AtomicU64::new(0),
        })
    }

    /// How many there are; at least one.
    pub fn count(&self) -> usize {
        self.channels.len()
    }

    /// The places of all of them, as they are listed.
    pub fn all(&self) -> Vec<usize> {
        (0..self.channels.len()).collect()
    }

    /// All URLs, as they are listed.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().map(|(url, _)| url.as_str())
    }

    /// The URL and the channel at a place.
    pub fn at(&self, at: usize) -> (&str, Channel) {
        let (url, channel) = &self.channels[at];
        (url, channel.clone())
    }

    /// In which order some of them are to be asked: who failed last comes last, so that the one that answers is stayed with.
    pub fn in_order(&self, mut among: Vec<usize>) -> Vec<usize> {
        // Read once each: others may fail meanwhile.
        among.sort_by_cached_key(|at| self.failed[*at].load(Ordering::Relaxed));
        among
    }

    /// Remembers who did not answer.
    pub fn failed(&self, at: usize) {
        let now = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        self.failed[at].store(now, Ordering::Relaxed);
    }
}

fn channel(url: &str, tls: Option<&ClientTlsConfig>) -> Result<Channel, BadEndpoint> {
    let bad = |e: tonic::transport::Error| BadEndpoint {
        url: url.into(),
        words: e.to_string(),
    };
    let mut endpoint = Endpoint::from_shared(url.to_owned()).map_err(bad)?;
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls.clone()).map_err(bad)?;
    }
    Ok(endpoint
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(SIGN_OF_LIFE_EVERY)
        .keep_alive_timeout(SIGN_OF_LIFE_WITHIN)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_lazy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_one_that_answers_is_stayed_with_whoever_else_is_asked() {
        let urls = ["http://a", "http://b", "http://c", "http://d"].map(str::to_owned);
        let endpoints = Endpoints::new(&urls).unwrap();
        assert_eq!(endpoints.in_order(endpoints.all()), [0, 1, 2, 3]);
        endpoints.failed(0);
        endpoints.failed(2);
        assert_eq!(endpoints.in_order(vec![0, 1]), [1, 0]);
        assert_eq!(endpoints.in_order(vec![2, 3]), [3, 2]);
        endpoints.failed(1);
        assert_eq!(
            endpoints.in_order(vec![0, 1]),
            [0, 1],
            "the other is tried again"
        );
        assert_eq!(endpoints.in_order(endpoints.all()), [3, 0, 2, 1]);
    }
}
