//! What deploy/ says of `rtf` is so: its configurations are accepted, its commands can be typed, its ports are those of the roles.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use rtf_testing::{HEALTH_PORT_ABOVE, rtf_binary};

/// Role, and its gRPC port.
const ROLES: [(&str, u16); 4] = [
    ("registry", 7401),
    ("joiner", 7402),
    ("dispatcher", 7403),
    ("publisher", 7404),
];
const PAGE_PORT: u16 = 8080;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(deploy().join(path)).with_context(|| path.to_owned())
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

fn rtf(arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(rtf_binary()?).args(arguments).output()?)
}

#[test]
fn every_configuration_is_accepted() -> Result<()> {
    let mut all = Vec::new();
    files(&deploy(), &mut all)?;
    let configurations = all.iter().filter(|path| path.ends_with("rtf.toml"));
    let mut count = 0;
    for path in configurations {
        let path = path.to_str().context("a path in UTF-8")?;
        let checked = rtf(&["config", "check", "-c", path])?;
        let said = String::from_utf8_lossy(&checked.stdout);
        ensure!(
            checked.status.success() && said.starts_with("the configuration is good"),
            "{path}: {said}{}",
            String::from_utf8_lossy(&checked.stderr)
        );
        count += 1;
    }
    ensure!(count == 3, "{count} configurations");
    Ok(())
}

/// YAML's `[a, 'b c', d]` as its words; no word here has a comma in it.
fn words(list: &str) -> Vec<String> {
    let list = list.trim().trim_start_matches('[').trim_end_matches(']');
    let words = list.split(',').map(|word| word.trim().trim_matches('\''));
    words.map(str::to_owned).collect()
}

/// Everything in deploy/ that is given to `rtf`.
fn commands() -> Result<Vec<(String, Vec<String>)>> {
    let mut commands = Vec::new();
    let mut add = |place: &str, words: Vec<String>| commands.push((place.to_owned(), words));
    let compose = "docker/compose.yaml";
    // Services, each from its name on: those with our image.
    for service in read(compose)?
        .split("\n\n")
        .filter(|s| s.contains("image: rtf"))
    {
        for line in service.lines().map(str::trim) {
            if let Some(list) = line.strip_prefix("command: ") {
                add(compose, words(list));
            }
            if let Some(list) = line.strip_prefix("test: [CMD, /usr/bin/rtf,") {
                add(compose, words(list));
            }
        }
    }
    for role in ["registry", "joiner", "dispatcher", "publisher", "web"] {
        let place = format!("kubernetes/{role}.yaml");
        let text = read(&place)?;
        for list in text.split(" args: ").skip(1) {
            add(&place, words(list.lines().next().unwrap_or_default()));
        }
    }
    let unit = "systemd/rtf@.service";
    let text = read(unit)?;
    let start = text
        .split("ExecStart=/usr/bin/rtf ")
        .nth(1)
        .context("ExecStart")?;
    let start = start.lines().next().unwrap_or_default();
    for role in [
        "run",
        "registry",
        "joiner",
        "dispatcher",
        "publisher",
        "web",
    ] {
        let line = start.replace("%i", role);
        add(unit, line.split(' ').map(str::to_owned).collect());
    }
    let image = "docker/Dockerfile";
    let text = read(image)?;
    let run = text.split("\nCMD [\"").nth(1).context("CMD")?;
    add(
        image,
        vec![run.split('"').next().unwrap_or_default().to_owned()],
    );
    Ok(commands)
}

/// With `--help` behind it a command does nothing, but what stands before is parsed.
fn can_be_typed(words: &[String]) -> Result<bool> {
    let words = words.iter().map(String::as_str).chain(["--help"]);
    Ok(rtf(&words.collect::<Vec<_>>())?.status.success())
}

#[test]
fn every_command_can_be_typed() -> Result<()> {
    let commands = commands()?;
    ensure!(commands.len() == 15, "{} commands", commands.len());
    for (place, words) in commands {
        ensure!(can_be_typed(&words)?, "{place}: rtf {}", words.join(" "));
    }
    for wrong in [["registry", "--confg"], ["statsu", "-c"]] {
        let wrong = wrong.map(str::to_owned);
        ensure!(
            !can_be_typed(&wrong)?,
            "rtf {} is accepted",
            wrong.join(" ")
        );
    }
    Ok(())
}

