//! What people read, held against committed texts. After a change that is meant: `INSTA_UPDATE=always cargo test -p natrig-report`,
//! and read the difference.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod fixtures;

use fixtures::{Recipe, make_late, make_wrong};
use natrig_bench::result::{Effects, EngineComparison, Interval, LinkCandidate, Purpose, RunResult, Status, Trial};
use natrig_bench::scenario::{Design, Engine, FrameMix, FrameSize, Lineup, Rate, Word};
use natrig_report::terminal::Options;
use natrig_report::{answer, markdown, rates, terminal};

fn complete() -> RunResult {
    Recipe::default().make()
}

/// Two rounds and a bit of five; the last design of the third has no trial.
fn interrupted() -> RunResult {
    let mut result = complete();
    let short = Recipe { rounds: 2, ..Recipe::default() };
    result.trials.retain(|trial| trial.round < 3 || (trial.round == 3 && trial.design != Design::Both));
    short.summarise(&mut result);
    result.status = Status::Interrupted;
    result.elapsed_ns = 21_004_000_000;
    result
}

fn time_limit() -> RunResult {
    let recipe = Recipe { rounds: 3, ..Recipe::default() };
    let mut result = recipe.make();
    result.scenario.measure.rounds = 5;
    result.status = Status::TimeLimit;
    result
}

/// The generator does not keep up where the layers are fast.
fn generator_bound() -> RunResult {
    let mut result = complete();
    for design in &mut result.designs {
        design.rounds_generator_bound = match design.design {
            Design::None => 5,
            Design::Gateway => 3,
            Design::Node | Design::Both => 0,
        };
    }
    let bound = |design| matches!(design, Design::None | Design::Gateway);
    for trial in result.trials.iter_mut().filter(|trial| bound(trial.design) && trial.lost > 0) {
        trial.received = trial.sent;
        trial.lost = 0;
        trial.drops.clear();
        make_late(trial);
    }
    result
}

/// Neither root nor user namespaces; one processor for everything.
fn memory_fallback() -> RunResult {
    let mut result = Recipe { rounds: 6, ..Recipe::default() }.make();
    result.environment.mode = "memory".to_owned();
    result.environment.mode_reason =
        Some("not root, and user namespaces are refused: kernel.apparmor_restrict_unprivileged_userns is 1".to_owned());
    result.environment.link.kind = "memory".to_owned();
    result.host.cores = 1;
    for thread in &mut result.environment.placement {
        thread.cpu = None;
    }
    result.warnings.push("one processor: generator and layers take turns".to_owned());
    result
}

fn one_design() -> RunResult {
    Recipe { designs: vec![Design::Node], ..Recipe::default() }.make()
}

/// Also one whose links were chosen by measurement.
fn one_round() -> RunResult {
    let mut result = Recipe { rounds: 1, ..Recipe::default() }.make();
    let candidate = |kind: &str, rate_pps: Option<f64>| LinkCandidate {
        kind: kind.to_owned(),
        rate_pps,
        refused: rate_pps.is_none().then(|| "load BPF maps: not permitted".to_owned()),
        taken: kind == "packet-blocks",
    };
    result.environment.link.candidates =
        vec![candidate("packet-blocks", Some(642e3)), candidate("packet", Some(611e3)), candidate("ring", None)];
    result
}

/// A busy machine: some trials are late, some latency trials too short for tails, TCP does not get through one design.
fn invalid_trials() -> RunResult {
    let mut result = complete();
    for trial in result.trials.iter_mut().filter(|trial| trial.number % 7 == 3) {
        make_late(trial);
    }
    for trial in result.trials.iter_mut().filter(|trial| trial.purpose == Purpose::Latency) {
        trial.latency.intended_to_received.samples = 4_100;
    }
    let last = result.trials.iter_mut().rfind(|trial| trial.purpose == Purpose::Latency && trial.is_valid()).unwrap();
    *last = Trial {
        number: last.number,
        round: last.round,
        ..fixtures::trial(last.design, last.frame_size, Purpose::Latency, last.rate_pps_offered, 400, 12)
    };
    for design in &mut result.designs {
        design.latency_ns_p999 = None;
    }
    for costs in &mut result.costs {
        costs.latency_ns_p999 = None;
    }
    result.tcp_checks[3].passed = false;
    result.tcp_checks[3].failure = Some("the server saw 10.0.0.10 instead of 198.51.100.8".to_owned());
    result.warnings.push("TCP does not get through design both: the server saw 10.0.0.10".to_owned());
    result.natrig.profile = "debug".to_owned();
    result.host.steal_percent_since_boot = Some(7.25);
    result
}

fn mistranslated() -> RunResult {
    let mut result = complete();
    let trial = result.trials.iter_mut().find(|trial| trial.design == Design::Both && trial.round == 2).unwrap();
    make_wrong(trial, 12);
    result
}

