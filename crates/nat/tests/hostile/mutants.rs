//! Frames made by somebody who knows the formats and respects none of them.

use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_nat::{Direction, MappingView};

use crate::dice::Dice;
use crate::packet::{self, ICMP, Ip, TCP, UDP};

const PODS: [Ipv4Addr; 3] = [Ipv4Addr::new(10, 0, 1, 1), Ipv4Addr::new(10, 0, 1, 2), Ipv4Addr::new(10, 0, 2, 1)];
const REMOTES: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(169, 254, 169, 254)];
/// Addresses that nobody has, or that are no host's.
const STRANGE: [Ipv4Addr; 8] = [
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::BROADCAST,
    Ipv4Addr::new(224, 0, 0, 1),
    Ipv4Addr::new(240, 0, 0, 1),
    Ipv4Addr::new(0, 1, 2, 3),
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(192, 0, 2, 255),
];
const PORTS: [u16; 8] = [0, 1, 53, 80, 1024, 1030, 40_000, 65_535];

/// A frame of either direction. `known` are mappings that it may belong to.
pub(crate) fn any_frame(dice: &mut Dice, outside: &[Ipv4Addr], known: &[MappingView]) -> (Direction, Vec<u8>) {
    let dir = if dice.one_in(2) { Direction::Outbound } else { Direction::Inbound };
    if dice.one_in(60) {
        return (dir, noise(dice));
    }
    let mut packet = any_packet(dice, dir, outside, known, 0);
    if dice.one_in(6) {
        packet.options = any_options(dice);
    }
    if dice.one_in(5) {
        cut(dice, &mut packet);
    }
    let mut frame = packet.frame();
    for _ in 0..dice.pick(&[0, 0, 0, 0, 1, 1, 2, 4]) {
        damage(dice, &mut frame);
    }
    if dice.one_in(3) {
        mend(&mut frame);
    }
    match dice.below(12) {
        0 => frame.truncate(dice.below(frame.len() as u32 + 1) as usize),
        1 => frame.extend((0..dice.below(40)).map(|byte| byte as u8)),
        _ => {}
    }
    (dir, frame)
}

fn noise(dice: &mut Dice) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..dice.below(120)).map(|_| dice.below(256) as u8).collect();
    if let Some(ethertype) = bytes.get_mut(12..15)
        && dice.one_in(2)
    {
        ethertype.copy_from_slice(&[8, 0, 0x45]);
    }
    bytes
}

/// The ends of a packet in one direction: those of a mapping, or any.
fn any_ends(
    dice: &mut Dice,
    dir: Direction,
    outside: &[Ipv4Addr],
    known: &[MappingView],
) -> (SocketAddrV4, SocketAddrV4) {
    let mut any = |addrs: &[Ipv4Addr]| {
        let addr = if dice.one_in(20) { dice.pick(&STRANGE) } else { dice.pick(addrs) };
        SocketAddrV4::new(addr, dice.pick(&PORTS))
    };
    let (inside, remote, out) = (any(&PODS), any(&REMOTES), any(outside));
    let known =
        if known.is_empty() || dice.one_in(3) { None } else { Some(&known[dice.below(known.len() as u32) as usize]) };
    match (dir, known) {
        (Direction::Outbound, Some(view)) => (view.inside, view.remote),
        (Direction::Inbound, Some(view)) => (view.remote, view.outside),
        // Now and then by way of the outside address, or past it.
        (Direction::Outbound, None) if dice.one_in(10) => (inside, out),
        (Direction::Outbound, None) if dice.one_in(20) => (out, remote),
        (Direction::Outbound, None) => (inside, remote),
        (Direction::Inbound, None) if dice.one_in(10) => (remote, inside),
        (Direction::Inbound, None) => (remote, out),
    }
}

fn any_packet(dice: &mut Dice, dir: Direction, outside: &[Ipv4Addr], known: &[MappingView], depth: u32) -> Ip {
    let (from, to) = any_ends(dice, dir, outside, known);
    let data: Vec<u8> = (0..dice.pick(&[0, 1, 7, 8, 30, 700])).map(|at| at as u8).collect();
    let ident = if dir == Direction::Outbound { from.port() } else { to.port() };
    let mut packet = match dice.below(10) {
        0..3 => packet::udp(from, to, &data),
        3..6 => packet::tcp(from, to, dice.below(256) as u8, dice.below(u32::MAX), &data),
        6 => packet::query(*from.ip(), *to.ip(), dice.pick(&[8, 0, 13, 14, 15, 16, 17, 18, 9, 40]), ident, &data),
        7..9 if depth < 3 => any_error(dice, dir, outside, known, depth),
        _ => Ip::new(*from.ip(), *to.ip(), dice.pick(&[0, 2, 4, 41, 47, 50, 132, 255]), data),
    };
    packet.ttl = dice.pick(&[0, 1, 2, 64, 64, 64, 64, 255]);
    packet.ident = dice.below(4) as u16;
    packet.dont_fragment = dice.one_in(2);
    // TCP with a header longer than twenty bytes.
    if packet.protocol == TCP && dice.one_in(4) {
        let options = any_options(dice);
        packet.payload.splice(20..20, options.iter().copied());
        packet.payload[12] = (((20 + options.len()) / 4) as u8) << 4;
        packet::fill_transport_checksum(packet.src, packet.dst, TCP, &mut packet.payload, 16);
    }
    packet
}

