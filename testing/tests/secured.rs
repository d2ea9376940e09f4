//! Where everything wants TLS, a password and a certificate: all roles and commands get in with what the configuration says, each with no more rights than
//! docs/security.md names, and who does not get in is told why.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use rtf_synth::{CLICKS, Clicks, ClicksParams};
use rtf_testing::{
    Authority, Checker, Instance, Load, Pipeline, PipelineOptions, Progress, Role, SecuredServers,
    create_topics, doctor, doctors, rtf_binary, run,
};

const ROLES: [Instance; 6] = [
    Instance(Role::Registry, 0),
    Instance(Role::Registry, 1),
    Instance(Role::Joiner, 0),
    Instance(Role::Dispatcher, 0),
    Instance(Role::Publisher, 0),
    Instance(Role::Web, 0),
];
const WRONG: &str = "battery-staple";
const READY_WITHIN: Duration = Duration::from_secs(90);
const DONE_WITHIN: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn all_get_in_and_who_does_not_is_told_why() -> Result<()> {
    let servers = SecuredServers::start()?;
    let options = PipelineOptions {
        wait_max: "3s",
        // As brokers want it by default.
        session_timeout: "6s",
        is_cluster: true,
        has_tls: true,
        joiners: 1,
        more: servers.kafka_properties()
            + &servers.certificates("redis.tls")
            + &servers.certificates("cluster.tls"),
        ..PipelineOptions::new(CLICKS)
    };
    let mut pipeline = Pipeline::new(&options, &servers.bootstrap(), &servers.redis_url())?;
    create_topics(&servers.kafka.bootstrap(), &CLICKS, 2)?;

    all_is_joined(&mut pipeline, &servers)?;
    commands_get_in(&pipeline, &servers)?;
    kafka_says_why(&pipeline, &servers)?;
    redis_says_why(&pipeline, &servers)?;
    roles_say_why(&pipeline)?;
    a_role_that_is_refused_ends(&mut pipeline)?;
    no_secret_is_shown(&pipeline)
}

/// By all clients of all roles, dead letters among them.
fn all_is_joined(pipeline: &mut Pipeline, servers: &SecuredServers) -> Result<()> {
    let clicks = Clicks::new(ClicksParams {
        count: 1000,
        per_second: 1000.try_into()?,
        ..ClicksParams::default()
    });
    let (kafka, redis) = (servers.kafka.bootstrap(), servers.redis.url());
    let checker = Checker::new(&kafka, &redis, CLICKS);
    let mut progress = Progress::new(&checker, &redis)?;
    pipeline.start_all(&ROLES, READY_WITHIN)?;
    let tally = Load::start(checker.settings(), CLICKS, clicks.events())?.finish()?;
    progress.wait_resolved(tally.accepted(), DONE_WITHIN)?;
    progress.wait_rows(tally.joins, DONE_WITHIN)?;
    progress.wait_committed(DONE_WITHIN)?;
    checker.check(clicks.expected())?;
    Ok(())
}

fn commands_get_in(pipeline: &Pipeline, servers: &SecuredServers) -> Result<()> {
    let found = doctor(pipeline, 0, &[])?;
    for check in [
        "foreign topic",
        "join log",
        "our topics",
        "group",
        "transactions",
        "keys",
        "Redis rights",
        "registry",
        "joiner",
        "dispatcher",
        "publisher",
        "web",
    ] {
        found.demand(&[(check, "ok")])?;
    }
    let plain = doctor(pipeline, 0, &["kafka.properties.sasl.mechanism=PLAIN"])?;
    plain.demand(&[("join log", "ok")])?;
    for (command, arguments) in [
        ("verify", ["--json"].as_slice()),
        ("dlq", &["list", "--json"]),
        ("replay", &["--to-earliest", "--running"]),
        ("status", &["--json"]),
        ("registry", &["status"]),
        ("tail", &["--from-beginning", "--no-follow"]),
    ] {
        let finished = pipeline.rtf(command, arguments)?;
        ensure!(finished.code() == 0, "{command}: {}", finished.output);
    }
    without_a_configuration(pipeline.folder(), servers)
}

/// What those use who have none yet.
fn without_a_configuration(folder: &Path, servers: &SecuredServers) -> Result<()> {
    let file = servers.authority.folder().join("kafka.toml");
    fs::write(&file, servers.kafka_properties())?;
    let (file, kafka) = (file.display().to_string(), servers.bootstrap());
    let kafka = ["-c", &file, "--kafka", &kafka];
    let rtf = |command: &[&str], arguments: &[&str]| {
        let mut line = Command::new(rtf_binary()?);
        line.args(command).args(kafka).args(arguments);
        run(&line, folder, DONE_WITHIN)
    };
    let topics = ["--foreign", "clicks", "--primary", "queries", "-o", "-"];
    let init = rtf(&["init"], &topics)?;
    let has_reference = init.output.contains("sasl.password\" = \"${file:");
    ensure!(init.code() == 0 && has_reference, "{}", init.output);
    // It may not write to what it only reads. That it is told so shows that it got in.
    let synth = rtf(&["synth", "clicks"], &["--count", "1", "--fast"])?;
    let words = synth.output.to_lowercase();
    ensure!(synth.code() == 1 && words.contains("authoriz"), "{words}");
    Ok(())
}

