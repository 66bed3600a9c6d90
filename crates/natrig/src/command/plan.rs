//! `natrig plan`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use natrig_plan::census::Census;
use natrig_plan::fleet::Fleet;
use natrig_plan::inputs::{ReadError, conntrack, flow_log, hubble, unpacked};
use natrig_plan::report::Input;
use natrig_plan::{analysis, demand, view};

use super::{print, terminal_options};
use crate::args::{Format, Plan};
use crate::exit::{self, Failure, Outcome};

/// Bytes read from a log at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Reads one kind of log.
type Reader = fn(Box<dyn BufRead>, &str, &mut Census) -> Result<Input, ReadError>;

/// Plans for a fleet, as described or as logged.
pub(crate) fn plan(args: &Plan) -> Outcome {
    let mut fleet = match &args.fleet {
        None => Fleet::default(),
        Some(path) => Fleet::load(path).map_err(|error| Failure::new(exit::USAGE, error))?,
    };
    let logs = args.flow_logs.len() + args.conntrack.len() + args.hubble.len();
    if logs == 0 && fleet.destinations.is_empty() {
        let hint = "help: name a fleet file with [[destination]] sections, as bench-configs/plan-fleet.toml, or logs: --flow-logs, --conntrack, --hubble";
        return Err(Failure::failed(exit::USAGE, format_args!("there is nothing to plan for\n{hint}")));
    }
    let profiles = fleet.profiles().map_err(|error| Failure::failed(exit::USAGE, error))?;
    let mut inputs = Vec::new();
    let mut warnings = Vec::new();
    let mut demands = demand::of_fleet(&fleet);
    if logs > 0 {
        let mut census = Census::default();
        let kinds: [(&[PathBuf], Reader); 3] = [
            (&args.flow_logs, |reader, file, census| flow_log::read(reader, file, census)),
            (&args.conntrack, |reader, file, census| conntrack::read(reader, file, census)),
            (&args.hubble, |reader, file, census| hubble::read(reader, file, census)),
        ];
        for (files, read) in kinds {
            for file in files {
                inputs.push(read_log(file, read, &mut census)?);
            }
        }
        warnings = census.warnings();
        demands = census.demands();
        if args.fleet.is_none() {
            fleet.pods = census.inside().max(1);
            warnings.push(
                "no fleet file: one node, one gateway address, and the pods that the logs show are assumed".to_owned(),
            );
        }
    }
    let mut plan = analysis::plan(&fleet, &profiles, demands, inputs);
    plan.warnings.splice(0..0, warnings);
    let json = serde_json::to_string_pretty(&plan)
        .map_err(|error| Failure::failed(exit::FAILED, format_args!("failed to write JSON: {error}")))?
        + "\n";
    if let Some(directory) = &args.out {
        let pages =
            [("plan.json", &json), ("plan.md", &view::document(&plan).markdown()), ("plan.html", &view::html(&plan))];
        write(directory, &pages)?;
    }
    let text = match args.format {
        _ if args.json => json,
        Format::Terminal => view::document(&plan).terminal(terminal_options()),
        Format::Markdown => view::document(&plan).markdown(),
        Format::Html => view::html(&plan),
    };
    print(&text)?;
    Ok(exit::OK)
}

fn write(directory: &Path, pages: &[(&str, &String)]) -> Result<(), Failure> {
    let failed =
        |path: &Path, error| Failure::failed(exit::FAILED, format_args!("failed to write {}: {error}", path.display()));
    fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    for (name, page) in pages {
        let path = directory.join(name);
        fs::write(&path, page).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

fn read_log(file: &Path, read: Reader, census: &mut Census) -> Result<Input, Failure> {
    let name = file.display().to_string();
    let unreadable = |error| Failure::failed(exit::USAGE, format_args!("failed to read {name}: {error}"));
    let reader = if name == "-" {
        unpacked(BufReader::with_capacity(BUFFER_BYTES, io::stdin()))
    } else {
        unpacked(BufReader::with_capacity(BUFFER_BYTES, File::open(file).map_err(unreadable)?))
    };
    read(reader.map_err(unreadable)?, &name, census).map_err(|error| Failure::failed(exit::USAGE, error))
}
