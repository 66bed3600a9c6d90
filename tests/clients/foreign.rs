//! Programs that others have written, where they are installed.

use super::world::World;
use crate::support::harness::{Outcome, Skipped};
use crate::support::place::Place;
use crate::support::process::Process;

const SERVER: &str = "203.0.113.10";
const GATEWAY: &str = "198.51.100.8";

/// Name, and what it does through a world.
type Program = (&'static str, fn(&Place<'_>, &World<'_>));

const PROGRAMS: [Program; 4] = [("curl", curl), ("python3", python), ("iperf3", iperf), ("ping", ping)];

/// Through double NAT.
pub(crate) fn programs(place: &Place<'_>) -> Outcome {
    let installed: Vec<Program> = PROGRAMS.into_iter().filter(|(name, _)| is_there(place, name)).collect();
    let names = |programs: &[Program]| programs.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if installed.is_empty() {
        return Err(Skipped(format!("none of {} is installed", names(&PROGRAMS))));
    }
    let world = World::up(place, "foreign", "both");
    for (_, run) in &installed {
        run(place, &world);
    }
    let missing: Vec<Program> = PROGRAMS.into_iter().filter(|(name, _)| !is_there(place, name)).collect();
    let missing = if missing.is_empty() { String::new() } else { format!("; not installed: {}", names(&missing)) };
    println!("  programs that ran: {}{missing}", names(&installed));
    Ok(())
}

fn is_there(place: &Place<'_>, program: &str) -> bool {
    // ping of iputils knows -V only.
    place.has(program, if program == "ping" { "-V" } else { "--version" })
}

fn curl(_: &Place<'_>, world: &World<'_>) {
    let server = world.role("internet", &["servers", SERVER]);
    server.says("ready");
    let url = format!("http://{SERVER}/");
    for _ in 0..3 {
        let seen = world.exec("pods", &["curl", "-sS", "--max-time", "60", &url]).succeed();
        assert!(seen.starts_with(&format!("{GATEWAY}:")), "{seen}");
    }
}

/// Its own HTTP server, and its own client.
fn python(place: &Place<'_>, world: &World<'_>) {
    let text: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    place.file("numbers.txt", &text);
    let directory = place.path().to_str().unwrap();
    // Not bound to an address: it would look for its name, and wait for a resolver that is not there.
    let server = world.exec("internet", &["python3", "-u", "-m", "http.server", "--directory", directory, "8000"]);
    server.says("Serving HTTP");
    let script = format!(
        "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen('http://{SERVER}:8000/numbers.txt', timeout=60).read().decode())"
    );
    let fetched = world.exec("pods", &["python3", "-c", &script]).succeed();
    assert!(fetched == text, "{} bytes of {}", fetched.len(), text.len());
    let log = end(server);
    assert!(log.contains(&format!("{GATEWAY} - - ")) && log.contains("GET /numbers.txt"), "{log}");
}

fn iperf(_: &Place<'_>, world: &World<'_>) {
    let server = world.exec("internet", &["iperf3", "--server", "--one-off", "--bind", SERVER, "--forceflush"]);
    server.says("Server listening");
    let bytes: u64 = 64 << 20;
    let report = world.exec("pods", &["iperf3", "--client", SERVER, "--bytes", &bytes.to_string(), "--json"]).succeed();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let end = &report["end"];
    assert!(end["sum_sent"]["bytes"].as_u64().is_some_and(|sent| sent >= bytes), "{report}");
    // The server stops counting when the client has sent all: what is on the way then is missing.
    assert!(end["sum_received"]["bytes"].as_u64().is_some_and(|received| received > bytes / 2), "{report}");
    let said = server.succeed();
    assert!(said.contains(&format!("from {GATEWAY}")), "{said}");
}

fn ping(_: &Place<'_>, world: &World<'_>) {
    let said = world.exec("pods", &["ping", "-c", "3", "-i", "0.2", "-W", "30", SERVER]).succeed();
    assert!(said.contains("3 received"), "{said}");
}

/// Ends a server and returns what it wrote to its log.
fn end(server: Process) -> String {
    server.signal(nix::sys::signal::Signal::SIGTERM);
    server.finish().stderr
}
