//! Rules about which routing table is asked (ip-rule(8)).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::Ipv4Net;

/// The table that is asked if no rule says otherwise (`RT_TABLE_MAIN` in `linux/rtnetlink.h`).
pub const TABLE_MAIN: u32 = 254;

/// A rule: packets that match all that it names are looked up in its table; if that has no route for them, the next rule is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoutingRule {
    /// Lower ones come first. The kernel's own rule for the main table has 32766.
    pub priority: u32,
    /// Source of the packet.
    pub from: Option<Ipv4Net>,
    /// Destination of the packet.
    pub to: Option<Ipv4Net>,
    /// Mark of the packet.
    pub mark: Option<Mark>,
    /// Interface that the packet came in by.
    pub incoming: Option<String>,
    /// The table.
    pub table: u32,
}

/// A mark, in the bits of a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mark {
    /// The bits that are set.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
}

impl RoutingRule {
    /// A rule for every packet.
    pub const fn new(priority: u32, table: u32) -> Self {
        Self { priority, from: None, to: None, mark: None, incoming: None, table }
    }
}

impl fmt::Display for RoutingRule {
    /// As `ip rule` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: from ", self.priority)?;
        match self.from {
            Some(from) => write!(f, "{from}")?,
            None => f.write_str("all")?,
        }
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        if let Some(Mark { value, mask }) = self.mark {
            write!(f, " fwmark {value:#x}/{mask:#x}")?;
        }
        if let Some(incoming) = &self.incoming {
            write!(f, " iif {incoming}")?;
        }
        match self.table {
            TABLE_MAIN => f.write_str(" lookup main"),
            table => write!(f, " lookup {table}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_in_the_words_of_ip_rule() {
        let all = RoutingRule::new(20, TABLE_MAIN);
        assert_eq!(all.to_string(), "20: from all lookup main");
        let rule = RoutingRule {
            from: "10.0.1.50/32".parse().ok(),
            to: "10.0.0.0/16".parse().ok(),
            mark: Some(Mark { value: 0x80, mask: 0x80 }),
            incoming: Some("eth1".to_owned()),
            ..RoutingRule::new(111, 11)
        };
        assert_eq!(rule.to_string(), "111: from 10.0.1.50/32 to 10.0.0.0/16 fwmark 0x80/0x80 iif eth1 lookup 11");
    }
}
