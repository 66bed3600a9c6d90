//! What can be typed behind `natrig nat`.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use serde::Deserialize;

use super::DEFAULT_NAME;

const ADDRESSES: &str = "\
Addresses: natrig speaks for addresses that the kernel must not own, from a MAC address of its own (--mac interface: from the \
interface's), so that the kernel beside it neither answers nor forwards nor resets. It refuses to start where the kernel owns one of \
them. With --link ring and xdp it has the two interfaces to itself: the kernel sees no frame that arrives there.

Signals: SIGUSR1 prints the counters, SIGHUP reads the configuration again, SIGINT and SIGTERM end it. Nothing is left behind, \
whatever ends it. docs/nat-command.md has more.

Example:
  natrig nat --profile rfc4787 --inside eth1 --inside-address 10.0.1.1/24 \\
             --outside eth0 --outside-address 198.51.100.2/24 --gateway 198.51.100.1 --address 198.51.100.8";

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_long_help = ADDRESSES)]
pub(crate) struct Nat {
    #[command(subcommand)]
    pub(crate) ask: Option<Ask>,
    #[command(flatten)]
    pub(crate) typed: Typed,
}

/// What is asked of a NAT that runs.
#[derive(Debug, Subcommand)]
pub(crate) enum Ask {
    /// List the mappings of a NAT that runs
    List(AskOptions),
    /// Show its counters and neighbours
    Stats(AskOptions),
    /// Have it read its configuration and profile again; mappings that they still allow go on
    Reload(AskOptions),
}

#[derive(Debug, clap::Args)]
pub(crate) struct AskOptions {
    /// The NAT's name
    #[arg(long, default_value = DEFAULT_NAME)]
    pub(crate) name: String,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is typed wins over what the file says.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Typed {
    /// File with these settings (TOML: inside, outside, profile, addresses, …), read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Interface towards the hosts whose addresses are translated
    #[arg(long, value_name = "IF")]
    pub(crate) inside: Option<String>,
    /// Interface towards everybody else
    #[arg(long, value_name = "IF")]
    pub(crate) outside: Option<String>,
    /// How it translates: a name that `natrig profiles` lists, or a file
    #[arg(long)]
    pub(crate) profile: Option<String>,
    /// Address, range or network to translate to; several if repeated [default: the outside addresses]
    #[arg(long = "address", value_name = "A|A-B|A/LEN", value_delimiter = ',')]
    pub(crate) addresses: Vec<String>,
    /// Own address on the inside with the network that is on the link there: the inside hosts' gateway
    #[arg(long = "inside-address", value_name = "A/LEN", value_delimiter = ',')]
    pub(crate) inside_addresses: Vec<String>,
    /// Own address on the outside with the network that is on the link there
    #[arg(long = "outside-address", value_name = "A/LEN", value_delimiter = ',')]
    pub(crate) outside_addresses: Vec<String>,
    /// Next hop outside for everything that no route names
    #[arg(long, value_name = "A")]
    pub(crate) gateway: Option<Ipv4Addr>,
    /// Further networks, by a next hop on either link or on a link itself; several if repeated
    #[arg(long = "route", value_name = "NET=A|inside|outside", value_delimiter = ',')]
    pub(crate) routes: Vec<String>,
    /// What carries frames [default: auto, the fastest that can be had here]
    #[arg(long, value_enum)]
    pub(crate) link: Option<LinkChoice>,
    /// Which MAC address to speak from [default: virtual]
    #[arg(long, value_enum)]
    pub(crate) mac: Option<MacChoice>,
    /// Network namespace of the two interfaces, as `ip netns` names it or as a path [default: this one]
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) netns: Option<String>,
    /// Name to ask it by
    #[arg(long, default_value = DEFAULT_NAME)]
    pub(crate) name: String,
    /// Print counters as JSON, a line each time
    #[arg(long)]
    pub(crate) json: bool,
}

/// What carries frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LinkChoice {
    /// The first of ring, xdp and packet that works; packet where the kernel has addresses on the interfaces
    #[default]
    Auto,
    /// Rings in BPF maps and live frames
    Ring,
    /// AF_XDP
    Xdp,
    /// AF_PACKET: also without root
    Packet,
    /// pnet's datalink channel; where hosts sit behind veths, with their offloads off
    Pnet,
}

/// Whose MAC address it speaks from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MacChoice {
    /// One of its own on each interface
    #[default]
    Virtual,
    /// The interface's, for networks that let no other pass
    Interface,
}
