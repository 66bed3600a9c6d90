//! natrig-nat
