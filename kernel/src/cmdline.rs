//! The kernel command line: words, options, and what is left over for init.
//!
//! Words are split as Linux splits them (`kernel/params.c`, `next_arg`): at white space outside double quotes; quotes
//! around a word or around a value are taken off; `-` and `_` are the same in names. Everything borrows from the line, so
//! this works before there is an allocator. What the kernel does not know goes to init (`init/main.c`,
//! `unknown_bootoption`): `name=value` to its environment, a bare word to its arguments, and all that follows `--` to its
//! arguments; a name with a dot belongs to a module and goes nowhere.

/// One word of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// All of it, as init gets it.
    pub text: &'a str,
    /// What stands before the first `=`.
    pub name: &'a str,
    /// What stands behind the first `=`.
    pub value: Option<&'a str>,
}

/// Where a word of the command line belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitWord<'a> {
    /// An argument of init.
    Argument(&'a str),
    /// A variable `name=value` of init's environment.
    Variable(&'a str),
}

/// Options that the kernel answers to, with a value or without as the second field says.
const KNOWN: &[(&str, Takes)] = &[
    ("autogroup", Takes::Nothing),
    ("clocksource", Takes::Value),
    ("console", Takes::Value),
    ("debug", Takes::Nothing),
    ("earlyprintk", Takes::Either),
    ("highres", Takes::Value),
    ("hpet", Takes::Value),
    ("ignore_loglevel", Takes::Nothing),
    ("init", Takes::Value),
    ("isolcpus", Takes::Value),
    ("loglevel", Takes::Value),
    ("maxcpus", Takes::Value),
    ("mem", Takes::Value),
    ("mitigations", Takes::Value),
    ("noapic", Takes::Nothing),
    ("noautogroup", Takes::Nothing),
    ("nohz", Takes::Value),
    ("nolapic_timer", Takes::Nothing),
    ("nr_cpus", Takes::Value),
    ("panic", Takes::Value),
    ("preempt", Takes::Value),
    ("quiet", Takes::Nothing),
    ("rdinit", Takes::Value),
    ("ro", Takes::Nothing),
    ("root", Takes::Value),
    ("rootdelay", Takes::Value),
    ("rootflags", Takes::Value),
    ("rootfstype", Takes::Value),
    ("rootwait", Takes::Nothing),
    ("rw", Takes::Nothing),
    ("tsc", Takes::Value),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    Either,
}

/// A command line.
#[derive(Clone, Copy, Debug)]
pub struct CommandLine<'a>(&'a str);

impl<'a> CommandLine<'a> {
    /// Takes `line` as the command line.
    pub const fn new(line: &'a str) -> Self {
        Self(line)
    }

    /// The line as the loader gave it.
    pub const fn text(self) -> &'a str {
        self.0
    }

    /// The words before `--`.
    pub fn words(self) -> impl Iterator<Item = Word<'a>> {
        Words(self.0).take_while(|word| word.text != "--")
    }

    /// Whether `name` stands in the line, with a value or without.
    pub fn has(self, name: &str) -> bool {
        self.words().any(|word| same_name(word.name, name))
    }

    /// The values given for `name`, in their order.
    pub fn values(self, name: &str) -> impl Iterator<Item = &'a str> {
        self.words()
            .filter(move |word| same_name(word.name, name))
            .filter_map(|word| word.value)
    }

    /// The last value given for `name`, which is the one that counts.
    pub fn value(self, name: &str) -> Option<&'a str> {
        self.values(name).last()
    }

    /// The last value of `name` that is a number, decimal or with Linux's prefixes `0x` and `0`.
    pub fn number(self, name: &str) -> Option<i64> {
        self.values(name).filter_map(parse_number).last()
    }

    /// The last value of `name` that is a size, with Linux's suffixes `K`, `M`, `G`, `T`, `P`, `E`.
    pub fn size(self, name: &str) -> Option<u64> {
        self.values(name).filter_map(parse_size).last()
    }

    /// What the kernel does not know, for init, in the order of the line.
    ///
    /// Bare words that stand before `init=` or `rdinit=` are dropped, as Linux does: boot loaders of old put them there.
    pub fn for_init(self) -> impl Iterator<Item = InitWord<'a>> {
        let reset = self
            .words()
            .enumerate()
            .filter(|(_, word)| is_init_path(*word))
            .last()
            .map_or(0, |(at, _)| at + 1);
        let own = self
            .words()
            .enumerate()
            .filter_map(move |(at, word)| match word.value {
                _ if is_known(word) || word.name.contains('.') => None,
                Some(_) => Some(InitWord::Variable(word.text)),
                None if at < reset => None,
                None => Some(InitWord::Argument(word.text)),
            });
        let rest = Words(self.0).skip_while(|word| word.text != "--").skip(1);
        own.chain(rest.map(|word| InitWord::Argument(word.text)))
    }
}

