//! What one registry replica says of itself, asked over gRPC as the other roles do.

use anyhow::{Context, Result};
use rtf_proto::client::{Endpoints, RegistryClient};
use rtf_proto::{Registry, RegistryStatus};
use tokio::runtime::Builder;

use crate::{Pipeline, Role};

/// The status of a pipeline's registry with this number.
pub fn replica_status(pipeline: &Pipeline, replica: u16) -> Result<RegistryStatus> {
    let url = format!(
        "http://127.0.0.1:{}",
        pipeline.port(Role::Registry, replica)
    );
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = RegistryClient::new(Endpoints::new(std::slice::from_ref(&url))?);
        let status = client.status().await;
        status.with_context(|| format!("no status of {url}"))
    })
}
