//! Logs as they come: whole, cut off, mixed, or something else.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::Write as _;

use natrig_plan::census::Census;
use natrig_plan::inputs::{ReadError, conntrack, flow_log, hubble, unpacked};
use natrig_plan::report::Input;

const V2: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n";

fn flow_logs(text: &str) -> (Result<Input, ReadError>, Census) {
    let mut census = Census::default();
    (flow_log::read(text.as_bytes(), "log", &mut census), census)
}

fn skipped(input: &Input) -> Vec<(&str, u64, u64)> {
    input
        .skipped
        .iter()
        .map(|skipped| (skipped.reason.split(':').next().unwrap(), skipped.count, skipped.first_line))
        .collect()
}

#[test]
fn the_default_format_with_and_without_a_header() {
    let record = "2 123456789010 eni-1 10.0.1.5 203.0.113.7 49152 443 6 10 840 1700000000 1700000059 ACCEPT OK\n";
    for text in [format!("{V2}{record}"), record.to_owned()] {
        let (input, census) = flow_logs(&text);
        assert_eq!(input.unwrap().counted, 1);
        let demand = &census.demands()[0];
        assert_eq!((demand.name.as_str(), demand.open[1]), ("203.0.113.7:443", 1.0));
    }
}

#[test]
fn custom_formats_change_in_midstream_and_nothing_is_left_out_in_silence() {
    let text = "srcaddr dstaddr srcport dstport protocol start end tcp-flags pkt-srcaddr action\n\
        10.0.1.5 203.0.113.7 1000 443 6 100 110 3 10.0.1.5 ACCEPT\n\
        10.0.1.5 203.0.113.7 1000 443 6 111 120 1 - ACCEPT\n\
        10.0.8.8 203.0.113.7 1000 443 6 100 110 3 10.0.1.5 ACCEPT\n\
        203.0.113.7 10.0.1.5 443 1000 6 100 110 18 203.0.113.7 ACCEPT\n\
        10.0.1.5 10.0.2.5 1000 443 6 100 110 3 10.0.1.5 ACCEPT\n\
        10.0.1.5 203.0.113.7 1000 443 6 100 110 2 10.0.1.5 REJECT\n\
        version start end dstport srcport dstaddr srcaddr protocol log-status\n\
        5 100 130 443 1001 203.0.113.7 10.0.1.6 6 OK\n\
        5 100 130 - - - - - NODATA\n\
        7 100 130 443 1001 203.0.113.7 10.0.1.6 6 OK\n\
        5 130 100 443 1001 203.0.113.7 10.0.1.6 6 OK\n\
        5 100 130 443 1001 2001:db8::1 fd00::1 6 OK\n\
        5 100 130 443 99999 203.0.113.7 10.0.1.6 6 OK\n\
        5 100 130 443 1001 203.0.113.7 10.0.1.6 47 OK\n\
        5 100 130 443 10";
    let (input, census) = flow_logs(text);
    let input = input.unwrap();
    assert_eq!((input.lines, input.counted), (16, 3));
    assert_eq!(
        skipped(&input),
        [
            ("seen a second time, at an interface on the way", 1, 4),
            ("does not begin inside", 1, 5),
            ("stays inside", 1, 6),
            ("REJECT", 1, 7),
            ("NODATA", 1, 10),
            ("of another version than 2 to 5", 1, 11),
            ("an end before its start, or more than a day behind it", 1, 12),
            ("IPv6", 1, 13),
            ("a port that is none", 1, 14),
            ("of a protocol that is not translated", 1, 15),
            ("not as many fields as the header names", 1, 16),
        ]
    );
    // Two headers, three that count, eleven that do not.
    let left_out: u64 = input.skipped.iter().map(|skipped| skipped.count).sum();
    assert_eq!(input.lines, 2 + input.counted + left_out);
    let demand = &census.demands()[0];
    assert_eq!(demand.open, [2.0; 3]);
}

#[test]
fn what_is_no_flow_log_is_one_clear_error() {
    let error = |text: &str| flow_logs(text).0.unwrap_err().to_string();
    assert!(error("hello world\n").contains("line 1") && error("hello world\n").contains("help: begin the file"));
    assert!(error("version srcaddr dstaddr\n").contains("lacks the field `srcport`"));
    assert!(error("").contains("it is empty"));
    assert!(error(&format!("{V2}2 1 eni-1 - - - - - - - 1 2 - NODATA\n")).contains("NODATA"));
    let mut census = Census::default();
    let binary = [b'P', b'A', b'R', b'1', 0xff, b'\n', 0xfe];
    let error = flow_log::read(binary.as_slice(), "log", &mut census).unwrap_err().to_string();
    assert!(error.contains("log, line 1: this is not text") && error.contains("Parquet"), "{error}");
}

