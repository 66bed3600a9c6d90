//! Before anything is measured: a TCP connection between two smoltcp endpoints gets through the design, and the server sees the
//! address that the design says.

use std::net::SocketAddrV4;
use std::time::Duration;

use natrig_lab::topology::Port;
use natrig_link::clock;
use natrig_traffic::tcp::{Exchange, ExchangeConfig, ExchangeState};
use natrig_wire::ethernet;

use crate::bed::{self, Bench, TrialError};
use crate::experiment;
use crate::result::TcpCheck;
use crate::rig::{self, RigError};
use crate::scenario::Design;

/// Bytes sent there and back: many windows' worth.
const BYTES: usize = 256 * 1024;
/// A local exchange takes milliseconds; one that a lost frame holds up takes a retransmission timer or two.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a turn of the loop may take: beyond that this thread had no processor, and the exchange is not to blame.
const POLL_MAX: Duration = Duration::from_millis(10);

/// Runs the check on fresh tables.
///
/// # Errors
/// [`TrialError`]; a connection that does not come about is no error but the outcome.
pub(crate) fn run(bench: &mut Bench<'_>, world: usize, design: Design) -> Result<TcpCheck, TrialError> {
    let scenario = bench.scenario;
    let topology = &scenario.topology;
    let lineup = bench.worlds[world].lineup;
    let mut layers = bed::measured_layers(bench, lineup, design, scenario.seed)?;
    bench.worlds[world].reset_kernel(bench.engines, design)?;
    let links = &mut bench.worlds[world].links;
    let config = ExchangeConfig {
        client: SocketAddrV4::new(topology.pods.first, scenario.traffic.src_ports.first),
        client_endpoint: rig::endpoint(lineup.start(), lineup.boxes()),
        server: SocketAddrV4::new(topology.internet.server_first, scenario.traffic.dst_port),
        server_endpoint: rig::endpoint(Port::Internet, lineup.boxes()),
        mtu: links.frame_len_max() - ethernet::HEADER_LEN,
        bytes: BYTES,
        seed: scenario.seed,
    };
    let mut check =
        TcpCheck { engines: lineup, design, passed: false, bytes: BYTES as u64, client_seen: None, failure: None };
    links.flush(2).map_err(RigError::from)?;
    let mut last_ns = clock::now_ns();
    let mut spent = Duration::ZERO;
    let mut exchange = match Exchange::new(&config, last_ns) {
        Ok(exchange) => exchange,
        Err(reason) => return Ok(TcpCheck { failure: Some(reason.to_owned()), ..check }),
    };
    loop {
        let now_ns = clock::now_ns();
        spent += Duration::from_nanos(now_ns - last_ns).min(POLL_MAX);
        last_ns = now_ns;
        let tester = &mut links.tester;
        let state = exchange.poll(&mut *tester.pods, &mut *tester.internet, now_ns).map_err(RigError::from)?;
        layers.poll(&mut links.layers).map_err(RigError::from)?;
        match state {
            ExchangeState::Running if spent < PATIENCE => {}
            ExchangeState::Running => check.failure = Some(format!("not over after {} s", PATIENCE.as_secs())),
            ExchangeState::Failed { reason } => check.failure = Some(reason.to_owned()),
            ExchangeState::Completed { client_seen } => {
                check.client_seen = Some(client_seen.to_string());
                check.failure = unexpected(design, &config, client_seen, topology);
                check.passed = check.failure.is_none();
            }
        }
        if check.passed || check.failure.is_some() {
            return Ok(check);
        }
    }
}

/// What is wrong with the client's address as the server saw it, if anything.
fn unexpected(
    design: Design,
    config: &ExchangeConfig,
    seen: SocketAddrV4,
    topology: &natrig_lab::topology::Topology,
) -> Option<String> {
    let right = match experiment::sources_expected(design, topology) {
        None => seen == config.client,
        Some(pool) => pool.contains(seen.ip()),
    };
    (!right).then(|| format!("the server saw the client as {seen}"))
}
