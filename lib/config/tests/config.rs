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
    Config::load(Some(&file.1), &flags).map_err(|e| e.to_string())
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
            "rtf.toml",
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
    refused("[join\nname = 1", &["rtf.toml", "line 1"]);
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
        &["join.foreign.id", "JSON pointer"],
    );
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
fn secrets_are_neither_printed_nor_logged() {
    let text = format!(
        "{GOOD}\n[redis]\nurl = \"redis://user:hunter2@host:1/0\"\n[kafka.properties]\n\"sasl.password\" = \"hunter2\"\n"
    );
    let config = load(&text, &[]).unwrap();
    assert!(!config.print().contains("hunter2") && config.print().contains("user:****@host"));
    assert!(!format!("{config:?}").contains("hunter2"));
}
