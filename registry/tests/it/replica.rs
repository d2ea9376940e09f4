//! Verdicts, restarts, rebuilds and readers.

use crate::support::{item, offset, options, start, start_with};
use futures::StreamExt;
use rtf_kafka::Embedded;
use rtf_proto::{EventId, Known, LookupItem, Outcome, Outcomes, Registry, RegistryError, Verdict};
use rtf_registry::{Options, RegistryHandle};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Everything accepted in all partitions, once `wanted` came.
async fn tail(handle: &RegistryHandle, wanted: usize) -> Vec<String> {
    tail_of(handle, 3, wanted).await
}

async fn tail_of(handle: &RegistryHandle, partitions: u32, wanted: usize) -> Vec<String> {
    let streams =
        futures::future::try_join_all((0..partitions).map(|p| handle.tail(p, 0, Outcomes::All)))
            .await
            .unwrap();
    let mut all = futures::stream::select_all(streams);
    let mut rows = Vec::new();
    while rows.len() < wanted {
        let batch = tokio::time::timeout(Duration::from_secs(20), all.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        rows.extend(
            batch
                .records
                .iter()
                .map(|r| String::from_utf8(r.body.to_vec()).unwrap()),
        );
    }
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_wins_and_its_own_token_is_success() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("t.joins", 3).unwrap();
    let data = tempfile::tempdir().unwrap();
    let registry = start(&broker.settings(), data.path()).await;
    let first = registry
        .handle
        .register(vec![item("a", 1), item("a", 2), item("b", 3)])
        .await
        .unwrap();
    let Verdict::Registered(winner) = first[0] else {
        panic!("{first:?}")
    };
    assert_eq!(first[1], Verdict::AlreadyResolved(winner));
    assert!(matches!(first[2], Verdict::Registered(_)));
    let again = registry
        .handle
        .register(vec![item("a", 1), item("a", 9)])
        .await
        .unwrap();
    assert_eq!(
        again,
        [
            Verdict::Registered(winner),
            Verdict::AlreadyResolved(winner)
        ]
    );
    let lookup = |id: &str| LookupItem {
        id: EventId::from(id),
        source: item(id, 0).source,
    };
    let found = registry
        .handle
        .lookup(vec![lookup("a"), lookup("nobody")])
        .await
        .unwrap();
    let first = found[0].and_then(Known::resolved);
    assert_eq!(first.map(|f| f.offset), Some(winner));
    assert_eq!(found[1], None);
    assert_eq!(
        tail(&registry.handle, 2).await,
        ["row of a by 1", "row of b by 3"]
    );
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_remembers_rebuilds_and_agrees_with_another() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("t.joins", 3).unwrap();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let items = |token: u64| {
        (0..500)
            .map(|n| item(&format!("id-{n}"), token * 1000 + n))
            .collect::<Vec<_>>()
    };
    let (first, second) = (
        start(&broker.settings(), one.path()).await,
        start(&broker.settings(), two.path()).await,
    );
    let (a, b) = tokio::join!(
        first.handle.register(items(1)),
        second.handle.register(items(2))
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    for (a, b) in a.iter().zip(&b) {
        assert_eq!(offset(a), offset(b), "both name the same winner");
        assert_ne!(
            matches!(a, Verdict::Registered(_)),
            matches!(b, Verdict::Registered(_)),
            "one of them won"
        );
    }
    let rows = tail(&first.handle, 500).await;
    assert_eq!(rows, tail(&second.handle, 500).await);
    second.stop().await;
    first.stop().await;
    // Reopened: what was remembered, from disk.
    let first = start(&broker.settings(), one.path()).await;
    let known = first.handle.register(items(3)).await.unwrap();
    assert!(
        known
            .iter()
            .zip(&a)
            .all(|(known, a)| *known == Verdict::AlreadyResolved(offset(a)))
    );
    // A reader that begins at 0 is carried through Kafka to the recent records.
    assert_eq!(rows, tail(&first.handle, 500).await);
    first.stop().await;
    // From nothing: what was remembered, from the log.
    std::fs::remove_dir_all(one.path()).unwrap();
    let first = start(&broker.settings(), one.path()).await;
    let known = first.handle.register(items(4)).await.unwrap();
    assert!(
        known
            .iter()
            .zip(&a)
            .all(|(known, a)| *known == Verdict::AlreadyResolved(offset(a)))
    );
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_serves_more_than_before_reads_what_it_lacks() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("t.joins", 3).unwrap();
    let data = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let whole = start(&broker.settings(), data[0].path()).await;
    let ids: Vec<String> = (0..50).map(|n| format!("id-{n}")).collect();
    let items = ids.iter().zip(1..).map(|(id, token)| item(id, token));
    whole.handle.register(items.collect()).await.unwrap();
    let wanted = winners(&whole.handle, &ids).await;
    whole.stop().await;

    let part = start_with(
        &broker.settings(),
        Options {
            serves: Some([1].into()),
            ..options(data[1].path())
        },
    )
    .await;
    let status = part.handle.status().await.unwrap();
    let served: Vec<u32> = status.served.iter().map(|p| p.partition).collect();
    assert_eq!((served, status.roots), (vec![1], 3));
    let error = part.handle.tail(2, 0, Outcomes::All).await.err().unwrap();
    assert!(error.to_string().contains("partition 2 is not served"));
    part.stop().await;

    let more = start(&broker.settings(), data[1].path()).await;
    assert_eq!(winners(&more.handle, &ids).await, wanted);
    more.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_fit_is_told_and_the_rest_goes_on() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("t.joins", 3).unwrap();
    let data = tempfile::tempdir().unwrap();
    let registry = start(&broker.settings(), data.path()).await;
    let mut large = item("large", 1);
    large.body = vec![b'x'; 9 << 20].into();
    let verdicts = registry
        .handle
        .register(vec![large, item("small", 2)])
        .await
        .unwrap();
    assert_eq!(verdicts[0], Verdict::TooLarge);
    assert!(matches!(verdicts[1], Verdict::Registered(_)));
    // It may come with a split, or be served by another replica.
    let tail = registry
        .handle
        .tail(7, 0, Outcomes::All)
        .await
        .err()
        .unwrap();
    let words = tail.to_string();
    assert!(
        tail.is_retriable() && words.contains("partition 7 is not served"),
        "{words}"
    );
    registry.stop().await;
}

/// What a reader of partition 0 that wants no rows is handed until it has been told that this is all up to `end`.
async fn not_joined_up_to(handle: &RegistryHandle, end: u64) -> Vec<u64> {
    let mut reader = handle.tail(0, 0, Outcomes::NotJoined).await.unwrap();
    let (mut offsets, mut next) = (Vec::new(), 0);
    while next < end {
        let batch = tokio::time::timeout(Duration::from_secs(20), reader.next());
        let batch = batch.await.unwrap().unwrap().unwrap();
        offsets.extend(batch.records.iter().map(|record| record.offset));
        next = batch.next;
    }
    offsets
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_what_was_not_joined_is_spared_the_rows_and_hears_how_far_it_is() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("t.joins", 1).unwrap();
    let data = tempfile::tempdir().unwrap();
    let one_partition = || Options {
        partitions: 1,
        ..options(data.path())
    };
    let registry = start_with(&broker.settings(), one_partition()).await;
    let mut items = Vec::from_iter((0..30).map(|n| item(&format!("id {n}"), n)));
    items[20].outcome = Outcome::Malformed;
    let verdicts = registry.handle.register(items).await.unwrap();
    let (malformed, end) = (offset(&verdicts[20]), offset(&verdicts[29]) + 1);

    let from_memory = not_joined_up_to(&registry.handle, end).await;
    assert_eq!(from_memory, [malformed]);
    registry.stop().await;
    // The memory of the newest begins anew: what was before is read from Kafka.
    let registry = start_with(&broker.settings(), one_partition()).await;
    let from_kafka = not_joined_up_to(&registry.handle, end).await;
    assert_eq!(from_kafka, [malformed]);
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_kafka_does_not_answer_sends_its_callers_elsewhere() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("t.joins", 3).unwrap();
    let data = tempfile::tempdir().unwrap();
    let registry = start(&broker.settings(), data.path()).await;
    let verdicts = registry.handle.register(vec![item("a", 1)]).await;
    assert!(matches!(verdicts.unwrap()[0], Verdict::Registered(_)));
    let mut reader = registry.handle.tail(0, 0, Outcomes::All).await.unwrap();
    drop(broker);
    let ended = async {
        while let Some(batch) = reader.next().await {
            if let Err(error) = batch {
                return error;
            }
        }
        panic!("a tail ends with its error")
    };
    let error = tokio::time::timeout(Duration::from_secs(40), ended).await;
    assert!(error.unwrap().to_string().contains("cut off"));
    let refused = registry.handle.register(vec![item("b", 2)]).await;
    assert!(matches!(refused, Err(RegistryError::Unavailable(_))));
    assert!(registry.handle.tail(0, 0, Outcomes::All).await.is_err());
    assert!(!registry.handle.status().await.unwrap().ready);
    registry.stop.cancel();
}

/// Registers ids until told to stop, and returns each id's verdict.
async fn register_until(
    handle: RegistryHandle,
    prefix: &'static str,
    stop: CancellationToken,
) -> Vec<(String, Verdict)> {
    let mut all = Vec::new();
    while !stop.is_cancelled() {
        let ids: Vec<_> = (0..50)
            .map(|n| format!("{prefix}-{}", all.len() + n))
            .collect();
        let items = ids.iter().zip(1..).map(|(id, token)| item(id, token));
        let verdicts = handle.register(items.collect()).await;
        let verdicts = verdicts.unwrap_or_else(|error| panic!("{error}"));
        all.extend(ids.into_iter().zip(verdicts));
    }
    all
}

async fn until_split(handle: &RegistryHandle, partitions: u32) {
    let is_split = || async {
        let served = handle.status().await.unwrap().served;
        served.len() == partitions as usize && served.iter().all(|p| p.count == partitions)
    };
    tokio::time::timeout(Duration::from_secs(20), async {
        while !is_split().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}

/// Who won all these, as a replica says.
async fn winners(handle: &RegistryHandle, ids: &[String]) -> Vec<(u32, u64)> {
    let mut all = Vec::new();
    for ids in ids.chunks(500) {
        let items = ids.iter().map(|id| LookupItem {
            id: EventId::from(id.as_str()),
            source: item(id, 1).source,
        });
        let found = handle.lookup(items.collect()).await.unwrap();
        let found = found
            .into_iter()
            .map(|found| found.unwrap().resolved().unwrap());
        all.extend(found.map(|found| (found.partition, found.offset)));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_under_load_loses_and_doubles_nothing() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("t.joins", 12).unwrap();
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let one = start(&broker.settings(), folders[0].path()).await;
    let other = start(&broker.settings(), folders[1].path()).await;
    let stop = CancellationToken::new();
    let load = [(&one, "one"), (&other, "other")].map(|(registry, prefix)| {
        tokio::spawn(register_until(
            registry.handle.clone(),
            prefix,
            stop.clone(),
        ))
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let refused = one.handle.split(7).await.unwrap_err().to_string();
    assert!(refused.contains("6 or 9 would be"), "{refused}");
    let refused = one.handle.split(24).await.unwrap_err().to_string();
    assert!(refused.contains("embedded broker"), "{refused}");
    let splits = tokio::join!(one.handle.split(6), other.handle.split(6));
    assert!(splits.0.is_ok() && splits.1.is_ok(), "{splits:?}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(other.handle.split(12).await, Ok(6));
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.cancel();
    let mut ids = Vec::new();
    for load in load {
        for (id, verdict) in load.await.unwrap() {
            assert!(
                matches!(verdict, Verdict::Registered(_)),
                "{id}: {verdict:?}"
            );
            ids.push(id);
        }
    }
    for registry in [&one, &other] {
        until_split(&registry.handle, 12).await;
    }
    // Sent again, by another chain: each is known, wherever it was registered.
    for ids in ids.chunks(400) {
        let again = ids.iter().map(|id| item(id, 1_000_000)).collect();
        let verdicts = other.handle.register(again).await.unwrap();
        let known = |verdict: &Verdict| matches!(verdict, Verdict::AlreadyResolved(_));
        assert!(verdicts.iter().all(known), "{verdicts:?}");
    }
    let expected = winners(&one.handle, &ids).await;
    assert!(expected.iter().any(|(partition, _)| *partition >= 6));
    assert_eq!(winners(&other.handle, &ids).await, expected);
    let rows = ids.len();
    assert_eq!(tail_of(&one.handle, 12, rows).await.len(), rows);

    // One starts again from what is on disk, the other from nothing.
    let digests = one.handle.digests().unwrap();
    one.stop().await;
    other.stop().await;
    std::fs::remove_dir_all(folders[1].path().join("view")).unwrap();
    for folder in &folders {
        let registry = start(&broker.settings(), folder.path()).await;
        until_split(&registry.handle, 12).await;
        assert_eq!(winners(&registry.handle, &ids).await, expected);
        let now = registry.handle.digests().unwrap();
        assert_eq!(now.len(), digests.len());
        registry.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_producer_is_replaced_under_a_new_incarnation_and_nothing_is_lost() {
    let broker = Embedded::start().unwrap();
    broker.create_topic("t.joins", 3).unwrap();
    let data = tempfile::tempdir().unwrap();
    let registry = start(&broker.settings(), data.path()).await;
    let before = registry.handle.status().await.unwrap().incarnation;
    let begun = Instant::now();
    let mut ids = (0..).map(|n| format!("id-{n}")).zip(1..);
    // Not every lost sequence breaks a producer: librdkafka may have others on their way.
    while registry.handle.status().await.unwrap().incarnation == before {
        broker.lose_sequence();
        let some: Vec<_> = ids.by_ref().take(50).collect();
        let items = || some.iter().map(|(id, token)| item(id, *token)).collect();
        let mut verdicts = registry.handle.register(items()).await;
        // Unknown is an answer; the same tokens again.
        while let Err(error) = verdicts {
            assert!(error.is_retriable(), "{error}");
            assert!(begun.elapsed() < Duration::from_secs(60), "{error}");
            verdicts = registry.handle.register(items()).await;
        }
        let registered = |verdict: &Verdict| matches!(verdict, Verdict::Registered(_));
        let verdicts = verdicts.unwrap();
        assert!(verdicts.iter().all(registered), "{verdicts:?}");
        assert!(begun.elapsed() < Duration::from_secs(60), "it never breaks");
    }
    registry.stop().await;
}
