//! What can be typed. Dumb: parsed here, resolved elsewhere.

use crate::completions::CompletionsArgs;
use crate::dispatcher::DispatcherArgs;
use crate::dlq::DlqArgs;
use crate::init::InitArgs;
use crate::man::ManArgs;
use crate::registry::RegistryArgs;
use crate::replay::ReplayCommand;
use crate::size::SizeArgs;
use crate::synth::SynthArgs;
use crate::tail::TailArgs;
use crate::watch::Watch;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Headings of `--help` for flags that many commands have, so that a command's own stand first.
const LOGGING: &str = "Logging";
const CONFIGURATION: &str = "Configuration";

/// Joins two Kafka topics continuously and exactly once, and shows the rows live.
///
/// Start with `rtf demo`, which needs nothing installed. For topics of your own: `rtf init` looks at them and writes rtf.toml (`rtf config print`
/// shows every key with its meaning), `rtf doctor -c rtf.toml` says whether all is there, `rtf run -c rtf.toml` joins, and `rtf tail -c rtf.toml` shows
/// the rows.
///
/// Exit codes: 0 stopped cleanly, 1 failed, 64 bad usage or configuration.
#[derive(Debug, Parser)]
#[command(name = "rtf", version, max_term_width = 100)]
pub struct Cli {
    /// How log lines are written to standard error: pretty for people, json for programs
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value_t = LogFormat::Pretty,
        hide_possible_values = true,
        help_heading = LOGGING
    )]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or a tracing filter; RTF_LOG does the same
    #[arg(long, global = true, value_name = "FILTER", help_heading = LOGGING)]
    pub log_level: Option<String>,
    #[command(subcommand)]
    pub command: Command,
}

