//! The binary: parses, resolves, composes the roles. The only place that knows all of them.

// They panic where nobody reads any more: see `out`.
#![deny(clippy::print_stdout)]

mod admin;
mod cli;
mod completions;
mod config_command;
mod demo;
mod dispatcher;
mod dlq;
mod doctor;
mod exit;
mod foreign_id;
mod grpc_tls;
mod human;
mod init;
mod kafka_flags;
mod lookup;
mod man;
mod manual;
mod metrics;
mod options;
mod out;
mod paint;
mod parked;
mod pem;
mod progress;
mod reader;
mod redis_client;
mod registry;
mod replay;
mod roles;
mod sample;
mod size;
mod status;
mod synth;
mod table;
mod tail;
mod verify;
mod watch;
mod whereabouts;

use clap::Parser;
use cli::{Cli, Command, ConfigArgs};
use roles::Role;
use rtf_config::Config;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rtf_service::crash::set_up();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // --help and --version are no errors.
            let code = if error.use_stderr() {
                ExitCode::from(exit::USAGE)
            } else {
                ExitCode::SUCCESS
            };
            // Standard output may be closed already.
            let _ = error.print();
            return code;
        }
    };
    exit::report(run(cli))
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    options::init_logging(cli.log_format, cli.log_level.as_deref());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(command(cli.command));
    // A thread that is stuck in a client library must not keep a finished process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}

async fn command(command: Command) -> anyhow::Result<ExitCode> {
    let done = |(): ()| ExitCode::SUCCESS;
    match command {
        Command::Demo(args) => demo::run(args).await.map(done),
        Command::Run(args) => roles::run(&load(&args)?, &Role::ALL).await.map(done),
        Command::Registry(args) => registry::run(&load(&args.config)?, args.command).await,
        Command::Joiner(args) => roles::run(&load(&args)?, &[Role::Joiner]).await.map(done),
        Command::Dispatcher(args) => dispatcher::run(&load(&args.config)?, args.command).await,
        Command::Publisher(args) => roles::run(&load(&args)?, &[Role::Publisher])
            .await
            .map(done),
        Command::Web(args) => roles::run(&load(&args)?, &[Role::Web]).await.map(done),
        Command::Synth(args) => {
            let shutdown = rtf_service::shutdown::on_signals()?;
            tokio::task::spawn_blocking(move || synth::run(&args, &shutdown))
                .await?
                .map(done)
        }
        Command::Verify(args) => {
            let config = load(&args.report.config)?;
            let settings = options::kafka(&config);
            verify::run(config, settings, args).await
        }
        Command::Dlq(args) => {
            let config = load(&args.config)?;
            let settings = options::kafka(&config);
            tokio::task::spawn_blocking(move || dlq::run(&config, &settings, args.command)).await?
        }
        Command::Replay(args) => replay::run(&load(&args.config)?, args.replay).await,
        Command::Lookup(args) => {
            lookup::run(&load(&args.report.config)?, &args.id, args.report.json).await
        }
        Command::Status(args) => status::run(&load(&args.report.config)?, &args).await,
        Command::Init(args) => init::run(args).await.map(done),
        Command::Size(args) => size::run(&args).map(done),
        Command::Doctor(args) => doctor::run(&args).await,
        Command::Tail(args) => tail::run(args).await,
        Command::Completions(args) => completions::run(&args).map(done),
        Command::Man(args) => man::run(&args).map(done),
        Command::Config(command) => config_command::run(command),
    }
}

/// Reads the configuration; flags win over the environment, that over the file, that over the defaults.
fn load(args: &ConfigArgs) -> anyhow::Result<Config> {
    let mut overrides = overrides(&args.set)?;
    for (key, value) in [("kafka.bootstrap", &args.kafka), ("redis.url", &args.redis)] {
        overrides.extend(value.as_ref().map(|value| (key.to_owned(), value.clone())));
    }
    Config::load(args.config.as_deref(), &overrides).map_err(|error| exit::usage(error.to_string()))
}

/// The keys and values of `--set`.
fn overrides(set: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let pair = |set: &String| {
        let (key, value) = set.split_once('=').ok_or_else(|| {
            // The text itself may be a password that was meant for something else.
            exit::usage(
                "--set: expected KEY=VALUE, for example --set registry.partitions=4".to_owned(),
            )
        })?;
        Ok((key.trim().to_owned(), value.trim().to_owned()))
    };
    set.iter().map(pair).collect()
}
