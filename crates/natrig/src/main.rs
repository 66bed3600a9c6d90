//! natrig
fn main() {}
