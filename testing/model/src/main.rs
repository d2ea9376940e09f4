//! `cargo run -p rtf-model --release`: explores every model and prints what was covered. Exit code 1 if something was found.
//! With a name behind it, such as `splitting`, only the models of that name.

use rtf_model::explore::{Coverage, Protocol, Violation, explore};
use rtf_model::forget::Forget;
use rtf_model::publish::Publish;
use rtf_model::register::Register;
use rtf_model::split::{Split, event_of};
use rtf_model::wake::Wake;
use std::fmt::Debug;
use std::hash::Hash;
use std::process::ExitCode;

type Explored = Result<Coverage, Violation>;
/// Explores a model of this name, if it is wanted.
type Run<'r> = dyn FnMut(&str, &mut dyn FnMut() -> Explored) + 'r;

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1);
    let mut code = ExitCode::SUCCESS;
    let mut run = |name: &str, explore: &mut dyn FnMut() -> Explored| {
        if wanted.as_ref().is_some_and(|wanted| wanted != name) {
            return;
        }
        match explore() {
            Ok(coverage) => println!("{coverage}"),
            Err(violation) => {
                println!("{name}: {violation}");
                code = ExitCode::FAILURE;
            }
        }
    };
    all(registers(), &mut run);
    all(publishes(), &mut run);
    all(splits(), &mut run);
    all(forgets(), &mut run);
    all(wakes(), &mut run);
    code
}

/// Explores models of one name, one after the other.
fn all<M>(models: Vec<M>, run: &mut Run<'_>)
where
    M: Protocol + Clone + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync + 'static,
{
    for model in models {
        run(M::NAME, &mut || explore(model.clone()));
    }
}

fn registers() -> Vec<Register> {
    let dies = Register {
        events: vec![0, 0],
        replicas: 2,
        crashes: 1,
        impatience: 0,
        unknowns: 0,
        flaw: None,
    };
    let asks_again = Register {
        crashes: 0,
        impatience: 1,
        ..dies.clone()
    };
    let doubts = Register {
        impatience: 0,
        unknowns: 1,
        ..asks_again.clone()
    };
    let all = Register {
        crashes: 1,
        impatience: 1,
        ..dies.clone()
    };
    vec![dies, asks_again, doubts, all]
}

fn publishes() -> Vec<Publish> {
    vec![Publish {
        rows: vec![1, 2, 5],
        publishers: 2,
        deaths: 1,
        breaks: 1,
        forgets: 1,
        flaw: None,
    }]
}

fn splits() -> Vec<Split> {
    let moves = event_of(&[(1, 2)]);
    let moving = Split {
        roots: 1,
        wishes: vec![2],
        strays: Vec::new(),
        events: vec![moves, moves],
        replicas: 1,
        deaths: 0,
        flaw: None,
    };
    let torn = event_of(&[(1, 2), (0, 3)]);
    let stray = Split {
        strays: vec![3],
        events: vec![torn, torn],
        ..moving.clone()
    };
    let two = Split {
        events: vec![moves],
        replicas: 2,
        ..moving.clone()
    };
    let disagreeing = Split {
        roots: 2,
        wishes: vec![4, 6],
        events: Vec::new(),
        ..two.clone()
    };
    vec![moving, stray, two, disagreeing]
}

fn forgets() -> Vec<Forget> {
    let one = Forget {
        topic: vec![vec![0, 1, 0]],
        ticks: 5,
        replays: 1,
        words: 2,
        flaw: None,
    };
    let apart = Forget {
        topic: vec![vec![0, 1], vec![0]],
        ..one.clone()
    };
    vec![one, apart]
}

fn wakes() -> Vec<Wake> {
    vec![Wake {
        askers: 3,
        primaries: 3,
        flaw: None,
    }]
}
