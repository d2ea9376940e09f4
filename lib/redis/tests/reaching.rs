//! Who is asked about a key, with servers that say whatever a test has them say.

use anyhow::{Context, Result, ensure};
use redis::Client;
use rtf_redis::{Connection, Connections, Error, Limits, Redis};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    answer: Some(Duration::from_secs(5)),
};
/// Much longer than the tenth of a second after which somebody is asked again.
const SOON: Duration = Duration::from_secs(10);
/// Keys of the two halves of the slots: 1584 and 9842.
const LOW: &str = "{3}";
const HIGH: &str = "{1}";

/// What a server answers.
#[derive(Default)]
struct Says {
    /// To `CLUSTER SLOTS`: the ports that have the lower and the upper half, as far as anybody has them.
    halves: Vec<u16>,
    /// To a Sentinel's question.
    primary: Option<u16>,
    is_replica: bool,
    /// How often it was asked who has what.
    looks: usize,
}

/// A server, until it is dropped.
struct Server {
    port: u16,
    says: Arc<Mutex<Says>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let says = Arc::new(Mutex::new(Says::default()));
        let answers = says.clone();
        let serving = tokio::spawn(async move {
            // Dropped with the server, they break off.
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(serve(stream, port, answers.clone()));
            }
        });
        Ok(Self {
            port,
            says,
            serving,
        })
    }

    fn client(&self) -> Result<Client> {
        Ok(Client::open(format!("redis://127.0.0.1:{}", self.port))?)
    }

    fn says(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.says.lock().expect("nobody panics"));
    }

    fn looks(&self) -> usize {
        self.says.lock().expect("nobody panics").looks
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(stream: TcpStream, port: u16, says: Arc<Mutex<Says>>) {
    let mut stream = BufReader::new(stream);
    while let Some(command) = command(&mut stream).await {
        let answer = says.lock().expect("nobody panics").answer(port, &command);
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// `*n`, then n times `$length` and the word.
async fn command(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let count = number(stream, "*").await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let length = number(stream, "$").await?;
        let mut word = vec![0; length + 2];
        stream.read_exact(&mut word).await.ok()?;
        words.push(String::from_utf8_lossy(&word[..length]).to_uppercase());
    }
    Some(words)
}

async fn number(stream: &mut BufReader<TcpStream>, sign: &str) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim_end().strip_prefix(sign)?.parse().ok()
}

impl Says {
    fn answer(&mut self, port: u16, command: &[String]) -> String {
        match command[0].as_str() {
            "CLUSTER" => {
                self.looks += 1;
                slots(&self.halves)
            }
            "SENTINEL" => self.primary.map_or("*-1\r\n".into(), |port| {
                format!(
                    "*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n",
                    port.to_string().len()
                )
            }),
            "ROLE" if self.is_replica => {
                "*5\r\n$5\r\nslave\r\n$1\r\na\r\n:1\r\n$4\r\nsync\r\n:0\r\n".into()
            }
            "ROLE" => "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n".into(),
            // Who is it?
            "GET" => format!(":{port}\r\n"),
            _ => "+OK\r\n".into(),
        }
    }
}

fn slots(halves: &[u16]) -> String {
    let half = |(port, first): (&u16, u16)| {
        let last = first + 8191;
        format!("*3\r\n:{first}\r\n:{last}\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n")
    };
    let halves: Vec<String> = halves.iter().zip([0, 8192]).map(half).collect();
    format!("*{}\r\n{}", halves.len(), halves.concat())
}

/// Who answers for a key.
async fn ask(connections: &Connections, key: &str) -> Result<(Connection, u16)> {
    let mut connection = connections.of(key).await?;
    let get = redis::cmd("GET").arg(key).to_owned();
    let port = get.query_async(&mut connection.redis).await?;
    Ok((connection, port))
}

/// Until this one does.
async fn wait_for(connections: &Connections, key: &str, port: u16) -> Result<()> {
    let waiting = async {
        while !matches!(ask(connections, key).await, Ok((_, answers)) if answers == port) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(SOON, waiting).await;
    waited.with_context(|| format!("{port} does not answer for {key}"))
}

fn cluster(seeds: &[&Server]) -> Result<Connections> {
    let nodes: Vec<Client> = seeds
        .iter()
        .map(|seed| seed.client())
        .collect::<Result<_>>()?;
    let server = Client::open("redis://nowhere:1")?;
    Ok(Connections::new(Redis::Cluster { nodes, server }, LIMITS))
}

async fn three() -> Result<[Server; 3]> {
    Ok([
        Server::start().await?,
        Server::start().await?,
        Server::start().await?,
    ])
}

#[tokio::test]
async fn a_key_is_asked_of_its_node_and_one_connection_serves_all_its_keys() -> Result<()> {
    let [a, b, c] = three().await?;
    c.says(|says| says.halves = vec![a.port, b.port]);
    let connections = cluster(&[&c])?;
    assert_eq!(ask(&connections, LOW).await?.1, a.port);
    assert_eq!(ask(&connections, HIGH).await?.1, b.port);
    let servers = connections.by_server(&[LOW, HIGH, LOW, HIGH]).await?;
    let places: Vec<_> = servers.iter().map(|(_, places)| places.clone()).collect();
    assert_eq!(places, [[0, 2], [1, 3]]);
    assert_eq!(connections.all().await?.len(), 2);
    assert_eq!(c.looks(), 1, "it was asked once");
    Ok(())
}

/// One that was cut off goes on saying what was true before.
#[tokio::test]
async fn who_failed_is_not_asked_who_has_its_keys_now() -> Result<()> {
    let [a, b, c] = three().await?;
    for node in [&a, &b, &c] {
        node.says(|says| says.halves = vec![a.port, b.port]);
    }
    let connections = cluster(&[&a])?;
    let (first, port) = ask(&connections, LOW).await?;
    assert_eq!(port, a.port);
    for node in [&b, &c] {
        node.says(|says| says.halves = vec![c.port, b.port]);
    }
    let before = a.looks();
    // Others of its users give it up as well, and later.
    connections.give_up(&first).await;
    wait_for(&connections, LOW, c.port).await?;
    connections.give_up(&first).await;
    assert_eq!(ask(&connections, LOW).await?.1, c.port);
    assert_eq!(a.looks(), before);
    assert_eq!(ask(&connections, HIGH).await?.1, b.port);
    Ok(())
}

#[tokio::test]
async fn a_node_that_dies_is_replaced_though_it_was_the_only_one_named() -> Result<()> {
    let [a, b, c] = three().await?;
    for node in [&a, &b] {
        node.says(|says| says.halves = vec![a.port, b.port]);
    }
    let connections = cluster(&[&a])?;
    assert_eq!(ask(&connections, LOW).await?.1, a.port);
    b.says(|says| says.halves = vec![c.port, b.port]);
    drop(a);
    // Whoever uses it notices.
    if let Ok(dead) = connections.of(LOW).await {
        connections.give_up(&dead).await;
    }
    wait_for(&connections, LOW, c.port).await?;
    assert_eq!(ask(&connections, HIGH).await?.1, b.port);
    Ok(())
}

#[tokio::test]
async fn slots_that_nobody_has_are_waited_for() -> Result<()> {
    let [a, b, _] = three().await?;
    a.says(|says| says.halves = vec![a.port]);
    let connections = cluster(&[&a])?;
    let missing = connections.of(HIGH).await.err();
    ensure!(
        matches!(missing, Some(Error::NoOwner { .. })),
        "{missing:?}"
    );
    assert_eq!(ask(&connections, LOW).await?.1, a.port);
    a.says(|says| says.halves = vec![a.port, b.port]);
    wait_for(&connections, HIGH, b.port).await?;

    let outside = cluster(&[&b])?.of(LOW).await.err();
    ensure!(
        matches!(outside, Some(Error::NoSlots { .. })),
        "{outside:?}"
    );
    Ok(())
}

fn watched(sentinels: &[&Server]) -> Result<Connections> {
    let sentinels: Vec<Client> = sentinels
        .iter()
        .map(|s| s.client())
        .collect::<Result<_>>()?;
    let redis = Redis::Sentinel {
        sentinels,
        master: "mymaster".into(),
        server: Client::open("redis://nowhere:1")?,
    };
    Ok(Connections::new(redis, LIMITS))
}

#[tokio::test]
async fn sentinels_are_asked_anew_and_believed_when_the_primary_says_so_too() -> Result<()> {
    let [old, new, behind] = three().await?;
    let [knows, away, _] = three().await?;
    for sentinel in [&behind, &knows, &away] {
        sentinel.says(|says| says.primary = Some(old.port));
    }
    let connections = watched(&[&behind, &away, &knows])?;
    let (first, port) = ask(&connections, LOW).await?;
    assert_eq!(port, old.port);
    assert_eq!(first.address(), format!("127.0.0.1:{}", old.port));

    drop(away);
    old.says(|says| says.is_replica = true);
    connections.give_up(&first).await;
    let refused = connections.of(LOW).await.err();
    ensure!(
        refused.as_ref().is_some_and(Error::may_pass),
        "{refused:?} is no reason to give up"
    );
    knows.says(|says| says.primary = Some(new.port));
    wait_for(&connections, HIGH, new.port).await
}

#[tokio::test]
async fn a_name_that_no_sentinel_knows_is_said() -> Result<()> {
    let [knows_nothing, away, _] = three().await?;
    let connections = watched(&[&away, &knows_nothing])?;
    drop(away);
    let error = connections
        .of(LOW)
        .await
        .err()
        .context("it cannot be known")?;
    assert!(!error.may_pass(), "{error}");
    let words = format!(
        "the Sentinel at 127.0.0.1:{} watches no `mymaster`",
        knows_nothing.port
    );
    assert_eq!(error.to_string(), words);
    Ok(())
}
