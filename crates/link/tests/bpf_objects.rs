//! The committed BPF objects are what the committed source compiles to, wherever the compiler that made them is at hand.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::Path;
use std::process::Command;

const OBJECTS: [&str; 6] = ["ring_256.o", "ring_2112.o", "ring_4160.o", "xsk.o", "redirect.o", "tap.o"];

/// The first line that a command prints, if it can be run.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}

fn disassemble(object: &Path) -> String {
    let output = Command::new("llvm-objdump").arg("-d").arg(object).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // Without the heading, which names the file.
    text.lines().filter(|line| !line.contains("file format")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_committed_objects_are_built_from_the_committed_source() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf");
    let made_with = std::fs::read_to_string(directory.join("compiler")).unwrap();
    let here = first_line(Command::new("clang").arg("--version"));
    let tools = [
        first_line(Command::new("llvm-objdump").arg("--version")),
        first_line(Command::new("llvm-strip").arg("--version")),
    ];
    if here.as_deref() != Some(made_with.trim()) || tools.iter().any(Option::is_none) {
        let here = here.unwrap_or_else(|| "none".to_owned());
        writeln!(std::io::stderr(), "SKIPPED bpf_objects (made with {}, here: {here})", made_with.trim()).unwrap();
        return;
    }
    let fresh = std::env::temp_dir().join(format!("natrig-bpf-objects-{}", std::process::id()));
    std::fs::create_dir_all(&fresh).unwrap();
    let built = Command::new(directory.join("build")).arg(&fresh).status().unwrap();
    let differing: Vec<&str> = OBJECTS
        .into_iter()
        .filter(|object| disassemble(&directory.join(object)) != disassemble(&fresh.join(object)))
        .collect();
    std::fs::remove_dir_all(&fresh).unwrap();
    assert!(built.success());
    assert!(differing.is_empty(), "{differing:?} differ from the source: run crates/link/bpf/build and commit");
    writeln!(std::io::stderr(), "RAN bpf_objects").unwrap();
}
