//! `natrig nat`: the translator as a program of its own between two interfaces, and the questions to one that runs.

mod control;
mod forward;
mod links;
mod report;
mod settings;
mod socket;

use std::fmt::Write;

use natrig_lab::interface;
use natrig_lab::router::Router;
use natrig_link::{LinkKind, clock};
use serde_json::Value;

use self::control::Control;
use self::forward::Forwarding;
use self::links::{Interfaces, Links};
use self::report::{Identity, Mapping, Reloaded, Report, list_text};
use self::settings::{Settings, wrong};
pub(crate) use self::socket::clean;
use self::socket::{Question, Socket, ask};
use super::print;
use crate::args::nat::{Ask, AskOptions, Nat, Typed};
use crate::exit::{self, Failure, Outcome};

/// Translates until a signal ends it, or asks one that does.
pub(crate) fn nat(args: &Nat) -> Outcome {
    match &args.ask {
        None => serve(&args.typed),
        Some(Ask::List(options)) => tell(options, Question::List, |mut mappings: Vec<Mapping>| {
            mappings.sort();
            list_text(&mappings)
        }),
        Some(Ask::Stats(options)) => tell(options, Question::Stats, |report: Report| report.to_text()),
        Some(Ask::Reload(options)) => tell(options, Question::Reload, |Reloaded { kept, revoked }: Reloaded| {
            format!("reloaded; mappings kept {kept}, revoked {revoked}\n")
        }),
    }
}

fn tell<T: for<'de> serde::Deserialize<'de>>(
    options: &AskOptions,
    question: Question,
    text: impl FnOnce(T) -> String,
) -> Outcome {
    let answer: Value = ask(&options.name, question)?;
    let failed =
        |error: serde_json::Error| Failure::failed(exit::FAILED, format_args!("failed to read the answer: {error}"));
    if options.json {
        print(&format!("{answer}\n"))?;
    } else {
        print(&text(serde_json::from_value(answer).map_err(failed)?))?;
    }
    Ok(exit::OK)
}

fn serve(typed: &Typed) -> Outcome {
    let settings = Settings::load(typed)?;
    if let Some(name) = &typed.netns {
        interface::enter_namespace(name)
            .map_err(|error| wrong(format_args!("failed to enter network namespace {name}: {error}")))?;
    }
    let interfaces = Interfaces::find(&settings)?;
    Interfaces::check_addresses(&settings)?;
    let nat = control::translator(&settings, &interfaces)?;
    let macs = interfaces.macs(settings.mac);
    let socket = Socket::claim(&typed.name)?;
    let links = interfaces.open(&settings)?;
    for interface in interfaces.both.iter().filter(|interface| !interface.is_up) {
        let name = &interface.name;
        eprintln!("warning: interface {name} is down; natrig nat waits for it (ip link set {name} up)");
    }
    let greeting = greeting(typed, &settings, &links, macs.map(|mac| mac.to_string()));
    let forwarding = Forwarding {
        router: Router::new(settings.router(macs), nat),
        identity: Identity {
            interfaces: [settings.inside.clone(), settings.outside.clone()],
            macs: macs.map(|mac| mac.to_string()),
            kind: links.kind,
        },
        links,
        interfaces: interfaces.both,
        profile: settings.profile_name.clone(),
        began_ns: clock::now_ns(),
    };
    let (control, inbox) = Control::new(typed.clone(), settings, macs);
    control::run(forwarding, control, inbox, &socket, &greeting)
}

/// Ends with a line that says that it is ready.
fn greeting(typed: &Typed, settings: &Settings, links: &Links, macs: [String; 2]) -> String {
    if typed.json {
        let ready = serde_json::json!({ "ready": { "link": links.kind, "inside": macs[0], "outside": macs[1] } });
        return format!("{ready}\n");
    }
    let mut text = String::new();
    for passed_over in &links.passed_over {
        let _ = writeln!(text, "not {passed_over}");
    }
    if links.kind == LinkKind::Ring {
        text.push_str(
            "ring links cannot wake anybody: when nothing comes for a while, the first frame waits for up to 2 ms\n",
        );
    }
    let Settings { inside, outside, profile_name, pool, .. } = settings;
    let count = pool.len();
    let plural = if count == 1 { "" } else { "es" };
    let _ = writeln!(
        text,
        "ready: {inside} ({}) to {outside} ({}) over {}, profile {profile_name}, {count} address{plural}",
        macs[0], macs[1], links.kind
    );
    text
}
