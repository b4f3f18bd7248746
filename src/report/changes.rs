//! What a session changed of the files that run unasked, in words: a few lines after a run, all of it in a review.

use crate::files::quoted;
use crate::tripwire::PutBack;
use crate::tripwire::change::Change;
use crate::tripwire::classes::Side;
use crate::tripwire::names;
use crate::tripwire::walk::Entry;
use similar::TextDiff;
use std::fmt::Write;
use std::path::Path;

/// Lines after a run, the first and the last among them.
const LINES: usize = 10;
/// Lines of one file's difference.
const SHOWN: usize = 400;

/// A changed file as it is called: in the project by its path, in the guest's home with that in front.
pub fn name(change: &Change) -> String {
    match change.side {
        Side::Project => change.path.clone(),
        Side::Home => format!("guest:~/{}", change.path),
        Side::Git => format!("gitdir:{}", change.path),
    }
}

/// What is protected and was another than before the session: whether it is as before again. Who changed it nobody can tell, the guest
/// or the user.
pub fn put_back(all: &[PutBack], unchecked: Option<&str>) -> Vec<String> {
    let one = |put: &PutBack| {
        let during = if put.lost { "during or after a session that was killed" } else { "during the session" };
        let what = format!("{} is protected and was changed {during}", name(&put.change));
        match (&put.failed, &put.aside) {
            (Some(why), _) => format!("{what}, and it cannot be put back: {}", why.what),
            (None, Some(aside)) => format!("{what}: put back as it was, and what was there is {aside} now"),
            (None, None) => format!("{what}: put back as it was (was it you? vmclaude review)"),
        }
    };
    // What is not as before is never left out.
    let (failed, done): (Vec<&PutBack>, Vec<&PutBack>) = all.iter().partition(|put| put.failed.is_some());
    let mut lines: Vec<String> = failed.into_iter().chain(done.iter().copied().take(LINES)).map(one).collect();
    if done.len() > LINES {
        lines.push(format!("and {} others were put back (vmclaude review)", done.len() - LINES));
    }
    lines.extend(unchecked.map(|why| format!("not everything that is protected could be checked ({why})")));
    lines
}

/// The lines after a run: at most ten.
pub fn after_run(changes: &[Change], skipped: Option<&str>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(why) = skipped {
        lines.push(format!("not every file of this project was looked at ({why})"));
    }
    if changes.is_empty() {
        return lines;
    }
    let files = if changes.len() == 1 { "a file" } else { "files" };
    lines.push(format!("this session changed {files} that programs here may run, or take orders from:"));
    let room = LINES - lines.len() - 1;
    let shown = if changes.len() > room { room - 1 } else { changes.len() };
    lines.extend(changes[..shown].iter().map(|c| format!("  {:<8} {} ({})", c.word(), name(c), c.why())));
    if shown < changes.len() {
        lines.push(format!("  and {} others", changes.len() - shown));
    }
    lines.push("look at them before you go on: vmclaude review".to_owned());
    lines
}

/// What brings back the session's version of a file that was put back, for a person to type who made it; its bytes are in
/// `kept`, and `root` is the tree.
pub fn take_back(change: &Change, kept: Option<&Path>, root: &Path) -> String {
    let file = || names::bytes(&change.path).filter(|bytes| !names::is_odd(bytes)).map(|_| root.join(&change.path));
    let is_file = change.after.as_ref().is_some_and(|entry| entry.kind == "file");
    let command = match (&change.after, kept, file()) {
        (None, _, Some(file)) => Some(format!("rm {}", quoted(&file))),
        (Some(entry), Some(kept), Some(file)) if is_file => {
            // A set-id bit is nobody's work.
            Some(format!("install -m {:04o} {} {}", entry.mode & 0o777, quoted(kept), quoted(&file)))
        }
        _ => None,
    };
    match command {
        Some(command) => format!("  it was put back; if the change was yours: {command}\n"),
        None => "  it was put back, and what it was cannot be copied\n".to_owned(),
    }
}

