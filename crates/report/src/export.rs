//! Results in the forms of other programs.

use std::fmt::Write as _;

use natrig_bench::result::{CurvePoint, DesignSummary, Figure, Interval, RunResult};
use serde_json::{Map, Value, json};

/// The figures of a design that exporters write.
fn figures(summary: &DesignSummary) -> impl Iterator<Item = (Figure, &Interval)> {
    [
        (Figure::RatePps, &summary.rate_pps),
        (Figure::NsPerPacket, &summary.ns_per_packet),
        (Figure::CpuNsPerPacket, &summary.cpu_ns_per_packet),
        (Figure::LatencyNsP50, &summary.latency_ns_p50),
        (Figure::LatencyNsP99, &summary.latency_ns_p99),
        (Figure::LatencyNsP999, &summary.latency_ns_p999),
        (Figure::ConnectionsPerS, &summary.connections_per_s),
    ]
    .into_iter()
    .filter_map(|(figure, interval)| Some((figure, interval.as_ref()?)))
}

/// Comma-separated values (RFC 4180): a line for each figure of each design.
pub fn csv(result: &RunResult) -> String {
    let mut text = "engines,design,frame_size,figure,median,low,high,confidence,rounds\r\n".to_owned();
    for summary in &result.designs {
        for (figure, Interval { median, low, high, confidence, rounds }) in figures(summary) {
            let DesignSummary { engines, design, frame_size, .. } = summary;
            let figure = figure.name();
            let _ = write!(
                text,
                "{engines},{design},{frame_size},{figure},{median},{low},{high},{confidence},{rounds}\r\n"
            );
        }
    }
    text
}

/// OpenMetrics 1.0 text: gauges with labels.
pub fn openmetrics(result: &RunResult) -> String {
    let mut text = String::new();
    for figure in Figure::ALL {
        let name = format!("natrig_{}", figure.name());
        let mut samples = String::new();
        for summary in &result.designs {
            let of = figures(summary).filter(|(other, _)| *other == figure);
            for (_, interval) in of {
                let DesignSummary { engines, design, frame_size, .. } = summary;
                for (bound, value) in [("median", interval.median), ("low", interval.low), ("high", interval.high)] {
                    let labels =
                        format!(r#"engines="{engines}",design="{design}",frame_size="{frame_size}",value="{bound}""#);
                    let _ = writeln!(samples, "{name}{{{labels}}} {value}");
                }
            }
        }
        if !samples.is_empty() {
            let _ =
                write!(text, "# TYPE {name} gauge\n# HELP {name} Median over rounds, with its interval.\n{samples}");
        }
    }
    text + "# EOF\n"
}

/// Percentile curves as HdrHistogram's plotter reads them, in microseconds; a comment names the design.
pub fn hgrm(result: &RunResult) -> String {
    let mut text = String::new();
    for summary in &result.designs {
        let Some(latency) = summary.latency.filter(|_| !summary.latency_curve.is_empty()) else { continue };
        let DesignSummary { engines, design, frame_size, .. } = summary;
        let samples = latency.intended_to_received.samples;
        let _ = writeln!(text, "#[design {design}, engines {engines}, frames {frame_size}, {samples} samples]");
        text.push_str("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
        for CurvePoint { quantile, ns } in &summary.latency_curve {
            let count = (quantile * samples as f64).round() as u64;
            let rest = 1.0 / (1.0 - quantile);
            let _ = writeln!(text, "{:12.3} {quantile:14.12} {count:10} {rest:14.2}", *ns as f64 / 1e3);
        }
    }
    text
}

/// Bencher Metric Format.
pub fn bmf(result: &RunResult) -> Value {
    let of = |summary: &DesignSummary| {
        let measure = |(figure, interval): (Figure, &Interval)| {
            let Interval { median, low, high, .. } = interval;
            (figure.name().to_owned(), json!({ "value": median, "lower_value": low, "upper_value": high }))
        };
        let DesignSummary { engines, design, frame_size, .. } = summary;
        (
            format!("{engines}/{design}/{frame_size}"),
            Value::Object(figures(summary).map(measure).collect::<Map<_, _>>()),
        )
    };
    Value::Object(result.designs.iter().map(of).collect())
}

/// For github-action-benchmark's tool `customSmallerIsBetter`: times as they are, rates as nanoseconds from frame to frame.
pub fn github(result: &RunResult) -> Value {
    let entry = |summary: &DesignSummary, (figure, interval): (Figure, &Interval)| {
        let DesignSummary { engines, design, frame_size, .. } = summary;
        let (name, [value, low, high]) = if figure == Figure::RatePps {
            ("ns_from_frame_to_frame", [interval.median, interval.high, interval.low].map(|pps| 1e9 / pps))
        } else {
            (figure.name(), [interval.median, interval.low, interval.high])
        };
        json!({
            "name": format!("{engines}/{design}/{frame_size}/{name}"),
            "unit": "ns",
            "value": value,
            "range": format!("{low} to {high}"),
        })
    };
    let all = result.designs.iter().flat_map(|summary| figures(summary).map(move |figure| entry(summary, figure)));
    Value::Array(all.filter(|entry| entry["value"].is_number()).collect())
}
