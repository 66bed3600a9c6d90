//! Tells the program which commit it was built from; outside a checkout it does not know, and says so.

use std::process::Command;

fn main() {
    // In a work tree of its own, these files lie elsewhere than in `.git`.
    for file in ["HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        let dirty = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
        println!("cargo:rustc-env=NATRIG_COMMIT={commit}{}", if dirty { "-dirty" } else { "" });
    }
    println!("cargo:rerun-if-changed=build.rs");
}

fn git(arguments: &[&str]) -> Option<String> {
    // `git status` would write the index anew in a fresh clone, and so have all this built again next time.
    let output = Command::new("git").env("GIT_OPTIONAL_LOCKS", "0").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
