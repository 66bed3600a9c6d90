//! natrig-bench
