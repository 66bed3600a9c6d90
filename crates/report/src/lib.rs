//! natrig-report
