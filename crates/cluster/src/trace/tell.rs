//! A trace for people.

use std::fmt::Write as _;

use natrig_report::document::{Block, Document};

use super::{Hop, Port, RuleMatch, Trace};

impl Trace {
    /// What there is to tell.
    pub fn document(&self) -> Document {
        let mut document = Document::default();
        document.heading(format!("The question: {} from {} to {}", self.protocol, self.from, self.to));
        document.push(Block::Verbatim(lines(&self.request)));
        if !self.answer.is_empty() {
            document.heading("The answer");
            document.push(Block::Verbatim(lines(&self.answer)));
        }
        let Some(death) = &self.death else {
            document.text("The answer came back.");
            return document;
        };
        document.push(Block::Alarm(
            "DROPPED".to_owned(),
            format!("{} {death}", death.leg).replace("answer answer", "answer"),
        ));
        if let Some(refusal) = &self.refusal {
            document.text(format!("The kernel told the program that asked: {refusal}."));
        }
        match &self.diagnosis {
            Some(diagnosis) => {
                document.text(format!("{}: {}", diagnosis.name, diagnosis.why));
                document.text(format!("Mend: {}", diagnosis.mend));
            }
            None => document.text("This has no name that natrig knows."),
        }
        document
    }
}

fn lines(hops: &[Hop]) -> String {
    let mut text = String::new();
    for (nth, hop) in (1..).zip(hops) {
        let _ = writeln!(text, "{nth:>2} {} ({})", hop.place, hop.layer);
        let mut line = |what: &str, rest: String| {
            let _ = writeln!(text, "     {what:<6} {rest}");
        };
        let port = |port: &Port| format!("{:<13} {}", port.interface, port.header);
        if let Some(came) = &hop.came {
            line("in", port(came));
        }
        if let Some(route) = &hop.route {
            if !route.rule.is_empty() {
                line("rule", route.rule.clone());
            }
            line("route", route.way.clone());
        }
        for RuleMatch { book, number, rule, action } in &hop.rules {
            line("nat", format!("{book} {number} {rule}: {action}"));
        }
        for went in &hop.went {
            line("out", port(went));
        }
    }
    text
}
