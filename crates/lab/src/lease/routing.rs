//! Routing tables, rules and tunnels over rtnetlink.

use std::net::{IpAddr, Ipv4Addr};

use natrig_wire::MacAddr;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::neighbour::NeighbourFlags;
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute};
use rtnetlink::{Error, Handle, LinkVxlan, RouteMessageBuilder};

use crate::net::Ipv4Net;
use crate::plan::RoutingRule;

pub(super) async fn add_route(
    netlink: &Handle,
    index: u32,
    table: u32,
    destination: Ipv4Net,
    via: Option<Ipv4Addr>,
) -> Result<(), Error> {
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(destination.network(), destination.prefix_len())
        .output_interface(index)
        .table_id(table);
    let route = match via {
        Some(via) => route.gateway(via).onlink(),
        None => route.scope(RouteScope::Link),
    };
    netlink.route().add(route.build()).execute().await
}

pub(super) async fn add_rule(netlink: &Handle, rule: &RoutingRule) -> Result<(), Error> {
    let mut request =
        netlink.rule().add().v4().action(RuleAction::ToTable).priority(rule.priority).table_id(rule.table);
    if let Some(from) = rule.from {
        request = request.source_prefix(from.network(), from.prefix_len());
    }
    if let Some(to) = rule.to {
        request = request.destination_prefix(to.network(), to.prefix_len());
    }
    if let Some(incoming) = &rule.incoming {
        request = request.input_interface(incoming);
    }
    if let Some(mark) = rule.mark {
        request = request.fw_mark(mark.value);
        request.message_mut().attributes.push(RuleAttribute::FwMask(mark.mask));
    }
    request.execute().await
}

pub(super) fn vxlan(name: &str, id: u32, port: u16, local: Ipv4Addr, mac: MacAddr, mtu: u16) -> LinkMessage {
    LinkVxlan::new(name, id).port(port).local(local).learning(false).address(mac.0.to_vec()).mtu(mtu.into()).build()
}

pub(super) async fn add_tunnel_peer(netlink: &Handle, index: u32, mac: MacAddr, remote: Ipv4Addr) -> Result<(), Error> {
    let peer = netlink.neighbours().add_bridge(index, &mac.0).destination(IpAddr::V4(remote));
    // The entry is the device's own, not a bridge's (`NTF_SELF`, bridge(8)).
    peer.flags(NeighbourFlags::Own).execute().await
}
