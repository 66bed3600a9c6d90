//! What a translator has to stand: frames that nobody sane sends, floods, and keys that were chosen to collide.
//!
//! `NATRIG_NIGHTLY=1` sends a hundred million random frames (`--release`), `NATRIG_FRAMES` any other number; `NATRIG_SEED` says where the
//! stream begins (each seed is some 40,000 frames through all profiles), so that a long run may be cut into pieces.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod case;
mod corpus;
#[path = "../support/dice.rs"]
mod dice;
mod floods;
#[expect(dead_code, reason = "a part of it is for other tests")]
#[path = "../support/foreign.rs"]
mod foreign;
mod mutants;
#[expect(dead_code, reason = "a part of it is for other tests")]
#[path = "../support/packet.rs"]
mod packet;
mod random_input;
mod registers;
#[path = "../support/rig.rs"]
mod rig;
