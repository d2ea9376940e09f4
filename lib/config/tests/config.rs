//! The configuration as a user meets it.

use rtf_config::{Config, Severity};
use std::path::PathBuf;

const GOOD: &str = r#"
[join]
name = "clicks"
[join.foreign]
topic = "clicks"
id = ["/click_id"]
key = ["/query_id"]
[join.primary]
topic = "queries"
key = ["/query_id"]
"#;

struct File(#[allow(dead_code)] tempfile::TempDir, PathBuf);

fn file(text: &str) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rtf.toml");
    std::fs::write(&path, text).unwrap();
    File(folder, path)
}

fn load(text: &str, flags: &[(&str, &str)]) -> Result<Config, String> {
    let file = file(text);
    let flags: Vec<_> = flags
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    Config::load_with(Some(&file.1), [], &flags).map_err(|e| e.to_string())
}

/// The good file under these variables.
fn in_environment(variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, String> {
    let owned = |pairs: &[(&str, &str)]| -> Vec<_> {
        let pairs = pairs.iter();
        pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    let file = file(GOOD);
    Config::load_with(Some(&file.1), owned(variables), &owned(flags)).map_err(|e| e.to_string())
}

fn refused(text: &str, words: &[&str]) {
    let error = load(text, &[]).expect_err("it must be refused");
    for word in words {
        assert!(error.contains(word), "`{word}` is missing in: {error}");
    }
}

#[test]
fn a_small_file_is_enough_and_flags_win() {
    let config = load(
        GOOD,
        &[
            ("registry.partitions", "4"),
            ("join.foreign.id", "[\"/a\",\"/b\"]"),
            ("join.name", "123"),
            ("join.wait.max", "90s"),
        ],
    )
    .unwrap();
    assert_eq!(config.registry.partitions, 4);
    assert_eq!(config.join.foreign.id, ["/a", "/b"]);
    assert_eq!(config.join.name, "123");
    assert_eq!(config.join.wait.max.0.as_secs(), 90);
    assert_eq!(config.registry.http().port(), 7501);
    assert_eq!(config.web.listen.port(), 8080);
}

#[test]
fn what_is_printed_is_annotated_and_loads_to_the_same() {
    let text = format!(
        "{GOOD}\n[web]\ncolumns = [{{ title = \"id\", value = \"/id\", format = \"text\" }}]\n[kafka.properties]\n\"socket.timeout.ms\" = 5000\n"
    );
    let config = load(&text, &[]).unwrap();
    let printed = config.print();
    assert!(
        printed.lines().filter(|line| line.starts_with('#')).count() > 40,
        "{printed}"
    );
    assert_eq!(load(&printed, &[]).unwrap(), config);
}

#[test]
fn unknown_keys_are_named_with_the_accepted_ones() {
    refused(
        &GOOD.replace("topic = \"clicks\"", "topik = \"clicks\""),
        &[
            "topik",
            "did you mean `topic`",
            "join.foreign",
            "fold_case",
            "rtf.toml, line 5: unknown key `topik` in [join.foreign] (did",
        ],
    );
    refused(
        &format!("{GOOD}\n[redys]\nurl = \"x\"\n"),
        &["redys", "did you mean `redis`", "web"],
    );
}

#[test]
fn durations_and_sizes_carry_a_unit() {
    refused(
        &format!("{GOOD}\n[join.wait]\nmax = 30\n"),
        &["join.wait.max", "with a unit"],
    );
    refused(
        &format!("{GOOD}\n[join.wait]\nmax = \"30\"\n"),
        &["join.wait.max", "24h"],
    );
    refused(
        &format!("{GOOD}\n[joiner]\nmemory = \"4\"\n"),
        &["joiner.memory", "64MiB"],
    );
}

#[test]
fn syntax_errors_name_file_line_and_column() {
    refused("[join]\nname = 1 2", &["rtf.toml, line 2, column 10: "]);
    refused("[join\nname = 1", &["rtf.toml, line 1"]);
    let missing = Config::load(Some(&PathBuf::from("/nowhere/rtf.toml")), &[])
        .unwrap_err()
        .to_string();
    assert!(missing.contains("/nowhere/rtf.toml"), "{missing}");
}

#[test]
fn missing_keys_are_named_together() {
    refused(
        "",
        &[
            "join.name",
            "join.foreign.topic",
            "join.foreign.key",
            "join.primary.topic",
            "join.primary.key",
        ],
    );
}

#[test]
fn what_does_not_go_together_is_explained() {
    refused(
        &format!("{GOOD}\n[join.wait]\nmax = \"3d\"\n"),
        &["join.wait.max", "registry.horizon"],
    );
    refused(
        &format!("{GOOD}\n[join.match]\ncollect = \"24h\"\n"),
        &["join.match.collect", "join.wait.max"],
    );
    refused(
        &format!("{GOOD}\n[join.match]\npolicy = \"best\"\n"),
        &["join.match.order_by"],
    );
    refused(
        &format!("{GOOD}\n[join.match]\npolicy = \"bset\"\n"),
        &["bset", "best"],
    );
    refused(
        &format!("{GOOD}\n[kafka.properties]\n\"group.id\" = \"x\"\n"),
        &["group.id", "[dispatcher].group"],
    );
    refused(
        &GOOD.replace("\"/click_id\"", "\"click_id\""),
        &[
            "join.foreign.id",
            "JSON pointer",
            "`@key`",
            "`@header.NAME`",
        ],
    );
    for wrong in ["@keys", "@header.", "@timestamp", "@"] {
        refused(
            &GOOD.replace("\"/click_id\"", &format!("\"{wrong}\"")),
            &["join.foreign.id", &format!("`{wrong}`"), "`@header.NAME`"],
        );
    }
    refused(
        &GOOD.replacen("key = [\"/query_id\"]", "key = [\"/a\", \"/b\"]", 1),
        &["join.primary.key", "2"],
    );
    let config = load(&GOOD.replace("id = [\"/click_id\"]\n", ""), &[]).unwrap();
    assert!(
        config
            .check()
            .iter()
            .any(|p| p.severity == Severity::Warning && p.key == "join.foreign.id")
    );
}

#[test]
fn the_partitioned_layout_needs_keys_that_are_message_keys() {
    let partitioned = format!("{GOOD}\n[joiner]\nlayout = \"partitioned\"\n");
    assert!(load(&partitioned, &[]).is_ok());
    refused(
        &partitioned.replace("key = [\"/query_id\"]", "key = [\"/a\", \"/b\"]"),
        &["joiner.layout", "2 parts", "layout = \"all\""],
    );
    for folded in ["trim", "fold_case"] {
        let folded = partitioned.replace("\"queries\"", &format!("\"queries\"\n{folded} = true"));
        refused(&folded, &["joiner.layout", "fold them in the producer"]);
    }
    refused(
        &format!("{GOOD}\n[joiner]\nlayout = \"spread\"\n"),
        &["spread", "all, partitioned"],
    );
}

#[test]
fn fields_may_stand_beside_the_value() {
    let beside = GOOD
        .replace("[\"/click_id\"]", "[\"@key\", \"/click_id\"]")
        .replacen(
            "key = [\"/query_id\"]",
            "key = [\"@header.trace-id\"]\ntime = \"@timestamp\"",
            1,
        );
    let config = load(&beside, &[]).unwrap();
    assert_eq!(config.join.foreign.id, ["@key", "/click_id"]);
    assert_eq!(config.check(), []);
}

#[test]
fn the_examples_are_good() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut count = 0;
    for example in std::fs::read_dir(&folder).unwrap() {
        let example = example.unwrap().path();
        if example.is_dir() {
            let config = Config::load_with(Some(&example.join("rtf.toml")), [], &[]).unwrap();
            assert_eq!(config.check(), [], "{}", example.display());
            assert!(example.join("README.md").is_file());
            assert_eq!(example.file_name().unwrap(), config.join.name.as_str());
            count += 1;
        }
    }
    assert!(count >= 4, "{count} examples");
}

#[test]
fn secrets_are_neither_printed_nor_logged() {
    let text = format!(
        "{GOOD}\n[redis]\nurl = \"redis://user:hunter2@host:1/0\"\n[kafka.properties]\n\"sasl.password\" = \"hunter2\"\n"
    );
    let config = load(&text, &[]).unwrap();
    assert!(config.redis.url.reveal().contains("hunter2"));
    assert!(!config.print().contains("hunter2") && config.print().contains("user:****@host"));
    assert!(!format!("{config:?}").contains("hunter2"));
    let wrong = [("RTF__REDIS", "redis://user:hunter2@host:1")];
    let error = in_environment(&wrong, &[]).unwrap_err();
    assert!(
        error.contains("RTF__REDIS") && !error.contains("hunter2"),
        "{error}"
    );
    let broken = "[redis]\nurl = \"redis://user:hunter2@host\n";
    let error = load(broken, &[]).unwrap_err();
    assert!(
        error.contains("line 2") && !error.contains("hunter2"),
        "{error}"
    );
}

#[test]
fn flags_win_over_the_environment_that_over_the_file_that_over_the_defaults() {
    let key = ("RTF__JOIN__NAME", "environment");
    let flag = ("join.name", "flag");
    assert_eq!(in_environment(&[], &[]).unwrap().join.name, "clicks");
    assert_eq!(
        in_environment(&[key], &[]).unwrap().join.name,
        "environment"
    );
    assert_eq!(in_environment(&[key], &[flag]).unwrap().join.name, "flag");
    let config = in_environment(&[("RTF__JOIN__FOREIGN__TIME", "/at")], &[]).unwrap();
    assert_eq!(config.join.foreign.time, "/at");
    assert_eq!(
        config.join.foreign.topic, "clicks",
        "the rest of a table stays"
    );
    assert_eq!(config.registry.partitions, 16);
}

#[test]
fn the_environment_says_texts_numbers_and_lists() {
    let config = in_environment(
        &[
            ("RTF__JOIN__NAME", "007"),
            ("RTF__JOIN__FOREIGN__TOPIC", "123"),
            ("RTF__JOIN__FOREIGN__ID", r#"["/a", "/b"]"#),
            ("RTF__JOIN__FOREIGN__KEY", "/a"),
            ("RTF__JOIN__FOREIGN__TRIM", "true"),
            ("RTF__JOIN__PRIMARY__ID", ""),
            ("RTF__JOIN__WAIT__MAX", "90m"),
            ("RTF__REGISTRY__PARTITIONS", "4"),
            ("RTF__REGISTRY__LISTEN", "0.0.0.0:9000"),
            ("RTF__WEB__TITLE", "true"),
            (
                "RTF__WEB__COLUMNS",
                r#"[{title = "id", value = "/id"}, {title = "who", value = "/foreign/who", details = ["/key"]}]"#,
            ),
            ("RTF_LOG", "debug"),
            ("RTF_CONFIG", "elsewhere.toml"),
            ("PATH", "/bin"),
        ],
        &[],
    )
    .unwrap();
    assert_eq!(
        (config.join.name.as_str(), config.web.title.as_str()),
        ("007", "true")
    );
    let foreign = &config.join.foreign;
    assert_eq!((foreign.topic.as_str(), foreign.trim), ("123", true));
    assert_eq!(
        (&foreign.id[..], &foreign.key[..]),
        (&["/a".to_owned(), "/b".into()][..], &["/a".to_owned()][..])
    );
    assert_eq!(config.join.primary.id, Vec::<String>::new());
    assert_eq!(config.join.wait.max.to_string(), "90m");
    assert_eq!(config.registry.partitions, 4);
    assert_eq!(config.registry.http().to_string(), "0.0.0.0:9100");
    assert_eq!(config.web.columns[1].details, ["/key"]);
}

#[test]
fn an_error_in_the_environment_or_a_flag_names_it() {
    let refused = |variables: &[_], flags: &[_], words: &[&str]| {
        let error = in_environment(variables, flags).expect_err("it must be refused");
        for word in words {
            assert!(error.contains(word), "`{word}` is missing in: {error}");
        }
    };
    refused(
        &[("RTF__JOIN__FOREIGN__TOPIK", "x")],
        &[],
        &["RTF__JOIN__FOREIGN__TOPIK", "in [join.foreign]", "`topic`"],
    );
    refused(
        &[("RTF__REGISTRY__PARTITIONS", "many")],
        &[],
        &[
            "RTF__REGISTRY__PARTITIONS",
            "`registry.partitions` is `many`",
        ],
    );
    refused(
        &[],
        &[("join.wait.max", "30")],
        &["flag join.wait.max", "is `30`", "with a unit"],
    );
    refused(
        &[],
        &[("registry.listen", "localhost")],
        &["flag registry.listen", "address"],
    );
    refused(&[], &[("join.match.policy", "bset")], &["bset", "best"]);
    refused(
        &[],
        &[("web.columns", "[{titel = \"x\"}]")],
        &["flag web.columns", "`titel`", "did you mean `title`"],
    );
}

#[test]
fn properties_keep_their_dotted_names_wherever_they_are_set() {
    let text = format!(
        "{GOOD}\n[kafka.properties]\nsecurity.protocol = \"SSL\"\n\"socket.timeout.ms\" = 5000\nsasl.password = \"file\"\n"
    );
    let file = file(&text);
    let variables = [
        ("RTF__KAFKA__PROPERTIES__SASL_PASSWORD", "0123"),
        ("RTF__KAFKA__PROPERTIES__SASL.USERNAME", "[me]"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let flags = [(
        "kafka.properties.ssl.ca.location".to_owned(),
        "/ca.pem".to_owned(),
    )];
    let config = Config::load_with(Some(&file.1), variables, &flags).unwrap();
    let properties: Vec<_> = config
        .kafka
        .properties
        .iter()
        .map(|(k, v)| (k.as_str(), v.reveal()))
        .collect();
    assert_eq!(
        properties,
        [
            ("sasl.password", "0123"),
            ("sasl.username", "[me]"),
            ("security.protocol", "SSL"),
            ("socket.timeout.ms", "5000"),
            ("ssl.ca.location", "/ca.pem"),
        ]
    );
    refused(
        &format!("{GOOD}\n[kafka.properties]\ngroup.id = \"x\"\n"),
        &["rtf.toml", "group.id", "[dispatcher].group"],
    );
}

#[test]
fn health_is_served_beside_or_where_it_is_said() {
    let beside = |listen: &str| load(GOOD, &[("joiner.listen", listen)]).map(|c| c.joiner.http());
    assert_eq!(
        beside("127.0.0.1:0").unwrap().port(),
        0,
        "the system chooses both"
    );
    let error = beside("127.0.0.1:65500").unwrap_err();
    assert!(
        error.contains("joiner.listen") && error.contains("joiner.http"),
        "{error}"
    );
    let config = load(GOOD, &[("joiner.http", "0.0.0.0:9999")]).unwrap();
    assert_eq!(config.joiner.http().to_string(), "0.0.0.0:9999");
    assert!(config.print().contains("http = \"0.0.0.0:9999\""));
}

#[test]
fn no_duration_is_too_long_to_be_refused() {
    let long = "500000000000years";
    for flags in [
        vec![("join.wait.max", long)],
        vec![("join.wait.max", long), ("registry.horizon", long)],
    ] {
        let error = load(GOOD, &flags).unwrap_err();
        assert!(error.contains("`join.wait.max`"), "{error}");
    }
}

#[test]
fn every_refusal_names_its_key() {
    for (key, value) in [
        ("join.name", "a b"),
        ("join.match.limit", "0"),
        ("join.match.limit", "1001"),
        ("join.wait.max", "0s"),
        ("join.wait.max_events", "0"),
        ("join.wait.max_bytes", "0B"),
        ("join.wait.retry_max", "1ms"),
        ("join.primary.time", "at"),
        ("join.primary.expires", "/a~2"),
        ("registry.partitions", "0"),
        ("registry.partitions", "4097"),
        ("registry.partitions", "-1"),
        ("dispatcher.batch", "0"),
        ("dispatcher.in_flight", "0"),
        ("joiner.memory", "0B"),
        ("redis.url", "127.0.0.1:6379"),
        ("redis.url", ""),
        ("redis.url", "redis://a:1,,b:2"),
        ("redis.kind", "clustr"),
        ("kafka.bootstrap", ""),
        ("kafka.properties.acks", "1"),
        ("cluster.registries", "[\"127.0.0.1:7401\"]"),
        ("telemetry.traces.endpoint", "127.0.0.1:4317"),
        ("telemetry.traces.sample", "1.1"),
        ("telemetry.traces.sample", "-0.1"),
        ("telemetry.traces.sample", "nan"),
        ("web.columns", "[{title = \"a\", value = \"id\"}]"),
        (
            "web.columns",
            "[{title = \"a\", value = \"/id\", format = \"date\"}]",
        ),
        (
            "web.columns",
            "[{title = \"a\", value = \"/id\", width = \"wide\"}]",
        ),
        ("web.map.from", "[\"lat\", \"lon\"]"),
        ("web.map.from", "[\"/a\", \"/b\", \"/c\"]"),
        ("web.map.to", "[\"/code\"]"),
        ("web.map.label", "name"),
        (
            "web.map.places",
            "[{code = \"X\", latitude = 90.1, longitude = 0.0}]",
        ),
    ] {
        let error = load(GOOD, &[(key, value)]).expect_err(key);
        assert!(error.contains(key), "{key} = {value}: {error}");
    }
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    for (key, value, warned) in [
        ("join.primary.topic", "clicks", "join.primary.topic"),
        ("join.foreign.trim", "true", "join.primary"),
        (
            "dispatcher.session_timeout",
            "3s",
            "dispatcher.session_timeout",
        ),
        ("web.listen", "127.0.0.1:7401", "web.listen"),
    ] {
        let problems = load(GOOD, &[(key, value)]).unwrap().check();
        let warnings: Vec<_> = problems
            .iter()
            .map(|p| (p.key.as_str(), p.severity))
            .collect();
        assert_eq!(warnings, [(warned, Severity::Warning)], "{problems:?}");
    }
    assert_eq!(load(GOOD, &[]).unwrap().check(), []);
}

#[test]
fn every_key_and_table_of_the_document_has_its_comment() {
    let document = load(GOOD, &[]).unwrap().print();
    let (mut commented, mut checked) = (false, 0);
    // [kafka] and [join] have keys or tables with comments of their own.
    let plain = ["[kafka]", "[join]"];
    for line in document.lines() {
        let key = line.starts_with('[') || line.contains(" = ");
        if key && !line.starts_with('#') {
            assert!(
                commented || plain.contains(&line),
                "no comment above: {line}"
            );
            checked += 1;
        }
        commented = line.starts_with('#');
    }
    assert!(checked > 60, "{checked}");
}

#[test]
fn every_key_has_a_default() {
    Config::from_toml("").unwrap();
}

#[test]
fn records_to_skip_are_written_partition_and_offset() {
    let skipping = |list: &str| load(GOOD, &[("registry.skip_records", list)]);
    let config = skipping("[\"3/1234\", \"0/0\"]").unwrap();
    let skipped: Vec<_> = config.registry.skipped().collect();
    assert_eq!(skipped, [(3, 1234), (0, 0)]);
    let one = skipping("15/7").unwrap();
    assert_eq!(one.registry.skipped().collect::<Vec<_>>(), [(15, 7)]);
    for wrong in ["3", "3:4", "/4", "3/", "-1/4", "a/b", "3/4/5"] {
        let error = skipping(wrong).unwrap_err();
        assert!(error.contains("`registry.skip_records`"), "{error}");
        assert!(error.contains(&format!("`{wrong}`")), "{error}");
    }
}

#[test]
fn the_operators_token_is_not_repeated() {
    let token = |token: &str| load(GOOD, &[("admin.token", token)]);
    let config = token("hunter2").unwrap();
    assert_eq!(config.admin.token.reveal(), "hunter2");
    assert!(!config.print().contains("hunter2") && config.print().contains("token = \"****\""));
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(load(GOOD, &[]).unwrap().print().contains("token = \"\""));
    for wrong in ["hunter 2", "hünter2", "hunter2\n"] {
        let error = token(wrong).unwrap_err();
        assert!(error.contains("`admin.token`"), "{error}");
        assert!(!error.contains("nter"), "{error}");
    }
    let error = load(&format!("{GOOD}\n[admin]\ntoken = [\"hunter2\"]\n"), &[]).unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn secrets_may_stand_in_files() {
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut secret, b"hunter2\n").unwrap();
    let reference = format!("${{file:{}}}", secret.path().display());
    let text = format!(
        "{GOOD}\n[kafka.properties]\nsasl.password = \"{reference}\"\n[redis]\nurl = \"rediss://u:{reference}@h\"\npassword = \"{reference}\"\n\
         kind = \"sentinel\"\n[redis.sentinel]\nmaster = \"m\"\npassword = \"{reference}\"\n[admin]\ntoken = \"{reference}\"\n[web.auth]\nuser = \"u\"\npassword = \"{reference}\"\n"
    );
    let config = load(&text, &[]).unwrap();
    for secret in [
        &config.kafka.properties["sasl.password"],
        &config.redis.password,
        &config.redis.sentinel.password,
        &config.admin.token,
        &config.web.auth.password,
    ] {
        assert_eq!(secret.reveal(), "hunter2");
    }
    assert_eq!(config.redis.url.reveal(), "rediss://u:hunter2@h");
    for shown in [config.print(), format!("{config:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.matches(&reference).count() >= 5, "{shown}");
    }
    refused(
        &format!("{GOOD}\n[admin]\ntoken = \"${{file:/nowhere}}\"\n"),
        &["line", "`admin.token`", "${file:/nowhere}"],
    );
    refused(
        &format!("{GOOD}\n[kafka.properties]\nsasl.password = \"${{env:RTF_IS_NOT_SET}}\"\n"),
        &["kafka.properties", "sasl.password", "is not set"],
    );
}

#[test]
fn what_keeps_others_out_goes_together() {
    for (set, words) in [
        (("redis.tls.ca", "/ca"), "`redis.tls` is set, but redis.url"),
        (("redis.tls.key", "/key"), "`redis.tls` has only one"),
        (
            ("cluster.tls.certificate", "/c"),
            "`cluster.tls.ca` is missing",
        ),
        (("web.auth.user", "ops"), "`web.auth` has only one"),
        (
            ("web.auth.trusted_header", "a b"),
            "`web.auth.trusted_header`",
        ),
    ] {
        let error = load(GOOD, &[set]).expect_err(words);
        assert!(error.contains(words), "{error}");
    }
    let https = ("cluster.joiners", "https://a:1");
    let error = load(GOOD, &[https]).expect_err("TLS is off");
    assert!(error.contains("begins with http://"), "{error}");
    let tls = ("cluster.tls.ca", "/ca");
    let error = load(GOOD, &[tls, ("cluster.joiners", "http://a:1")]).expect_err("TLS is on");
    assert!(error.contains("begins with https://"), "{error}");
    let config = load(GOOD, &[tls, https]).unwrap();
    assert_eq!(config.joiners(), ["https://a:1"]);
    assert_eq!(config.registries(), ["https://127.0.0.1:7401"]);
}

#[test]
fn how_redis_is_reached_goes_together() {
    let (cluster, sentinel) = (("redis.kind", "cluster"), ("redis.kind", "sentinel"));
    let (master, several) = (
        ("redis.sentinel.master", "mymaster"),
        ("redis.url", "redis://:hunter2@a:1,b:2"),
    );
    let refusals: [(&[(&str, &str)], &str); 8] = [
        (
            &[several],
            "`redis.url` names several hosts: set redis.kind",
        ),
        (
            &[master],
            "`redis.sentinel` is set, but redis.kind is `single`",
        ),
        (
            &[cluster, master],
            "`redis.sentinel` is set, but redis.kind is `cluster`",
        ),
        (&[sentinel], "`redis.sentinel.master` is required"),
        (
            &[sentinel, master, ("redis.sentinel.user", "u")],
            "`redis.sentinel.user` has no password",
        ),
        (
            &[cluster, ("redis.url", "redis://a:1,b:2/3")],
            "`redis.url` names a database",
        ),
        (
            &[cluster, ("redis.url", "unix:///run/redis")],
            "`redis.kind` is `cluster`, but redis.url names no host",
        ),
        (
            &[cluster, ("redis.url", "redis://:hunter2@a:1,")],
            "`redis.url` has a comma",
        ),
    ];
    for (flags, words) in refusals {
        let error = load(GOOD, flags).expect_err(words);
        assert!(
            error.contains(words) && !error.contains("hunter2"),
            "{error}"
        );
    }
    let urls = |flags: &[(&str, &str)]| load(GOOD, flags).unwrap().redis.urls();
    let each = ["redis://:hunter2@a:1", "redis://:hunter2@b:2"];
    assert_eq!(urls(&[cluster, several]), each);
    let sentinels = ("redis.url", "redis://a,b:2/3");
    let each = ["redis://a:26379/3", "redis://b:2/3"];
    assert_eq!(urls(&[sentinel, master, sentinels]), each);
    assert_eq!(urls(&[]), ["redis://127.0.0.1:6379"]);
    let printed = load(GOOD, &[cluster, several]).unwrap().print();
    assert!(printed.contains("redis://:****@a:1,b:2"), "{printed}");
}
