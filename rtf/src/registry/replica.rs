//! One running registry, or another role, as the command line reaches it.

use crate::admin::Token;
use crate::{exit, grpc_tls};
use rtf_config::Config;
use rtf_proto::client::{MAX_MESSAGE_BYTES, failure};
use rtf_proto::pb::admin_client::AdminClient;
use rtf_proto::pb::registry_client::RegistryClient;
use std::error::Error;
use std::time::Duration;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status};

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Longer than anything a registry takes for a call, but for a drain.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(35);

/// One registry, or one process of another role.
pub struct Replica {
    /// Its address.
    pub url: String,
    channel: Channel,
    token: Token,
}

/// Those asked for, else all that are configured.
///
/// # Errors
/// An address that is none.
pub fn replicas(config: &Config, endpoints: &[String]) -> anyhow::Result<Vec<Replica>> {
    at(config, endpoints, config.registries())
}

/// Those asked for, else all that are listed, of whichever role.
///
/// # Errors
/// An address that is none.
pub fn at(
    config: &Config,
    endpoints: &[String],
    listed: Vec<String>,
) -> anyhow::Result<Vec<Replica>> {
    let urls = match endpoints {
        [] => listed,
        asked => asked.to_vec(),
    };
    let token = Token::new(config.admin.token.reveal());
    let tls = grpc_tls::client(config)?;
    (urls.into_iter())
        .map(|url| Replica::new(url, token.clone(), tls.as_ref()))
        .collect()
}

impl Replica {
    fn new(url: String, token: Token, tls: Option<&ClientTlsConfig>) -> anyhow::Result<Self> {
        let scheme = if tls.is_some() { "https://" } else { "http://" };
        let endpoint = Endpoint::from_shared(url.clone())
            .ok()
            .filter(|_| url.starts_with(scheme));
        let mut endpoint = endpoint.ok_or_else(|| {
            exit::usage(format!(
                "--endpoint {url}: expected something like {scheme}127.0.0.1:7401"
            ))
        })?;
        if let Some(tls) = tls {
            endpoint = endpoint.tls_config(tls.clone())?;
        }
        Ok(Self {
            channel: endpoint.connect_timeout(CONNECT_WITHIN).connect_lazy(),
            url,
            token,
        })
    }

    /// Its operator's calls.
    pub fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Its calls for other roles.
    pub fn registry(&self) -> RegistryClient<Channel> {
        RegistryClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// A call with the token.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        self.token.put(request.metadata_mut());
        request
    }
}

/// What was answered in time, or in words why nothing was.
pub async fn within<T>(
    time: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, String> {
    match tokio::time::timeout(time, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(words(&status)),
        Err(_) => Err(format!("does not answer within {time:?}")),
    }
}

fn words(status: &Status) -> String {
    match (status.source(), status.message()) {
        // The transport's own error: nobody is there.
        (Some(_), _) => format!("does not answer: {}", failure::words(status)),
        (None, "") => status.code().to_string(),
        (None, message) => message.into(),
    }
}