/// One change with its difference. `before` and `after`: the bytes, where there are some to show.
pub fn difference(change: &Change, before: Option<&[u8]>, after: Option<&[u8]>) -> String {
    let mut out = format!("{} {} ({})\n", change.word(), name(change), change.why());
    let kind = |entry: &Option<Entry>| {
        entry.as_ref().map_or_else(|| "nothing".to_owned(), |e| format!("{} {:04o}", e.kind, e.mode))
    };
    let (was, is) = (kind(&change.before), kind(&change.after));
    if was != is {
        let (one, other) = if change.put_back { ("it is: ", "session:") } else { ("it was:", "it is: ") };
        let _ = writeln!(out, "  {one} {was}\n  {other} {is}");
    }
    let is_text = |bytes: Option<&[u8]>| bytes.is_none_or(|b| !b.contains(&0));
    if !is_text(before) || !is_text(after) {
        let size =
            |bytes: Option<&[u8]>| bytes.map_or_else(|| "not there".to_owned(), |b| format!("{} bytes", b.len()));
        let _ = writeln!(out, "  no text: {} before, {} now", size(before), size(after));
        return out;
    }
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let (before, after) = (text(before), text(after));
    let diff = TextDiff::from_lines(&before, &after);
    let all = diff.unified_diff().context_radius(2).to_string();
    for line in all.lines().take(SHOWN) {
        let _ = writeln!(out, "  {}", vmclaude_shim::clean(line));
    }
    let rest = all.lines().count().saturating_sub(SHOWN);
    if rest > 0 {
        let _ = writeln!(out, "  … and {rest} lines more");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str) -> Change {
        let entry =
            Entry { why: "make".into(), kind: "file".into(), mode: 0o644, sha: Some("1".into()), stamp: [0; 6] };
        Change { side: Side::Project, path: path.into(), before: None, after: Some(entry), put_back: false }
    }

    #[test]
    fn ten_lines_at_most_and_none_without_a_change() {
        assert!(after_run(&[], None).is_empty());
        for (n, skipped) in [(1, None), (8, None), (9, None), (500, None), (500, Some("x"))] {
            let changes: Vec<Change> = (0..n).map(|n| change(&n.to_string())).collect();
            let lines = after_run(&changes, skipped);
            assert!(lines.len() <= LINES, "{lines:?}");
            assert_eq!(lines.iter().any(|l| l.contains("others")), n > 8, "{lines:?}");
        }
    }

    #[test]
    fn what_was_put_back_can_be_had_again_by_a_command() {
        let (kept, root) = (Some(Path::new("/s/kept/1")), Path::new("/p q"));
        let mut put_back = Change { put_back: true, ..change(".git/hooks/x") };
        let line = take_back(&put_back, kept, root);
        assert!(line.contains("yours: install -m 0644 /s/kept/1 '/p q/.git/hooks/x'"), "{line}");
        put_back.after = None;
        assert!(take_back(&put_back, None, root).contains("rm '/p q/.git/hooks/x'"));
        // Neither what was not kept nor a name that does not print is put into a command.
        for change in [change("x"), change("\\1b[2J")] {
            assert!(take_back(&change, None, root).contains("cannot be copied"));
        }
        assert!(take_back(&change("\\1b[2J"), kept, root).contains("cannot be copied"));
    }

    #[test]
    fn a_difference_moves_no_cursor() {
        let text = difference(&change("Makefile"), None, Some(b"all:\n\t\x1b]52;c;x\x07\xe2\x80\xae\n"));
        assert!(text.contains("+all:") && text.contains("\\u{1b}]52") && text.contains("\\u{202e}"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || vmclaude_shim::clean::is_plain(c)), "{text:?}");
        assert!(difference(&change("x"), None, Some(b"a\0b")).contains("3 bytes now"));
    }
}
