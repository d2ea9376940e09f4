//! A view that turns out to be damaged while it is read.

use crate::support::{Running, item, offset, options, start_with};
use rtf_kafka::{Embedded, Settings};
use rtf_proto::{EventId, Known, LookupItem, Registry, RegistryError, Source, TopicId};
use rtf_registry::{Options, RegistryFailure};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const IDS: u64 = 2000;
/// Buckets are a twelfth of it; nothing is forgotten, because no dispatcher says how far it is.
const HORIZON: Duration = Duration::from_secs(6);
const SEALED_WITHIN: Duration = Duration::from_secs(30);
const STOPS_WITHIN: Duration = Duration::from_secs(20);

async fn replica(settings: &Settings, data: &Path) -> Running {
    let options = Options {
        horizon: HORIZON,
        ..options(data)
    };
    start_with(settings, options).await
}

fn id(number: u64) -> String {
    format!("id-{number}")
}

async fn lookup(running: &Running, number: u64) -> Result<Option<u64>, RegistryError> {
    let item = LookupItem {
        id: EventId::from(id(number).as_str()),
        source: Source {
            topic: "tweets".into(),
            topic_id: TopicId([1; 16]),
            partition: 0,
            offset: number,
        },
    };
    let found = running.handle.lookup(vec![item]).await?;
    let resolved = found[0].and_then(Known::resolved);
    Ok(resolved.map(|resolved| resolved.offset))
}

/// Goes on registering until what was registered first is in buckets that are sealed.
async fn until_sealed(running: &Running) {
    let begun = Instant::now();
    for number in IDS.. {
        let more = vec![item(&id(number), number)];
        running.handle.register(more).await.unwrap();
        let status = running.handle.status().await.unwrap();
        let is_sealed = |partition: &rtf_proto::RegistryPartition| {
            let mut buckets = partition.buckets.iter().filter(|bucket| bucket.ids > 100);
            buckets.all(|bucket| bucket.sealed)
        };
        if status.served.iter().all(is_sealed) {
            return;
        }
        assert!(begun.elapsed() < SEALED_WITHIN, "{status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Flips a bit in the middle of each sealed bucket.
fn damage(view: &Path) -> usize {
    let sealed = std::fs::read_dir(view).unwrap().filter_map(|entry| {
        let path: PathBuf = entry.unwrap().path().join("blocks");
        path.exists().then_some(path)
    });
    let flip = |path: PathBuf| {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.chunks_mut(64).for_each(|chunk| chunk[0] ^= 1);
        std::fs::write(path, bytes).unwrap();
    };
    sealed.map(flip).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_meets_damage_stops_the_replica_and_the_next_start_makes_it_good() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("t.joins", 3).unwrap();
    let data = tempfile::tempdir().unwrap();
    let first = replica(&broker.settings(), data.path()).await;
    let items = (0..IDS).map(|number| item(&id(number), number)).collect();
    let verdicts = first.handle.register(items).await.unwrap();
    until_sealed(&first).await;
    first.stop().await;
    assert!(damage(&data.path().join("view")) > 0);

    let second = replica(&broker.settings(), data.path()).await;
    let error = lookup(&second, 7).await.unwrap_err();
    assert!(error.is_retriable(), "another replica may know it: {error}");
    let ended = tokio::time::timeout(STOPS_WITHIN, second.task).await;
    let failure = ended.expect("it stops").unwrap().unwrap_err();
    assert!(matches!(failure, RegistryFailure::Data { .. }), "{failure}");
    drop(second.handle);

    let third = replica(&broker.settings(), data.path()).await;
    for (number, verdict) in (0..).zip(&verdicts) {
        assert_eq!(lookup(&third, number).await, Ok(Some(offset(verdict))));
    }
    assert!(
        data.path().join("view.broken-0").exists(),
        "it is kept beside"
    );
    third.stop().await;
}
