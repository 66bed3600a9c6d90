//! Flow log records a second on one core, and the memory that they take, however many there are.
//!
//! Records are made as they are read, as AWS writes them: a day of them, answers among them, to more destinations than are kept. Bytes are
//! made from a stock of lines of which every second the times are written anew, so that making them costs little beside reading them.
//! `NATRIG_RECORDS=100000000` reads so many; without it, ten million.
#![expect(clippy::print_stdout, reason = "this is what the program is for")]

use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use natrig_plan::census::Census;
use natrig_plan::inputs::{flow_log, unpacked};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

const HEADER: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n";
const BEGAN_S: u64 = 1_700_000_000;
const DAY_S: u64 = 86_400;
/// Records that differ in more than their times and source ports.
const STOCK: usize = 1 << 16;
/// Memory that reading may take, whatever it reads.
const MEMORY_MAX_MIB: u64 = 400;

/// A log of so many records, made as it is read.
struct Log {
    stock: Vec<String>,
    records: u64,
    made: u64,
    line: Vec<u8>,
    read: usize,
    rng: Pcg64Mcg,
}

impl Log {
    fn new(records: u64) -> Self {
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let stock = (0..STOCK).map(|_| {
            let pod: u32 = rng.random_range(0..100_000);
            // Some destinations are much more popular than others, of more than there is room for.
            let far = (rng.random::<f64>().powi(6) * 20_000.0) as u32;
            let pod = format!("10.{}.{}.{}", pod >> 16, pod >> 8 & 255, pod & 255);
            let far = format!("203.{}.{}.{}", far >> 16, far >> 8 & 255, far & 255);
            // Of every connection AWS records both directions.
            if rng.random() {
                format!("2 123456789010 eni-0a1b2c3d4e5f60718 {pod} {far} P 443 6")
            } else {
                format!("2 123456789010 eni-0a1b2c3d4e5f60718 {far} {pod} 443 P 6")
            }
        });
        Self { stock: stock.collect(), records, made: 0, line: HEADER.into(), read: 0, rng: Pcg64Mcg::seed_from_u64(2) }
    }

    fn make(&mut self) {
        self.line.clear();
        self.read = 0;
        if self.made == self.records {
            return;
        }
        let start_s = BEGAN_S + self.made * DAY_S / self.records;
        self.made += 1;
        let drawn: u64 = self.rng.random();
        let ends = &self.stock[drawn as usize % STOCK];
        let (before, after) = ends.split_once('P').unwrap_or((ends, ""));
        let (port, packets) = (32_768 + (drawn >> 32) % 28_232, 1 + (drawn >> 48) % 64);
        let end_s = start_s + 1 + (drawn >> 56) % 59;
        let bytes = packets * 700;
        // Writing to memory does not fail.
        let _ = writeln!(self.line, "{before}{port}{after} {packets} {bytes} {start_s} {end_s} ACCEPT OK");
    }
}

impl Read for Log {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.read == self.line.len() {
                self.make();
                if self.line.is_empty() {
                    break;
                }
            }
            let count = (buffer.len() - filled).min(self.line.len() - self.read);
            buffer[filled..filled + count].copy_from_slice(&self.line[self.read..self.read + count]);
            filled += count;
            self.read += count;
        }
        Ok(filled)
    }
}

fn main() {
    // `cargo test --benches` passes no such word.
    let measures = std::env::args().any(|word| word == "--bench");
    let asked = std::env::var("NATRIG_RECORDS").ok().and_then(|records| records.parse().ok());
    let records: u64 = if measures { asked.unwrap_or(10_000_000) } else { 20_000 };
    let made = io::copy(&mut Log::new(records.min(1_000_000)), &mut io::sink());
    let began = Instant::now();
    let bytes = io::copy(&mut Log::new(records.min(1_000_000)), &mut io::sink()).unwrap_or(0);
    black_box(made.ok());
    let making_s = began.elapsed().as_secs_f64() / records.min(1_000_000) as f64;
    println!(
        "a record has {:.0} bytes; making one takes {:.0} ns, which is not counted below",
        bytes as f64 / records.min(1_000_000) as f64,
        making_s * 1e9
    );
    let tenth = records / 10;
    for count in [tenth, records] {
        ingest(count, making_s, BufReader::with_capacity(1 << 20, Log::new(count)), "text");
    }
    // Packed once and read again and again, as files of S3 that were put together.
    let member = packed(tenth.min(1_000_000));
    let members = records / tenth.min(1_000_000);
    println!("packed: {:.1} bytes a record", member.len() as f64 / tenth.min(1_000_000) as f64);
    let repeated = Repeated { member: &member, at: 0, left: members.min(10) };
    ingest(tenth.min(1_000_000) * members.min(10), 0.0, BufReader::with_capacity(1 << 20, repeated), "gzip");
}

fn packed(records: u64) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    io::copy(&mut Log::new(records), &mut encoder).and_then(|_| encoder.finish()).expect("memory is large enough")
}

struct Repeated<'m> {
    member: &'m [u8],
    at: usize,
    left: u64,
}

impl Read for Repeated<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.member.len() {
            self.left -= 1;
            self.at = 0;
        }
        if self.left == 0 {
            return Ok(0);
        }
        let count = buffer.len().min(self.member.len() - self.at);
        buffer[..count].copy_from_slice(&self.member[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn ingest(records: u64, making_s: f64, log: impl BufRead, what: &str) {
    let mut census = Census::default();
    let began = Instant::now();
    let reader = unpacked(log).expect("it is made in memory");
    let input = flow_log::read(reader, "made", &mut census).expect("it is a flow log");
    let seconds = began.elapsed().as_secs_f64() - records as f64 * making_s;
    let left_out: u64 = input.skipped.iter().map(|skipped| skipped.count).sum();
    assert!(input.counted + left_out >= records, "{} and {left_out} of {records}", input.counted);
    let peak_mib = peak_mib();
    println!(
        "{what}: {records} records in {seconds:.1} s, {:.2} M/s; {} count; {} destinations kept; peak memory {peak_mib} MiB; 100 M records: {:.0} s",
        records as f64 / seconds / 1e6,
        input.counted,
        census.demands().len(),
        100e6 * seconds / records as f64,
    );
    assert!(peak_mib <= MEMORY_MAX_MIB, "{peak_mib} MiB");
}

/// The most memory that this process has had (proc(5), `VmHWM`); zero where that cannot be known.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}