/// An ICMP error about a packet of the other direction, which may itself be one.
fn any_error(dice: &mut Dice, dir: Direction, outside: &[Ipv4Addr], known: &[MappingView], depth: u32) -> Ip {
    let quoted_dir = dir.reversed();
    let quoted = any_packet(dice, quoted_dir, outside, known, depth + 1);
    // A quote of what came in is as the pod saw it, one of what went out as the world did.
    let quoted = match (dir, known.is_empty()) {
        (Direction::Inbound, false) => as_seen_outside(dice, quoted, known),
        (Direction::Inbound, true) | (Direction::Outbound, _) => as_seen_inside(dice, quoted, known),
    };
    let mut quote = quoted.bytes();
    match dice.below(4) {
        0 => quote.truncate(28 + quoted.options.len()),
        1 => quote.truncate(dice.below(quote.len() as u32 + 1) as usize),
        2 => quote.resize(128, 0),
        _ => {}
    }
    let kind_code = [dice.pick(&[3, 3, 3, 4, 5, 11, 12]), dice.pick(&[0, 1, 3, 4, 13, 200])];
    packet::error(
        if dice.one_in(4) { dice.pick(&STRANGE) } else { quoted.dst },
        quoted.src,
        kind_code,
        dice.below(2000) as u16,
        &quote,
    )
}

fn as_seen_outside(dice: &mut Dice, quoted: Ip, known: &[MappingView]) -> Ip {
    let view = &known[dice.below(known.len() as u32) as usize];
    rebuilt(quoted, view.protocol, view.outside, view.remote)
}

fn as_seen_inside(dice: &mut Dice, quoted: Ip, known: &[MappingView]) -> Ip {
    if known.is_empty() || dice.one_in(3) {
        return quoted;
    }
    let view = &known[dice.below(known.len() as u32) as usize];
    rebuilt(quoted, view.protocol, view.remote, view.inside)
}

fn rebuilt(old: Ip, protocol: u8, from: SocketAddrV4, to: SocketAddrV4) -> Ip {
    match protocol {
        UDP => packet::udp(from, to, b"quoted"),
        TCP => packet::tcp(from, to, packet::ACK, 1, b"quoted"),
        ICMP => packet::query(*from.ip(), *to.ip(), 8, from.port().max(to.port()), b"quoted"),
        _ => old,
    }
}

/// Options whose lengths add up to what the header says, or do not.
fn any_options(dice: &mut Dice) -> Vec<u8> {
    let len = 4 * (1 + dice.below(10)) as usize;
    let mut options = Vec::new();
    while options.len() < len {
        match dice.below(5) {
            0 => options.push(0),
            1 => options.push(1),
            _ => {
                let own = dice.pick(&[0, 1, 2, 3, 4, 8, 11, 40, 255]);
                options.extend([dice.below(256) as u8, own]);
                options.extend(2..own.min(12));
            }
        }
    }
    options.truncate(len);
    options
}

/// Makes a piece of it: at any offset, of any length, more of them to come or not.
fn cut(dice: &mut Dice, packet: &mut Ip) {
    let len = packet.payload.len();
    let offset = dice.pick(&[0, 0, 8, 16, 24, 64, 512, 65_528]);
    let from = usize::from(offset).min(len);
    let to = (from + dice.pick(&[0, 1, 7, 8, 16, 24, 48, 700])).min(len);
    packet.payload = packet.payload[from..to].to_vec();
    packet.fragment_offset = offset;
    packet.more_fragments = offset == 0 || dice.one_in(2);
    packet.dont_fragment = dice.one_in(8);
}

/// Changes a byte, mostly one that counts.
fn damage(dice: &mut Dice, frame: &mut [u8]) {
    const PLACES: [usize; 22] =
        [12, 13, 14, 16, 17, 18, 20, 21, 22, 23, 24, 26, 30, 34, 36, 38, 39, 42, 46, 47, 48, 62];
    let at = if dice.one_in(4) { dice.below(frame.len() as u32) as usize } else { dice.pick(&PLACES) };
    if let Some(byte) = frame.get_mut(at) {
        *byte = match dice.below(4) {
            0 => *byte ^ (1 << dice.below(8)),
            1 => 0,
            2 => 0xff,
            _ => dice.below(256) as u8,
        };
    }
}

/// Makes the header's checksum right again, so that what is wrong lies deeper.
fn mend(frame: &mut [u8]) {
    let Some(ip) = frame.get_mut(14..) else { return };
    let header_len = usize::from(ip.first().copied().unwrap_or(0) & 0xf) * 4;
    let Some(header) = ip.get_mut(..header_len).filter(|header| header.len() >= 20) else { return };
    header[10..12].fill(0);
    let sum = packet::checksum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}
