//! AWS VPC Flow Logs as text: the default format (version 2), and custom formats of versions 2 to 5 with a header line that names the
//! fields (VPC user guide, "Flow log records").

use std::io::BufRead;
use std::net::Ipv4Addr;

use super::{Flow, Notes, ReadError, each_line};
use crate::census::Census;
use crate::report::Input;
use crate::timing::Protocol;

/// Fields of the default format, in order.
const DEFAULT: [&str; 14] = [
    "version",
    "account-id",
    "interface-id",
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "protocol",
    "packets",
    "bytes",
    "start",
    "end",
    "action",
    "log-status",
];
/// Fields without which a record says nothing.
const NEEDED: [&str; 7] = ["srcaddr", "dstaddr", "srcport", "dstport", "protocol", "start", "end"];
const FIELDS_MAX: usize = 64;

const SYN: u16 = 2;
const ACK: u16 = 16;

/// Where each field stands.
struct Columns {
    count: usize,
    needed: [usize; 7],
    version: Option<usize>,
    packets: Option<usize>,
    bytes: Option<usize>,
    action: Option<usize>,
    status: Option<usize>,
    flags: Option<usize>,
    original_source: Option<usize>,
}

impl Columns {
    /// Of a header; the name of a field that is missing.
    fn of(names: &[&str]) -> Result<Self, &'static str> {
        let find = |name: &str| names.iter().position(|other| other.replace('_', "-") == name);
        let mut needed = [0; 7];
        for (slot, name) in needed.iter_mut().zip(NEEDED) {
            *slot = find(name).ok_or(name)?;
        }
        Ok(Self {
            count: names.len(),
            needed,
            version: find("version"),
            packets: find("packets"),
            bytes: find("bytes"),
            action: find("action"),
            status: find("log-status"),
            flags: find("tcp-flags"),
            original_source: find("pkt-srcaddr"),
        })
    }
}

/// Reads a flow log into the census.
///
/// # Errors
/// It cannot be read, is no flow log, or has no record that counts.
pub fn read(reader: impl BufRead, file: &str, census: &mut Census) -> Result<Input, ReadError> {
    let mut columns: Option<Columns> = None;
    each_line(reader, Notes::new(file, "flow-logs"), |notes, line| {
        let mut fields = [""; FIELDS_MAX];
        let mut count = 0;
        for field in line.split_ascii_whitespace() {
            let Some(slot) = fields.get_mut(count) else { break };
            *slot = field;
            count += 1;
        }
        let fields = &fields[..count];
        if fields.iter().any(|field| matches!(*field, "srcaddr" | "pkt-srcaddr")) {
            // Files that were put together have a header each, and perhaps not the same one.
            let found = Columns::of(fields).map_err(|field| {
                notes.wrong(
                    format!("the header lacks the field `{field}`"),
                    "a custom format needs srcaddr, dstaddr, srcport, dstport, protocol, start and end",
                )
            })?;
            columns = Some(found);
            return Ok(());
        }
        let columns = match &mut columns {
            Some(columns) => columns,
            none => {
                if fields.len() != DEFAULT.len() || fields[0] != "2" {
                    return Err(notes.wrong(
                        "this is no record of the default format, and no header says which other it is",
                        "begin the file with a line of field names, as AWS writes it to S3",
                    ));
                }
                none.insert(Columns::of(&DEFAULT).map_err(|field| notes.wrong(field, ""))?)
            }
        };
        match record(columns, fields, census) {
            Ok(()) => notes.input.counted += 1,
            Err(reason) => notes.skip(reason),
        }
        Ok(())
    })
}

fn record(columns: &Columns, fields: &[&str], census: &mut Census) -> Result<(), &'static str> {
    if fields.len() != columns.count {
        return Err("not as many fields as the header names: cut off, or of another format");
    }
    let at = |column: Option<usize>| column.map(|column| fields[column]);
    if at(columns.version).is_some_and(|version| !matches!(version, "2" | "3" | "4" | "5")) {
        return Err("of another version than 2 to 5");
    }
    match at(columns.status) {
        Some("NODATA") => return Err("NODATA: nothing happened in the interval"),
        Some("SKIPDATA") => return Err("SKIPDATA: AWS has lost records"),
        Some(_) | None => {}
    }
    if at(columns.action) == Some("REJECT") {
        return Err("REJECT: never reached a translator");
    }
    let [source, destination, source_port, destination_port, protocol, start, end] =
        columns.needed.map(|at| fields[at]);
    if source.contains(':') {
        return Err("IPv6: not translated");
    }
    let number = |text: &str| text.parse::<u64>().map_err(|_| "a field that is not a number");
    let address = |text: &str| text.parse::<Ipv4Addr>().map_err(|_| "an address that is none");
    let port = |text: &str| text.parse::<u16>().map_err(|_| "a port that is none");
    let protocol = u8::try_from(number(protocol)?).ok().and_then(Protocol::of_number);
    let protocol = protocol.ok_or("of a protocol that is not translated")?;
    let (start, end) = (number(start)?, number(end)?);
    if end < start || end - start > 86_400 {
        return Err("an end before its start, or more than a day behind it");
    }
    let from = address(source)?;
    if at(columns.original_source).is_some_and(|original| original != "-" && original != source) {
        return Err("seen a second time, at an interface on the way");
    }
    let flow = Flow::outbound(protocol, (from, port(source_port)?), (address(destination)?, port(destination_port)?))?;
    let flags = match at(columns.flags) {
        Some("-") | None => None,
        Some(flags) => Some(number(flags)? as u16),
    };
    let opened = flags.filter(|_| protocol == Protocol::Tcp).map(|flags| flags & SYN != 0 && flags & ACK == 0);
    let amount = |column| at(column).map_or(Ok(0), number);
    census.interval(&flow, start, end, opened, amount(columns.packets)?, amount(columns.bytes)?);
    Ok(())
}
