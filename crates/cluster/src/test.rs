//! Clusters as a test that `natrig run` knows: each is built, asked, and taken down.

use std::path::Path;

use natrig_bench::result::Status;
use natrig_bench::settings::Fault;
use natrig_bench::test::{Options, RecordOf, Session, Test, TestError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer::{self, Answer};
use crate::build;
use crate::matrix::{self, Matrix};
use crate::model::Cluster;
use crate::settings::{self, Scenario};

/// `test = "cluster"`.
#[derive(Debug)]
pub struct ClusterTest;

/// What was measured of each cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// In the order of the scenario's designs.
    pub designs: Vec<MeasuredDesign>,
    /// What was found out about masquerading at the node of the first one, if that was asked for.
    pub answer: Option<Answer>,
}

/// What was measured of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeasuredDesign {
    /// The design's name.
    pub name: String,
    /// What masqueraded at nodes: `nftables`, or a profile of natrig's.
    #[serde(default = "nftables")]
    pub node_by: String,
    /// What translated at NAT gateways.
    #[serde(default = "nftables")]
    pub gateway_by: String,
    /// Who reaches whom, and who sees which address.
    pub matrix: Matrix,
}

/// What there was before there was a choice.
fn nftables() -> String {
    "nftables".to_owned()
}

/// Whether the program is there, if the cluster cannot do without it.
pub fn check_nft(cluster: &Cluster) -> Result<(), String> {
    if natrig_lab::nft::find().is_some() {
        return Ok(());
    }
    let missing = natrig_lab::nft::NftError::Missing;
    match cluster.needs_nft() {
        Some(why) => Err(format!("{why}; {missing}")),
        None if cluster.uses_nft() => Err(missing.to_string()),
        None => Ok(()),
    }
}

impl Test for ClusterTest {
    const NAME: &'static str = "cluster";
    type Scenario = Scenario;
    type Measured = Measured;

    fn read(text: &str, file: &Path, _known_profiles: &[&str]) -> Result<Scenario, Fault> {
        settings::read(text, file)
    }

    fn heading(scenario: &Scenario) -> (String, String) {
        (scenario.title.clone(), scenario.question.clone())
    }

    fn change(_scenario: &mut Scenario, options: &Options) -> Result<Vec<String>, String> {
        options.refuse(&["--design", "--link", "--rounds", "--seed", "--effort"])?;
        Ok(Vec::new())
    }

    fn plan(scenario: &Scenario) -> Result<Vec<String>, String> {
        let mut lines = Vec::new();
        for design in &scenario.designs {
            if scenario.designs.len() > 1 {
                lines.push(format!("{}: {}", design.name, design.title));
            }
            lines.extend(build::plan(&design.cluster).to_string().lines().map(str::to_owned));
        }
        Ok(lines)
    }

    fn run(session: &mut Session<'_, Self>) -> Result<Status, TestError> {
        if let Some(reason) = session.privilege.why_memory() {
            let message = format!("a cluster needs namespaces, which this environment refuses: {reason}");
            return Err(TestError::Environment(format!("{message}\nhelp: natrig doctor says what is missing")));
        }
        let designs = session.record.scenario.designs.clone();
        for design in &designs {
            check_nft(&design.cluster).map_err(|why| TestError::Environment(format!("{}: {why}", design.name)))?;
        }
        for (nth, design) in designs.iter().enumerate() {
            if session.cancelled() {
                return Ok(Status::Interrupted);
            }
            session.phase(&design.title, nth as f64 / designs.len() as f64);
            let matrix = matrix::measure(&design.cluster, &design.from).map_err(|error| {
                let message = format!("measure {}: {error}", design.name);
                if error.is_environment() { TestError::Environment(message) } else { TestError::Failed(message) }
            })?;
            let (node_by, gateway_by) = design.cluster.translators();
            let measured = MeasuredDesign { name: design.name.clone(), node_by, gateway_by, matrix };
            session.record.measured.designs.push(measured);
            session.save();
        }
        if let Some(design) = designs.first().filter(|_| session.record.scenario.answer) {
            session.phase("what masquerading is needed for, costs and breaks", 0.5);
            let answer = answer::answer(&design.cluster, &design.from, session)
                .map_err(|error| TestError::Failed(format!("measure the twin of {}: {error}", design.name)))?;
            session.record.measured.answer = Some(answer);
            session.save();
        }
        Ok(Status::Complete)
    }

    fn counts(record: &RecordOf<Self>) -> bool {
        let explained = |measured: &matrix::Measured| {
            measured.death.as_ref().is_none_or(|death| death.cause != crate::death::Cause::Unexplained)
        };
        !record.measured.designs.is_empty()
            && record.measured.designs.iter().flat_map(|design| design.matrix.measured()).all(explained)
    }
}
