//! Names as the least discerning file system compares them: without case, without characters that nobody sees, and without the
//! dots and spaces at the end that some drop. On others that makes a few names more the same, which nobody misses.

/// The name as file systems without case see it.
pub fn folded(name: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(name) else { return name.to_ascii_lowercase() };
    let ignored = |c: &char| matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let text: String = text.chars().filter(|c| !ignored(c)).flat_map(char::to_lowercase).collect();
    text.trim_end_matches(['.', ' ']).as_bytes().to_vec()
}

/// Whether `path` is `protected` or lies below it, by names that are compared so.
pub fn is_within(path: &[u8], protected: &[u8]) -> bool {
    let mut names = path.split(|b| *b == b'/').filter(|name| !name.is_empty());
    protected
        .split(|b| *b == b'/')
        .filter(|name| !name.is_empty())
        .all(|name| names.next().is_some_and(|own| folded(own) == folded(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_within_another_in_any_spelling() {
        for path in [".git/hooks", ".GIT/Hooks/pre-commit", ".git/hooks./x", ".g\u{200c}it/hooks"] {
            assert!(is_within(path.as_bytes(), b".git/hooks"), "{path}");
        }
        for path in [".git", ".git/hooksx", "x/.git/hooks", ""] {
            assert!(!is_within(path.as_bytes(), b".git/hooks"), "{path}");
        }
    }
}
