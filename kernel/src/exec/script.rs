//! `#!` lines.
//!
//! Source: execve(2), "Interpreter scripts"; Linux `fs/binfmt_script.c`.

use fs::Errno;

/// How much of a file is looked at.
pub const HEAD_SIZE: usize = 256;
/// How many times an interpreter may itself be a script.
pub const DEPTH_MAX: usize = 5;

/// What a `#!` line says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Script<'a> {
    /// The path of the interpreter.
    pub interpreter: &'a [u8],
    /// The one argument that it is given, blanks within included.
    pub argument: Option<&'a [u8]>,
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_end(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0)
}

/// Takes the first line of a file apart; `head` is its first [`HEAD_SIZE`] bytes, zeros after its end. `None` if it is no
/// script.
///
/// # Errors
/// `ENOEXEC` if no interpreter is named, or its name may have been cut off.
pub fn parse(head: &[u8]) -> Result<Option<Script<'_>>, Errno> {
    let Some(rest) = head.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let line = match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) => &rest[..end],
        None => {
            // Without the line's end, the name must be seen to end.
            let start = rest
                .iter()
                .position(|byte| !is_blank(byte))
                .ok_or(Errno::ENOEXEC)?;
            if !rest[start..].iter().any(is_end) {
                return Err(Errno::ENOEXEC);
            }
            rest
        }
    };
    let line = match line.iter().position(|byte| *byte == 0) {
        Some(end) => &line[..end],
        None => line,
    };
    let Some(start) = line.iter().position(|byte| !is_blank(byte)) else {
        return Err(Errno::ENOEXEC);
    };
    let end = line
        .iter()
        .rposition(|byte| !is_blank(byte))
        .map_or(line.len(), |last| last + 1);
    let line = &line[start..end];
    let name_end = line.iter().position(is_blank).unwrap_or(line.len());
    let argument = line[name_end..]
        .iter()
        .position(|byte| !is_blank(byte))
        .map(|at| &line[name_end + at..]);
    Ok(Some(Script {
        interpreter: &line[..name_end],
        argument,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Option<(String, Option<String>)>, Errno> {
        let mut head = [0; HEAD_SIZE];
        let len = text.len().min(HEAD_SIZE);
        head[..len].copy_from_slice(&text.as_bytes()[..len]);
        let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok(parse(&head)?.map(|script| (string(script.interpreter), script.argument.map(string))))
    }

    fn found(
        name: &str,
        argument: Option<&str>,
    ) -> Result<Option<(String, Option<String>)>, Errno> {
        Ok(Some((name.to_string(), argument.map(str::to_string))))
    }

    #[test]
    fn names_and_one_argument() {
        assert_eq!(of("#!/bin/sh\necho"), found("/bin/sh", None));
        assert_eq!(
            of("#! \t/bin/sh  -e -x \t\n"),
            found("/bin/sh", Some("-e -x"))
        );
        assert_eq!(of("#!/bin/sh"), found("/bin/sh", None));
        assert_eq!(of("#!sh\0x\n"), found("sh", None));
    }

    #[test]
    fn what_is_no_script_or_names_nothing() {
        assert_eq!(of("\x7fELF"), Ok(None));
        assert_eq!(of("#!\n/bin/sh"), Err(Errno::ENOEXEC));
        assert_eq!(of("#!   \n"), Err(Errno::ENOEXEC));
        assert_eq!(of("#!"), Err(Errno::ENOEXEC));
    }

    #[test]
    fn a_name_that_is_cut_off_is_refused_but_an_argument_is_not() {
        let long = format!("#!/{}\n", "a".repeat(300));
        assert_eq!(of(&long), Err(Errno::ENOEXEC));
        let fits = format!("#!/{}\n", "a".repeat(252));
        assert_eq!(of(&fits).unwrap().unwrap().0.len(), 253);
        let argument = format!("#!/bin/sh {}\n", "b".repeat(300));
        assert_eq!(
            of(&argument).unwrap().unwrap().1.unwrap().len(),
            HEAD_SIZE - 10
        );
    }
}