/// Which of a role's processes are looked after, and how to report.
#[derive(Debug, Args)]
pub struct Target {
    /// This one instead of all: http://HOST:PORT of its gRPC; may be repeated
    #[arg(long, value_name = "URL")]
    pub endpoint: Vec<String>,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Whose status, and how often.
#[derive(Debug, Args)]
pub struct Watched {
    #[command(flatten)]
    pub to: Target,
    #[command(flatten)]
    pub watch: Watch,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people
    Pretty,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the demonstration live: tweets that long for a vacation, joined with flight deals
    ///
    /// Needs nothing: Kafka is a small one inside, Redis one of its own or none. Prints the page's address and goes on until Ctrl-C.
    #[command(
        after_help = "Examples:\n  rtf demo\n  rtf demo --rate 50 --listen 127.0.0.1:9000\n  rtf demo --kafka 127.0.0.1:9092 --redis redis://127.0.0.1:6379"
    )]
    Demo(DemoArgs),
    /// Look at two topics and write the rtf.toml that joins them
    ///
    /// Reads the first and the last records of both, proposes ids, keys and times, says why in figures, and writes a file with a comment beside each. It
    /// changes nothing in Kafka. On a terminal it asks for what is not given.
    #[command(
        after_help = "Examples:\n  rtf init --kafka 127.0.0.1:9092 --foreign clicks --primary queries\n  \
        rtf init --foreign clicks --primary queries --key /query_id=/id -o -\n  \
        rtf init -c kafka.toml    where Kafka wants TLS or a password: [kafka.properties] of that file is used, and copied\n\n\
        An id is a field that is in every record with a value of its own. A key is a pair of fields whose values meet and tell primaries apart. A time is \
        RFC 3339, Twitter's format or milliseconds since 1970, near Kafka's timestamp; an expiry lies in the future of its record."
    )]
    Init(InitArgs),
    /// Check or print the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check all that a pipeline needs: Kafka, topics, rights, Redis, disks, clocks, keys, roles
    ///
    /// A line for each check: ok, warn or fail, and what to do. Run it before the first start, after a change, and when something is odd. It changes nothing
    /// that anybody reads. Exit code 1 when a check fails, 64 when the configuration is not accepted.
    #[command(
        after_help = "Examples:\n  rtf doctor -c rtf.toml\n  rtf doctor -c rtf.toml --json | jq '.checks[] | select(.status != \"ok\")'\n\n\
        What it does not do: it writes to no topic, so the brokers' clocks are only compared where a registry runs; and it looks at the data directories of \
        the machine it runs on."
    )]
    Doctor(ReportArgs),
    /// Reckon what a load takes: processes, cores, memory, disk, brokers, partitions, Redis
    ///
    /// Asks no server. It multiplies costs that were measured on two cores, and says beside each figure which cost it follows from; docs/sizing.md has the
    /// formulas, where each cost was measured, and how far off it was. What is not given is the configuration's, or its default; --set changes a key.
    #[command(after_help = "Examples:\n  rtf size --events-per-second 1000000\n  \
        rtf size -c rtf.toml --events-per-second 50000 --late 20% --wait 30m --horizon 1d --primaries-kept 20000000\n  \
        rtf size --events-per-second 200000 --primaries-per-second 5000 --set joiner.memory=16GiB --json | jq '.plan.roles[] | {name, processes}'\n\n\
        EACH is one process's part of ALL. What costs most is usually how long things are kept: try --horizon, and --primaries-kept. Cores are those to \
        provide, of which --busy are used.")]
    Size(SizeArgs),
    /// Run all roles in one process
    ///
    /// Makes the topics of ours that are not there, joins what the foreign topic has from its beginning on, and goes on until Ctrl-C or SIGTERM. It may be
    /// killed at any time. The page is at [web].listen, http://127.0.0.1:8080 unless told otherwise.
    #[command(
        after_help = "Examples:\n  rtf run -c rtf.toml\n  rtf run -c rtf.toml --set web.listen=0.0.0.0:8080\n\n\
        For more than one machine, a process for each role with the same file: rtf registry, joiner, dispatcher, publisher, web."
    )]
    Run(ConfigArgs),
    /// Print joined rows live, as they come into Redis
    ///
    /// On a terminal in the columns of [web].columns, elsewhere (or with --json) a line of JSON each. Within a partition rows come in the log's order. Ends
    /// with Ctrl-C, or when nobody reads any more.
    #[command(
        after_help = "Examples:\n  rtf tail -c rtf.toml\n  rtf tail -c rtf.toml -n 100 --key qry-17\n  \
        rtf tail -c rtf.toml --from-beginning --no-follow | jq .key"
    )]
    Tail(TailArgs),
    /// Ask every role how it is
    ///
    /// Exit code 1 unless all are ready.
    #[command(
        after_help = "Examples:\n  rtf status -c rtf.toml --watch\n  rtf status -c rtf.toml --json\n\n\
        More of one role: rtf registry status, rtf dispatcher status. `rtf doctor` looks at what they need."
    )]
    Status(StatusArgs),
    /// Say how an event was resolved, and show its row
    ///
    /// Or where it is: waiting for its partner, parked, or not read. Exit code 1 unless it is resolved.
    #[command(
        after_help = "Examples:\n  rtf lookup -c rtf.toml clk-17\n  rtf lookup -c rtf.toml clicks/3/1200 --json"
    )]
    Lookup(LookupArgs),
    /// Prove it: compare foreign topic, join log and Redis; exit code 1 if anything is lost or duplicated
    ///
    /// Finds the winners anew from the raw log, and compares by id and by place. Safe beside a running pipeline: what is on its way is counted as
    /// waiting or as not there yet. Beyond some hundred MiB it works on files, about 70 bytes an event, in a temporary directory or in --state.
    #[command(
        after_help = "Examples:\n  rtf verify -c rtf.toml --json\n  rtf verify -c rtf.toml --sample 10\n  \
        rtf verify -c rtf.toml --state /var/tmp/verify    after an interruption the same command goes on\n\n\
        The first 20 offenders are named with topic, partition and offset."
    )]
    Verify(VerifyArgs),
    /// Look into the dead-letter topic, and send letters to be joined again
    Dlq(DlqArgs),
    /// Read the foreign topic again from an earlier place; the output does not change
    ///
    /// Says what it would do, and does it with --execute. What was resolved is found so and left alone; what waits begins its wait anew. It sets the committed
    /// positions of the dispatchers' group, and so refuses while a dispatcher runs, or has the running ones go back (--running). It never goes forward: that
    /// would skip events that are not resolved.
    #[command(
        after_help = "Examples:\n  rtf replay -c rtf.toml --to-datetime 2026-03-01T00:00:00Z\n  \
        rtf replay -c rtf.toml --from-offset 0:1200,3:0 --execute\n  rtf replay -c rtf.toml --shift-by -100000 --running --execute --watch\n\n\
        POSITION is what is committed, NEW where reading would begin. Offsets that the topic does not have are brought to its beginning or its end, as \
        kafka-consumer-groups does. RECORDS counts offsets: there may be fewer records."
    )]
    Replay(ReplayCommand),
    /// Run the registry: who won; with a command, look after running ones
    ///
    /// Without a command it runs: `rtf registry -c rtf.toml`. With one it looks after registries that run (or, for rebuild, after one that does
    /// not). They are found where the configuration says: [cluster].registries, else [registry].listen. Commands that change something send
    /// [admin].token.
    Registry(RegistryArgs),
    /// Run the joiner: the event store and the join itself
    ///
    /// Reads the primary topic into [joiner].data, listens at [joiner].listen for dispatchers, and registers rows with [cluster].registries, else the
    /// registry at [registry].listen. Several may run, each with a data directory of its own.
    #[command(after_help = "Example: a second one on this machine\n  \
        rtf joiner -c rtf.toml --set joiner.listen=127.0.0.1:7412 --set joiner.data=data/joiner-2")]
    Joiner(ConfigArgs),
    /// Run the dispatcher: reads the foreign topic and waits for late partners; with a command, look after running ones
    ///
    /// Without a command it runs: `rtf dispatcher -c rtf.toml`. With one it looks after dispatchers that run, also those in `rtf run`. They are found where the
    /// configuration says: [cluster].dispatchers, else [dispatcher].listen. Commands that change something send [admin].token.
    Dispatcher(DispatcherArgs),
    /// Run the publisher: carries accepted rows into Redis
    ///
    /// Follows [cluster].registries, else the one at [registry].listen, and writes rows to [redis].url and dead letters to <join.name>.dead. Two may run: no
    /// row is written twice.
    #[command(after_help = "Example:\n  rtf publisher -c rtf.toml")]
    Publisher(ConfigArgs),
    /// Run the web table
    ///
    /// Serves the page at [web].listen, with rows from [redis].url. Several may run.
    #[command(after_help = "Example:\n  rtf web -c rtf.toml --set web.listen=0.0.0.0:8080")]
    Web(ConfigArgs),
    /// Make data and send it: the demonstration's, or a click/query load
    Synth(SynthArgs),
    /// Print what a shell needs to complete commands and flags
    #[command(
        after_help = "Examples:\n  rtf completions bash > ~/.local/share/bash-completion/completions/rtf\n  \
        rtf completions zsh > ~/.zfunc/_rtf          with fpath+=(~/.zfunc) before compinit in ~/.zshrc\n  \
        rtf completions fish > ~/.config/fish/completions/rtf.fish"
    )]
    Completions(CompletionsArgs),
    /// Print a page for man(1), or write those of all commands
    #[command(
        after_help = "Examples:\n  rtf man | man -l -\n  rtf man registry split | man -l -\n  rtf man --dir ~/.local/share/man/man1"
    )]
    Man(ManArgs),
}

