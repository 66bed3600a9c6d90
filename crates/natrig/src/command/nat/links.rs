//! The two interfaces, and the links to them.

use natrig_lab::interface::{Interface, kernel_addresses};
use natrig_link::complete::Complete;
use natrig_link::packet::{PacketLink, PacketOptions, Promiscuous};
use natrig_link::pnet::PnetLink;
use natrig_link::ring::{self, RingOptions};
use natrig_link::xdp::{self, XdpOptions};
use natrig_link::{FRAME_LEN_MAX, Link, LinkKind, OpenError, available, brings_whole_segments};
use natrig_wire::{MacAddr, ethernet};

use super::settings::{Settings, wrong};
use crate::args::nat::{LinkChoice, MacChoice};
use crate::exit::{self, Failure};

/// The interfaces, inside and outside, as the kernel knows them.
#[derive(Debug)]
pub(super) struct Interfaces {
    pub(super) both: [Interface; 2],
}

/// Links to both.
pub(super) struct Links {
    pub(super) inside: Box<dyn Link>,
    pub(super) outside: Box<dyn Link>,
    pub(super) kind: LinkKind,
    /// Why it is not a faster kind.
    pub(super) passed_over: Vec<String>,
    _promiscuous: Vec<Promiscuous>,
}

impl Interfaces {
    /// # Errors
    /// One of them is not there or not usable, or the kernel would interfere.
    pub(super) fn find(settings: &Settings) -> Result<Self, Failure> {
        let find = |name: &str| Interface::find(name).map_err(|error| wrong(format_args!("failed to {error}")));
        let both = [find(&settings.inside)?, find(&settings.outside)?];
        Ok(Self { both })
    }

    /// The addresses must not be the kernel's: it would answer for them too.
    ///
    /// # Errors
    /// It has one of them.
    pub(super) fn check_addresses(settings: &Settings) -> Result<(), Failure> {
        let owned = kernel_addresses().map_err(|error| {
            Failure::failed(exit::FAILED, format_args!("failed to ask for the kernel's addresses: {error}"))
        })?;
        for address in settings.addresses() {
            if let Some((interface, _)) = owned.iter().find(|(_, owned)| *owned == address) {
                return Err(wrong(format_args!(
                    "the kernel has {address} on {interface} and would answer for it as well\nhelp: take it away (ip address del \
                     {address} dev {interface}), or give natrig another address"
                )));
            }
        }
        Ok(())
    }

    /// The MAC addresses to speak from.
    pub(super) fn macs(&self, choice: MacChoice) -> [MacAddr; 2] {
        match choice {
            MacChoice::Virtual => [self.both[0].second_mac(), self.both[1].second_mac()],
            MacChoice::Interface => [self.both[0].mac, self.both[1].mac],
        }
    }

    pub(super) fn mtus(&self) -> [u32; 2] {
        [self.both[0].mtu, self.both[1].mtu]
    }

    /// # Errors
    /// No link of the kind that is wished for can be opened, or, with `auto`, none at all.
    pub(super) fn open(&self, settings: &Settings) -> Result<Links, Failure> {
        let no_xdp = if settings.link == LinkChoice::Auto { self.why_no_xdp() } else { None };
        let kinds: &[LinkKind] = match settings.link {
            LinkChoice::Auto if no_xdp.is_some() => &[LinkKind::Packet],
            LinkChoice::Auto => &[LinkKind::Ring, LinkKind::Xdp, LinkKind::Packet],
            LinkChoice::Ring => &[LinkKind::Ring],
            LinkChoice::Xdp => &[LinkKind::Xdp],
            LinkChoice::Packet => &[LinkKind::Packet],
            LinkChoice::Pnet => &[LinkKind::Pnet],
        };
        let mut passed_over: Vec<String> = no_xdp.map(|why| format!("ring, xdp: {why}")).into_iter().collect();
        for kind in kinds {
            self.check_forwarding(*kind, settings.mac)?;
            match available(*kind).and_then(|()| self.open_kind(*kind)) {
                Ok(links) => return Ok(Links { passed_over, ..links }),
                Err(error) => passed_over.push(format!("{kind}: {}", with_cause(&error))),
            }
        }
        let reasons = passed_over.join("\n       ");
        Err(Failure::failed(
            exit::ENVIRONMENT,
            format_args!("failed to open links to {} and {}\n       {reasons}", self.both[0].name, self.both[1].name),
        ))
    }

