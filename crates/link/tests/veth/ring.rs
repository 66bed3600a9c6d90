//! Links over rings in mapped BPF arrays.

use crate::netns::{in_fresh_namespace_as_root, veth_pair};
use crate::property;
use natrig_link::FRAME_LEN_MAX;
use natrig_link::ring::{self, RingLink, RingOptions};

fn small_rings() -> RingOptions {
    RingOptions { rx_slots: 512, ..RingOptions::default() }
}

fn open_one(interface: &str, options: &RingOptions) -> RingLink {
    ring::open(&[interface], options).unwrap().remove(0).remove(0)
}

#[test]
fn ring_links_account_for_every_frame() {
    in_fresh_namespace_as_root("ring::ring_links_account_for_every_frame", || {
        veth_pair("left", "right", 1);
        property(24, FRAME_LEN_MAX, || {
            let mut links = ring::open(&["left", "right"], &small_rings()).unwrap();
            let right = links.remove(1).remove(0);
            (links.remove(0).remove(0), right)
        });
    });
}

#[test]
fn ring_links_of_two_arenas_account_for_every_frame() {
    in_fresh_namespace_as_root("ring::ring_links_of_two_arenas_account_for_every_frame", || {
        veth_pair("left", "right", 1);
        property(12, 240, || {
            let options = RingOptions { rx_slots: 300, ..RingOptions::small_frames() };
            (open_one("left", &options), open_one("right", &options))
        });
    });
}
