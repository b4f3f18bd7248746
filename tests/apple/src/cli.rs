//! The command line as `container` 1.2.2 reads it: its tokens, its flags (`cli.json`), its exit codes.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The commands and their flags.
#[derive(Debug, Deserialize)]
pub(crate) struct Spec {
    pub(crate) capabilities: Vec<String>,
    commands: BTreeMap<String, Command>,
}

#[derive(Debug, Deserialize)]
struct Command {
    aliases: Vec<String>,
    flags: Vec<Flag>,
    positionals: Vec<Positional>,
    #[serde(default)]
    group: bool,
}

#[derive(Debug, Deserialize)]
struct Flag {
    names: Vec<String>,
    kind: String,
    value_type: Option<String>,
    allowed_values: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Positional {
    name: String,
    required: bool,
    repeatable: bool,
    parsing: String,
}

/// What the words mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Words {
    /// A command.
    Run(Parsed),
    /// Help, on stdout.
    Help,
    /// The version, on stdout.
    Version,
    /// Exit 64 with this message.
    Usage(String),
}

/// A command with its options by their first long name, and its positionals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Parsed {
    pub(crate) command: String,
    options: Vec<(String, Option<String>)>,
    pub(crate) positionals: Vec<String>,
}

impl Parsed {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(n, _)| n == name)
    }

    /// The last value: a repeated scalar's.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).last().copied()
    }

    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.options.iter().filter(|(n, _)| n == name).filter_map(|(_, v)| v.as_deref()).collect()
    }
}

/// One word, before any option is matched.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Value(String),
    Terminator,
    /// `--name`, `-x`, `-pack`, each perhaps with a value.
    Option {
        name: String,
        value: Option<String>,
        pack: bool,
    },
}

/// Splits a word, or says why the whole line is an error: three dashes are one wherever they stand.
fn token(word: &str) -> Result<Token, String> {
    let dashes = word.chars().take_while(|c| *c == '-').count();
    let rest = &word[dashes..];
    match dashes {
        _ if word == "--" => Ok(Token::Terminator),
        0 => Ok(Token::Value(word.to_owned())),
        1 if rest.is_empty() => Ok(Token::Value(word.to_owned())),
        1 | 2 if rest.starts_with('=') => Err(format!("Invalid option: {word}")),
        1 | 2 => {
            let (name, value) = rest.split_once('=').map_or((rest, None), |(n, v)| (n, Some(v.to_owned())));
            let pack = dashes == 1 && name.chars().count() > 1 && value.is_none();
            let name = format!("{}{name}", "-".repeat(dashes));
            Ok(Token::Option { name, value: value.filter(|v| !v.is_empty()), pack })
        }
        _ => Err(format!("Invalid option: {word}")),
    }
}

impl Spec {
    pub(crate) fn load() -> Spec {
        serde_json::from_str(include_str!("../cli.json")).expect("cli.json is ours")
    }

    /// Reads a whole command line, without the program's name.
    pub(crate) fn parse(&self, words: &[String]) -> Words {
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] | ["-h" | "--help"] => return Words::Help,
            ["--version"] => return Words::Version,
            _ => {}
        }
        let words = if words[0] == "--debug" { &words[1..] } else { words };
        let Some((path, rest)) = self.command(words) else {
            let name = words.first().map_or("", String::as_str);
            return Words::Usage(format!("Plugin 'container-{name}' not found."));
        };
        let command = &self.commands[&path];
        if command.group {
            return Words::Help;
        }
        // Up to a terminator every word is looked at first, also what is meant for the guest.
        let mut tokens = Vec::new();
        let mut terminated = false;
        for word in rest {
            match if terminated { Ok(Token::Value(word.clone())) } else { token(word) } {
                Ok(token) => {
                    terminated |= token == Token::Terminator;
                    tokens.push((token, word.clone()));
                }
                Err(e) => return Words::Usage(e),
            }
        }
        let parsed = Parsed { command: path, ..Parsed::default() };
        let reader = Reader { command, tokens: &tokens, at: 0, parsed };
        match reader.read() {
            Ok(Some(parsed)) => Words::Run(parsed),
            Ok(None) => Words::Help,
            Err(message) => Words::Usage(message),
        }
    }

    /// The longest command that the first words name, aliases included.
    fn command<'a>(&self, words: &'a [String]) -> Option<(String, &'a [String])> {
        let mut path = String::new();
        let mut used = 0;
        for word in words {
            let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path} {name}") };
            let parent = path.clone();
            let is_child = |known: &str| known.rsplit_once(' ').map_or("", |(p, _)| p) == parent;
            let alias = self.commands.iter().find(|(k, c)| is_child(k) && !k.is_empty() && c.aliases.contains(word));
            let next = match self.commands.contains_key(&join(word)) {
                true => join(word),
                false => match alias {
                    Some((name, _)) => name.clone(),
                    None => break,
                },
            };
            path = next;
            used += 1;
        }
        (used > 0).then(|| (path, &words[used..]))
    }
}

struct Reader<'a> {
    command: &'a Command,
    tokens: &'a [(Token, String)],
    at: usize,
    parsed: Parsed,
}

