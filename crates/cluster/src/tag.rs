//! What each rule for packets says when a packet matches it: whose rule it is, its number there, its name, what it does.

use std::fmt;
use std::str::FromStr;

use natrig_bench::settings::Word;
use natrig_bench::words;

words! {
    /// Whose rule decides.
    Book {
        /// Cilium's masquerading; rules are numbered as in `snat_v4_needs_masquerade` of its `bpf/lib/nat.h`.
        Cilium = "cilium",
        /// The VPC CNI's `AWS-SNAT-CHAIN-0`.
        VpcCni = "vpc-cni",
        /// The VPC's network.
        Vpc = "vpc",
        /// The internet gateway.
        InternetGateway = "internet-gateway",
        /// A NAT gateway.
        NatGateway = "nat-gateway",
        /// The provider behind a NAT gateway.
        Upstream = "upstream",
    }
}

words! {
    /// What a rule does.
    Action {
        /// Lets the packet go on as it is.
        Pass = "pass",
        /// Translates it.
        Translate = "translate",
        /// Drops it.
        Drop = "drop",
    }
}

/// The `log prefix` of a rule. Written `cilium|6|native_routing|pass`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Whose rule.
    pub book: Book,
    /// Its number there.
    pub number: u8,
    /// Its name.
    pub rule: String,
    /// What it does.
    pub action: Action,
}

impl Tag {
    /// A tag.
    pub fn new(book: Book, number: u8, rule: &str, action: Action) -> Self {
        Self { book, number, rule: rule.to_owned(), action }
    }

    /// The rule: packets that meet `condition` are reported, and `statement` becomes of them.
    pub fn on(&self, condition: &str, statement: &str) -> String {
        let group = natrig_lab::lease::RULE_LOG_GROUP;
        format!("{condition} log prefix \"{self}\" group {group} {statement}").trim_start().to_owned()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}|{}", self.book, self.number, self.rule, self.action)
    }
}

impl FromStr for Tag {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let fields: Vec<&str> = text.split('|').collect();
        let [book, number, rule, action] = fields[..] else { return Err(()) };
        Ok(Self {
            book: Book::from_word(book).ok_or(())?,
            number: number.parse().map_err(|_| ())?,
            rule: rule.to_owned(),
            action: Action::from_word(action).ok_or(())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_they_are_written() {
        let tag = Tag::new(Book::Cilium, 6, "native_routing", Action::Pass);
        assert_eq!(tag.to_string(), "cilium|6|native_routing|pass");
        assert_eq!(tag.to_string().parse(), Ok(tag.clone()));
        assert_eq!("cilium|6".parse::<Tag>(), Err(()));
        assert_eq!(
            tag.on("ip daddr 10.0.0.0/16", "accept"),
            "ip daddr 10.0.0.0/16 log prefix \"cilium|6|native_routing|pass\" group 1 accept"
        );
    }
}
