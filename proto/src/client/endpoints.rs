//! Several endpoints of one service and which of them to ask. Knows no call.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// An endpoint in the configuration that is not a URL.
#[derive(Debug, thiserror::Error)]
#[error("`{url}` is not an endpoint (expected something like http://127.0.0.1:7401): {words}")]
pub struct BadEndpoint {
    url: String,
    words: String,
}

/// One lazily connected channel per endpoint.
#[derive(Debug)]
pub struct Endpoints {
    channels: Vec<(String, Channel)>,
    preferred: AtomicUsize,
}

impl Endpoints {
    /// Prepares channels; connects when first used, and again whenever a connection broke.
    ///
    /// # Errors
    /// [`BadEndpoint`] for an unreadable URL or an empty list.
    pub fn new(urls: &[String]) -> Result<Self, BadEndpoint> {
        if urls.is_empty() {
            return Err(BadEndpoint {
                url: String::new(),
                words: "the list is empty".into(),
            });
        }
        let channels = urls.iter().map(|url| Ok((url.clone(), channel(url)?)));
        Ok(Self {
            channels: channels.collect::<Result<_, _>>()?,
            preferred: AtomicUsize::new(0),
        })
    }

    /// All channels with their URLs, the one that answered last first.
    pub fn in_order(&self) -> impl Iterator<Item = (usize, &str, Channel)> {
        let first = self.preferred.load(Ordering::Relaxed);
        (0..self.channels.len()).map(move |i| {
            let at = (first + i) % self.channels.len();
            let (url, channel) = &self.channels[at];
            (at, url.as_str(), channel.clone())
        })
    }

    /// Remembers who answered.
    pub fn prefer(&self, at: usize) {
        self.preferred.store(at, Ordering::Relaxed);
    }
}

fn channel(url: &str) -> Result<Channel, BadEndpoint> {
    let bad = |e: tonic::transport::Error| BadEndpoint {
        url: url.into(),
        words: e.to_string(),
    };
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(bad)?;
    Ok(endpoint
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_lazy())
}
