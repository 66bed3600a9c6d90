//! natrig-link
