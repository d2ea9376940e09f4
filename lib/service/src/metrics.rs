//! The process's one Prometheus recorder.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use std::sync::OnceLock;
use std::time::Duration;

/// Seconds; from a millisecond to five minutes.
const SECONDS: [f64; 16] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0,
];
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Installs the recorder, once per process, and returns what renders it.
///
/// # Panics
/// If somebody else installed another recorder before.
pub fn install() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
                .expect("the buckets are not empty")
                .install_recorder()
                .expect("nobody else installs a recorder")
        })
        .clone()
}

/// All metrics in Prometheus's text format, those of the process as they are now.
pub fn render(handle: &PrometheusHandle) -> String {
    Collector::default().collect();
    handle.render()
}

/// Keeps histograms from growing, for as long as it is polled.
pub async fn upkeep(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_installed_once_and_seconds_have_buckets() {
        let (one, two) = (install(), install());
        metrics::histogram!("rtf_test_wait_seconds").record(0.003);
        metrics::counter!("rtf_test_things_total").increment(2);
        for handle in [one, two] {
            let text = handle.render();
            for line in [
                "rtf_test_wait_seconds_bucket{le=\"0.002\"} 0",
                "rtf_test_wait_seconds_bucket{le=\"0.005\"} 1",
                "rtf_test_wait_seconds_bucket{le=\"300\"} 1",
                "rtf_test_things_total 2",
            ] {
                assert!(text.contains(line), "`{line}` is missing in {text}");
            }
        }
    }

    #[test]
    fn the_process_is_told_of_by_the_usual_names() {
        let text = render(&install());
        for name in ["cpu_seconds_total", "open_fds", "resident_memory_bytes"] {
            let line = format!("\nprocess_{name} ");
            assert!(text.contains(&line), "`{name}` is missing in {text}");
        }
    }

    #[tokio::test]
    async fn upkeep_goes_on_until_it_is_dropped() {
        let kept = tokio::time::timeout(Duration::from_millis(20), upkeep(install())).await;
        assert!(kept.is_err(), "it ended by itself");
    }
}
