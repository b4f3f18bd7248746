//! What a guest's output may do to the host's terminal: a filter of bytes on their way to a screen.
//!
//! It is a list of what passes, not of what does not: text, the usual controls, and complete sequences that
//! [`sequence`] and [`command`] know. Whatever else there is never reaches the terminal, whose parser may have its own
//! idea of where it ends. What passes, passes unchanged and in order. The state is a few bytes, and of a command at most
//! its longest allowed form, so output can be cut anywhere.

mod command;
mod sequence;
mod whole;

pub use command::Clipboard;

/// Private modes that a program may switch: all that do pass the filter.
#[cfg(test)]
pub(crate) const MODES: &[u16] = sequence::MODES;

/// The longest command that passes, in bytes, but for a copy to the clipboard.
const COMMAND: usize = 4 << 10;
/// The longest copy to the clipboard.
const COPY: usize = 1 << 20;
/// The longest control sequence that passes.
const SEQUENCE: usize = 256;

const BEL: u8 = 7;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const ESC: u8 = 0x1b;
/// Asks a terminal for its answer-back text.
const ENQ: u8 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Text.
    Text,
    /// Inside a character of so many bytes.
    Character(usize),
    /// Behind ESC, and perhaps intermediate bytes.
    Escape,
    /// Inside a control sequence.
    Sequence,
    /// Inside a command (OSC).
    Command,
    /// Inside a command, behind ESC.
    CommandEnd,
    /// Inside a string that is dropped to its end; `true`: BEL is one.
    Dropped(bool),
    /// Inside such a string, behind ESC.
    DroppedEnd(bool),
    /// Inside the Linux console's palette, of so many more digits.
    Palette(u8),
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Filter {
    state: State,
    /// What is not decided yet, from its first byte.
    held: Vec<u8>,
    clipboard: Clipboard,
    copies: u32,
}

impl Filter {
    /// A filter at the start of a terminal's output.
    pub fn new(clipboard: Clipboard) -> Filter {
        Filter { state: State::Text, held: Vec::new(), clipboard, copies: 0 }
    }

    /// How many copies to the clipboard were denied.
    pub fn denied_copies(&self) -> u32 {
        self.copies
    }

