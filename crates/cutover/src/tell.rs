//! The toggle, told.

use natrig_bench::test::RecordOf;
use natrig_report::document::{Align, Block, Document, Table, Tell};

use crate::client::ClientClass;
use crate::measured::{ClassOutcome, GatewayOutcome};
use crate::scenario::{Scenario, Stack};
use crate::toggle::Toggle;

impl Tell for Toggle {
    fn tell(record: &RecordOf<Self>) -> Document {
        let mut document = Document::default();
        document.text(patience(record));
        for gateway in &record.measured.gateways {
            document.heading(format!("Behind {}", gateway.gateway));
            document.push(Block::Table(table(gateway)));
            if !gateway.balances() {
                let words = "frames are unaccounted for: do not trust the table".to_owned();
                document.push(Block::Alarm("WRONG".to_owned(), words));
            }
            if gateway.stalled() {
                let words = format!(
                    "programs did not get the processor for {:.1} s, and may have lost patience with themselves: run it again",
                    gateway.longest_stall_s
                );
                document.push(Block::Alarm("DISTURBED".to_owned(), words));
            }
        }
        if !record.measured.gateways.is_empty() {
            document.heading("The answer");
            document.push(Block::Bullets(answers(record)));
        }
        document
    }
}

/// Whose TCP it was, and how long everybody waits: what no one had noticed by the end is a hang within that time, and no more than that.
fn patience(record: &RecordOf<Toggle>) -> String {
    let Scenario { stack, pace, observe_s, .. } = &record.scenario;
    let whose = match stack {
        Stack::Virtual => "smoltcp on a virtual clock".to_owned(),
        Stack::Kernel => {
            let by = record.measured.nodes_by.map_or_else(String::new, |by| format!("; nodes translate by {by}"));
            format!("the kernel's own TCP in real time{by}")
        }
    };
    format!(
        "TCP: {whose}. It retransmits for {} (tcp_retries2 = {}) and gives up keepalive after {}; programs wait {} for an answer. \
         `never` is: not within the {observe_s} s after the change.",
        time(Some(pace.retransmit_ns() as f64 / 1e9)),
        pace.tcp_retries2,
        time(Some(pace.keepalive_timeout_ns() as f64 / 1e9)),
        time(Some(f64::from(pace.answer_ms) / 1e3)),
    )
}

fn table(gateway: &GatewayOutcome) -> Table {
    let mut table = Table::new([
        ("client", Align::Left),
        ("connections", Align::Right),
        ("broken", Align::Right),
        ("half dead", Align::Right),
        ("learned it by", Align::Left),
        ("after, p50", Align::Right),
        ("at work again", Align::Right),
        ("blocked, p50", Align::Right),
        ("longest", Align::Right),
    ]);
    for class in &gateway.classes {
        table.row([
            class.class.to_string(),
            class.connections.to_string(),
            share(class.broken, class.connections),
            share(class.half_dead, class.connections),
            learned(class),
            time(class.notice_s_p50),
            share(class.recovered, class.broken + class.closed),
            time(class.blocked_s_p50),
            time(class.blocked_s_max),
        ]);
    }
    table.note = format!("Most connections without a working successor at the same moment: {}.", gateway.most_blocked);
    table
}

fn learned(class: &ClassOutcome) -> String {
    let mut ways: Vec<String> = class.noticed.iter().map(|(how, many)| format!("{how} {many}")).collect();
    if class.never_noticed > 0 {
        ways.push(format!("never {}", class.never_noticed));
    }
    if class.closed > 0 {
        ways.push(format!("closed before {}", class.closed));
    }
    if ways.is_empty() { "–".to_owned() } else { ways.join(", ") }
}

fn share(part: u32, whole: u32) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    format!("{} %", (f64::from(part) / f64::from(whole) * 100.0).round())
}

fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "–".to_owned(),
        Some(seconds) if seconds < 9.95 => format!("{seconds:.1} s"),
        Some(seconds) if seconds < 120.0 => format!("{seconds:.0} s"),
        Some(seconds) => format!("{:.0} min", seconds / 60.0),
    }
}

/// What to restart, what not, and how long it hurts, a gateway each.
fn answers(record: &RecordOf<Toggle>) -> Vec<String> {
    let change = record.scenario.change;
    record.measured.gateways.iter().map(|gateway| format!("{}: {}", gateway.gateway, answer(change, gateway))).collect()
}

fn answer(change: crate::scenario::Change, gateway: &GatewayOutcome) -> String {
    let outside = || gateway.classes.iter().filter(|class| class.class != ClientClass::WithinVpc);
    let (broken, connections): (u32, u32) =
        outside().fold((0, 0), |(broken, all), class| (broken + class.broken, all + class.connections));
    if broken == 0 {
        let closed: u32 = outside().map(|class| class.closed).sum();
        return if closed > 0 {
            format!(
                "with {change}, no connection breaks: {closed} of {connections} were closed in good order and opened again."
            )
        } else {
            format!("{change} breaks no connection: nothing needs a restart.")
        };
    }
    let mut words = format!("{change} breaks {} of the connections to the internet.", share(broken, connections));
    let stuck: Vec<String> =
        outside().filter(|class| class.never_noticed > 0).map(|class| class.class.to_string()).collect();
    let slow: Vec<String> = outside()
        .filter(|class| class.never_noticed == 0 && class.blocked_s_p50.is_some_and(|seconds| seconds > SLOW_S))
        .map(|class| format!("{} ({})", class.class, time(class.blocked_s_p50)))
        .collect();
    let quick: Vec<String> = outside()
        .filter(|class| class.broken > 0 && class.never_noticed == 0)
        .filter(|class| class.blocked_s_p50.is_some_and(|seconds| seconds <= SLOW_S))
        .map(|class| format!("{} ({})", class.class, time(class.blocked_s_p50)))
        .collect();
    if !stuck.is_empty() {
        words += &format!(" Restart what never learns of it: {}.", stuck.join(", "));
    }
    if !slow.is_empty() {
        words += &format!(" Restart, or wait long for: {}.", slow.join(", "));
    }
    if !quick.is_empty() {
        words += &format!(" Leave alone, these come back by themselves: {}.", quick.join(", "));
    }
    if gateway.classes.iter().any(|class| class.class == ClientClass::WithinVpc && class.broken == 0) {
        words += " Connections within the VPC are not affected.";
    }
    words
}

/// Who is back within so many seconds needs no restart.
const SLOW_S: f64 = 30.0;
