//! Kinds of values that only scenarios have.

use super::bounds;
use super::model::{FrameMix, FrameSize, PortRange};
use crate::settings::kinds::{noun, quoted, string, whole};
use crate::settings::{Value, Wrong};

/// Bytes of a frame, or the name of a mixture.
pub fn frame_size(value: &Value<'_>) -> Result<FrameSize, Wrong> {
    let help = || {
        format!(
            "write bytes with FCS from {} to {}, or \"imix\"",
            bounds::FRAME_BYTES.start(),
            bounds::FRAME_BYTES.end()
        )
    };
    let number =
        || whole(bounds::FRAME_BYTES)(value).map(FrameSize::Bytes).map_err(|wrong| Wrong { help: help(), ..wrong });
    match value.get_ref().as_str() {
        Some("imix") => Ok(FrameSize::Mix(FrameMix::Imix)),
        Some(text) => Err(Wrong::new(format!("knows no mixture {}", quoted(text)), help())),
        None if value.get_ref().is_integer() => number(),
        None => {
            Err(Wrong::new(format!("must be a number of bytes or \"imix\", not {}", noun(value.get_ref())), help()))
        }
    }
}

/// A port, or a range of ports as "first-last".
pub fn ports(value: &Value<'_>) -> Result<PortRange, Wrong> {
    const HELP: &str = "write the first and the last port in quotes, for example \"32768-60999\"";
    if value.get_ref().is_integer() {
        return whole(bounds::PORT)(value).map(|port| PortRange { first: port, last: port });
    }
    let text = string(value, "a range of ports", HELP)?;
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| bounds::PORT.contains(port));
    match text.split_once('-').map(|(first, last)| (port(first), port(last))) {
        Some((Some(first), Some(last))) if first <= last => Ok(PortRange { first, last }),
        Some((Some(first), Some(last))) => {
            Err(Wrong::new(format!("ends at {last}, below its start {first}"), format!("write \"{last}-{first}\"")))
        }
        _ => Err(Wrong::new(format!("must be a range of ports from 1 to 65535, not {}", quoted(text)), HELP)),
    }
}
