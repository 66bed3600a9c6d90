//! Hubble's flows, a JSON object a line (`hubble observe -o json`; cilium, api/v1/flow/flow.proto).

use std::io::BufRead;
use std::net::Ipv4Addr;

use serde_json::Value;

use super::{Flow, Notes, ReadError, each_line};
use crate::census::Census;
use crate::report::Input;
use crate::timing::Protocol;

/// Reads flows into the census.
///
/// # Errors
/// They cannot be read, are none, or none counts.
pub fn read(reader: impl BufRead, file: &str, census: &mut Census) -> Result<Input, ReadError> {
    each_line(reader, Notes::new(file, "hubble"), |notes, line| {
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            if notes.input.lines == 1 {
                return Err(notes.wrong("this is no JSON", "write it with `hubble observe -o json`"));
            }
            notes.skip("no JSON: cut off");
            return Ok(());
        };
        match record(value.get("flow").unwrap_or(&value), census) {
            Ok(()) => notes.input.counted += 1,
            Err(reason) => notes.skip(reason),
        }
        Ok(())
    })
}

fn record(flow: &Value, census: &mut Census) -> Result<(), &'static str> {
    let ip = flow.get("IP").ok_or("no flow: another kind of event")?;
    match flow.get("verdict").and_then(Value::as_str) {
        Some("FORWARDED" | "TRANSLATED" | "REDIRECTED") => {}
        Some(_) | None => return Err("dropped: never reached a translator"),
    }
    if flow.get("is_reply").and_then(Value::as_bool) == Some(true) {
        return Err("does not begin inside: an answer, or a flow from outside");
    }
    if ip.get("ipVersion").and_then(Value::as_str) == Some("IPv6") {
        return Err("IPv6: not translated");
    }
    let l4 = flow.get("l4").ok_or("no ports")?;
    let known = [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp)];
    let found = known.into_iter().find_map(|(name, protocol)| l4.get(name).map(|ends| (protocol, ends)));
    let (protocol, ends) = found.ok_or("of a protocol that is not translated")?;
    let port = |name: &str| ends.get(name).and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    let address = |name: &str| ip.get(name).and_then(Value::as_str).and_then(|text| text.parse::<Ipv4Addr>().ok());
    let ends_of =
        |address: Option<Ipv4Addr>, port: Option<u16>| address.zip(port).ok_or("an address or port that is none");
    let one = Flow::outbound(
        protocol,
        ends_of(address("source"), port("source_port"))?,
        ends_of(address("destination"), port("destination_port"))?,
    )?;
    let time = flow.get("time").and_then(Value::as_str).and_then(seconds).ok_or("no time that can be read")?;
    let flag = |name: &str| ends.get("flags").and_then(|flags| flags.get(name)).and_then(Value::as_bool) == Some(true);
    match protocol {
        Protocol::Tcp if flag("FIN") || flag("RST") => census.closed(&one, time),
        Protocol::Tcp if flag("SYN") => census.opened(&one, time),
        Protocol::Tcp => {}
        Protocol::Udp | Protocol::Icmp => census.interval(&one, time, time, None, 1, 0),
    }
    Ok(())
}

/// Seconds since 1970 of an RFC 3339 time in UTC.
fn seconds(text: &str) -> Option<u64> {
    if !text.is_ascii() || !text.ends_with('Z') || text.len() < 20 {
        return None;
    }
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days from civil (H. Hinnant): years begin in March, so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + part(11..13)? * 3600 + part(14..16)? * 60 + part(17..19)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2024-02-29T12:34:56.789Z"), Some(1_709_210_096));
        assert_eq!(seconds("2024-13-01T00:00:00Z"), None);
        assert_eq!(seconds("yesterday"), None);
    }
}
