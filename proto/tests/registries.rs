//! A client and several registries that serve all of the log or a part each, over real connections.

use futures::StreamExt;
use futures::stream::BoxStream;
use rtf_proto::client::{Endpoints, RegistryClient};
use rtf_proto::partitioner::partition_of;
use rtf_proto::pb::registry_server::{Registry as Service, RegistryServer};
use rtf_proto::{
    EventId, LookupItem, Offset, Outcome, Outcomes, PartitionId, Registration, Registry,
    RegistryError, RegistryPartition, RegistryStatus, Source, Token, TopicId, Verdict, pb,
};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};

const PARTITIONS: u32 = 4;
/// Far below what is given to one that does not answer.
const AT_ONCE: Duration = Duration::from_millis(1500);
const SOON: Duration = Duration::from_secs(20);

#[derive(Default)]
struct State {
    serves: BTreeSet<PartitionId>,
    /// Ids it was asked to register or to look up.
    asked: Vec<EventId>,
    calls: u32,
    marks: u32,
}

/// A registry that decides nothing, and answers for its partitions only.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

impl Fake {
    fn serves(&self, partitions: impl IntoIterator<Item = PartitionId>) {
        self.0.lock().unwrap().serves = partitions.into_iter().collect();
    }

    fn calls(&self) -> u32 {
        self.0.lock().unwrap().calls
    }

    fn marks(&self) -> u32 {
        self.0.lock().unwrap().marks
    }

    fn asked(&self) -> Vec<EventId> {
        self.0.lock().unwrap().asked.clone()
    }

    fn take(&self, ids: Vec<EventId>) -> Result<(), Status> {
        let mut state = self.0.lock().unwrap();
        state.calls += 1;
        for id in &ids {
            let partition = partition_of(id.as_bytes(), PARTITIONS);
            if !state.serves.contains(&partition) {
                return Err(not_served(partition));
            }
        }
        state.asked.extend(ids);
        Ok(())
    }
}

fn not_served(partition: PartitionId) -> Status {
    let words = format!("partition {partition} is not served by this replica");
    RegistryError::Unavailable(words).into()
}

/// An answer that tells which id it is for.
fn answer(id: &[u8]) -> Offset {
    u64::from(rtf_proto::partitioner::murmur2(id))
}

#[tonic::async_trait]
impl Service for Fake {
    async fn register(
        &self,
        request: Request<pb::RegisterRequest>,
    ) -> Result<Response<pb::RegisterResponse>, Status> {
        let items = request.into_inner().items;
        self.take(items.iter().map(|i| EventId::new(i.id.clone())).collect())?;
        let verdict = |item: &pb::Registration| Verdict::Registered(answer(&item.id)).into();
        Ok(Response::new(pb::RegisterResponse {
            verdicts: items.iter().map(verdict).collect(),
        }))
    }

    async fn lookup(
        &self,
        request: Request<pb::LookupRequest>,
    ) -> Result<Response<pb::LookupResponse>, Status> {
        let items = request.into_inner().items;
        self.take(items.iter().map(|i| EventId::new(i.id.clone())).collect())?;
        let found = items.iter().map(|_| pb::Found::default()).collect();
        Ok(Response::new(pb::LookupResponse { found }))
    }

    async fn progress(
        &self,
        _: Request<pb::ProgressRequest>,
    ) -> Result<Response<pb::ProgressResponse>, Status> {
        self.0.lock().unwrap().marks += 1;
        Ok(Response::new(pb::ProgressResponse {}))
    }

    type TailStream = BoxStream<'static, Result<pb::TailResponse, Status>>;

    async fn tail(
        &self,
        request: Request<pb::TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        let partition = request.into_inner().partition;
        if !self.0.lock().unwrap().serves.contains(&partition) {
            return Err(not_served(partition));
        }
        let next = u64::from(partition);
        let batch = pb::TailResponse {
            records: Vec::new(),
            next,
        };
        Ok(Response::new(
            futures::stream::iter([Ok(batch)])
                .chain(futures::stream::pending())
                .boxed(),
        ))
    }

