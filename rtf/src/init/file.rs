//! The configuration as it is written: what was found, and why, beside each key. Pure.

use super::fields::{Field, Survey};
use super::proposal::Chosen;
use rtf_config::Kafka;
use toml_edit::Value;

/// Columns of each side on the page and in `rtf tail`, beside time and key.
const COLUMNS: usize = 2;
/// Longer values are no column.
const COLUMN_BYTES: usize = 60;

/// What is known of one side.
pub struct Side<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its fields.
    pub survey: &'a Survey,
    /// What names an event.
    pub id: Option<Chosen>,
    /// Fields of its key.
    pub key: Vec<String>,
    /// Its time.
    pub time: Option<Chosen>,
}

/// All that is written.
pub struct Draft<'a> {
    /// Where Kafka is, and how it is reached.
    pub kafka: &'a Kafka,
    /// Where Redis is.
    pub redis: &'a str,
    /// Name of the join.
    pub name: &'a str,
    /// What was looked at, in a sentence.
    pub basis: &'a str,
    /// The stream that drives.
    pub foreign: Side<'a>,
    /// The stream that is looked up.
    pub primary: Side<'a>,
    /// Why these keys, a line each.
    pub key_why: Vec<String>,
    /// Whether white space and case of keys are ignored.
    pub folds: bool,
    /// Primaries to a key, on average.
    pub primaries: f64,
    /// Until when a primary matches.
    pub expires: Option<Chosen>,
}

impl Draft<'_> {
    /// As TOML.
    pub fn text(&self) -> String {
        let mut file = File::default();
        file.comment("Written by `rtf init`; every other key, with its meaning and its default: rtf config print");
        file.comment(self.basis);
        file.table("kafka");
        file.set("bootstrap", &self.kafka.bootstrap);
        file.properties(self.kafka);
        file.table("join");
        file.comment(&format!(
            "Prefix of our topics ({0}.joins, {0}.retry.*, {0}.dead), of the group and of the Redis keys.",
            self.name
        ));
        file.set("name", self.name);
        self.foreign(&mut file);
        self.primary(&mut file);
        self.matching(&mut file);
        file.table("redis");
        file.set("url", self.redis);
        file.table("web");
        file.comment("What the page and `rtf tail` show of a row: pointers into it.");
        file.line("columns = [");
        for column in self.columns() {
            file.line(&format!("    {column},"));
        }
        file.line("]");
        file.0
    }

    fn foreign(&self, file: &mut File) {
        file.blank();
        file.comment("The stream that drives the join: each of its events ends exactly once, joined or with a reason.");
        file.table_here("join.foreign");
        file.set("topic", self.foreign.topic);
        file.id(
            &self.foreign,
            "no field names an event, so its topic, partition and offset do: one that its producer sends twice is two events.",
        );
        file.key(&self.foreign, &self.key_why, self.folds);
        file.time(&self.foreign);
    }

    fn primary(&self, file: &mut File) {
        file.blank();
        file.comment("The stream that is looked up. It may be larger, out of order, and late.");
        file.table_here("join.primary");
        file.set("topic", self.primary.topic);
        file.id(
            &self.primary,
            "no field names an event, so its topic, partition and offset do: none replaces another.",
        );
        file.key(&self.primary, &[], self.folds);
        file.time(&self.primary);
        match &self.expires {
            Some(expires) => {
                file.comment(&format!("{}: {}.", expires.field, expires.why));
                file.comment("From then on it matches nobody; without this line it does for ever.");
                file.set("expires", &expires.field);
            }
            None => {
                file.comment("expires = \"/valid_until\" would say from when on it matches nobody.")
            }
        }
    }

    fn matching(&self, file: &mut File) {
        file.table("join.match");
        let several = self.primaries > 1.05;
        file.comment(&format!(
            "A key has {:.1} primaries in the sample. first (the earliest), latest, best (with order_by, order and limit) or all (with limit).",
            self.primaries
        ));
        file.set("policy", if several { "latest" } else { "first" });
        file.table("join.wait");
        file.comment("So long an event waits for a partner; then it goes to the dead letters, or, with unmatched = \"emit\", becomes a row without.");
        file.set("max", "24h");
    }

    fn columns(&self) -> Vec<String> {
        let mut columns = vec![
            column("Time", "/foreign_ts", ", format = \"time\""),
            column("Key", "/key", ""),
        ];
        for (side, at) in [(&self.foreign, "/foreign"), (&self.primary, "/primary/0")] {
            for field in side.columns() {
                columns.push(column(&title(field), &format!("{at}{field}"), ""));
            }
        }
        columns
    }
}

impl Side<'_> {
    /// Fields that say something to people: short texts of several values, the most of them first.
    fn columns(&self) -> Vec<&str> {
        let ids = self.id.iter().chain(&self.time).map(|chosen| &chosen.field);
        let known: Vec<&String> = ids.chain(&self.key).collect();
        let says = |(name, field): &(&String, &Field)| {
            name.starts_with('/')
                && !known.contains(name)
                && field.presence(self.survey.read) >= 0.9
                && field.exact.len() > 1
                && field.longest <= COLUMN_BYTES
                && !field.is_time()
                && field.example.parse::<f64>().is_err()
        };
        let mut fields: Vec<_> = self.survey.fields.iter().filter(says).collect();
        // A text in words before a code; of these, what differs more.
        fields.sort_by_key(|(_, f)| std::cmp::Reverse((f.spaced * 2 > f.present, f.exact.len())));
        let names = fields.into_iter().map(|(name, _)| name.as_str());
        names.take(COLUMNS).collect()
    }
}

