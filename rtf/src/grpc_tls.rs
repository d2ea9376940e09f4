//! TLS between the roles, as `[cluster.tls]` says: one authority for all, a certificate for each.

use crate::pem;
use anyhow::Context;
use rtf_config::Config;
use rtf_proto::client::Endpoints;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

/// For who calls; `None` without TLS.
///
/// # Errors
/// A file that cannot be read.
pub fn client(config: &Config) -> anyhow::Result<Option<ClientTlsConfig>> {
    let Some(authority) = authority(config)? else {
        return Ok(None);
    };
    let tls = ClientTlsConfig::new().ca_certificate(authority);
    Ok(Some(match identity(config)? {
        Some(identity) => tls.identity(identity),
        None => tls,
    }))
}

/// For who is called; `None` without TLS.
///
/// # Errors
/// A file that cannot be read, or no certificate to show.
pub fn server(config: &Config) -> anyhow::Result<Option<ServerTlsConfig>> {
    let Some(authority) = authority(config)? else {
        return Ok(None);
    };
    let identity = identity(config)?;
    let identity = identity
        .context("[cluster.tls] has no certificate and key, which a role must show who calls it")?;
    let tls = ServerTlsConfig::new().identity(identity);
    Ok(Some(if config.cluster.tls.verify_clients {
        tls.client_ca_root(authority)
    } else {
        tls
    }))
}

/// Channels to these addresses.
///
/// # Errors
/// A file that cannot be read, or an address that is none.
pub fn endpoints(config: &Config, urls: &[String]) -> anyhow::Result<Endpoints> {
    Ok(Endpoints::over(urls, client(config)?.as_ref())?)
}

fn authority(config: &Config) -> anyhow::Result<Option<Certificate>> {
    let ca = pem::read("cluster.tls.ca", &config.cluster.tls.ca)?;
    Ok(ca.map(Certificate::from_pem))
}

fn identity(config: &Config) -> anyhow::Result<Option<Identity>> {
    let tls = &config.cluster.tls;
    let certificate = pem::read("cluster.tls.certificate", &tls.certificate)?;
    let key = pem::read("cluster.tls.key", &tls.key)?;
    Ok(certificate
        .zip(key)
        .map(|(certificate, key)| Identity::from_pem(certificate, key)))
}
