//! What there is to tell of a result, for people.

mod curves;
mod figures;
mod layers;
mod load;
mod tables;
mod words;

use natrig_bench::test::RecordOf;
use natrig_report::document::{Block, Document, Tell};

use crate::Exhaustion;

impl Tell for Exhaustion {
    fn tell(record: &RecordOf<Self>) -> Document {
        let mut document = Document::default();
        let measured = &record.measured;
        for skipped in &measured.skipped {
            let what = format!("{}: {}", skipped.setup, skipped.reason);
            document.push(Block::Alarm("NOT MEASURED".to_owned(), what));
        }
        let faults = &measured.faults;
        if faults.corrupt > 0 || faults.vanished > 0 {
            let what = format!(
                "{} frames came out damaged, and of {} neither an end nor a layer knows: the figures do not count",
                faults.corrupt, faults.vanished
            );
            document.push(Block::Alarm("INVALID".to_owned(), what));
        }
        if faults.shared_tuples > 0 {
            let what = format!(
                "{} new connections came out with the tuple of another that was open: the server cannot tell them apart",
                faults.shared_tuples
            );
            document.push(Block::Alarm("SHARED TUPLES".to_owned(), what));
        }
        curves::fills(&mut document, measured);
        curves::agreements(&mut document, measured);
        load::churns(&mut document, measured);
        load::blasts(&mut document, measured);
        layers::skews(&mut document, measured);
        layers::reuses(&mut document, measured);
        layers::surface(&mut document, record);
        tables::replacements(&mut document, measured);
        document
    }
}
