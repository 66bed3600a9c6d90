//! Which way packets leave, and by whom.

use std::net::Ipv4Addr;

use crate::net::Ipv4Net;
use crate::stage::Side;

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// What is reached by it.
    pub destination: Ipv4Net,
    /// On which side.
    pub side: Side,
    /// Through which neighbour; none: the destination is on the link itself.
    pub via: Option<Ipv4Addr>,
}

/// All ways, of both sides: the longest prefix that fits wins, and of equals the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    longest_first: Vec<Route>,
}

impl Routes {
    /// From any order.
    pub fn new(mut routes: Vec<Route>) -> Self {
        // Stable: among equals the order stays.
        routes.sort_by_key(|route| std::cmp::Reverse(route.destination.prefix_len()));
        Self { longest_first: routes }
    }

    /// The neighbour on `side` that a packet to `destination` is handed to.
    pub fn next_hop(&self, side: Side, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        let mut of_side = self.longest_first.iter().filter(|route| route.side == side);
        let route = of_side.find(|route| route.destination.contains(destination))?;
        Some(route.via.unwrap_or(destination))
    }

    /// The side on which `destination` lies.
    pub fn side_of(&self, destination: Ipv4Addr) -> Option<Side> {
        Some(self.longest_first.iter().find(|route| route.destination.contains(destination))?.side)
    }

    /// Whether `address` is on the link of `side` itself.
    pub fn is_on_link(&self, side: Side, address: Ipv4Addr) -> bool {
        self.next_hop(side, address) == Some(address)
    }

    /// The longest prefix first.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.longest_first.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        let route = |destination: &str, side, via: Option<&str>| Route {
            destination: destination.parse().unwrap(),
            side,
            via: via.map(|via| via.parse().unwrap()),
        };
        Routes::new(vec![
            route("0.0.0.0/0", Side::Outside, Some("198.51.100.1")),
            route("198.51.100.0/24", Side::Outside, None),
            route("10.0.1.0/24", Side::Inside, None),
            route("10.0.0.0/8", Side::Inside, Some("10.0.1.254")),
        ])
    }

    fn hop(side: Side, destination: &str) -> Option<String> {
        routes().next_hop(side, destination.parse().unwrap()).map(|hop| hop.to_string())
    }

    #[test]
    fn the_longest_prefix_of_a_side_decides() {
        assert_eq!(hop(Side::Outside, "203.0.113.9").as_deref(), Some("198.51.100.1"));
        assert_eq!(hop(Side::Outside, "198.51.100.77").as_deref(), Some("198.51.100.77"));
        assert_eq!(hop(Side::Inside, "10.0.1.7").as_deref(), Some("10.0.1.7"));
        assert_eq!(hop(Side::Inside, "10.9.9.9").as_deref(), Some("10.0.1.254"));
        assert_eq!(hop(Side::Inside, "203.0.113.9"), None);
    }

    #[test]
    fn the_longest_prefix_of_all_says_the_side() {
        let routes = routes();
        let side = |destination: &str| routes.side_of(destination.parse().unwrap());
        assert_eq!(side("10.200.0.1"), Some(Side::Inside));
        assert_eq!(side("11.0.0.1"), Some(Side::Outside));
        assert_eq!(Routes::default().side_of(Ipv4Addr::LOCALHOST), None);
        assert!(routes.is_on_link(Side::Inside, Ipv4Addr::new(10, 0, 1, 7)));
        assert!(!routes.is_on_link(Side::Inside, Ipv4Addr::new(10, 9, 9, 9)));
    }
}
