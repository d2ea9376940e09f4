//! Kafka and Redis as they are elsewhere: with TLS, with users that know a password, and with no more rights than these need.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::{Authority, Certificate, Kafka, KafkaOptions, Redis, RedisOptions, free_port};

const ACL_TOOL: &str = "org.apache.kafka.tools.AclCommand";
const AUTHORIZER: &str = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
const CONFIG_TOOL: &str = "kafka.admin.ConfigCommand";
const LOGIN: &str = "org.apache.kafka.common.security";
/// The user's name, and its password.
const USER: &str = "rtf";
/// What docs/security.md says that the user needs to join `clicks` with `queries`.
const KAFKA_RIGHTS: [&str; 4] = [
    "--topic clicks --topic queries --operation Read --operation Describe --operation DescribeConfigs",
    "--topic clicks. --resource-pattern-type prefixed --operation Read --operation Write --operation Create --operation Describe --operation DescribeConfigs",
    "--group clicks. --resource-pattern-type prefixed --operation Read --operation Describe",
    "--transactional-id clicks.dead. --resource-pattern-type prefixed --operation Write --operation Describe",
];

/// A broker and a Redis server, each with a plain port for what a test does, and one for the product.
pub struct SecuredServers {
    /// Kafka.
    pub kafka: Kafka,
    /// Redis.
    pub redis: Redis,
    /// Who signed all certificates.
    pub authority: Authority,
    kafka_port: u16,
    redis_port: u16,
    password: PathBuf,
    certificate: Certificate,
}

impl SecuredServers {
    /// The user's password, for both.
    pub const PASSWORD: &str = "correct-horse";

    /// Starts both.
    pub fn start() -> Result<Self> {
        let authority = Authority::new()?;
        let (kafka_port, redis_port) = (free_port()?, free_port()?);
        let password = authority.folder().join("password");
        fs::write(&password, format!("{}\n", Self::PASSWORD))?;
        Ok(Self {
            kafka: kafka(&authority, kafka_port)?,
            redis: redis(&authority, redis_port)?,
            certificate: authority.sign("rtf")?,
            authority,
            kafka_port,
            redis_port,
            password,
        })
    }

    /// Where the product finds Kafka.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.kafka_port)
    }

    /// Where the product finds Redis.
    pub fn redis_url(&self) -> String {
        let (password, port) = (self.password.display(), self.redis_port);
        format!("rediss://{USER}:${{file:{password}}}@127.0.0.1:{port}")
    }

    /// How it gets into Kafka, as configuration.
    pub fn kafka_properties(&self) -> String {
        format!(
            "[kafka.properties]\nsecurity.protocol = \"SASL_SSL\"\nsasl.mechanism = \"SCRAM-SHA-512\"\nsasl.username = \"{USER}\"\n\
             sasl.password = \"${{file:{}}}\"\nssl.ca.location = \"{}\"\n",
            self.password.display(),
            self.authority.certificate().display()
        )
    }

    /// The certificates of a table such as `redis.tls`, as configuration.
    pub fn certificates(&self, table: &str) -> String {
        format!(
            "[{table}]\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
            self.authority.certificate().display(),
            self.certificate.certificate.display(),
            self.certificate.key.display()
        )
    }
}

fn kafka(authority: &Authority, port: u16) -> Result<Kafka> {
    let broker = authority.sign("broker")?;
    let keystore = authority.folder().join("keystore.pem");
    let both = fs::read_to_string(broker.key)? + &fs::read_to_string(broker.certificate)?;
    fs::write(&keystore, both)?;
    let listener = "listener.name.sasl_ssl";
    let properties = [
        ("authorizer.class.name".into(), AUTHORIZER.into()),
        ("super.users".into(), "User:ANONYMOUS".into()),
        ("ssl.keystore.type".into(), "PEM".into()),
        (
            "ssl.keystore.location".into(),
            keystore.display().to_string(),
        ),
        (
            "sasl.enabled.mechanisms".into(),
            "SCRAM-SHA-512,PLAIN".into(),
        ),
        (
            format!("{listener}.scram-sha-512.sasl.jaas.config"),
            format!("{LOGIN}.scram.ScramLoginModule required;"),
        ),
        (
            format!("{listener}.plain.sasl.jaas.config"),
            format!(
                "{LOGIN}.plain.PlainLoginModule required user_{USER}=\"{}\";",
                SecuredServers::PASSWORD
            ),
        ),
    ];
    let kafka = Kafka::start(&KafkaOptions {
        properties: properties.to_vec(),
        listeners: vec![("SASL_SSL", port)],
    })?;
    let secret = format!("SCRAM-SHA-512=[password={}]", SecuredServers::PASSWORD);
    let alter = ["--alter", "--add-config", secret.as_str()];
    let user = ["--entity-type", "users", "--entity-name", USER];
    kafka.tool(CONFIG_TOOL, &[alter.as_slice(), &user].concat(), "")?;
    let principal = format!("User:{USER}");
    for rights in KAFKA_RIGHTS {
        let rule = ["--add", "--force", "--allow-principal", &principal];
        let rights: Vec<&str> = rights.split(' ').collect();
        kafka.tool(ACL_TOOL, &[rule.as_slice(), &rights].concat(), "")?;
    }
    Ok(kafka)
}

fn redis(authority: &Authority, port: u16) -> Result<Redis> {
    let redis = Redis::start(&RedisOptions {
        arguments: tls_arguments(authority, "redis", port)?,
        ..RedisOptions::default()
    })?;
    grant_as_documented(&redis, &[])?;
    Ok(redis)
}

/// How a Redis server, which gets a certificate of this name, listens for TLS on a port beside the plain one.
pub fn tls_arguments(authority: &Authority, name: &str, port: u16) -> Result<Vec<String>> {
    let server = authority.sign(name)?;
    let path = |path: PathBuf| path.display().to_string();
    let arguments = [
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", path(server.certificate)),
        ("--tls-key-file", path(server.key)),
        ("--tls-ca-cert-file", path(authority.certificate())),
    ];
    let arguments = arguments.map(|(flag, value)| [flag.to_owned(), value]);
    Ok(arguments.concat())
}

/// Makes the user, with the rights that docs/security.md says it needs, and some more.
pub fn grant_as_documented(redis: &Redis, more: &[&str]) -> Result<()> {
    let documented = include_str!("../../docs/security.md").lines();
    let mut rules = documented.filter(|line| line.starts_with("ACL SETUSER"));
    let rule = rules.next().expect("docs/security.md has an access list");
    let rule = rule.replace("PASSWORD", SecuredServers::PASSWORD);
    let mut words = rule.split(' ');
    let mut set = redis::cmd(words.next().expect("a command"));
    set.arg(words.collect::<Vec<_>>()).arg(more);
    Ok(set.exec(&mut redis.connection()?)?)
}