/// Lines of documents that are typed into a shell.
#[test]
fn every_command_in_the_documents_can_be_typed() -> Result<()> {
    let mut documents = Vec::new();
    files(&deploy(), &mut documents)?;
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents.push(deploy().join("../docs/operations.md"));
    let mut count = 0;
    for path in documents {
        let text = fs::read_to_string(&path)?;
        let lines = text.split("```").skip(1).step_by(2).flat_map(str::lines);
        for line in lines.filter_map(|line| line.trim().strip_prefix("rtf ")) {
            // What stands behind two spaces explains; `…` and `|` stand for more.
            let line = line.split("  ").next().unwrap_or_default();
            if line.contains(['…', '|']) {
                continue;
            }
            let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            ensure!(can_be_typed(&words)?, "{}: rtf {line}", path.display());
            count += 1;
        }
    }
    ensure!(count >= 3, "{count} commands");
    Ok(())
}

/// Numbers of four digits that begin with 7, and the page's.
fn ports(text: &str) -> BTreeSet<u16> {
    let numbers = text.split(|c: char| !c.is_ascii_digit());
    let numbers = numbers.filter_map(|number| number.parse().ok());
    numbers
        .filter(|port| (7000..8000).contains(port) || *port == PAGE_PORT)
        .collect()
}

#[test]
fn every_role_has_its_ports() -> Result<()> {
    for (role, grpc) in ROLES {
        let manifest = read(&format!("kubernetes/{role}.yaml"))?;
        let http = grpc + HEALTH_PORT_ABOVE;
        ensure!(ports(&manifest) == BTreeSet::from([grpc, http]), "{role}");
        for probe in ["path: /livez, port: http", "path: /readyz, port: http"] {
            ensure!(manifest.contains(probe), "{role} is not probed at {probe}");
        }
        let configuration = read("kubernetes/rtf.toml")?;
        ensure!(
            configuration.contains(&format!("listen = \"0.0.0.0:{grpc}\"")),
            "{role} listens elsewhere"
        );
        let scraped = format!("rtf-{role}], type: A, port: {http},");
        ensure!(
            read("prometheus/prometheus.kubernetes.yml")?.contains(&scraped),
            "{role} is not scraped"
        );
    }
    ensure!(
        ports(&read("kubernetes/web.yaml")?) == BTreeSet::from([PAGE_PORT]),
        "the page's"
    );
    let of_roles = ROLES
        .iter()
        .flat_map(|(_, grpc)| [*grpc, grpc + HEALTH_PORT_ABOVE]);
    let all: BTreeSet<u16> = of_roles.chain([PAGE_PORT]).collect();
    ensure!(
        ports(&read("docker/Dockerfile")?).is_superset(&all),
        "the image names other ports"
    );
    ensure!(
        read("prometheus/prometheus.yml")?.contains("'rtf:8080'"),
        "the compose file's page is not scraped"
    );
    Ok(())
}

/// Stopping takes up to so long (`lib/service`), and whoever stops it has to wait for longer.
#[test]
fn whoever_stops_a_role_waits_until_it_has_stopped() -> Result<()> {
    let supervisor = deploy().join("../lib/service/src/supervisor.rs");
    let supervisor = fs::read_to_string(supervisor)?;
    let within: u32 = number_after(&supervisor, "STOP_WITHIN: Duration = Duration::from_secs(")?;
    for role in ["registry", "joiner", "dispatcher", "publisher", "web"] {
        let path = format!("kubernetes/{role}.yaml");
        let waits = number_after(&read(&path)?, "terminationGracePeriodSeconds: ")?;
        ensure!(waits > within, "{path}: {waits} s");
    }
    let waits = number_after(&read("docker/compose.yaml")?, "stop_grace_period: ")?;
    ensure!(waits > within, "compose.yaml: {waits} s");
    let waits = number_after(&read("systemd/rtf@.service")?, "TimeoutStopSec=")?;
    ensure!(waits > within, "rtf@.service: {waits} s");
    Ok(())
}

fn number_after(text: &str, words: &str) -> Result<u32> {
    let rest = text.split(words).nth(1).context(words.to_owned())?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    Ok(digits.unwrap_or_default().parse()?)
}

/// Data lies where the image, the volumes and the unit let it be written.
#[test]
fn data_lies_where_it_may() -> Result<()> {
    const WHERE: &str = "/var/lib/rtf";
    for (configuration, volumes) in [
        ("docker/rtf.toml", "docker/compose.yaml"),
        ("kubernetes/rtf.toml", "kubernetes/registry.yaml"),
        ("kubernetes/rtf.toml", "kubernetes/joiner.yaml"),
    ] {
        let text = read(configuration)?;
        let data = text
            .lines()
            .filter_map(|line| line.strip_prefix("data = \""));
        for path in data {
            ensure!(
                path.starts_with(&format!("{WHERE}/")),
                "{configuration}: {path}"
            );
        }
        ensure!(read(volumes)?.contains(WHERE), "{volumes}");
    }
    ensure!(read("docker/Dockerfile")?.contains(&format!("VOLUME {WHERE}")));
    ensure!(read("systemd/rtf@.service")?.contains("StateDirectory=rtf\n"));
    Ok(())
}
