//! How a result is told: on a terminal, in Markdown, and as an answer in words. Nothing here measures; all is read from a
//! [`RunResult`](natrig_bench::result::RunResult).
#![forbid(unsafe_code)]

pub mod answer;
pub mod compare;
mod digest;
pub mod document;
pub mod export;
pub mod figure;
mod html;
pub mod markdown;
mod numbers;
pub mod rates;
pub mod record;
pub mod schema;
pub mod terminal;
mod view;