impl Reader<'_> {
    /// `None`: help was asked for.
    fn read(mut self) -> Result<Option<Parsed>, String> {
        let passes = self.command.positionals.iter().any(|p| p.parsing == "passthrough");
        let mut only_values = false;
        while let Some((token, word)) = self.tokens.get(self.at) {
            self.at += 1;
            match token {
                Token::Terminator if !only_values => only_values = true,
                Token::Value(value) => {
                    self.parsed.positionals.push(value.clone());
                    if passes {
                        // The image, or a container: the rest is the guest's, every word of it.
                        self.parsed.positionals.extend(self.tokens[self.at..].iter().map(|(_, w)| w.clone()));
                        break;
                    }
                }
                Token::Option { name, .. } if !only_values && (name == "-h" || name == "--help") => return Ok(None),
                Token::Option { name, value, pack } => self.option(name, value.as_deref(), *pack)?,
                Token::Terminator => self.parsed.positionals.push(word.clone()),
            }
        }
        self.count()?;
        Ok(Some(self.parsed))
    }

    fn option(&mut self, name: &str, value: Option<&str>, pack: bool) -> Result<(), String> {
        if !pack {
            return self.one(name, value);
        }
        // One dash and several letters: each a flag, the last perhaps an option with its value behind.
        name[1..].chars().try_for_each(|c| self.one(&format!("-{c}"), None))
    }

    fn one(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        let command = self.command;
        let flag = command.flags.iter().find(|f| f.names.iter().any(|n| n == name));
        let flag = flag.ok_or_else(|| format!("Unknown option '{name}'"))?;
        let long = flag.names.iter().find(|n| n.starts_with("--") && (flag.kind != "flag" || *n == name));
        let long = long.or_else(|| flag.names.iter().find(|n| n.starts_with("--"))).map_or(name, |n| n);
        let key = long.trim_start_matches('-').to_owned();
        if flag.kind == "flag" {
            if value.is_some() {
                return Err(format!("The option '{name}' does not take any value, but one was specified."));
            }
            self.parsed.options.push((key, None));
            return Ok(());
        }
        let value = match (value, self.tokens.get(self.at)) {
            (Some(value), _) => value.to_owned(),
            (None, Some((Token::Value(value), _))) => {
                self.at += 1;
                value.clone()
            }
            _ => return Err(format!("Missing value for '{name}'")),
        };
        check(flag, name, &value)?;
        self.parsed.options.push((key, Some(value)));
        Ok(())
    }

    fn count(&self) -> Result<(), String> {
        let given = self.parsed.positionals.len();
        let required = self.command.positionals.iter().filter(|p| p.required);
        if let Some(missing) = required.clone().nth(given).filter(|_| given < required.count()) {
            return Err(format!("Missing expected argument '<{}>'", missing.name));
        }
        let endless = self.command.positionals.iter().any(|p| p.repeatable);
        match given > self.command.positionals.len() && !endless {
            true => Err("Unexpected argument".to_owned()),
            false => Ok(()),
        }
    }
}

fn check(flag: &Flag, name: &str, value: &str) -> Result<(), String> {
    let fits = match flag.value_type.as_deref() {
        Some("int" | "int64") => value.parse::<i64>().is_ok(),
        Some("int32") => value.parse::<i32>().is_ok(),
        Some("uint32") => value.parse::<u32>().is_ok(),
        Some("float-seconds") => value.parse::<f64>().is_ok(),
        Some("enum") => flag.allowed_values.as_ref().is_some_and(|all| all.iter().any(|a| a == value)),
        _ => true,
    };
    if fits { Ok(()) } else { Err(format!("The value '{value}' is invalid for '{name}'")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Words {
        Spec::load().parse(&line.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    fn run(line: &[&str]) -> Parsed {
        match parse(line) {
            Words::Run(parsed) => parsed,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn words_are_read_as_the_real_parser_reads_them() {
        let parsed = run(&["run", "-i", "-m", "4g", "--label=a=b", "-v", "/a:/b", "--", "img", "sh", "---", "--rm"]);
        assert_eq!(parsed.positionals, ["img", "sh", "---", "--rm"]);
        assert_eq!((parsed.value("memory"), parsed.value("label"), parsed.has("rm")), (Some("4g"), Some("a=b"), false));
        assert_eq!(run(&["run", "-itv", "/a:/b", "img"]).value("volume"), Some("/a:/b"));
        assert_eq!(
            run(&["run", "img", "--", "-x"]).positionals,
            ["img", "--", "-x"],
            "behind the image it is the guest's"
        );
        assert_eq!(run(&["run", "--name", "a", "--name", "b", "i"]).value("name"), Some("b"));
        assert_eq!(run(&["ls", "-a"]).command, "list");
        assert_eq!(run(&["delete", "--force", "--", "-x"]).positionals, ["-x"]);
        assert_eq!(run(&["system", "start", "--timeout", "5"]).value("timeout"), Some("5"));
        assert_eq!(run(&["system", "status", "--format", "json"]).command, "system status");
    }

    #[test]
    fn what_the_real_parser_refuses_is_refused() {
        for line in [
            &["run", "-m4g", "img"][..],
            &["run", "--rm=true", "img"],
            &["run", "--memory=", "img"][..2],
            &["run", "img", "sh", "---"],
            &["run", "-=x", "img"],
            &["run", "--mem", "4g", "img"],
            &["run", "-c", "two", "img"],
            &["run", "--progress", "quiet", "img"],
            &["run"],
            &["run", "--name", "-x", "img"],
            &["inspect"],
            &["list", "extra"],
            &["system", "start", "--timeout", "soon"],
            &["nonsense"],
        ] {
            assert!(matches!(parse(line), Words::Usage(_)), "{line:?}: {:?}", parse(line));
        }
        assert_eq!((parse(&["run", "--help"]), parse(&["--version"])), (Words::Help, Words::Version));
    }
}
