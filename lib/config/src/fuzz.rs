//! Fuzzed: the file. What is taken means something, what is not is refused in words, and no secret stands in them.

use crate::Config;
use rtf_fuzz::fuzz;

const FILE: &str = r#"
[kafka]
bootstrap = "127.0.0.1:9092"
[kafka.properties]
"sasl.password" = "S3CRET"
[join]
name = "clicks"
[join.foreign]
topic = "clicks"
id = ["/click_id"]
key = ["/query_id"]
[join.primary]
topic = "queries"
key = ["/query_id"]
[join.wait]
max = "24h"
[registry]
partitions = 16
horizon = "3d"
[redis]
url = "redis://:S3CRET@127.0.0.1:6379"
max_rows = 1000000
[web]
columns = [ { title = "name", value = "/foreign/user/name" } ]
"#;

#[test]
fn fuzz_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rtf.toml");
    fuzz("config", &[FILE.as_bytes()], |input| {
        std::fs::write(&path, input).expect("the folder can be written");
        match Config::load_with(Some(&path), [], &[]) {
            // What is printed is a configuration too: what is masked in it is text as it was.
            Ok(config) => assert!(Config::from_toml(&config.print()).is_ok()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}