fn kafka_says_why(pipeline: &Pipeline, servers: &SecuredServers) -> Result<()> {
    let stranger = Authority::new()?;
    let wrong = [
        (
            format!("sasl.password={WRONG}"),
            "correct sasl.username, sasl.password",
        ),
        (
            "sasl.username=nobody".into(),
            "correct sasl.username, sasl.password",
        ),
        (
            format!("ssl.ca.location={}", stranger.certificate().display()),
            "ssl.ca.location",
        ),
        (
            "security.protocol=PLAINTEXT".into(),
            "set security.protocol in [kafka.properties] if it wants TLS",
        ),
        (format!("sasl.pasword={WRONG}"), "sasl.pasword"),
    ];
    let mut wrong = wrong
        .map(|(setting, words)| (format!("kafka.properties.{setting}"), words))
        .to_vec();
    wrong.push((
        format!("kafka.bootstrap={}", servers.kafka.bootstrap()),
        "the broker speaks no TLS",
    ));
    let settings: Vec<[&str; 1]> = wrong
        .iter()
        .map(|(setting, _)| [setting.as_str()])
        .collect();
    let settings: Vec<&[&str]> = settings.iter().map(<[&str; 1]>::as_slice).collect();
    for (found, (_, words)) in doctors(pipeline, 1, &settings)?.iter().zip(&wrong) {
        found.demand(&[("Kafka", "fail"), ("join log", "missing")])?;
        found.says(words)?;
    }
    Ok(())
}

fn redis_says_why(pipeline: &Pipeline, servers: &SecuredServers) -> Result<()> {
    let stranger = Authority::new()?;
    let ca = format!("redis.tls.ca={}", stranger.certificate().display());
    let password = format!("redis.password={WRONG}");
    let plain = format!("redis.url=rediss://127.0.0.1:{}", servers.redis.port());
    let wrong: [(&[&str], &str); 4] = [
        (&[&password], "[redis].password"),
        (&[&ca], "[redis.tls].ca"),
        (&[&plain], "redis:// if not"),
        (
            &["redis.tls.certificate=", "redis.tls.key="],
            "set [redis.tls].certificate",
        ),
    ];
    let settings = wrong.map(|(settings, _)| settings);
    for (found, (_, words)) in doctors(pipeline, 1, &settings)?.iter().zip(wrong) {
        found.demand(&[("Redis", "fail"), ("join log", "ok")])?;
        found.says(words)?;
    }
    Ok(())
}

/// To who shows no certificate, one of somebody else's, or speaks no TLS.
fn roles_say_why(pipeline: &Pipeline) -> Result<()> {
    let stranger = Authority::new()?;
    let other = stranger.sign("stranger")?;
    let certificate = format!("cluster.tls.certificate={}", other.certificate.display());
    let key = format!("cluster.tls.key={}", other.key.display());
    let ca = format!("cluster.tls.ca={}", stranger.certificate().display());
    let registry = pipeline.port(Role::Registry, 0);
    let registry = format!("cluster.registries=http://127.0.0.1:{registry}");
    let nothing = [
        "cluster.tls.ca=",
        "cluster.tls.certificate=",
        "cluster.tls.key=",
    ];
    let joiner = "cluster.joiners=http://127.0.0.1:1";
    let wrong: [(&[&str], &str); 4] = [
        (
            &["cluster.tls.certificate=", "cluster.tls.key="],
            "[cluster.tls].certificate",
        ),
        (&[&certificate, &key], "[cluster.tls].certificate"),
        (&[&ca], "[cluster.tls].ca"),
        (
            &[nothing[0], nothing[1], nothing[2], &registry, joiner],
            "[cluster.tls]",
        ),
    ];
    for (settings, words) in wrong {
        let settings = settings.iter().map(|setting| format!("--set={setting}"));
        let arguments: Vec<String> = ["status".into()].into_iter().chain(settings).collect();
        let refused = pipeline.rtf("registry", &arguments)?;
        let is_told = refused.code() == 1 && refused.output.contains(words);
        ensure!(is_told, "{arguments:?}: {}", refused.output);
    }
    Ok(())
}

fn a_role_that_is_refused_ends(pipeline: &mut Pipeline) -> Result<()> {
    let registry = ROLES[0];
    pipeline.stop(registry)?;
    pipeline.set(registry, "kafka.properties.sasl.password", WRONG);
    pipeline.start(registry)?;
    let process = pipeline.process(registry)?;
    let ended = process.wait(DONE_WITHIN)?;
    let log = process.log()?;
    let is_told = ended.code() == Some(1) && log.contains("correct sasl.username");
    ensure!(is_told, "{ended}: {log}");
    Ok(())
}

/// Neither in what was said nor in what was logged.
fn no_secret_is_shown(pipeline: &Pipeline) -> Result<()> {
    let mut print = Command::new(rtf_binary()?);
    print.args(["config", "print", "--config"]);
    print.arg(pipeline.config());
    let printed = run(&print, pipeline.folder(), DONE_WITHIN)?;
    let has_reference = printed.output.contains("\"sasl.password\" = \"${file:");
    ensure!(has_reference, "{}", printed.output);
    for file in fs::read_dir(pipeline.folder())? {
        let path = file?.path();
        if path.is_file() {
            let text = fs::read_to_string(&path)?;
            for secret in [SecuredServers::PASSWORD, WRONG] {
                ensure!(!text.contains(secret), "{} has {secret}", path.display());
            }
        }
    }
    Ok(())
}
