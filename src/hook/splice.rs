//! Changes to JSON as text: one member comes or goes, every other byte stays.

use jsonc_parser::ast::{Array, Object};
use serde_json::Value;
use std::ops::Range;

/// An object or an array in a text, and where its members are.
pub(super) struct Container {
    range: Range<usize>,
    members: Vec<Range<usize>>,
}

impl From<&Object<'_>> for Container {
    fn from(object: &Object<'_>) -> Container {
        let members = object.properties.iter().map(|p| p.range.start..p.range.end).collect();
        Container { range: object.range.start..object.range.end, members }
    }
}

impl From<&Array<'_>> for Container {
    fn from(array: &Array<'_>) -> Container {
        use jsonc_parser::common::Ranged;
        let members = array.elements.iter().map(|e| e.range()).map(|r| r.start..r.end).collect();
        Container { range: array.range.start..array.range.end, members }
    }
}

impl Container {
    pub(super) fn has_one(&self) -> bool {
        self.members.len() == 1
    }

    fn inner(&self) -> Range<usize> {
        self.range.start + 1..self.range.end - 1
    }

    /// `text` with one member more, at the end, laid out like the one before it.
    pub(super) fn append(&self, text: &str, key: Option<&str>, value: &Value) -> String {
        let Some(last) = self.members.last() else { return self.fill(text, key, value) };
        let before = self.members.len().checked_sub(2).map_or(self.range.start + 1, |n| self.members[n].end);
        let gap = text[before..last.start].rsplit(',').next().unwrap_or_default();
        let item = match gap.rsplit_once('\n') {
            Some((_, indent)) => member(key, value, Some(indent)),
            None => member(key, value, None),
        };
        splice(text, last.end..last.end, &format!(",{gap}{item}"))
    }

    /// The first member, in front of whatever blanks there are: over several lines where [`Container::append`] would have written
    /// the container itself in one, and the other way round. Nothing else of ours looks like that, so whoever takes the member out
    /// again can tell that the container was there before.
    fn fill(&self, text: &str, key: Option<&str>, value: &Value) -> String {
        let at = self.inner().start;
        let gap = text[..self.range.start].rsplit([',', '{']).next().unwrap_or_default();
        let new = match gap.contains('\n') {
            true => member(key, value, None),
            false => {
                let (before, behind) = around(text);
                format!("{before}{}{behind}", member(key, value, before.strip_prefix('\n')))
            }
        };
        splice(text, at..at, &new)
    }

    /// `text` without this member.
    pub(super) fn remove(&self, text: &str, index: usize) -> String {
        let gone = match (index.checked_sub(1).map(|n| &self.members[n]), self.members.get(index + 1)) {
            (Some(before), _) => before.end..self.members[index].end,
            (None, Some(after)) => self.members[index].start..after.start,
            (None, None) => self.only(text),
        };
        splice(text, gone, "")
    }

    /// The only member, with what [`Container::fill`] puts around it; with all that is around it where that is something else.
    fn only(&self, text: &str) -> Range<usize> {
        let (inner, member) = (self.inner(), &self.members[0]);
        let (before, behind) = around(text);
        match &text[inner.start..member.start] {
            "" => member.clone(),
            front if front == before && text[member.end..inner.end].starts_with(&behind) => {
                inner.start..member.end + behind.len()
            }
            _ => inner,
        }
    }
}

/// What stands before and behind a first member over several lines.
fn around(text: &str) -> (String, String) {
    let indent: String = text.chars().take_while(|c| matches!(c, ' ' | '\t')).collect();
    (format!("\n{indent}  "), format!("\n{indent}"))
}

/// `"key": value`, over several lines where there is an indentation.
fn member(key: Option<&str>, value: &Value, indent: Option<&str>) -> String {
    let key = key.map_or_else(String::new, |key| format!("{}: ", Value::from(key)));
    match indent {
        Some(indent) => format!("{key}{}", format!("{value:#}").replace('\n', &format!("\n{indent}"))),
        None => format!("{key}{value}"),
    }
}

fn splice(text: &str, range: Range<usize>, new: &str) -> String {
    [&text[..range.start], new, &text[range.end..]].concat()
}