fn is_init_path(word: Word<'_>) -> bool {
    word.value.is_some() && matches!(word.name, "init" | "rdinit")
}

fn is_known(word: Word<'_>) -> bool {
    KNOWN.iter().any(|(name, takes)| {
        same_name(word.name, name)
            && match takes {
                Takes::Nothing => word.value.is_none(),
                Takes::Value => word.value.is_some(),
                Takes::Either => true,
            }
    })
}

/// Whether two option names are the same: `-` and `_` do not differ.
fn same_name(a: &str, b: &str) -> bool {
    let fold = |byte: u8| if byte == b'-' { b'_' } else { byte };
    a.bytes().map(fold).eq(b.bytes().map(fold))
}

/// Splits a line into words.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let line = self.0.trim_start_matches(|c: char| c.is_ascii_whitespace());
        if line.is_empty() {
            return None;
        }
        let mut quoted = false;
        let end = line
            .bytes()
            .position(|byte| {
                quoted ^= byte == b'"';
                byte.is_ascii_whitespace() && !quoted
            })
            .unwrap_or(line.len());
        self.0 = &line[end..];
        Some(Word::new(&line[..end]))
    }
}

impl<'a> Word<'a> {
    fn new(raw: &'a str) -> Self {
        // Quotes around the whole word; a quote that is opened and not closed ends with the line.
        let text = match raw.strip_prefix('"') {
            Some(inner) => inner.strip_suffix('"').unwrap_or(inner),
            None => raw,
        };
        match text.split_once('=') {
            None => Self {
                text,
                name: text,
                value: None,
            },
            Some((name, value)) => {
                let value = match value.strip_prefix('"') {
                    Some(inner) => inner.strip_suffix('"').unwrap_or(inner),
                    None => value,
                };
                Self {
                    text,
                    name,
                    value: Some(value),
                }
            }
        }
    }
}

/// Reads a number as `kstrtol` with base 0 does.
pub fn parse_number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (digits, radix) = split_radix(digits);
    let value = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

/// Reads a size as `memparse` does: digits in any of the three bases, then at most one suffix; the rest is not looked at.
fn parse_size(text: &str) -> Option<u64> {
    let (digits, radix) = split_radix(text);
    let end = digits
        .find(|c: char| !c.is_digit(radix))
        .unwrap_or(digits.len());
    let value = u64::from_str_radix(&digits[..end], radix).ok()?;
    let shift = match digits[end..]
        .bytes()
        .next()
        .map(|byte| byte.to_ascii_uppercase())
    {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        Some(b'T') => 40,
        Some(b'P') => 50,
        Some(b'E') => 60,
        _ => 0,
    };
    value.checked_mul(1 << shift)
}

/// Reads a list of CPUs such as `1-3,5` as a mask; words before it (`domain,managed_irq,`) are passed over, as are CPUs from 64 on.
pub fn parse_cpu_list(text: &str) -> u64 {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        (first <= last).then_some(first..=last.min(63))
    };
    text.split(',')
        .filter_map(range)
        .flatten()
        .fold(0, |mask, cpu| mask | 1 << cpu)
}

