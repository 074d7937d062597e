//! `#[kernel_test]`: marks a function of the kernel as a test that runs inside the booted kernel.
//!
//! ```ignore
//! #[kernel_test]
//! fn buddies_merge() { /* panics where it fails */ }
//!
//! #[kernel_test(cpus = 2)]
//! async fn other_cpu_wakes_us() -> Result<(), MapError> { /* may await, may return an error */ }
//!
//! #[kernel_test(panics = "double free")]
//! fn a_frame_is_freed_once() { /* ends the machine, saying so */ }
//! ```
//!
//! The function, and a descriptor of it in the section `.ktests`, exist only in images with feature `ktest`. How tests
//! are run and report is in `kernel::ktest`.

use proc_macro::{Delimiter, TokenStream, TokenTree};

/// Registers the function as an in-kernel test.
///
/// It takes no arguments, may be `async`, and returns `()` or a `Result<(), E>` with `E: Debug`. A panic fails the test
/// and ends the machine. With `cpus = N` the test is skipped on machines with fewer CPUs; with `panics = "TEXT"` it has to panic,
/// and TEXT to be in what the machine says then. Each such test costs a boot.
#[proc_macro_attribute]
pub fn kernel_test(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand(attribute, item.clone()).unwrap_or_else(|message| {
        let error: TokenStream = format!("::core::compile_error!({message:?});")
            .parse()
            .expect("a macro call");
        error.into_iter().chain(item).collect()
    })
}

fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream, String> {
    let Options { cpus, panics } = options(attribute)?;
    let (name, is_async) = signature(item.clone())?;
    let run = if let Some(text) = panics {
        if is_async {
            return Err("a kernel_test that panics does not wait".into());
        }
        format!(
            "crate::ktest::TestFn::Panics(&crate::ktest::Panics {{ text: {text}, run: {name} }})"
        )
    } else if is_async {
        format!(
            "crate::ktest::TestFn::Async(|| alloc::boxed::Box::pin(async {{
                crate::ktest::IntoOutcome::into_outcome({name}().await)
            }}))"
        )
    } else {
        format!("crate::ktest::TestFn::Plain(|| crate::ktest::IntoOutcome::into_outcome({name}()))")
    };
    let gate = r#"#[cfg(all(feature = "ktest", target_os = "none"))]"#;
    let descriptor = format!(
        r#"{gate}
        #[allow(unsafe_code, reason = "places a descriptor in the section that the kernel reads its tests from")]
        const _: () = {{
            extern crate alloc;
            #[used]
            // SAFETY: the section holds descriptors of this type and nothing else.
            #[unsafe(link_section = ".ktests")]
            static TEST: crate::ktest::KernelTest = crate::ktest::KernelTest::new(
                ::core::concat!(::core::module_path!(), "::", "{name}"),
                ::core::file!(), ::core::line!(), {cpus}, {run},
            );
        }};"#
    );
    let parse = |text: &str| {
        text.parse::<TokenStream>()
            .map_err(|error| error.to_string())
    };
    Ok(parse(gate)?
        .into_iter()
        .chain(item)
        .chain(parse(&descriptor)?)
        .collect())
}

/// What stands in the attribute.
struct Options {
    cpus: u32,
    /// A string literal.
    panics: Option<String>,
}

/// Reads `cpus = N`, `panics = "TEXT"`, or nothing.
fn options(attribute: TokenStream) -> Result<Options, String> {
    let text = attribute.to_string();
    let mut options = Options {
        cpus: 1,
        panics: None,
    };
    if text.is_empty() {
        return Ok(options);
    }
    let wrong = || format!("kernel_test takes `cpus = N` or `panics = \"TEXT\"`, not `{text}`");
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let value = value.trim();
    match key.trim() {
        "cpus" => options.cpus = value.parse().map_err(|_| wrong())?,
        "panics" if value.len() > 2 && value.starts_with('"') && value.ends_with('"') => {
            options.panics = Some(value.into());
        }
        _ => return Err(wrong()),
    }
    Ok(options)
}

/// The function's name and whether it is `async`.
fn signature(item: TokenStream) -> Result<(String, bool), String> {
    let mut is_async = false;
    let mut tokens = item.into_iter();
    while let Some(token) = tokens.next() {
        let TokenTree::Ident(word) = token else {
            continue;
        };
        match word.to_string().as_str() {
            "async" => is_async = true,
            "fn" => {
                let name = match tokens.next() {
                    Some(TokenTree::Ident(name)) => name.to_string(),
                    _ => return Err("kernel_test wants a named function".into()),
                };
                let plain = matches!(tokens.next(), Some(TokenTree::Group(group))
                    if group.delimiter() == Delimiter::Parenthesis && group.stream().is_empty());
                if !plain {
                    return Err("a kernel_test takes no arguments and no generics".into());
                }
                return Ok((name, is_async));
            }
            _ => {}
        }
    }
    Err("kernel_test goes on a function".into())
}
