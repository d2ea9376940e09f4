//! A certificate authority of our own, and certificates that it signed, as PEM files in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::temp_folder;

/// Names that a certificate is made out to.
const HOSTS: [&str; 2] = ["localhost", "127.0.0.1"];

/// The authority. Dropped, its files are gone.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key, each in a file.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key, PKCS#8.
    pub key: PathBuf,
}

impl Authority {
    /// A new one, which nobody trusts yet.
    pub fn new() -> Result<Self> {
        let mut params = named("Ready To Fly tests", &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let folder = temp_folder("certificates")?;
        fs::write(folder.path().join("ca.pem"), issuer.pem())?;
        Ok(Self { issuer, folder })
    }

    /// Its own certificate: what those are given who shall trust it.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Where its files are; others may stand beside them.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A certificate for this machine, for a server as well as for a client.
    pub fn sign(&self, name: &str) -> Result<Certificate> {
        let key = KeyPair::generate()?;
        let params = named(name, &HOSTS)?;
        let signed = Certificate {
            certificate: self.folder.path().join(format!("{name}.pem")),
            key: self.folder.path().join(format!("{name}.key")),
        };
        fs::write(
            &signed.certificate,
            params.signed_by(&key, &self.issuer)?.pem(),
        )?;
        fs::write(&signed.key, key.serialize_pem())?;
        Ok(signed)
    }
}

fn named(name: &str, hosts: &[&str]) -> Result<CertificateParams> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