    /// Why XDP is not to be used here, though it could.
    fn why_no_xdp(&self) -> Option<String> {
        if self.both.iter().any(|interface| interface.kernel_speaks) {
            // XDP takes every frame, those for the kernel too.
            return Some("the kernel has addresses on the interfaces".to_owned());
        }
        let brings = self.both.iter().find(|interface| brings_whole_segments(&interface.name))?;
        Some(format!(
            "TCP comes uncut from veth {}, which is worth more (ethtool -K {0} tso off to have it cut)",
            brings.name
        ))
    }

    /// What a packet socket sees, the kernel sees too; and what is for an interface's own MAC address it would forward.
    fn check_forwarding(&self, kind: LinkKind, mac: MacChoice) -> Result<(), Failure> {
        let alone = matches!(kind, LinkKind::Ring | LinkKind::Xdp);
        let forwards = self.both.iter().find(|interface| interface.kernel_forwards());
        match forwards {
            Some(Interface { name, .. }) if mac == MacChoice::Interface && !alone => Err(wrong(format_args!(
                "the kernel forwards what arrives on {name} for its MAC address, beside natrig\nhelp: sysctl -w \
                 net.ipv4.conf.{name}.forwarding=0, or leave out --mac interface"
            ))),
            _ => Ok(()),
        }
    }

    fn open_kind(&self, kind: LinkKind) -> Result<Links, OpenError> {
        let names = [&*self.both[0].name, &*self.both[1].name];
        let longest = self.both.iter().map(|interface| interface.mtu as usize + ethernet::HEADER_LEN).max();
        let frame_len_max = longest.map_or(FRAME_LEN_MAX, |longest| longest.max(FRAME_LEN_MAX));
        let mut promiscuous = Vec::new();
        let links: Vec<Box<dyn Link>> = match kind {
            LinkKind::Ring => {
                let options = RingOptions { frame_len_max, ..RingOptions::default() };
                promiscuous.extend(names.map(Promiscuous::hold));
                ring::open(&names, &options)?.into_iter().flatten().map(|link| boxed(Complete::new(link))).collect()
            }
            LinkKind::Xdp => {
                let options = XdpOptions { frame_len_max, ..XdpOptions::default() };
                promiscuous.extend(names.map(Promiscuous::hold));
                xdp::open(&names, &options)?.into_iter().flatten().map(|link| boxed(Complete::new(link))).collect()
            }
            LinkKind::Packet => {
                let options = PacketOptions {
                    frame_len_max,
                    complete_checksums: true,
                    cut_merged: true,
                    ..PacketOptions::default()
                };
                names.iter().map(|name| PacketLink::open(name, &options).map(boxed)).collect::<Result<_, _>>()?
            }
            LinkKind::Pnet => names
                .iter()
                .map(|name| Ok(boxed(Complete::new(PnetLink::open(name)?))))
                .collect::<Result<_, OpenError>>()?,
            LinkKind::Memory => return Err(OpenError::Options { reason: "a link in memory leads to no interface" }),
        };
        let count = links.len();
        // One link for each interface, whatever its queues.
        let Ok([inside, outside]) = <[Box<dyn Link>; 2]>::try_from(links) else {
            unreachable!("{count} links for two interfaces")
        };
        let promiscuous = promiscuous.into_iter().collect::<Result<_, _>>()?;
        Ok(Links { inside, outside, kind, passed_over: Vec::new(), _promiscuous: promiscuous })
    }
}

fn boxed<L: Link + 'static>(link: L) -> Box<dyn Link> {
    Box::new(link)
}

/// An error and what the kernel said.
fn with_cause(error: &OpenError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