/// A rate between what one layer and what two layers carry.
fn saturated() -> RunResult {
    let mut recipe = Recipe { rate: Rate::FixedPps(540_000), ..Recipe::default() };
    recipe.scatter[1] = 0.0;
    for (figures, rate_pps) in recipe.figures.iter_mut().zip([700e3, 700e3, 700e3, 513e3]) {
        figures.rate_pps = rate_pps;
    }
    let mut result = recipe.make();
    let delivered = |median| Interval { median, low: median - 100.0, high: median, confidence: 0.9375, rounds: 5 };
    for design in &mut result.designs {
        design.rate_pps = Some(delivered(if design.design == Design::Both { 513e3 } else { 540e3 }));
    }
    let less = |median| Interval { median, low: median - 900.0, high: median + 800.0, confidence: 0.9375, rounds: 5 };
    result.costs[0].rate_pps =
        Some(Effects { node: less(0.0), gateway: less(0.0), node_on_top: less(-27e3), interaction: less(-27e3) });
    for trial in
        result.trials.iter_mut().filter(|trial| trial.purpose == Purpose::Fixed && trial.design == Design::Both)
    {
        *trial = Trial {
            number: trial.number,
            round: trial.round,
            ..fixtures::trial(Design::Both, trial.frame_size, Purpose::Fixed, 540e3, 100, 2_710)
        };
    }
    result
}

fn frame_sizes() -> RunResult {
    Recipe {
        frame_sizes: vec![FrameSize::Bytes(64), FrameSize::Bytes(1518), FrameSize::Mix(FrameMix::Imix)],
        rounds: 8,
        ..Recipe::default()
    }
    .make()
}

/// The two layers get in each other's way.
fn interacting() -> RunResult {
    let mut recipe = Recipe::default();
    recipe.figures[3].ns_per_packet += 160.0;
    recipe.figures[3].rate_pps -= 60e3;
    recipe.make()
}

/// natrig's own NAT and the kernel's side by side: the kernel takes three times as long, and its time is not the layers' alone.
fn engines() -> RunResult {
    let mut result = complete();
    let kernel = {
        let mut recipe = Recipe::default();
        for figures in &mut recipe.figures {
            figures.rate_pps /= 3.0;
            figures.ns_per_packet *= 3.0;
        }
        recipe.make()
    };
    result.scenario.engines = vec![Engine::Nftables, Engine::Userspace];
    let [ours, theirs] = [Engine::Userspace, Engine::Nftables].map(Lineup::both);
    for design in &mut result.designs {
        design.cpu_ns_per_packet = design.ns_per_packet;
    }
    for mut design in kernel.designs {
        design.engines = theirs;
        (design.cpu_ns_per_packet, design.ns_per_packet) = (design.ns_per_packet, None);
        design.process_ns_per_packet = None;
        result.designs.push(design);
    }
    for mut costs in kernel.costs {
        costs.engines = theirs;
        (costs.cpu_ns_per_packet, costs.ns_per_packet) = (costs.ns_per_packet, None);
        result.costs.push(costs);
    }
    result.trials.extend(kernel.trials.into_iter().map(|trial| Trial { engines: theirs, ..trial }));
    let about =
        |median: f64| Some(Interval { median, low: median * 0.97, high: median * 1.04, confidence: 0.9375, rounds: 5 });
    result.comparisons = Design::ALL
        .iter()
        .map(|design| EngineComparison {
            judged: Vec::new(),
            design: *design,
            frame_size: FrameSize::Bytes(64),
            engines: ours,
            against: theirs,
            rate: about(3.0),
            cpu_ns_per_packet: about(1.0 / 3.0),
            latency_ns_p50: about(1.0),
            latency_ns_p99: about(1.0),
        })
        .collect();
    result
}

/// A machine that does something else all the time: no trial counts.
fn busy() -> RunResult {
    let mut result = complete();
    result.trials.iter_mut().for_each(make_late);
    Recipe { rounds: 0, ..Recipe::default() }.summarise(&mut result);
    result
}

/// A world that could not be built.
fn failed() -> RunResult {
    let mut result = complete();
    result.trials.clear();
    result.tcp_checks.clear();
    result.designs.clear();
    result.costs.clear();
    result.environment.link.kind.clear();
    result.environment.placement.clear();
    result.elapsed_ns = 120_000_000;
    result.status = Status::Failed("failed to build the world: no veth devices (CONFIG_VETH)".to_owned());
    result
}