    /// Appends to `out` what of `bytes` passes.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some(first) = bytes.first() {
            if self.state == State::Text {
                let passes = whole::prefix(bytes);
                out.extend_from_slice(&bytes[..passes]);
                bytes = &bytes[passes..];
                if passes > 0 {
                    continue;
                }
            }
            self.step(*first, out);
            bytes = &bytes[1..];
        }
    }

    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.state {
            State::Text => self.text(byte, out),
            State::Character(len) => self.character(len, byte, out),
            State::Escape => self.escape(byte, out),
            State::Sequence => self.sequence(byte, out),
            State::Command => self.command(byte, out),
            State::CommandEnd if byte == b'\\' => self.end_command(b"\x1b\\", out),
            State::CommandEnd => self.begin_escape(byte, out),
            State::Dropped(bel) => self.dropped(bel, byte),
            State::DroppedEnd(_) if byte == b'\\' => self.state = State::Text,
            State::DroppedEnd(_) => self.begin_escape(byte, out),
            State::Palette(left) => self.palette(left, byte, out),
        }
    }

    /// Gives up what is held, and takes `byte` as the start of something.
    fn restart(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.held.clear();
        self.state = State::Text;
        if PLAIN[usize::from(byte)] { out.push(byte) } else { self.text(byte, out) }
    }

    fn pass(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.state = State::Text;
    }

    fn hold(&mut self, byte: u8, most: usize) {
        // One more than passes, so that what is too long is known to be.
        if self.held.len() <= most {
            self.held.push(byte);
        }
    }

    /// A byte that is not plain. Eight-bit controls have no other meaning that anybody could miss, and are dropped.
    fn text(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            ESC => {
                self.held.push(byte);
                self.state = State::Escape;
            }
            0xc2..=0xf4 => {
                self.held.push(byte);
                self.state = State::Character(if byte < 0xe0 { 2 } else { 3 + usize::from(byte >= 0xf0) });
            }
            0xa0.. => out.push(byte),
            _ => {} // ENQ and 0x80..0xa0
        }
    }

    fn character(&mut self, len: usize, byte: u8, out: &mut Vec<u8>) {
        let goes_on = (0x80..0xc0).contains(&byte);
        if goes_on {
            self.held.push(byte);
        }
        if goes_on && self.held.len() < len {
            return;
        }
        let whole = std::str::from_utf8(&self.held).ok().and_then(|text| text.chars().next());
        if whole.is_none_or(char::is_control) {
            // Not a character, or an eight-bit control in two bytes: what is left is no control to anybody.
            self.held.retain(|b| *b >= 0xa0);
            if whole.is_some() {
                self.held.clear();
            }
        }
        self.pass(out);
        if !goes_on {
            self.restart(byte, out);
        }
    }

    fn begin_escape(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.held.clear();
        self.held.push(ESC);
        self.state = State::Escape;
        self.escape(byte, out);
    }

    fn escape(&mut self, byte: u8, out: &mut Vec<u8>) {
        match (byte, self.held.len()) {
            (ESC, _) => self.held.truncate(1),
            (b'[', 1) => {
                self.held.push(byte);
                self.state = State::Sequence;
            }
            (b']', 1) => {
                self.held.push(byte);
                self.state = State::Command;
            }
            (b'P' | b'X' | b'^' | b'_', 1) => {
                self.held.clear();
                self.state = State::Dropped(false);
            }
            (0x20..=0x2f, _) => self.hold(byte, SEQUENCE),
            (0x30..=0x7e, _) => {
                self.hold(byte, SEQUENCE);
                if !sequence::escape_passes(&self.held[1..]) {
                    self.held.clear();
                }
                self.pass(out);
            }
            (CAN | SUB, _) => self.pass_nothing(),
            _ => self.restart(byte, out),
        }
    }

    fn pass_nothing(&mut self) {
        self.held.clear();
        self.state = State::Text;
    }

    fn sequence(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            0x20..=0x3f => self.hold(byte, SEQUENCE),
            0x40..=0x7e => {
                self.hold(byte, SEQUENCE);
                if self.held.len() > SEQUENCE || !sequence::passes(&self.held[2..]) {
                    self.held.clear();
                }
                self.pass(out);
            }
            CAN | SUB => self.pass_nothing(),
            _ => self.restart(byte, out),
        }
    }

    fn command(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            BEL => self.end_command(&[BEL], out),
            ESC => self.state = State::CommandEnd,
            CAN | SUB => self.pass_nothing(),
            b'P' if self.held.len() == 2 => {
                self.held.clear();
                self.state = State::Palette(7);
            }
            b'R' if self.held.len() == 2 => self.pass_nothing(),
            _ => {
                let most = if self.held.starts_with(b"\x1b]52;") { COPY } else { COMMAND };
                self.hold(byte, most);
                if self.held.len() > most {
                    self.held = Vec::new();
                    self.state = State::Dropped(true);
                }
            }
        }
    }

    fn end_command(&mut self, end: &[u8], out: &mut Vec<u8>) {
        match command::verdict(&self.held[2..], self.clipboard) {
            command::Verdict::Passes => self.held.extend_from_slice(end),
            command::Verdict::Dropped => self.held.clear(),
            command::Verdict::Denied => {
                self.copies = self.copies.saturating_add(1);
                self.held.clear();
            }
        }
        self.pass(out);
        self.held.shrink_to(COMMAND);
    }

    fn dropped(&mut self, bel: bool, byte: u8) {
        self.state = match byte {
            ESC => State::DroppedEnd(bel),
            CAN | SUB => State::Text,
            BEL if bel => State::Text,
            _ => self.state,
        };
    }

    fn palette(&mut self, left: u8, byte: u8, out: &mut Vec<u8>) {
        match (left, byte.is_ascii_hexdigit()) {
            (1, true) => self.state = State::Text,
            (_, true) => self.state = State::Palette(left - 1),
            _ => self.restart(byte, out),
        }
    }
}

/// Bytes that stand for themselves: what is printed, and the harmless controls.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 0x80 {
        plain[byte] = !matches!(byte as u8, ENQ | ESC);
        byte += 1;
    }
    plain
};

#[cfg(test)]
mod tests;
