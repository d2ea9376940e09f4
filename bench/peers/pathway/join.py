"""Clicks joined with their queries by Pathway. Its free edition delivers at least once.

All of it runs in its Rust engine: no function of Python's is called for a record, and no JSON is parsed.
"""

import os

import pathway as pw

COMMIT_EVERY_MS = 100
SNAPSHOT_EVERY_MS = 1000
# Without a bound the whole backlog is read into memory first.
IN_PROCESS_MAX = 100_000
# Where a click has its id: an expert who knows the data cuts it out instead of looking for it.
CLICK_ID = (len('{"click_id":"'), len("clk-0123456789abcdef"))


def kafka(**properties: str) -> dict[str, str]:
    return {"bootstrap.servers": os.environ["PEER_KAFKA"], "group.id": os.environ["PEER_NAME"], **properties}


def read(topic: str, name: str) -> pw.Table:
    settings = kafka(
        **{
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "check.crcs": "false",
            "fetch.queue.backoff.ms": "2",
            "max.partition.fetch.bytes": "4194304",
        }
    )
    return pw.io.kafka.read(
        settings,
        topic=topic,
        format="plaintext",
        autogenerate_key=True,
        autocommit_duration_ms=COMMIT_EVERY_MS,
        max_backlog_size=IN_PROCESS_MAX,
        name=name,
    )


def rows(clicks: pw.Table, queries: pw.Table) -> pw.Table:
    start, length = CLICK_ID
    click_id = clicks.data.str.slice(start, start + length)
    return clicks.join(queries, clicks.key == queries.key).select(
        row='{"id":"' + click_id + '","key":"' + clicks.key + '","outcome":"joined","foreign":' + clicks.data
        + ',"primary":[' + queries.data + "]}"
    )


def main() -> None:
    clicks = read(os.environ["PEER_FOREIGN"], "clicks")
    queries = read(os.environ["PEER_PRIMARY"], "queries")
    settings = kafka(**{"linger.ms": "5", "batch.size": "262144", "queue.buffering.max.messages": "1000000"})
    pw.io.kafka.write(rows(clicks, queries), settings, os.environ["PEER_OUTPUT"], format="plaintext", name="rows")
    pw.run(
        monitoring_level=pw.MonitoringLevel.NONE,
        # To keep the operators' state instead of the input needs a licence.
        persistence_config=pw.persistence.Config(
            pw.persistence.Backend.filesystem(os.environ["PEER_DATA"]),
            snapshot_interval_ms=SNAPSHOT_EVERY_MS,
        ),
    )


if __name__ == "__main__":
    main()
