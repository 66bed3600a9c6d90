//! The kernel's own source NAT, as a ruleset for nftables.

use std::fmt;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The only table that rulesets of ours consist of.
const TABLE: &str = "natrig";
const CHAIN: &str = "postrouting";
/// `srcnat`: where source NAT belongs (nft(8), "Standard priority names").
const PRIORITY: i32 = 100;

/// How the kernel translates what leaves through an interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct KernelNat {
    /// To which address.
    pub translate: Translate,
    /// How ports are chosen.
    pub ports: PortChoice,
    /// The lowest and the highest port for TCP and UDP; absent: the kernel's own choice, which is 1024 to 65535 for source ports from
    /// 1024 on (`nf_nat_l4proto_unique_tuple` in `net/netfilter/nf_nat_core.c`).
    pub port_range: Option<(u16, u16)>,
}

/// Which address the kernel translates to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Translate {
    /// The first one of the interface, looked up for each new connection.
    Masquerade,
    /// One of these, by a hash of source and destination.
    Snat(Vec<Ipv4Addr>),
}

/// How the kernel chooses a port for a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PortChoice {
    /// The source port stays if it is free; otherwise a search that starts at random.
    Default,
    /// The search starts at random even if the source port is free, the same for each source.
    Random,
    /// The search starts at random for each connection.
    FullyRandom,
}

impl KernelNat {
    /// What `nft -j -f -` reads: a table that replaces the one before, for what leaves through `interface`.
    pub fn ruleset(&self, interface: &str) -> Value {
        let chain = json!({"add": {"chain": {
            "family": "ip", "table": TABLE, "name": CHAIN,
            "type": "nat", "hook": "postrouting", "prio": PRIORITY, "policy": "accept",
        }}});
        let leaves = json!({"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": interface}});
        let mut commands = remove();
        commands.extend([add_table(), chain]);
        if let Some((low, high)) = self.port_range {
            // A range of ports needs a protocol that has ports (nft(8), "NAT statements").
            let has_ports = json!({"match": {
                "op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {"set": ["tcp", "udp"]},
            }});
            let range = json!({"range": [low, high]});
            commands.push(rule(&[leaves.clone(), has_ports, self.statement(Some(range))]));
        }
        commands.push(rule(&[leaves, self.statement(None)]));
        json!({ "nftables": commands })
    }

    fn statement(&self, ports: Option<Value>) -> Value {
        let mut options = serde_json::Map::new();
        if let Some(address) = self.address() {
            options.insert("addr".to_owned(), address);
        }
        if let Some(ports) = ports {
            options.insert("port".to_owned(), ports);
        }
        if let Some(flag) = self.ports.flag() {
            options.insert("flags".to_owned(), json!([flag]));
        }
        let options = if options.is_empty() { Value::Null } else { Value::Object(options) };
        match self.translate {
            Translate::Masquerade => json!({ "masquerade": options }),
            Translate::Snat(_) => json!({ "snat": options }),
        }
    }

    fn address(&self) -> Option<Value> {
        let Translate::Snat(addresses) = &self.translate else { return None };
        Some(match (addresses.as_slice(), consecutive(addresses)) {
            ([only], _) => json!(only),
            (_, Some((first, last))) => json!({"range": [first, last]}),
            (_, None) => {
                let field = |name: &str| json!({"payload": {"protocol": "ip", "field": name}});
                let both = json!({"concat": [field("saddr"), field("daddr")]});
                let elements: Vec<Value> =
                    addresses.iter().enumerate().map(|(nth, address)| json!([nth, address])).collect();
                json!({"map": {
                    "key": {"jhash": {"mod": addresses.len(), "expr": both}},
                    "data": {"set": elements},
                }})
            }
        })
    }
}

impl PortChoice {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Default, Self::Random, Self::FullyRandom];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Random => "random",
            Self::FullyRandom => "fully-random",
        }
    }

    /// nft's flag for it.
    const fn flag(self) -> Option<&'static str> {
        match self {
            Self::Default => None,
            Self::Random | Self::FullyRandom => Some(self.word()),
        }
    }
}

impl fmt::Display for KernelNat {
    /// As nft writes it, but for long lists of addresses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.translate {
            Translate::Masquerade => write!(f, "masquerade")?,
            Translate::Snat(addresses) => match (addresses.as_slice(), consecutive(addresses)) {
                ([only], _) => write!(f, "snat to {only}")?,
                (_, Some((first, last))) => write!(f, "snat to {first}-{last}")?,
                (_, None) => {
                    let (all, few) = (addresses.len(), addresses.len().min(4));
                    let names: Vec<String> = addresses[..few].iter().map(Ipv4Addr::to_string).collect();
                    let more = if few < all { format!(", … {} more", all - few) } else { String::new() };
                    write!(f, "snat to jhash saddr . daddr mod {all} map {{ {}{more} }}", names.join(", "))?;
                }
            },
        }
        if let Some((low, high)) = self.port_range {
            write!(f, ", ports {low}-{high} for TCP and UDP")?;
        }
        self.ports.flag().map_or(Ok(()), |flag| write!(f, ", {flag}"))
    }
}

/// What `nft -j -f -` reads to have no ruleset of ours, whether there was one or not.
pub(crate) fn no_ruleset() -> Value {
    json!({ "nftables": remove() })
}