    async fn status(
        &self,
        _: Request<pb::RegistryStatusRequest>,
    ) -> Result<Response<pb::RegistryStatusResponse>, Status> {
        let partition = |partition: &PartitionId| RegistryPartition {
            partition: *partition,
            count: PARTITIONS,
            applied: 1,
            ..Default::default()
        };
        let status = RegistryStatus {
            partitions: PARTITIONS,
            roots: PARTITIONS,
            ready: true,
            served: self
                .0
                .lock()
                .unwrap()
                .serves
                .iter()
                .map(partition)
                .collect(),
            ..Default::default()
        };
        Ok(Response::new(status.into()))
    }
}

struct Running {
    fake: Fake,
    url: String,
    server: JoinHandle<()>,
}

impl Running {
    async fn start(serves: impl IntoIterator<Item = PartitionId>) -> Self {
        let fake = Fake::default();
        fake.serves(serves);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let service = RegistryServer::new(fake.clone());
        let serving = tonic::transport::Server::builder().add_service(service);
        let serving = serving.serve_with_incoming(incoming);
        let server = tokio::spawn(async move { serving.await.unwrap() });
        Self { fake, url, server }
    }
}

fn client(urls: impl IntoIterator<Item = String>) -> RegistryClient {
    let urls: Vec<String> = urls.into_iter().collect();
    RegistryClient::new(Endpoints::new(&urls).unwrap())
}

fn of(running: &[Running]) -> RegistryClient {
    client(running.iter().map(|one| one.url.clone()))
}

fn source() -> Source {
    Source {
        topic: "clicks".into(),
        topic_id: TopicId([1; 16]),
        partition: 0,
        offset: 0,
    }
}

fn registration(id: &str) -> Registration {
    Registration {
        id: id.into(),
        outcome: Outcome::Malformed,
        source: source(),
        token: Token(7),
        later_ts: 0,
        body: Default::default(),
    }
}

fn ids(count: u32) -> Vec<String> {
    (0..count).map(|n| format!("click-{n}")).collect()
}

/// The first of a partition.
fn id_of(partition: PartitionId) -> String {
    let of_it = |id: &String| partition_of(id.as_bytes(), PARTITIONS) == partition;
    ids(100).into_iter().find(of_it).unwrap()
}

async fn register(client: &RegistryClient, ids: &[String]) -> Result<(), RegistryError> {
    let batch = ids.iter().map(|id| registration(id)).collect();
    let verdicts = client.register(batch).await?;
    let wanted = ids
        .iter()
        .map(|id| Verdict::Registered(answer(id.as_bytes())));
    assert_eq!(
        verdicts,
        wanted.collect::<Vec<_>>(),
        "in the order of the questions"
    );
    Ok(())
}

/// How many answers there are; the fakes know nobody.
async fn look_up(client: &RegistryClient, ids: &[String]) -> Result<usize, RegistryError> {
    let item = |id: &String| LookupItem {
        id: id.as_str().into(),
        source: source(),
    };
    let found = client.lookup(ids.iter().map(item).collect()).await?;
    assert!(found.iter().all(Option::is_none));
    Ok(found.len())
}

