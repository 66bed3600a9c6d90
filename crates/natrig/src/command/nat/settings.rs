//! From what was typed and what a file says to what is meant.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;

use natrig_bench::profile;
use natrig_lab::net::Ipv4Net;
use natrig_lab::router::{PortConfig, Route, RouterConfig, Routes};
use natrig_lab::stage::Side;
use natrig_nat::{Config, Profile};
use natrig_wire::MacAddr;
use serde::Deserialize;

use crate::args::nat::{LinkChoice, MacChoice, Typed};
use crate::exit::{self, Failure};

/// Addresses to translate to, at most.
const POOL_MAX: usize = 4096;

/// The file. All of it can be typed as well.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    inside: Option<String>,
    outside: Option<String>,
    profile: Option<String>,
    addresses: Vec<String>,
    inside_addresses: Vec<String>,
    outside_addresses: Vec<String>,
    gateway: Option<Ipv4Addr>,
    routes: Vec<String>,
    link: Option<LinkChoice>,
    mac: Option<MacChoice>,
}

/// What is meant.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) inside: String,
    pub(super) outside: String,
    pub(super) link: LinkChoice,
    pub(super) mac: MacChoice,
    /// As it was named.
    pub(super) profile_name: String,
    pub(super) profile: Profile,
    pub(super) pool: Vec<Ipv4Addr>,
    /// Own addresses by side; the first of each is the one to speak from.
    pub(super) own: [Vec<Ipv4Addr>; 2],
    pub(super) routes: Routes,
}

impl Settings {
    /// Reads the file, if one is named, and the profile.
    ///
    /// # Errors
    /// Something is missing, cannot be read, or contradicts another thing.
    pub(super) fn load(typed: &Typed) -> Result<Self, Failure> {
        let file = match &typed.config {
            None => File::default(),
            Some(path) => {
                let at = path.display();
                let text = fs::read_to_string(path).map_err(|error| wrong(format_args!("{at}: {error}")))?;
                toml::from_str(&text).map_err(|error| wrong(format_args!("{at}: {error}")))?
            }
        };
        Self::of(typed, file)
    }

    fn of(typed: &Typed, file: File) -> Result<Self, Failure> {
        let named = |typed: &Option<String>, file: Option<String>, what: &str| {
            typed.clone().or(file).ok_or_else(|| wrong(format_args!("{what} is missing; natrig nat --help says more")))
        };
        let listed = |typed: &[String], file: Vec<String>| if typed.is_empty() { file } else { typed.to_vec() };
        let inside = named(&typed.inside, file.inside, "--inside INTERFACE")?;
        let outside = named(&typed.outside, file.outside, "--outside INTERFACE")?;
        if inside == outside {
            return Err(wrong(format_args!("{inside} cannot be both inside and outside")));
        }
        let profile_name = named(&typed.profile, file.profile, "--profile PROFILE")?;
        let inside_own = own_addresses(&listed(&typed.inside_addresses, file.inside_addresses))?;
        let outside_own = own_addresses(&listed(&typed.outside_addresses, file.outside_addresses))?;
        if inside_own.is_empty() {
            return Err(wrong(
                "--inside-address A/LEN is missing: the address that inside hosts have as their gateway, and the network that is on \
                 the link there",
            ));
        }
        let mut pool = pool(&listed(&typed.addresses, file.addresses))?;
        let mut own =
            [&inside_own, &outside_own].map(|own| own.iter().map(|(address, _)| *address).collect::<Vec<_>>());
        if pool.is_empty() {
            pool.clone_from(&own[1]);
        }
        let Some(&first) = pool.first() else {
            return Err(wrong(
                "there is no address to translate to: give --outside-address A/LEN, --address A, or both",
            ));
        };
        if own[1].is_empty() {
            own[1].push(first);
        }
        let gateway = typed.gateway.or(file.gateway);
        let routes = routes(&inside_own, &outside_own, gateway, &listed(&typed.routes, file.routes))?;
        if routes.iter().all(|route| route.side == Side::Inside) {
            return Err(wrong(
                "nothing lies outside: give --outside-address A/LEN, --gateway A, or --route NET=outside",
            ));
        }
        if let Some(both) = own[0].iter().find(|address| own[1].contains(address) || pool.contains(address)) {
            return Err(wrong(format_args!("{both} cannot be an address of both sides")));
        }
        Ok(Self {
            inside,
            outside,
            link: typed.link.or(file.link).unwrap_or_default(),
            mac: typed.mac.or(file.mac).unwrap_or_default(),
            profile: profile::load(&profile_name).map_err(|error| wrong(format_args!("failed to {error}")))?,
            profile_name,
            pool,
            own,
            routes,
        })
    }