/// Adding what is there already is no error, deleting what is not there is one.
fn remove() -> Vec<Value> {
    vec![add_table(), json!({"delete": {"table": {"family": "ip", "name": TABLE}}})]
}

fn add_table() -> Value {
    json!({"add": {"table": {"family": "ip", "name": TABLE}}})
}

fn rule(expressions: &[Value]) -> Value {
    json!({"add": {"rule": {"family": "ip", "table": TABLE, "chain": CHAIN, "expr": expressions}}})
}

/// The first and the last, if the addresses are all that lie between them, each once.
fn consecutive(addresses: &[Ipv4Addr]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let mut sorted: Vec<u32> = addresses.iter().map(|address| address.to_bits()).collect();
    sorted.sort_unstable();
    let whole = sorted.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]));
    let ends = (*sorted.first()?, *sorted.last()?);
    whole.then(|| (Ipv4Addr::from_bits(ends.0), Ipv4Addr::from_bits(ends.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nat(translate: Translate, ports: PortChoice, port_range: Option<(u16, u16)>) -> KernelNat {
        KernelNat { translate, ports, port_range }
    }

    fn snat(addresses: &[&str]) -> Translate {
        Translate::Snat(addresses.iter().map(|address| address.parse().unwrap()).collect())
    }

    /// The statements of the rules, without what they match.
    fn statements(nat: &KernelNat) -> Vec<Value> {
        let ruleset = nat.ruleset("outside");
        let commands = ruleset["nftables"].as_array().unwrap();
        let rules = commands.iter().filter_map(|command| command["add"]["rule"]["expr"].as_array());
        rules.map(|expressions| expressions.last().unwrap().clone()).collect()
    }

    #[test]
    fn the_whole_ruleset() {
        let ruleset = nat(Translate::Masquerade, PortChoice::FullyRandom, Some((1024, 65_535))).ruleset("outside");
        let table = json!({"table": {"family": "ip", "name": "natrig"}});
        let leaves = json!({"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "outside"}});
        let rule = |expr: Value| json!({"add": {"rule": {"family": "ip", "table": "natrig", "chain": "postrouting", "expr": expr}}});
        let expected = json!({"nftables": [
            {"add": table},
            {"delete": table},
            {"add": table},
            {"add": {"chain": {
                "family": "ip", "table": "natrig", "name": "postrouting",
                "type": "nat", "hook": "postrouting", "prio": 100, "policy": "accept",
            }}},
            rule(json!([
                leaves,
                {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {"set": ["tcp", "udp"]}}},
                {"masquerade": {"port": {"range": [1024, 65535]}, "flags": ["fully-random"]}},
            ])),
            rule(json!([leaves, {"masquerade": {"flags": ["fully-random"]}}])),
        ]});
        assert_eq!(ruleset, expected);
        assert_eq!(no_ruleset(), json!({"nftables": [{"add": table}, {"delete": table}]}));
    }

    #[test]
    fn without_options_the_kernel_chooses() {
        let plain = nat(Translate::Masquerade, PortChoice::Default, None);
        assert_eq!(statements(&plain), [json!({"masquerade": null})]);
        assert_eq!(plain.to_string(), "masquerade");
    }

    #[test]
    fn several_addresses_are_a_range_or_a_map() {
        let one = nat(snat(&["198.51.100.8"]), PortChoice::Random, None);
        assert_eq!(statements(&one), [json!({"snat": {"addr": "198.51.100.8", "flags": ["random"]}})]);
        assert_eq!(one.to_string(), "snat to 198.51.100.8, random");

        let range = nat(snat(&["198.51.100.9", "198.51.100.8"]), PortChoice::Default, Some((5000, 5999)));
        let addr = json!({"range": ["198.51.100.8", "198.51.100.9"]});
        assert_eq!(
            statements(&range),
            [json!({"snat": {"addr": addr, "port": {"range": [5000, 5999]}}}), json!({"snat": {"addr": addr}})]
        );
        assert_eq!(range.to_string(), "snat to 198.51.100.8-198.51.100.9, ports 5000-5999 for TCP and UDP");

        let map = nat(snat(&["198.51.100.8", "198.51.100.10"]), PortChoice::Default, None);
        let addr = &statements(&map)[0]["snat"]["addr"]["map"];
        assert_eq!(addr["key"]["jhash"]["mod"], 2);
        assert_eq!(addr["data"], json!({"set": [[0, "198.51.100.8"], [1, "198.51.100.10"]]}));
        assert_eq!(map.to_string(), "snat to jhash saddr . daddr mod 2 map { 198.51.100.8, 198.51.100.10 }");
    }

    #[test]
    fn what_is_consecutive() {
        let ends = |addresses: &[&str]| {
            let addresses: Vec<Ipv4Addr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            consecutive(&addresses).map(|(first, last)| (first.to_string(), last.to_string()))
        };
        assert_eq!(ends(&["10.0.0.255", "10.0.1.0"]), Some(("10.0.0.255".to_owned(), "10.0.1.0".to_owned())));
        for gap in [&["10.0.0.1", "10.0.0.3"][..], &["10.0.0.1", "10.0.0.1"], &["255.255.255.255", "0.0.0.0"], &[]] {
            assert_eq!(ends(gap), None, "{gap:?}");
        }
    }
}
