//! What can be typed.

pub(crate) mod compare;
pub(crate) mod nat;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use natrig_bench::scenario::{Design, Effort, LinkKind, Word};
use natrig_cluster::model::Exit;
use natrig_cluster::probe::Protocol;

/// The name of a world that is given none.
pub(crate) const DEFAULT_NAME: &str = "natrig";

/// What each NAT layer between a pod and the internet costs, measured on this machine.
///
/// Without a command: `natrig run`, which measures all four designs (no NAT, node only, gateway only, both) within a minute.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure a scenario; without one, the built-in quick look at all four designs
    Run(Run),
    /// Follow one packet through a cluster and its answer back: routes, rules, translations, and where it died
    Trace(Trace),
    /// Make a scenario of a cluster's own settings: Cilium's ConfigMap or Helm values, or aws-node's environment
    Import(Import),
    /// Set up the world of a scenario for programs of your own, with our NAT in it
    Up(Up),
    /// Run a program inside a world that is up
    Exec(Exec),
    /// Take a world down
    Down(Down),
    /// Remove what killed runs and worlds have left, and nothing else
    Clean,
    /// Translate between two interfaces, for as long as wanted
    Nat(nat::Nat),
    /// Tell what this machine can do, what is missing, and how to mend it
    Doctor(Doctor),
    /// Show results again
    Report(Report),
    /// Compare results: better, worse, equal within a margin, or inconclusive
    Compare(compare::Compare),
    /// Show where the level of a figure changed in the history of runs
    History(compare::History),
    /// Write a result in the form of another program
    Export(compare::Export),
    /// Plan capacity: addresses, ports, tables, and what breaks first when the load grows
    Plan(Plan),
    /// List the NAT profiles, or show one with the source of every value
    Profiles(Profiles),
}

impl Default for Command {
    fn default() -> Self {
        Self::Run(Run::default())
    }
}

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Run {
    /// Scenario file, as in bench-configs/, or a suite's name, as nat44-h1024-p63-s64512-udir-ndrpdr
    pub(crate) scenario: Option<PathBuf>,
    /// How much effort to take, instead of what the scenario says: under a minute, under three, as FD.io CSIT, or RFC 2544's 60 s trials;
    /// of port exhaustion: quick, in a smaller world
    #[arg(long, value_parser = word::<Effort>, value_name = "quick|ci|nightly|rfc")]
    pub(crate) effort: Option<Effort>,
    /// Designs to measure, instead of the scenario's
    #[arg(long, value_delimiter = ',', value_parser = word::<Design>, value_name = "none,node,gateway,both")]
    pub(crate) design: Vec<Design>,
    /// What carries frames, instead of the scenario's
    #[arg(long, value_parser = word::<LinkKind>, value_name = "auto|memory|ring|xdp|packet|pnet")]
    pub(crate) link: Option<LinkKind>,
    /// Rounds, instead of the scenario's
    #[arg(long)]
    pub(crate) rounds: Option<u32>,
    /// Seed, instead of the scenario's
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Directory for result.json and summary.md [default: natrig-results/TIME-SCENARIO]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Keep the result as a baseline of this name, for natrig compare
    #[arg(long, value_name = "NAME")]
    pub(crate) save_baseline: Option<String>,
    /// Compare each design with itself instead, so many times in all, and tell how often a difference is seen
    #[arg(long, value_name = "COMPARISONS", num_args = 0..=1, default_missing_value = "200")]
    pub(crate) aa: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print what would be built and measured, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Trace {
    /// Scenario file of a cluster, as bench-configs/cluster-*.toml
    pub(crate) scenario: PathBuf,
    /// Who asks: a pod, such as n1-p1, or a kind of destination
    #[arg(long, default_value = "n1-p1")]
    pub(crate) from: String,
    /// Who is asked: internet, vpc-host, peer-pod, remote-node, metadata, peered, or a pod
    #[arg(long)]
    pub(crate) to: String,
    /// What is sent
    #[arg(long, default_value = "udp", value_parser = word::<Protocol>, value_name = "udp|tcp|icmp")]
    pub(crate) protocol: Protocol,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// YAML, as of `kubectl -n kube-system get configmap cilium-config ip-masq-agent -o yaml`, `helm get values cilium` or `kubectl -n
    /// kube-system get daemonset aws-node -o yaml`
    pub(crate) file: PathBuf,
    /// The way out of the VPC, which such files do not tell
    #[arg(long, value_parser = word::<Exit>, value_name = "nat-gateway|internet-gateway|none")]
    pub(crate) exit: Option<Exit>,
    /// Names of the nodes' network interfaces, the primary one first
    #[arg(long, value_delimiter = ',', value_name = "ens5,ens6")]
    pub(crate) interfaces: Vec<String>,
    /// Where to write the scenario, instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Scenario file; without one, the quick scenario's world
    pub(crate) scenario: Option<PathBuf>,
    /// The design to set up
    #[arg(long, default_value = "both", value_parser = word::<Design>, value_name = "none|node|gateway|both")]
    pub(crate) design: Design,
    /// The world's name
    #[arg(long, default_value = DEFAULT_NAME)]
    pub(crate) name: String,
    /// Stay in the foreground; Ctrl-C takes the world down
    #[arg(long)]
    pub(crate) foreground: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    /// The world
    #[arg(long, default_value = DEFAULT_NAME)]
    pub(crate) name: String,
    /// pods, node, gateway or internet
    pub(crate) namespace: String,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    pub(crate) program: Vec<std::ffi::OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Down {
    /// The world
    #[arg(long, default_value = DEFAULT_NAME)]
    pub(crate) name: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Report {
    /// result.json files, or directories that hold one
    #[arg(required = true)]
    pub(crate) results: Vec<PathBuf>,
    /// How to show them
    #[arg(long, value_enum, default_value_t = Format::Terminal)]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a terminal
    Terminal,
    /// For a pull request
    Markdown,
    /// A page for a browser, with charts; needs nothing but itself
    Html,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Fleet file, as bench-configs/plan-fleet.toml; with logs only its layers count, not its destinations
    pub(crate) fleet: Option<PathBuf>,
    /// AWS VPC flow logs as text, versions 2 to 5; - is standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) flow_logs: Vec<PathBuf>,
    /// Output of conntrack -L, or of conntrack -E -o timestamp
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) conntrack: Vec<PathBuf>,
    /// Output of hubble observe -o json
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) hubble: Vec<PathBuf>,
    /// Print the plan as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// How to show it
    #[arg(long, value_enum, default_value_t = Format::Terminal)]
    pub(crate) format: Format,
    /// Also write plan.json, plan.md and plan.html into this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Profiles {
    /// The profile to show
    pub(crate) name: Option<String>,
}

fn word<W: Word + Send + Sync>(text: &str) -> Result<W, String> {
    let accepted = || W::ALL.iter().map(|word| word.word()).collect::<Vec<_>>().join(", ");
    W::from_word(text).ok_or_else(|| format!("choose of {}", accepted()))
}