/// Which configuration.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file; RTF__SECTION__KEY in the environment and --set win over it
    #[arg(short, long, global = true, help_heading = CONFIGURATION, value_name = "FILE", env = "RTF_CONFIG")]
    pub config: Option<PathBuf>,
    /// Set one key, for example --set registry.partitions=4; may be repeated
    #[arg(long = "set", global = true, help_heading = CONFIGURATION, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Short for --set kafka.bootstrap=HOST:PORT
    #[arg(long, global = true, help_heading = CONFIGURATION, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
    /// Short for --set redis.url=URL
    #[arg(long, global = true, help_heading = CONFIGURATION, value_name = "URL")]
    pub redis: Option<String>,
}

/// Which configuration, and how to report.
#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub report: ReportArgs,
    /// Keep what is done in this directory, and go on with what an interrupted verification left there
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Look at such a part of the log's partitions only, others each time; the foreign topic is read whole
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub sample: u8,
}

#[derive(Debug, Args)]
pub struct LookupArgs {
    /// The event's id; or topic/partition/offset for one without an id of its own
    pub id: String,
    #[command(flatten)]
    pub report: ReportArgs,
}

/// Which configuration, how to report, and how often.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub report: ReportArgs,
    #[command(flatten)]
    pub watch: Watch,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the configuration as `run` would and say what is wrong with it
    ///
    /// Asks no server; `rtf doctor` does. Exit code 64 when it is not accepted.
    Check(ReportArgs),
    /// Print every key with its meaning and its effective value
    Print(ConfigArgs),
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// A real Kafka instead of the embedded one
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
    /// A real Redis instead of a redis-server of its own, or of none
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,
    /// Where the page is served
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Tweets a second
    #[arg(long, default_value = "5")]
    pub rate: std::num::NonZeroU32,
    /// The same seed gives the same tweets and deals
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Use no redis-server even if there is one
    #[arg(long, conflicts_with = "redis")]
    pub no_redis: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::RegistryCommand;
    use clap::CommandFactory;

    fn registry(line: &str) -> RegistryArgs {
        let parsed = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Registry(args) = parsed.command else {
            panic!("{line}")
        };
        args
    }

    #[test]
    fn the_commands_go_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_registry_without_a_command_runs() {
        let args = registry("rtf registry -c rtf.toml --set registry.partitions=4");
        assert!(args.command.is_none());
        assert_eq!(args.config.config, Some("rtf.toml".into()));
        assert_eq!(args.config.set, ["registry.partitions=4"]);
    }

    #[test]
    fn a_command_may_stand_before_or_behind_the_configuration() {
        for line in [
            "rtf registry status -c rtf.toml --json",
            "rtf registry -c rtf.toml status --json",
        ] {
            let args = registry(line);
            assert_eq!(args.config.config, Some("rtf.toml".into()), "{line}");
            assert!(
                matches!(&args.command, Some(RegistryCommand::Status(args)) if args.to.json),
                "{line}"
            );
        }
        let args =
            registry("rtf registry drain --within 90s --endpoint http://a:1 --endpoint http://b:1");
        let Some(RegistryCommand::Drain { within, to }) = args.command else {
            panic!("not a drain")
        };
        assert_eq!((within.0.as_secs(), to.endpoint.len()), (90, 2));
        assert!(Cli::try_parse_from(["rtf", "registry", "drain", "--within", "soon"]).is_err());
        // An id may begin with a dash: it is base64.
        let id = "-iRVFk5ASiSO5BbzWdUs4A";
        let args = registry(&format!("rtf registry retire {id}"));
        assert!(
            matches!(args.command, Some(RegistryCommand::Retire { topic_id, .. }) if topic_id == id)
        );
    }

    #[test]
    fn a_rebuild_is_a_dry_run_unless_told_otherwise() {
        let rebuild = |line: &str| match registry(line).command {
            Some(RegistryCommand::Rebuild(args)) => (args.execute, args.accept_loss),
            other => panic!("{other:?}"),
        };
        assert_eq!(rebuild("rtf registry rebuild"), (false, false));
        assert_eq!(
            rebuild("rtf registry rebuild --execute --accept-loss"),
            (true, true)
        );
    }
}
