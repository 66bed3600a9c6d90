//! natrig-lab
