//! The only program of exAI that enters namespaces, drops privileges and executes a VMM. See
//! docs/internals/launcher.md for the order of its steps and why each stands where it does.

mod anchored;
mod cgroups;
mod document;
mod failure;
mod identity;
mod inputs;
mod jail;
mod kill;
mod monitor;
mod netns;
mod options;
mod pair;
mod place;
mod privileges;
mod pump;
mod reap;
mod relay;
mod ring;
mod root;
mod run;
mod seccomp;
mod service;
mod service_jail;
mod sockets;
mod spawner;
mod status;
mod vmm;
mod volume;

use std::process::ExitCode;

use failure::{Failure, Step};

const USAGE: &str = "usage: exai-launcher run < document.json
       exai-launcher kill --pid P --start-time T [--launcher-pid P --launcher-start-time T]
       exai-launcher alive --pid P --start-time T
       exai-launcher spawner
       exai-launcher reap --first U --count N
       exai-launcher netns-add NAME | netns-del NAME
       exai-launcher volume-make --at PATH --bytes N --uid U --gid G
       exai-launcher volume-bind --at PATH --pid P --start-time T
       exai-launcher volume-pass --at PATH --monitor SOCKET --uid U --gid G
       exai-launcher volume-seal --at PATH | volume-discard --at PATH | volume-drop --at PATH
       exai-launcher service OPTIONS -- PROGRAM ARG...
       exai-launcher agent -- PROGRAM ARG...";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["run"] => return run::run(),
        ["kill", options @ ..] => kill::kill(options).map(done),
        ["alive", options @ ..] => kill::alive(options),
        ["spawner"] => spawner::serve(),
        ["service", options @ ..] => service::service(options),
        ["agent", options @ ..] => service::agent(options),
        ["reap", options @ ..] => reap::reap(options),
        ["netns-add", name] => netns::add(name).map(done),
        ["netns-del", name] => netns::delete(name).map(done),
        ["volume-make", options @ ..] => volume::make(options),
        ["volume-bind", options @ ..] => volume::bind(options),
        ["volume-pass", options @ ..] => volume::pass(options),
        ["volume-seal", options @ ..] => volume::seal(options),
        ["volume-discard", options @ ..] => volume::discard(options),
        ["volume-drop", options @ ..] => volume::drop(options),
        _ => Err(Failure::new(Step::Usage, USAGE)),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            eprint!("{}", failure.line());
            failure.exit_code()
        }
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
