//! What `conntrack -L` lists, and what `conntrack -E -o timestamp` tells as it happens (conntrack-tools).

use std::io::BufRead;
use std::net::Ipv4Addr;

use super::{Flow, Notes, ReadError, each_line};
use crate::census::Census;
use crate::report::Input;
use crate::timing::Protocol;

/// Reads a list or events into the census.
///
/// # Errors
/// It cannot be read, is neither, or has no record that counts.
pub fn read(reader: impl BufRead, file: &str, census: &mut Census) -> Result<Input, ReadError> {
    each_line(reader, Notes::new(file, "conntrack"), |notes, line| {
        if line.starts_with("conntrack v") {
            return Ok(());
        }
        let first = notes.input.counted == 0 && notes.input.skipped.is_empty();
        match record(line, census) {
            Ok(()) => notes.input.counted += 1,
            Err(NO_TUPLE) if first => {
                return Err(notes.wrong(
                    "this is neither a line of `conntrack -L` nor of `conntrack -E -o timestamp`",
                    "write it with one of these commands",
                ));
            }
            Err(reason) => notes.skip(reason),
        }
        Ok(())
    })
}

const NO_TUPLE: &str = "no source and destination: cut off, or no line of conntrack's";

fn record(line: &str, census: &mut Census) -> Result<(), &'static str> {
    let (mut protocol, mut state, mut event, mut time_s) = (None, "", None, None);
    let (mut source, mut destination, mut source_port, mut destination_port) = (None, None, None, None);
    for word in line.split_ascii_whitespace() {
        if let Some((name, value)) = word.split_once('=') {
            // The first direction is the one that began; the second follows.
            match name {
                "src" if source.is_some() => break,
                "src" => source = Some(value),
                "dst" => destination = Some(value),
                "sport" => source_port = value.parse::<u16>().ok(),
                "dport" => destination_port = value.parse::<u16>().ok(),
                "id" => source_port = source_port.or_else(|| value.parse().ok()),
                _ => {}
            }
            continue;
        }
        match word {
            "tcp" => protocol = Some(Protocol::Tcp),
            "udp" => protocol = Some(Protocol::Udp),
            "icmp" => protocol = Some(Protocol::Icmp),
            "[NEW]" | "[UPDATE]" | "[DESTROY]" => event = Some(word),
            _ if word.starts_with('[') && word.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => {
                time_s = word.trim_matches(['[', ']']).parse::<f64>().ok();
            }
            _ if word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte == b'2') => state = word,
            _ => {}
        }
    }
    let (source, destination) = source.zip(destination).ok_or(NO_TUPLE)?;
    if source.contains(':') {
        return Err("IPv6: not translated");
    }
    let address = |text: &str| text.parse::<Ipv4Addr>().map_err(|_| "an address that is none");
    let protocol = protocol.ok_or("of a protocol that is not translated")?;
    let ports = if protocol == Protocol::Icmp {
        (source_port.unwrap_or(0), 0)
    } else {
        source_port.zip(destination_port).ok_or("no ports: cut off")?
    };
    let flow = Flow::outbound(protocol, (address(source)?, ports.0), (address(destination)?, ports.1))?;
    let closed = matches!(state, "TIME_WAIT" | "CLOSE" | "LAST_ACK");
    let Some(event) = event else {
        census.listed(&flow, closed);
        return Ok(());
    };
    let now_s = time_s.filter(|time| *time >= 0.0).ok_or("an event without its time: -o timestamp is missing")? as u64;
    match event {
        "[NEW]" => census.opened(&flow, now_s),
        "[DESTROY]" => census.closed(&flow, now_s),
        _ if closed => census.closed(&flow, now_s),
        _ => {}
    }
    Ok(())
}