fn column(title: &str, value: &str, more: &str) -> String {
    format!(
        "{{ title = {}, value = {}{more} }}",
        quoted(title),
        quoted(value)
    )
}

/// `/user/screen_name` and `/user/screenName` as a headline: Screen name.
fn title(pointer: &str) -> String {
    let step = pointer.rsplit('/').next().unwrap_or(pointer);
    let mut title = String::new();
    let mut last = ' ';
    for c in step.chars() {
        let begins_word = c.is_uppercase() && last.is_lowercase();
        if begins_word || matches!(c, '_' | '-') {
            title.push(' ');
        }
        if title.is_empty() {
            title.extend(c.to_uppercase());
        } else if begins_word {
            title.extend(c.to_lowercase());
        } else if !matches!(c, '_' | '-') {
            title.push(c);
        }
        last = c;
    }
    title
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Lines.
#[derive(Default)]
struct File(String);

impl File {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn blank(&mut self) {
        self.line("");
    }

    /// Names and values of others may hold anything, but a comment is one line.
    fn comment(&mut self, words: &str) {
        let words: String = words
            .chars()
            .map(|c| if c.is_control() { '·' } else { c })
            .collect();
        self.line(&format!("# {words}"));
    }

    fn table(&mut self, name: &str) {
        self.blank();
        self.table_here(name);
    }

    fn table_here(&mut self, name: &str) {
        self.line(&format!("[{name}]"));
    }

    /// How Kafka is reached. A password does not get into a file by itself.
    fn properties(&mut self, kafka: &Kafka) {
        if !kafka.properties.is_empty() {
            self.table("kafka.properties");
        }
        for (name, written) in kafka.written_properties() {
            match written {
                Some(value) => self.set(&quoted(name), value),
                None => self.comment(&format!(
                    "{name} = \"${{file:PATH}}\": or set it in the environment, as RTF__KAFKA__PROPERTIES__{}",
                    name.replace('.', "_").to_uppercase()
                )),
            }
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        self.line(&format!("{key} = {}", quoted(value)));
    }

    fn id(&mut self, side: &Side<'_>, otherwise: &str) {
        match &side.id {
            Some(id) => {
                self.comment(&format!("{}: {}.", id.field, id.why));
                self.line(&format!("id = [{}]", quoted(&id.field)));
            }
            None => {
                self.comment(&format!("id: {otherwise}"));
                self.line("id = []");
            }
        }
    }

    fn key(&mut self, side: &Side<'_>, why: &[String], folds: bool) {
        why.iter().for_each(|line| self.comment(line));
        let fields: Vec<String> = side.key.iter().map(|field| quoted(field)).collect();
        self.line(&format!("key = [{}]", fields.join(", ")));
        if folds {
            self.line("trim = true");
            self.line("fold_case = true");
        }
    }

    fn time(&mut self, side: &Side<'_>) {
        if let Some(time) = &side.time {
            self.comment(&format!("{}: {}.", time.field, time.why));
            self.set("time", &time.field);
            return;
        }
        let seconds = side
            .survey
            .fields
            .iter()
            .find(|(_, f)| f.present > 0 && f.seconds == f.present);
        if let Some((name, _)) = seconds {
            self.comment(&format!("{name} looks like seconds since 1970, which cannot be told from milliseconds and are not read."));
        }
        self.comment(
            "time: no field is a time of its own in every record, so Kafka's timestamp is.",
        );
        self.set("time", "@timestamp");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtf_config::{Config, Secret, Severity};

    fn side<'a>(topic: &'a str, survey: &'a Survey, id: Option<&str>) -> Side<'a> {
        let chosen = |field: &str| Chosen {
            field: field.into(),
            why: "in 100 %\nof 3 records".into(),
        };
        Side {
            topic,
            survey,
            id: id.map(chosen),
            key: vec!["/a \"b\"".into()],
            time: None,
        }
    }

    #[test]
    fn what_is_written_is_accepted_whatever_names_hold() {
        let survey = Survey::default();
        let kafka = "[kafka.properties]\nsasl.username = 'a \"b'\nsasl.password = 'hunter2'\nssl.key.password = '${env:CARGO_PKG_NAME}'\n";
        let kafka = Config::from_toml(kafka).expect("it is TOML").kafka;
        for (id, folds) in [(Some("/i\\d"), true), (None, false)] {
            let draft = Draft {
                kafka: &kafka,
                redis: "redis://127.0.0.1:6379",
                name: "clicks",
                basis: "From a sample.",
                foreign: side("clicks", &survey, id),
                primary: side("queries", &survey, id),
                key_why: vec!["because".into()],
                folds,
                primaries: 3.0,
                expires: None,
            };
            let text = draft.text();
            let config = Config::from_toml(&text).expect("it is TOML with our keys");
            let problems = config.check();
            assert!(
                problems.iter().all(|p| p.severity != Severity::Error),
                "{problems:?}\n{text}"
            );
            let property = |name: &str| config.kafka.properties.get(name).map(Secret::reveal);
            assert_eq!(property("sasl.username"), Some("a \"b"));
            assert_eq!(property("sasl.password"), None);
            assert_eq!(property("ssl.key.password"), Some("rtf"));
            assert!(
                !text.contains("hunter2") && text.contains("# sasl.password"),
                "{text}"
            );
            assert_eq!(config.join.foreign.key, ["/a \"b\""]);
            assert_eq!(
                (config.join.primary.trim, config.join.foreign.id.len()),
                (folds, usize::from(id.is_some()))
            );
        }
        for (pointer, words) in [
            ("/user/screen_name", "Screen name"),
            ("/departureAirportName", "Departure airport name"),
            ("/id", "Id"),
        ] {
            assert_eq!(title(pointer), words);
        }
    }
}
