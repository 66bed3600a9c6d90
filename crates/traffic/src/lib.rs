//! natrig-traffic
