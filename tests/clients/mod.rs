//! `natrig up`, `exec`, `down` and `clean`, and real programs through the worlds.

mod designs;
mod foreign;
pub(crate) mod icmp;
mod lifecycle;
pub(crate) mod programs;
pub(crate) mod servers;
mod world;

use crate::support::harness::Users::{Anybody, Each};
use crate::support::harness::{Case, in_namespaces};

pub(crate) const CASES: [Case; 15] = [
    in_namespaces("clients::through_design_none", Anybody, designs::none),
    in_namespaces("clients::through_design_node", Anybody, designs::node),
    in_namespaces("clients::through_design_gateway", Anybody, designs::gateway),
    in_namespaces("clients::through_design_both", Each, designs::both),
    in_namespaces("clients::through_design_both_by_the_kernel", Each, designs::both_by_kernel),
    in_namespaces("clients::curl_python_iperf_and_ping", Each, foreign::programs),
    in_namespaces("clients::down_leaves_nothing", Each, lifecycle::down_leaves_nothing),
    in_namespaces("clients::exec_is_the_program", Anybody, lifecycle::exec_is_the_program),
    in_namespaces("clients::a_name_is_given_once", Each, lifecycle::a_name_is_given_once),
    in_namespaces("clients::worlds_do_not_meet", Anybody, lifecycle::worlds_do_not_meet),
    in_namespaces("clients::in_the_foreground", Anybody, lifecycle::in_the_foreground),
    in_namespaces("clients::a_dead_world_cannot_be_entered", Each, lifecycle::a_dead_world_cannot_be_entered),
    in_namespaces("clients::clean_after_kill_9", Each, lifecycle::clean_after_kill_9),
    in_namespaces("clients::down_after_kill_9", Anybody, lifecycle::down_after_kill_9),
    in_namespaces("clients::clean_leaves_alone_what_stands", Each, lifecycle::clean_leaves_alone_what_stands),
];
