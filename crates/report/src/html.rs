//! Pages of HTML that need nothing but themselves: no script, no font, no picture from elsewhere; light or dark as the reader likes.

use std::fmt::Write as _;

use crate::document::{Align, Block, Document, Table};
use crate::figure::escaped;
use crate::numbers::plain;

const STYLE: &str = include_str!("page.css");

/// A whole page; `heading` and `question` stand above the document.
pub(crate) fn page(heading: &str, question: &str, document: &Document) -> String {
    let title = escaped(heading);
    let question =
        if question.is_empty() { String::new() } else { format!("<p class=\"question\">{}</p>\n", escaped(question)) };
    plain(&format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{question}{}</main>\n</body>\n</html>\n",
        body(document)
    ))
}

fn body(document: &Document) -> String {
    let mut body = String::new();
    for block in &document.blocks {
        let _ = match block {
            Block::Heading(text) => writeln!(body, "<h2>{}</h2>", escaped(text)),
            Block::Text(text) => writeln!(body, "<p>{}</p>", escaped(text)),
            Block::Bullets(items) => {
                let items: String = items.iter().map(|item| format!("<li>{}</li>\n", escaped(item))).collect();
                writeln!(body, "<ul>\n{items}</ul>")
            }
            Block::Table(table) => writeln!(body, "{}", rows(table)),
            Block::Verbatim(text) => writeln!(body, "<pre>{}</pre>", escaped(text.trim_end())),
            Block::Alarm(word, rest) => {
                writeln!(body, "<p class=\"alarm\"><strong>{}</strong> {}</p>", escaped(word), escaped(rest))
            }
            Block::Figure(figure) => {
                let note =
                    if figure.note().is_empty() { String::new() } else { format!(" {}", escaped(figure.note())) };
                let title = escaped(figure.title());
                writeln!(
                    body,
                    "<figure>\n<figcaption><strong>{title}</strong>{note}</figcaption>\n{}\n</figure>",
                    figure.svg()
                )
            }
        };
    }
    body
}

fn rows(table: &Table) -> String {
    let class = |column: usize| match table.columns.get(column).map(|column| column.align) {
        Some(Align::Right) => " class=\"number\"",
        Some(Align::Left) | None => "",
    };
    let row = |tag: &str, cells: &mut dyn Iterator<Item = &String>| -> String {
        let cells: String = cells
            .enumerate()
            .map(|(column, cell)| format!("<{tag}{}>{}</{tag}>", class(column), escaped(cell)))
            .collect();
        format!("<tr>{cells}</tr>\n")
    };
    let head = row("th", &mut table.columns.iter().map(|column| &column.title));
    let body: String = table.rows.iter().map(|cells| row("td", &mut cells.iter())).collect();
    let note =
        if table.note.is_empty() { String::new() } else { format!("\n<p class=\"note\">{}</p>", escaped(&table.note)) };
    format!("<div class=\"wide\"><table>\n<thead>\n{head}</thead>\n<tbody>\n{body}</tbody>\n</table></div>{note}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        let mut document = Document::default();
        document.text("<script>alert(1)</script> & more");
        document.push(Block::Verbatim("</pre><b>".to_owned()));
        let mut table = Table::new([("a\"b", Align::Left), ("n", Align::Right)]);
        table.row(["<i>", "1"]);
        document.push(Block::Table(table));
        let page = page("<title>", "", &document);
        for text in ["<script", "</pre><b>", "<i>", "<title><"] {
            assert!(!page.contains(text), "{text} in {page}");
        }
        assert!(page.contains("<td class=\"number\">1</td>"), "{page}");
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        let page = page("x", "y", &Document::default());
        for word in ["http:", "https:", "src=", "href=", "@import", "url(", "<script"] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
