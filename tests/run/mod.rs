//! `natrig run` and what it leaves.

mod cluster;
mod compared;
pub(crate) mod killed;
mod limits;
mod measured;
mod mistakes;
mod refused;
mod reported;
mod rfcs;
pub(crate) mod scenarios;
mod sound;
mod stopped;
mod tcp;
mod toggled;

use crate::support::harness::Users::{Anybody, Each, Ordinary};
use crate::support::harness::{Case, case, in_namespaces};

pub(crate) const CASES: [Case; 47] = [
    case("run::four_designs_over_memory", Anybody, measured::over_memory),
    case("run::every_frame_size_over_memory", Anybody, measured::every_frame_size),
    in_namespaces("run::four_designs_over_veth", Each, measured::over_veth),
    in_namespaces("run::a_search_that_overloads_loses_track_of_nothing", Each, measured::overload),
    in_namespaces("run::xdp_links", Each, measured::over_xdp),
    in_namespaces("run::the_kernels_nat_beside_ours", Each, measured::kernel),
    case("run::path_limits", Each, limits::path_limits),
    in_namespaces("run::pnet_links", Anybody, measured::over_pnet),
    in_namespaces("run::the_built_in_scenario", Each, measured::built_in),
    in_namespaces("run::two_at_once", Each, measured::two_at_once),
    case("run::no_valid_trial_is_no_result", Anybody, measured::no_valid_trial),
    case("run::a_reader_finds_a_whole_file_at_any_moment", Anybody, stopped::file_is_always_whole),
    case("run::a_result_that_cannot_be_kept_is_a_failure", Anybody, stopped::nowhere_to_keep_it),
    in_namespaces("run::interrupted_it_keeps_what_it_has", Each, stopped::interrupted),
    in_namespaces("run::killed_it_loses_no_finished_trial", Each, stopped::killed),
    in_namespaces("run::killed_it_leaves_nothing_behind", Ordinary, killed::leaves_nothing),
    case("run::namespaces_refused_it_measures_in_memory", Ordinary, refused::measures_in_memory),
    case("run::namespaces_refused_packet_links_are_an_error", Ordinary, refused::packet_links),
    case("run::namespaces_refused_a_world_is_an_error", Ordinary, refused::world),
    case("run::rfc_9693_over_memory", Anybody, rfcs::rfc9693_over_memory),
    in_namespaces("run::rfc_9693_over_veth", Anybody, rfcs::rfc9693_over_veth),
    case("run::ndr_pdr_and_rfc_2544_over_memory", Anybody, rfcs::rates_over_memory),
    case("run::suites_by_their_names", Anybody, rfcs::suites),
    in_namespaces("run::ndr_pdr_and_rfc_2544_over_veth", Anybody, rfcs::rates_over_veth),
    case("run::every_field_that_the_rfcs_ask_for", Anybody, reported::every_field),
    case("run::tcp_over_memory", Anybody, tcp::over_memory),
    in_namespaces("run::tcp_over_veth", Anybody, tcp::over_veth),
    case("run::a_toggle_and_its_report", Anybody, toggled::toggle),
    in_namespaces("run::the_kernels_connections_break_as_is_told", Each, toggled::kernel),
    case("run::sides_are_compared_if_they_can_be", Anybody, compared::sides),
    case("run::a_regression_is_a_failure_if_it_was_to_be_one", Anybody, compared::regression),
    case("run::what_is_kept_can_be_read_again", Anybody, compared::kept),
    case("run::a_design_against_itself", Anybody, compared::against_itself),
    case("run::an_unwritable_directory", Anybody, mistakes::unwritable_directory),
    case("run::a_file_where_the_directory_should_be", Anybody, mistakes::file_for_directory),
    case("run::a_dry_run_creates_nothing", Each, mistakes::dry_run),
    case("run::every_shipped_scenario_has_a_plan", Anybody, mistakes::shipped),
    case("run::mistakes_in_scenarios", Anybody, mistakes::scenarios),
    case("run::scenarios_that_cannot_be_read", Anybody, mistakes::unreadable_scenarios),
    case("run::mistakes_on_the_command_line", Anybody, mistakes::command_line),
    in_namespaces("run::clusters_are_as_is_known_of_them", Each, cluster::matrix),
    in_namespaces("run::clusters_of_natrigs_own_nats_are_as_well", Ordinary, cluster::profiles),
    in_namespaces("run::traces_tell_what_is_wrong", Each, cluster::traces),
    in_namespaces("run::the_answer_for_a_cluster", Anybody, cluster::answers),
    case("run::a_clusters_own_settings_become_a_scenario", Anybody, cluster::imports),
    case("run::mistakes_about_clusters", Anybody, cluster::mistakes),
    case("run::reports_of_what_is_no_result", Anybody, mistakes::reports),
];
