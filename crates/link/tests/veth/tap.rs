//! Frames that the kernel stamps.

use crate::netns::{in_fresh_namespace_as_root, in_user_namespace, veth_pair};
use aya::programs::{SchedClassifier, TcAttachType};
use natrig_link::kernel_tap::{ForwardingTap, KernelTap};
use natrig_link::passage::Sample;
use natrig_link::pnet::PnetLink;
use natrig_link::redirect::Redirect;
use natrig_link::ring::{self, RingOptions};
use natrig_link::{Link, OpenError, clock};
use natrig_wire::Frame;

/// Where keys stand in the frames of these tests.
const KEY_AT: usize = 42;

/// One frame in four.
fn one_in_four() -> Sample {
    Sample::of(4, 1, KEY_AT)
}

/// Sends the frames 0 to 63 of flow 5, of an Ethernet type that nobody knows.
fn send(link: &mut dyn Link) {
    for seq in 0..64u32 {
        let mut bytes = [0xee; 60];
        bytes[KEY_AT..KEY_AT + 4].copy_from_slice(&5u32.to_be_bytes());
        bytes[KEY_AT + 4..KEY_AT + 8].copy_from_slice(&seq.to_be_bytes());
        let len = bytes.len();
        assert_eq!(link.send(&[Frame::new(&mut bytes, len)], &[0]).unwrap(), 1);
    }
}

/// What of them a sample of one in four has.
fn chosen() -> Vec<u64> {
    (0..64).filter_map(|seq| one_in_four().choose(5, seq)).collect()
}

fn receive(link: &mut dyn Link, mut frames: usize) {
    while frames > 0 {
        frames -= link.recv(64, &mut |_| {}).unwrap();
    }
}

/// Whether a program sees what comes to an interface of this namespace, or leaves it.
pub(crate) fn is_tapped(interface: &str) -> bool {
    let count = |end| SchedClassifier::query_tcx(interface, end).unwrap().1.len();
    count(TcAttachType::Ingress) + count(TcAttachType::Egress) > 0
}

#[test]
fn what_comes_and_leaves_is_stamped() {
    in_fresh_namespace_as_root("tap::what_comes_and_leaves_is_stamped", || {
        veth_pair("left", "right", 1);
        let mut link = PnetLink::open("left").unwrap();
        // The wrong way round, so that a single pair does: what leaves by the left end comes to the right one.
        let mut tap = ForwardingTap::between("right", "left").unwrap();
        assert!(!is_tapped("left") && !is_tapped("right"), "nothing is to be stamped yet");
        assert_eq!(tap.clock_off_ns().unwrap(), 0);
        for _ in 0..2 {
            tap.begin(Some(one_in_four())).unwrap();
            assert!(is_tapped("left") && is_tapped("right"));
            let before_ns = clock::now_ns();
            send(&mut link);
            while tap.passages().len() < chosen().len() {
                std::thread::yield_now();
            }
            let after_ns = clock::now_ns();
            let passages = tap.passages();
            assert_eq!(passages.iter().map(|passage| passage.key).collect::<Vec<_>>(), chosen());
            assert!(passages.iter().map(|passage| passage.in_ns).is_sorted());
            for passage in passages {
                assert!(before_ns < passage.out_ns && passage.out_ns < passage.in_ns && passage.in_ns < after_ns);
            }
        }
        tap.begin(None).unwrap();
        assert!(tap.passages().is_empty() && !is_tapped("left") && !is_tapped("right"));
        tap.begin(Some(one_in_four())).unwrap();
        drop(tap);
        assert!(!is_tapped("left") && !is_tapped("right"));
    });
}

#[test]
fn a_redirect_stamps_one_way() {
    in_fresh_namespace_as_root("tap::a_redirect_stamps_one_way", || {
        veth_pair("left", "first", 1);
        veth_pair("second", "right", 1);
        let mut redirect = Redirect::between("first", "second").unwrap();
        let mut links: Vec<_> =
            ring::open(&["left", "right"], &RingOptions::small_frames()).unwrap().into_iter().flatten().collect();
        let [left, right] = &mut links[..] else { panic!("two links") };
        assert_eq!(redirect.clock_off_ns().unwrap(), 0);
        redirect.begin(Some(one_in_four())).unwrap();
        send(right);
        receive(left, 64);
        assert_eq!(redirect.passages(), []);
        send(left);
        receive(right, 64);
        let passages = redirect.passages();
        assert_eq!(passages.iter().map(|passage| passage.key).collect::<Vec<_>>(), chosen());
        assert!(passages.iter().all(|passage| passage.in_ns < passage.out_ns), "{passages:?}");
        redirect.begin(None).unwrap();
        send(left);
        receive(right, 64);
        assert_eq!(redirect.passages(), []);
    });
}

#[test]
fn without_privileges_there_is_no_tap() {
    in_user_namespace("tap::without_privileges_there_is_no_tap", || {
        let refused = ForwardingTap::between("left", "right").unwrap_err();
        assert!(matches!(refused, OpenError::NotPermitted { .. }), "{refused}");
    });
}
