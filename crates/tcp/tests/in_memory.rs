//! Every part over links in memory, with rings that hold all there is and gates that nothing trips: what is counted must add up, however
//! busy the machine is.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use natrig_bench::environment;
use natrig_bench::result::{Program, Status};
use natrig_bench::scenario::Design;
use natrig_bench::test::{Record, RecordOf, Session, Test};
use natrig_lab::privilege;
use natrig_report::record;
use natrig_report::terminal::Options;
use natrig_tcp::Tcp;
use natrig_tcp::result::{Purpose, Quantity};
use natrig_tcp::scenario::Scenario;

fn measure(text: &str) -> RecordOf<Tcp> {
    let text = format!("test = \"tcp\"\nrounds = 1\nlink = {{ kind = \"memory\", slots = 65_536 }}\n{text}");
    let read = Tcp::read(&text, Path::new("test.toml"), &["cilium-bpf", "aws-natgw"]);
    let mut scenario: Scenario = read.unwrap_or_else(|fault| panic!("{}", fault.message));
    scenario.devices.limits.send_lag_p99_us = u32::MAX;
    scenario.devices.limits.overrun = f64::MAX;
    let program = Program { version: "0".to_owned(), commit: None, profile: "debug".to_owned() };
    let environment = environment("memory", None, Vec::new());
    let record = Record::begun(Tcp::NAME, program, String::new(), scenario, environment);
    let (privilege, cancel) = (privilege::enter(), AtomicBool::new(false));
    let mut session =
        Session { record, privilege: &privilege, watcher: &mut (), cancel: &cancel, started: Instant::now() };
    let status = Tcp::run(&mut session).unwrap();
    session.record.status = status;
    session.record
}

#[test]
fn connections_are_made_and_unmade_and_churn_leaves_nothing_behind() {
    let record = measure(
        "parts = [\"connection-rate\", \"churn\"]\nrate = { connections = 500, min_cps = 1000, max_cps = 20_000 }\n\
         churn = { background = 100, connections = 500, keepalives_per_s = 5000 }",
    );
    assert_eq!(record.status, Status::Complete);
    let measured = &record.measured;
    for trial in &measured.trials {
        assert_eq!((trial.wrong, trial.unaccounted, trial.resets), (0, 0, 0), "{trial:?}");
        assert!(trial.lost.is_empty() && trial.drops.is_empty(), "{trial:?}");
        if trial.purpose == Purpose::Rate {
            assert_eq!((trial.tried, trial.made, trial.unmade), (500, 500, 500));
            assert_eq!((trial.handshake.samples, trial.whole.samples), (500, 500));
        }
    }
    assert_eq!(measured.churns.len(), 4);
    for churn in &measured.churns {
        assert!(churn.holds(), "{churn:?}");
        assert_eq!((churn.background, churn.churned), (100, (500, 500)));
        let layers = match churn.design {
            Design::None => 0,
            Design::Node | Design::Gateway => 1,
            Design::Both => 2,
        };
        // Closed connections stand for as long as their timers run, and not longer.
        assert_eq!((churn.entries_at_end.len(), churn.entries_later.len()), (layers, layers), "{churn:?}");
        assert!(churn.entries_at_end.iter().all(|table| table.entries == 600), "{churn:?}");
    }
    let page = record::terminal::<Tcp>(&record, Options::default());
    assert!(page.contains("opened and closed") && !page.contains("LOST OR LEFT"), "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= 100), "{page}");
    let json = serde_json::to_string(&record).unwrap();
    let again: RecordOf<Tcp> = serde_json::from_str(&json).unwrap();
    assert_eq!(again.measured.churns, record.measured.churns);
}

#[test]
fn flows_get_through_loss_and_what_was_sent_again_is_told() {
    let record = measure(
        "designs = [\"none\", \"both\"]\nparts = [\"transfer\"]\n\
         transfer = { flows = 4, bytes = 300_000, loss_ppm = 20_000, repeats = 2, rto_min_ms = 20, patience_s = 600 }",
    );
    assert_eq!(record.measured.transfers.len(), 2 * 2);
    assert_eq!(record.scenario.transfer.rto_min_ms, 20);
    for transfer in &record.measured.transfers {
        assert_eq!((transfer.flows, transfer.bytes, transfer.wrong_bytes), ((4, 4), 1_200_000, 0), "{transfer:?}");
        let (client, server) = (transfer.client, transfer.server);
        assert!(client.lost_on_purpose > 0, "{transfer:?}");
        assert!(client.again_fast + client.again_timeout > 0, "{transfer:?}");
        let dropped: u64 = transfer.drops.iter().map(|drop| drop.frames).sum();
        let sent = client.sent + server.sent - client.lost_on_purpose - server.lost_on_purpose;
        // The last acknowledgement of all may still be under way when everybody is done.
        assert!(sent >= client.received + server.received + dropped, "{transfer:?}");
    }
    let goodput = record.measured.figures.iter().filter(|figure| figure.quantity == Quantity::Goodput);
    assert!(goodput.clone().count() == 2 && goodput.into_iter().all(|figure| figure.median > 0.0));
}