/// A name, and how to make the result.
type Case = (&'static str, fn() -> RunResult);

const ALL: [Case; 15] = [
    ("complete", complete),
    ("interrupted", interrupted),
    ("time_limit", time_limit),
    ("generator_bound", generator_bound),
    ("memory_fallback", memory_fallback),
    ("one_design", one_design),
    ("one_round", one_round),
    ("invalid_trials", invalid_trials),
    ("mistranslated", mistranslated),
    ("saturated", saturated),
    ("frame_sizes", frame_sizes),
    ("interacting", interacting),
    ("engines", engines),
    ("busy", busy),
    ("failed", failed),
];

/// Snapshots lie beside this file, one a case.
fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

#[test]
fn terminal_texts() {
    settings().bind(|| {
        for (name, make) in ALL {
            let text = terminal::render(&make(), Options { color: false, width: 80 });
            insta::assert_snapshot!(format!("terminal-{name}"), text);
        }
    });
}

#[test]
fn markdown_pages() {
    settings().bind(|| {
        for (name, make) in ALL {
            if ["complete", "one_round", "generator_bound", "mistranslated", "frame_sizes", "engines", "failed"]
                .contains(&name)
            {
                insta::assert_snapshot!(format!("markdown-{name}"), markdown::render(&make()));
            }
        }
    });
}

/// The sentences stand for themselves, without the headings that a page puts over them.
#[test]
fn answers() {
    settings().bind(|| {
        for (name, make) in ALL {
            if ["complete", "interrupted", "one_design"].contains(&name) {
                insta::assert_snapshot!(format!("answer-{name}"), answer::sentences(&make()).join("\n"));
            }
        }
    });
}

#[test]
fn no_sentence_is_about_a_design_that_was_not_measured() {
    let only = |designs: &[Design]| {
        answer::sentences(&Recipe { designs: designs.to_vec(), ..Recipe::default() }.make()).join(" ")
    };
    let none = only(&[Design::None]);
    assert!(!none.contains("aws-natgw") && !none.contains("cilium-bpf") && !none.contains("mappings"), "{none}");
    let node = only(&[Design::None, Design::Node]);
    assert!(node.contains("cilium-bpf") && !node.contains("aws-natgw") && !node.contains("gateway's NAT"), "{node}");
    assert!(!only(&[Design::Gateway, Design::Both]).contains("With no NAT at all"));
}

#[test]
fn designs_are_named_once_whatever_the_number_of_frame_sizes() {
    let mut result = frame_sizes();
    for design in &mut result.designs {
        design.latency_ns_p999 = None;
        design.rounds_generator_bound = 2;
    }
    result.costs.clear();
    let sentences = answer::sentences(&result).join("\n");
    assert!(sentences.contains("the tails of none, node, gateway and both: "), "{sentences}");
    assert!(sentences.contains("how fast none, node, gateway and both can be: "), "{sentences}");
    assert!(sentences.contains("in no round all 4 designs have a figure"), "{sentences}");
}

#[test]
fn every_finding_has_a_figure() {
    for (name, make) in ALL {
        let sentences = answer::sentences(&make());
        for sentence in sentences.iter().filter(|sentence| !sentence.starts_with("This run cannot tell")) {
            assert!(sentence.contains(|character: char| character.is_ascii_digit()), "{name}: {sentence}");
        }
    }
}

#[test]
fn lines_fit_and_colours_change_nothing_else() {
    for (name, make) in ALL {
        let result = make();
        for width in [0, 80, 93, 100, 300] {
            let text = terminal::render(&result, Options { color: false, width });
            let longest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
            assert!(longest.chars().count() <= width.clamp(80, 100), "{name} at {width}: {longest}");
            assert!(text.lines().all(|line| line == line.trim_end()) && text.ends_with('\n'), "{name} at {width}");
            assert_eq!(without_colours(&terminal::render(&result, Options { color: true, width })), text, "{name}");
        }
    }
}

#[test]
fn what_is_not_known_is_neither_nan_nor_zero() {
    for (name, make) in ALL {
        let mut result = make();
        for design in &mut result.designs {
            design.process_ns_per_packet = None;
            design.latency_ns_p99 = None;
            design.ns_per_packet.iter_mut().for_each(|interval| interval.high = f64::INFINITY);
        }
        for costs in &mut result.costs {
            costs.rate_pps = None;
            costs.latency_ns_p50.iter_mut().for_each(|effects| effects.node.low = f64::NAN);
        }
        for text in [terminal::render(&result, Options::default()), markdown::render(&result)] {
            let words = text.split(|character: char| !character.is_alphanumeric());
            assert!(words.into_iter().all(|word| !["NaN", "inf"].contains(&word)), "{name}: {text}");
            assert!(result.designs.is_empty() || name == "busy" || text.contains('–'), "{name}: {text}");
        }
    }
}

fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut parts = text.split('\x1b');
    plain.push_str(parts.next().unwrap());
    for part in parts {
        let (parameters, rest) = part.split_once('m').expect("SGR ends with m");
        assert!(parameters.starts_with('['));
        plain.push_str(rest);
    }
    plain
}

/// Charts and tables of any result, whole or not, are a page that needs nothing from elsewhere.
#[test]
fn html_pages_need_nothing_but_themselves() {
    let results = [complete(), interrupted(), generator_bound(), one_round(), mistranslated()];
    for result in results {
        let page = rates::html(&result);
        for word in ["<script", "src=", "href=", "url(", "@import", "http:", "https:", "NaN"] {
            assert!(!page.contains(word), "{word} in the page of {}", result.scenario.title);
        }
        assert!(page.contains("Highest rate") && page.contains("<svg"), "no chart");
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }
}