    /// Every address that is natrig's.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.own.iter().flatten().chain(&self.pool).copied()
    }

    /// What the router is made from, with its MAC addresses inside and outside.
    pub(super) fn router(&self, [inside, outside]: [MacAddr; 2]) -> RouterConfig {
        let port = |mac, side: Side, more: &[Ipv4Addr]| {
            let own = &self.own[side as usize];
            PortConfig { mac, own: own[0], addresses: own.iter().chain(more).copied().collect() }
        };
        RouterConfig {
            inside: port(inside, Side::Inside, &[]),
            outside: port(outside, Side::Outside, &self.pool),
            routes: self.routes.clone(),
        }
    }

    /// What the translator is made from, with the MTUs of the links inside and outside.
    ///
    /// # Errors
    /// The profile does not go with the addresses.
    pub(super) fn translator(&self, [inside, outside]: [u32; 2]) -> Result<Config, Failure> {
        let mtu = |mtu: u32| Some(u16::try_from(mtu).unwrap_or(u16::MAX));
        let config = Config {
            inside_router: self.own[0][0],
            outside_router: self.own[1][0],
            inside_mtu: mtu(inside),
            outside_mtu: mtu(outside),
            ..self.profile.config(self.pool.clone())
        };
        config.validate().map_err(|error| wrong(format_args!("profile {}: {error}", self.profile_name)))?;
        Ok(config)
    }
}

/// A mistake of the user's.
pub(super) fn wrong(what: impl std::fmt::Display) -> Failure {
    Failure::failed(exit::USAGE, what)
}

/// Addresses with the networks around them.
fn own_addresses(texts: &[String]) -> Result<Vec<(Ipv4Addr, Ipv4Net)>, Failure> {
    texts
        .iter()
        .map(|text| {
            let parsed = text.split_once('/').and_then(|(address, len)| {
                let (address, len): (Ipv4Addr, u8) = (address.parse().ok()?, len.parse().ok()?);
                (len <= 32).then(|| (address, Ipv4Net::around(address, len)))
            });
            let (address, network) = parsed
                .ok_or_else(|| wrong(format_args!("`{text}`: write an address and a prefix length, as 10.0.1.1/24")))?;
            if network.is_host(address) {
                Ok((address, network))
            } else {
                Err(wrong(format_args!("`{text}`: this is no host's address in {network}")))
            }
        })
        .collect()
}

/// Single addresses, ranges and whole networks, each address once.
fn pool(texts: &[String]) -> Result<Vec<Ipv4Addr>, Failure> {
    let mut pool = Vec::new();
    let mut seen = BTreeSet::new();
    for text in texts {
        let syntax =
            || wrong(format_args!("`{text}`: write 198.51.100.8, 198.51.100.8-198.51.100.15 or 198.51.100.8/29"));
        let (first, last): (Ipv4Addr, Ipv4Addr) = if let Some((first, last)) = text.split_once('-') {
            (first.parse().map_err(|_| syntax())?, last.parse().map_err(|_| syntax())?)
        } else if text.contains('/') {
            let network: Ipv4Net = text.parse().map_err(|error| wrong(format_args!("`{text}`: {error}")))?;
            (network.network(), network.broadcast())
        } else {
            let only = text.parse().map_err(|_| syntax())?;
            (only, only)
        };
        for bits in first.to_bits()..=last.to_bits() {
            if pool.len() == POOL_MAX {
                return Err(wrong(format_args!("more than {POOL_MAX} addresses to translate to")));
            }
            if seen.insert(bits) {
                pool.push(Ipv4Addr::from_bits(bits));
            }
        }
        if first > last {
            return Err(wrong(format_args!("`{text}`: the range ends before it begins")));
        }
    }
    Ok(pool)
}

