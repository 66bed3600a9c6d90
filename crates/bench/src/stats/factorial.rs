//! The 2×2: what each NAT layer costs, and whether the two interact.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Interval, hodges_lehmann, walsh_interval};

/// One figure of all four designs, measured in the same block.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Block {
    /// Route only.
    pub none: f64,
    /// NAT at the node.
    pub node: f64,
    /// NAT at the gateway.
    pub gateway: f64,
    /// NAT at both.
    pub both: f64,
}

impl Block {
    /// The block of natural logarithms, in which effects are factors instead of sums (e^effect). `None` unless all four are positive.
    pub fn ln(&self) -> Option<Self> {
        let Self { none, node, gateway, both } = *self;
        let logs = Self { none: none.ln(), node: node.ln(), gateway: gateway.ln(), both: both.ln() };
        [logs.none, logs.node, logs.gateway, logs.both].iter().all(|log| log.is_finite()).then_some(logs)
    }
}

/// One effect over all blocks, in the unit of the figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Effect {
    /// Hodges–Lehmann estimate over the blocks.
    pub estimate: f64,
    /// Its exact interval, see [`walsh_interval`].
    pub interval: Interval,
}

/// The effects of a 2×2 (Fisher; Box, Hunter and Hunter, Statistics for Experimenters, ch. 5), coded from `none`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Factorial {
    /// Blocks the effects come from.
    pub blocks: u32,
    /// c_node = node − none.
    pub node: Effect,
    /// c_gateway = gateway − none.
    pub gateway: Effect,
    /// both − gateway: what the node layer costs where there is a gateway anyway.
    pub node_on_top: Effect,
    /// both − node: what the gateway costs where there is node NAT anyway.
    pub gateway_on_top: Effect,
    /// both − node − gateway + none: what the two cost beyond the sum of the single layers.
    pub interaction: Effect,
}

/// The effects per block, summed up over blocks with intervals of at least `confidence` where there are blocks enough (six for 95 %).
/// Shared ups and downs of a block cancel. `None` without blocks, or if a figure is not finite.
pub fn factorial(blocks: &[Block], confidence: f64) -> Option<Factorial> {
    let effect = |of: fn(&Block) -> f64| {
        let values: Vec<f64> = blocks.iter().map(of).collect();
        Some(Effect { estimate: hodges_lehmann(&values)?, interval: walsh_interval(&values, confidence)? })
    };
    Some(Factorial {
        blocks: blocks.len() as u32,
        node: effect(|block| block.node - block.none)?,
        gateway: effect(|block| block.gateway - block.none)?,
        node_on_top: effect(|block| block.both - block.gateway)?,
        gateway_on_top: effect(|block| block.both - block.node)?,
        interaction: effect(|block| block.both - block.node - block.gateway + block.none)?,
    })
}

/// The rate of both layers on one core if their costs per packet add up: 1/R = 1/R_node + 1/R_gateway − 1/R_none, frames/s. `None` if
/// that is no positive rate.
pub fn rate_without_interaction_pps(none_pps: f64, node_pps: f64, gateway_pps: f64) -> Option<f64> {
    let rate = 1.0 / (1.0 / node_pps + 1.0 / gateway_pps - 1.0 / none_pps);
    (rate > 0.0 && rate.is_finite()).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(shared: &[f64], none: f64, node: f64, gateway: f64, both: f64) -> Vec<Block> {
        let block = |&noise: &f64| Block {
            none: none + noise,
            node: node + noise,
            gateway: gateway + noise,
            both: both + noise,
        };
        shared.iter().map(block).collect()
    }

    #[test]
    fn noise_that_a_block_shares_cancels() {
        let shared = [0.0, 500.0, -300.0, 40.0, 7.0, 900.0];
        let effects = factorial(&blocks(&shared, 100.0, 130.0, 150.0, 190.0), 0.95).unwrap();
        let all = [effects.node, effects.gateway, effects.node_on_top, effects.gateway_on_top, effects.interaction];
        for (effect, expected) in all.iter().zip([30.0, 50.0, 40.0, 60.0, 10.0]) {
            assert_eq!((effect.estimate, effect.interval.low, effect.interval.high), (expected, expected, expected));
            assert_eq!(effect.interval.confidence, 0.968_75);
        }
        assert_eq!(effects.blocks, 6);
        assert_eq!(factorial(&[], 0.95), None);
        assert_eq!(factorial(&blocks(&[f64::NAN], 1.0, 1.0, 1.0, 1.0), 0.95), None);
    }

    #[test]
    fn logarithms_turn_factors_into_sums() {
        let block = Block { none: 10.0, node: 20.0, gateway: 30.0, both: 60.0 };
        let effects = factorial(&[block.ln().unwrap()], 0.95).unwrap();
        assert!(effects.interaction.estimate.abs() < 1e-12);
        assert!((effects.node.estimate.exp() - 2.0).abs() < 1e-12);
        assert_eq!(effects.node.interval.confidence, 0.0);
        assert_eq!(Block { none: 0.0, ..block }.ln(), None);
    }

    #[test]
    fn costs_per_packet_add_up_on_one_core() {
        // 100 ns, 150 ns, 200 ns: together 250 ns.
        let rate = rate_without_interaction_pps(10e6, 1e9 / 150.0, 5e6).unwrap();
        assert!((rate - 4e6).abs() < 1e-3);
        assert_eq!(rate_without_interaction_pps(1e6, 3e6, 3e6), None);
    }
}
