//! `natrig trace`.

use natrig_bench::settings::Source;
use natrig_cluster::settings;
use natrig_cluster::test::check_nft;
use natrig_cluster::trace::trace as follow;
use natrig_lab::privilege;

use super::{print, terminal_options};
use crate::args::Trace;
use crate::exit::{self, Failure, Outcome};

/// Sends one packet through a cluster, and shows what became of it.
pub(crate) fn trace(args: &Trace) -> Outcome {
    let source = Source::load(&args.scenario).map_err(|error| Failure::new(exit::USAGE, error))?;
    let scenario = source.read(settings::read).map_err(|error| Failure::new(exit::USAGE, error))?;
    let [design] = &scenario.designs[..] else {
        let names: Vec<&str> = scenario.designs.iter().map(|design| design.name.as_str()).collect();
        let message = "this file compares several clusters, and a packet needs one";
        return Err(Failure::failed(exit::USAGE, format_args!("{message}\nhelp: choose one of {}", names.join(", "))));
    };
    let cluster = &design.cluster;
    let shot = cluster
        .question(args.protocol, &args.from, &args.to)
        .map_err(|message| Failure::failed(exit::USAGE, message))?;
    // Before any thread exists: only then can an ordinary user enter a user namespace.
    if let Some(reason) = privilege::enter().why_memory() {
        let hint = "help: natrig doctor says what is missing";
        let message = format_args!("a cluster needs namespaces, which this environment refuses: {reason}\n{hint}");
        return Err(Failure::failed(exit::ENVIRONMENT, message));
    }
    check_nft(cluster).map_err(|why| Failure::failed(exit::ENVIRONMENT, why))?;
    let trace = follow(cluster, &shot).map_err(|error| {
        Failure::failed(if error.is_environment() { exit::ENVIRONMENT } else { exit::FAILED }, error)
    })?;
    if args.json {
        let text = serde_json::to_string_pretty(&trace)
            .map_err(|error| Failure::failed(exit::FAILED, format_args!("failed to write JSON: {error}")))?;
        print(&format!("{text}\n"))?;
    } else {
        print(&trace.document().terminal(terminal_options()))?;
    }
    Ok(exit::OK)
}