/// As S3 has them, and as several of these put together are.
#[test]
fn packed_logs_are_read_and_cut_off_ones_are_an_error() {
    let member = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let record = |pod: u32| {
        format!("2 123456789010 eni-1 10.0.1.{pod} 203.0.113.7 49152 443 6 10 840 1700000000 1700000059 ACCEPT OK\n")
    };
    let packed = [member(&format!("{V2}{}", record(5))), member(&format!("{V2}{}", record(6)))].concat();
    let read = |bytes: &[u8]| {
        let mut census = Census::default();
        flow_log::read(unpacked(bytes).unwrap(), "log.gz", &mut census)
    };
    let input = read(&packed).unwrap();
    assert_eq!((input.lines, input.counted, input.skipped.len()), (4, 2, 0));
    let error = read(&packed[..packed.len() - 9]).unwrap_err();
    assert!(matches!(error, ReadError::Unreadable { .. }), "{error}");
    let mut damaged = packed;
    damaged[20] ^= 0x55;
    assert!(read(&damaged).is_err());
}

#[test]
fn conntrack_lists_and_events() {
    let list = "conntrack v1.4.8 (conntrack-tools): 3 flow entries have been shown.\n\
        tcp      6 431999 ESTABLISHED src=10.0.1.5 dst=203.0.113.7 sport=40000 dport=443 src=203.0.113.7 dst=198.51.100.1 sport=443 dport=40000 [ASSURED] mark=0 use=1\n\
        tcp      6 100 TIME_WAIT src=10.0.1.5 dst=203.0.113.7 sport=40001 dport=443 src=203.0.113.7 dst=198.51.100.1 sport=443 dport=40001 [ASSURED] mark=0 use=1\n\
        udp      17 29 src=10.0.1.5 dst=203.0.113.53 sport=40001 dport=53 [UNREPLIED] src=203.0.113.53 dst=198.51.100.1 sport=53 dport=40001 use=1\n\
        icmp     1 29 src=10.0.1.5 dst=203.0.113.9 type=8 code=0 id=7 src=203.0.113.9 dst=198.51.100.1 type=0 code=0 id=7 use=1\n\
        tcp      6 431999 ESTABLISHED src=10.0.1.5 dst=203.0.11";
    let mut census = Census::default();
    let input = conntrack::read(list.as_bytes(), "list", &mut census).unwrap();
    assert_eq!((input.counted, skipped(&input)), (4, vec![("no ports", 1, 6)]));
    let demands = census.demands();
    let https = demands.iter().find(|demand| demand.name == "203.0.113.7:443").unwrap();
    assert_eq!((https.open[1], https.rate_per_s[1]), (1.0, 1.0 / 120.0));

    let events = "    [NEW] tcp      6 120 SYN_SENT src=10.0.1.5 dst=203.0.113.7 sport=40000 dport=443 [UNREPLIED] src=203.0.113.7 dst=198.51.100.1 sport=443 dport=40000\n";
    let tuple =
        "src=10.0.1.5 dst=203.0.113.7 sport=40000 dport=443 src=203.0.113.7 dst=198.51.100.1 sport=443 dport=40000";
    let stamped = format!(
        "{events}[1700000000.123456]\t{}[1700000001.5]\t [UPDATE] tcp      6 60 SYN_RECV {tuple}\n[1700000009.5]\t [UPDATE] tcp      6 120 TIME_WAIT {tuple} [ASSURED]\n[1700000129.5]\t[DESTROY] tcp      6 {tuple} [ASSURED]\n",
        events.trim_start()
    );
    let mut census = Census::default();
    let input = conntrack::read(stamped.as_bytes(), "events", &mut census).unwrap();
    assert_eq!((input.counted, skipped(&input)), (4, vec![("an event without its time", 1, 1)]));
    assert_eq!(census.demands()[0].open[1], 1.0);
    let error = conntrack::read("hello\n".as_bytes(), "x", &mut census).unwrap_err().to_string();
    assert!(error.contains("neither a line of `conntrack -L`"), "{error}");
}

#[test]
fn hubble_flows() {
    let flow = |time: &str, port: u16, flags: &str, verdict: &str| {
        format!(
            r#"{{"flow":{{"time":"{time}","verdict":"{verdict}","IP":{{"source":"10.0.1.5","destination":"203.0.113.7","ipVersion":"IPv4"}},"l4":{{"TCP":{{"source_port":{port},"destination_port":443,"flags":{{"{flags}":true}}}}}},"is_reply":false}},"node_name":"n"}}"#
        )
    };
    let text = [
        flow("2024-01-01T00:00:00.1Z", 1, "SYN", "FORWARDED"),
        flow("2024-01-01T00:00:01Z", 2, "SYN", "FORWARDED"),
        flow("2024-01-01T00:00:01Z", 2, "ACK", "FORWARDED"),
        flow("2024-01-01T00:00:03Z", 2, "FIN", "FORWARDED"),
        flow("2024-01-01T00:00:04Z", 3, "SYN", "DROPPED"),
        r#"{"lost_events":{"num_events_lost":3}}"#.to_owned(),
        "{\"flow\":{\"ti".to_owned(),
    ]
    .join("\n");
    let mut census = Census::default();
    let input = hubble::read(text.as_bytes(), "flows", &mut census).unwrap();
    assert_eq!(input.counted, 4);
    assert_eq!(skipped(&input), [("dropped", 1, 5), ("no flow", 1, 6), ("no JSON", 1, 7)]);
    assert_eq!(census.demands()[0].open[1], 2.0);
    assert!(
        hubble::read("x\n".as_bytes(), "x", &mut census).unwrap_err().to_string().contains("hubble observe -o json")
    );
}
