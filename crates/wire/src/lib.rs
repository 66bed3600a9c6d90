//! natrig-wire