fn split_radix(text: &str) -> (&str, u32) {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        (digits, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        (&text[1..], 8)
    } else {
        (text, 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_read() {
        assert_eq!(parse_cpu_list("1-3,5"), 0b10_1110);
        assert_eq!(parse_cpu_list("domain,managed_irq,2"), 0b100);
        assert_eq!(parse_cpu_list("62-70,3-1,x,"), 3 << 62);
        assert_eq!(parse_cpu_list(""), 0);
    }

    fn init(line: &str) -> Vec<InitWord<'_>> {
        CommandLine::new(line).for_init().collect()
    }

    #[test]
    fn splits_at_white_space_outside_quotes() {
        let texts: Vec<_> = CommandLine::new("  a \tb=\"c d\"  \"e=f g\" h\n")
            .words()
            .map(|w| (w.name, w.value))
            .collect();
        assert_eq!(
            texts,
            [
                ("a", None),
                ("b", Some("c d")),
                ("e", Some("f g")),
                ("h", None)
            ]
        );
    }

    #[test]
    fn an_open_quote_ends_with_the_line() {
        let words: Vec<_> = CommandLine::new("x=\"a b").words().collect();
        assert_eq!(words.len(), 1);
        assert_eq!(words[0].value, Some("a b"));
    }

    #[test]
    fn the_last_value_counts_and_dashes_are_underscores() {
        let line = CommandLine::new("nr-cpus=2 nr_cpus=4 quiet console=tty0 console=ttyS0,115200");
        assert_eq!(line.number("nr_cpus"), Some(4));
        assert!(line.has("quiet"));
        assert!(!line.has("quie"));
        assert_eq!(
            line.values("console").collect::<Vec<_>>(),
            ["tty0", "ttyS0,115200"]
        );
    }

    #[test]
    fn numbers_and_sizes_as_linux_reads_them() {
        let line = CommandLine::new(
            "panic=-1 mem=0x10M a=010 b=12kB c=x d=99999999999999999999 e=16E f=+5 g=--5",
        );
        assert_eq!(line.number("panic"), Some(-1));
        assert_eq!(line.size("mem"), Some(16 << 20));
        assert_eq!(line.number("a"), Some(8));
        assert_eq!(line.size("b"), Some(12 << 10));
        assert_eq!(line.number("c"), None);
        assert_eq!(line.number("d"), None);
        assert_eq!(line.size("d"), None);
        assert_eq!(line.size("e"), None);
        assert_eq!(line.number("f"), Some(5));
        assert_eq!(line.number("g"), None);
    }

    #[test]
    fn unknown_words_go_to_init() {
        use InitWord::{Argument, Variable};
        assert_eq!(
            init("console=ttyS0 single TERM=xterm foo.bar=1 quiet -- -x a=b quiet"),
            [
                Argument("single"),
                Variable("TERM=xterm"),
                Argument("-x"),
                Argument("a=b"),
                Argument("quiet")
            ]
        );
    }

    #[test]
    fn bare_words_before_init_are_dropped() {
        use InitWord::{Argument, Variable};
        assert_eq!(
            init("auto A=1 rdinit=/bin/sh 3"),
            [Variable("A=1"), Argument("3")]
        );
    }

    #[test]
    fn a_known_name_in_the_wrong_shape_is_unknown() {
        assert_eq!(
            init("quiet=1 init"),
            [InitWord::Variable("quiet=1"), InitWord::Argument("init")]
        );
    }

    #[test]
    fn nothing_comes_of_nothing() {
        assert_eq!(CommandLine::new("").words().count(), 0);
        assert_eq!(CommandLine::new("--").for_init().count(), 0);
        assert_eq!(CommandLine::new("\"").words().count(), 1);
    }
}
