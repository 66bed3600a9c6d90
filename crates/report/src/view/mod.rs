//! The tables of a report as rows of text, before anybody knows whether they end up on a terminal or in Markdown.

pub(crate) mod bounds;
pub(crate) mod by_size;
mod costs;
mod designs;
mod engines;
pub(crate) mod hops;
pub(crate) mod loads;

pub(crate) use costs::{CostCell, CostTable, Mark};
pub(crate) use designs::{DesignRow, DesignTable};
pub(crate) use engines::{EngineTable, Quotient};
