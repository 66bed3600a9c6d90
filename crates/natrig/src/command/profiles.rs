//! `natrig profiles`.

use natrig_nat::Profile;

use super::print;
use crate::args::Profiles;
use crate::exit::{self, Failure, Outcome};

/// Lists the built-in profiles, or prints one as the TOML it is made from.
pub(crate) fn profiles(args: &Profiles) -> Outcome {
    let Some(name) = &args.name else {
        print(&format!("{}\n", Profile::names().join("\n")))?;
        return Ok(exit::OK);
    };
    let Some(text) = Profile::builtin_text(name) else {
        let known = Profile::names().join(", ");
        return Err(Failure::failed(
            exit::USAGE,
            format_args!("there is no profile `{name}`\nhelp: built in are {known}"),
        ));
    };
    print(text)?;
    Ok(exit::OK)
}