async fn soon_registered(client: &RegistryClient, ids: &[String]) {
    let begun = Instant::now();
    while let Err(error) = register(client, ids).await {
        assert!(error.is_retriable() && begun.elapsed() < SOON, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_registries_that_serve_everything_one_is_asked() {
    let running = [Running::start(0..4).await, Running::start(0..4).await];
    let client = of(&running);
    client.check_served().await.unwrap();
    register(&client, &ids(501)).await.unwrap();
    assert_eq!((running[0].fake.calls(), running[1].fake.calls()), (2, 0));
    client.progress(Vec::new()).await.unwrap();
    assert_eq!((running[0].fake.marks(), running[1].fake.marks()), (1, 0));

    running[0].fake.serves([]);
    register(&client, &ids(1)).await.unwrap();
    register(&client, &ids(400)).await.unwrap();
    assert_eq!(
        running[1].fake.asked().len(),
        401,
        "the next one, by the same call"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_id_goes_to_who_serves_it() {
    let running = [
        Running::start([0, 1]).await,
        Running::start([2, 3]).await,
        Running::start([1, 2]).await,
    ];
    let client = of(&running);
    let ids = ids(900);
    register(&client, &ids).await.unwrap();
    assert_eq!(look_up(&client, &ids).await, Ok(900));
    let asked: usize = running.iter().map(|one| one.fake.asked().len()).sum();
    assert_eq!(asked, 1800, "nobody was asked in vain, nor twice");

    client.progress(Vec::new()).await.unwrap();
    let marks: Vec<u32> = running.iter().map(|one| one.fake.marks()).collect();
    assert_eq!(marks, [1, 1, 0], "these two reach every partition");
    for partition in 0..PARTITIONS {
        let mut tail = client.tail(partition, 0, Outcomes::All).await.unwrap();
        let batch = tail.next().await.unwrap().unwrap();
        assert_eq!(batch.next, u64::from(partition));
    }
    let status = client.status().await.unwrap();
    assert!(status.ready);
    let served: Vec<_> = status.served.iter().map(|p| p.partition).collect();
    assert_eq!(served, [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_nobody_serves_is_named_until_it_is_served() {
    let running = [Running::start([0, 1]).await, Running::start([2]).await];
    let client = of(&running);
    let (a, b) = (&running[0].url, &running[1].url);
    let wanted = format!(
        "registry unavailable: no registry serves partition 3 of the join log; {a} serves 0-1, {b} serves 2: set [registry].serves"
    );
    let missing = [id_of(0), id_of(3)];
    let error = register(&client, &missing).await.unwrap_err();
    assert_eq!(error.to_string(), wanted);
    assert!(error.is_retriable());
    assert_eq!(running[0].fake.asked().len(), 1, "the others go on");
    assert_eq!(look_up(&client, &missing).await, Ok(2), "nor do they wait");
    assert_eq!(running[0].fake.asked().len(), 2);
    let error = look_up(&client, &missing[1..]).await.unwrap_err();
    assert_eq!(error.to_string(), wanted, "but for all is none for any");
    assert_eq!(client.check_served().await.unwrap_err().to_string(), wanted);
    assert!(client.tail(3, 0, Outcomes::All).await.is_err());
    assert!(client.progress(Vec::new()).await.is_err());
    assert!(!client.status().await.unwrap().ready);
    register(&client, &[id_of(2)]).await.unwrap();

    running[1].fake.serves([2, 3]);
    soon_registered(&client, &missing).await;
    client.check_served().await.unwrap();
    client.progress(Vec::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_serve_any_more_what_it_did_is_asked_again() {
    let running = [Running::start(0..4).await, Running::start([0]).await];
    let client = of(&running);
    register(&client, &[id_of(3)]).await.unwrap();
    running[0].fake.serves([0, 1, 2]);
    running[1].fake.serves([3]);
    let error = register(&client, &[id_of(3)]).await.unwrap_err();
    let words = "partition 3 is not served by this replica";
    assert!(error.to_string().contains(words), "{error}");
    soon_registered(&client, &[id_of(3)]).await;
    assert_eq!(running[1].fake.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_one_is_not_waited_for() {
    // Its connections are made by the kernel, and nobody ever answers.
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let frozen_url = format!("http://{}", frozen.local_addr().unwrap());
    let parts = [Running::start([0, 1]).await, Running::start([2, 3]).await];
    let urls = [frozen_url].into_iter();
    let client = client(urls.chain(parts.iter().map(|one| one.url.clone())));
    let begun = Instant::now();
    register(&client, &ids(100)).await.unwrap();
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(client.status().await.unwrap().ready);
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    client.check_served().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_not_nobody_who_serves() {
    let gone = Running::start([]).await;
    gone.server.abort();
    let part = Running::start([0, 1]).await;
    let alone = client([gone.url.clone(), gone.url.clone()]);
    let error = register(&alone, &ids(1)).await.unwrap_err().to_string();
    assert!(error.contains("no registry has answered yet"), "{error}");

    let client = client([gone.url.clone(), part.url.clone()]);
    let error = client.check_served().await.unwrap_err().to_string();
    for words in [
        "no registry is known to serve partitions 2-3 of the join log",
        "has never answered",
        "and may serve what is missing",
    ] {
        assert!(error.contains(words), "no `{words}` in: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_one_answers_for_itself() {
    let running = [Running::start([0, 1]).await];
    let client = of(&running);
    register(&client, &[id_of(0)]).await.unwrap();
    let error = register(&client, &[id_of(3)])
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("partition 3 is not served"), "{error}");
    let error = client.check_served().await.unwrap_err().to_string();
    assert!(
        error.contains("no registry serves partitions 2-3"),
        "{error}"
    );
}