fn routes(
    inside: &[(Ipv4Addr, Ipv4Net)],
    outside: &[(Ipv4Addr, Ipv4Net)],
    gateway: Option<Ipv4Addr>,
    texts: &[String],
) -> Result<Routes, Failure> {
    let on_link = |side, own: &[(Ipv4Addr, Ipv4Net)]| {
        own.iter().map(|(_, destination)| Route { destination: *destination, side, via: None }).collect::<Vec<_>>()
    };
    let mut routes = on_link(Side::Inside, inside);
    for (_, network) in outside {
        if let Some(other) = routes.iter().find(|route| route.destination.overlaps(*network)) {
            let other = other.destination;
            return Err(wrong(format_args!(
                "{other} inside and {network} outside overlap: which of them is meant is undecided"
            )));
        }
    }
    routes.extend(on_link(Side::Outside, outside));
    let links = Routes::new(routes.clone());
    for text in texts {
        let syntax = || {
            wrong(format_args!(
                "`{text}`: write NETWORK=NEXTHOP, as 10.2.0.0/16=10.0.1.254, or NETWORK=inside for one on the link"
            ))
        };
        let (destination, way) = text.split_once('=').ok_or_else(syntax)?;
        let destination = destination.parse().map_err(|error| wrong(format_args!("`{text}`: {error}")))?;
        let (side, via) = match way {
            "inside" => (Side::Inside, None),
            "outside" => (Side::Outside, None),
            hop => {
                let hop: Ipv4Addr = hop.parse().map_err(|_| syntax())?;
                let side = links.side_of(hop).ok_or_else(|| {
                    wrong(format_args!("`{text}`: {hop} is on neither link; give its link's network by --inside-address or --outside-address"))
                })?;
                (side, Some(hop))
            }
        };
        routes.push(Route { destination, side, via });
    }
    if let Some(gateway) = gateway {
        match links.side_of(gateway) {
            Some(Side::Inside) => return Err(wrong(format_args!("gateway {gateway} is inside; it must be outside"))),
            Some(Side::Outside) => {}
            // Said to be on the link, with no network that says so: providers do that.
            None => routes.push(Route { destination: Ipv4Net::around(gateway, 32), side: Side::Outside, via: None }),
        }
        routes.push(Route { destination: Ipv4Net::ANY, side: Side::Outside, via: Some(gateway) });
    }
    Ok(Routes::new(routes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed() -> Typed {
        Typed {
            inside: Some("in".into()),
            outside: Some("out".into()),
            profile: Some("rfc4787".into()),
            inside_addresses: vec!["10.0.1.1/24".into()],
            outside_addresses: vec!["198.51.100.2/24".into()],
            gateway: Some(Ipv4Addr::new(198, 51, 100, 1)),
            ..Typed::default()
        }
    }

    fn refused(change: impl FnOnce(&mut Typed)) -> String {
        let mut typed = typed();
        change(&mut typed);
        Settings::of(&typed, File::default()).unwrap_err().to_string()
    }

    #[test]
    fn without_addresses_it_translates_to_its_own() {
        let settings = Settings::of(&typed(), File::default()).unwrap();
        assert_eq!(settings.pool, [Ipv4Addr::new(198, 51, 100, 2)]);
        let hop = |to: [u8; 4]| settings.routes.next_hop(Side::Outside, to.into());
        assert_eq!(hop([8, 8, 8, 8]), Some(Ipv4Addr::new(198, 51, 100, 1)));
        assert_eq!(hop([198, 51, 100, 9]), Some(Ipv4Addr::new(198, 51, 100, 9)));
        let router = settings.router([MacAddr::default(); 2]);
        assert_eq!((router.inside.own, router.outside.own), (Ipv4Addr::new(10, 0, 1, 1), settings.pool[0]));
        assert!(settings.translator([1500, 1400]).unwrap().outside_mtu == Some(1400));
    }

    #[test]
    fn addresses_routes_and_gateways_of_all_kinds() {
        let mut typed = typed();
        typed.addresses =
            ["198.51.100.8", "198.51.100.16/30", "192.0.2.1-192.0.2.3", "198.51.100.8"].map(String::from).into();
        typed.routes =
            ["10.2.0.0/16=10.0.1.254", "10.3.0.0/16=inside", "192.0.2.128/25=198.51.100.3"].map(String::from).into();
        typed.outside_addresses = vec!["198.51.100.2/32".into(), "198.51.100.2/25".into()];
        let settings = Settings::of(&typed, File::default()).unwrap();
        assert_eq!(settings.pool.len(), 1 + 4 + 3);
        let hop = |side, to: [u8; 4]| settings.routes.next_hop(side, to.into()).map(|hop| hop.octets());
        assert_eq!(hop(Side::Inside, [10, 2, 3, 4]), Some([10, 0, 1, 254]));
        assert_eq!(hop(Side::Inside, [10, 3, 3, 4]), Some([10, 3, 3, 4]));
        assert_eq!(hop(Side::Outside, [192, 0, 2, 200]), Some([198, 51, 100, 3]));
        assert_eq!(hop(Side::Inside, [10, 4, 0, 1]), None);
        // A gateway that no network holds is on the link all the same.
        typed.gateway = Some(Ipv4Addr::new(172, 31, 1, 1));
        let settings = Settings::of(&typed, File::default()).unwrap();
        assert_eq!(settings.routes.next_hop(Side::Outside, Ipv4Addr::new(172, 31, 1, 1)), typed.gateway);
    }

    #[test]
    fn what_is_typed_wins_over_the_file() {
        let file: File = toml::from_str(
            "inside = \"a\"\noutside = \"b\"\nprofile = \"netfilter\"\ngateway = \"198.51.100.9\"\nlink = \"packet\"\n\
             inside_addresses = [\"10.9.0.1/16\"]\naddresses = [\"192.0.2.1\"]",
        )
        .unwrap();
        let settings = Settings::of(&Typed { outside: Some("c".into()), ..Typed::default() }, file).unwrap();
        assert_eq!((&*settings.inside, &*settings.outside, settings.link), ("a", "c", LinkChoice::Packet));
        assert_eq!(settings.own[1], [Ipv4Addr::new(192, 0, 2, 1)]);
        assert!(toml::from_str::<File>("insight = 1").unwrap_err().to_string().contains("unknown field `insight`"));
    }

    #[test]
    fn mistakes_are_named_with_what_mends_them() {
        assert!(refused(|typed| typed.inside = None).contains("--inside INTERFACE is missing"));
        assert!(refused(|typed| typed.outside = typed.inside.clone()).contains("both inside and outside"));
        assert!(refused(|typed| typed.inside_addresses.clear()).contains("--inside-address"));
        assert!(refused(|typed| typed.profile = Some("rfc".into())).contains("built in are rfc4787"));
        assert!(refused(|typed| typed.profile = Some("/nowhere/x.toml".into())).contains("/nowhere/x.toml"));
        assert!(refused(|typed| typed.inside_addresses = vec!["10.0.1.0/24".into()]).contains("no host's address"));
        assert!(refused(|typed| typed.inside_addresses = vec!["10.0.1.1".into()]).contains("10.0.1.1/24"));
        assert!(refused(|typed| typed.inside_addresses = vec!["198.51.100.1/16".into()]).contains("overlap"));
        assert!(refused(|typed| typed.addresses = vec!["10.0.0.0/8".into()]).contains("more than 4096"));
        assert!(refused(|typed| typed.addresses = vec!["192.0.2.9-192.0.2.1".into()]).contains("ends before"));
        assert!(refused(|typed| typed.addresses = vec!["10.0.1.1".into()]).contains("both sides"));
        assert!(refused(|typed| typed.routes = vec!["10.2.0.0/16=192.0.2.1".into()]).contains("on neither link"));
        assert!(refused(|typed| typed.routes = vec!["10.2.0.0/16".into()]).contains("NETWORK=NEXTHOP"));
        assert!(refused(|typed| typed.gateway = Some(Ipv4Addr::new(10, 0, 1, 9))).contains("must be outside"));
        let nothing_outside = refused(|typed| {
            (typed.gateway, typed.outside_addresses) = (None, Vec::new());
            typed.addresses = vec!["192.0.2.1".into()];
        });
        assert!(nothing_outside.contains("nothing lies outside"));
        let no_pool = refused(|typed| typed.outside_addresses.clear());
        assert!(no_pool.contains("no address to translate to"), "{no_pool}");
    }
}
