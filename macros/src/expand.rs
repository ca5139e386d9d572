//! What the two attributes turn a function into.

use proc_macro::{Ident, Literal, Span, TokenStream, TokenTree};

use crate::error::Error;
use crate::function::{Attribute as FunctionAttribute, Function};
use crate::options::{Options, Word};
use crate::template;

/// One of the two attributes.
pub(crate) struct Attribute {
    /// As messages call it.
    pub(crate) name: &'static str,
    /// The keys it knows.
    pub(crate) options: &'static [&'static str],
}

/// `#[runtime::main]`.
pub(crate) const MAIN: Attribute =
    Attribute { name: "#[runtime::main]", options: &["driver", "cores", "entries", "crate"] };

/// `#[runtime::test]`.
pub(crate) const TEST: Attribute =
    Attribute { name: "#[runtime::test]", options: &["driver", "cores", "seeds", "watchdog", "crate"] };

const MAIN_DRIVERS: [Word; 3] = [("ring", "Ring"), ("fallback", "Fallback"), ("auto", "Auto")];

const TEST_DRIVERS: [Word; 5] =
    [("ring", "Ring"), ("fallback", "Fallback"), ("simulated", "Simulated"), ("auto", "Auto"), (EACH, EACH)];

/// Not a driver: a test for each of `DRIVERS_OF_EACH`.
const EACH: &str = "each";

const DRIVERS_OF_EACH: [Word; 3] = [("ring", "Ring"), ("fallback", "Fallback"), ("simulated", "Simulated")];

/// The most entries that io_uring_setup(2) gives a submission queue.
const ENTRIES_MAX: u32 = 32_768;

/// As many cores as `Builder::cores` takes.
const CORES_MAX: u32 = 1024;

/// How many schedules a simulated test is tried with unless it says otherwise: enough for the common interleavings, and
/// still quicker than building the test.
const SEEDS_DEFAULT: u32 = 16;

const WATCHDOG_DEFAULT_SECS: u32 = 60;

/// Expands `#[runtime::main]`.
///
/// The body stays an `async fn` of the same name, inside: so `?` and recursion find what they would find without the
/// attribute, and the return type is checked where it is written.
pub(crate) fn main(options: &Options, function: Function) -> Result<TokenStream, Error> {
    let runtime = options.runtime_path()?;
    let mut configure = TokenStream::new();
    if let Some(driver) = options.word("driver", &MAIN_DRIVERS)? {
        let parts = [("CRATE", runtime.clone()), ("DRIVER", word(driver))];
        configure.extend(template::fill(".driver(CRATE::Choice::DRIVER)", Span::mixed_site(), &parts));
    }
    if let Some(cores) = options.number("cores", 1..=CORES_MAX)? {
        let parts = [("CORES", number(cores))];
        configure.extend(template::fill(".cores(CORES)", Span::mixed_site(), &parts));
    }
    if let Some(entries) = options.number("entries", 1..=ENTRIES_MAX)? {
        let parts = [("ENTRIES", number(entries))];
        configure.extend(template::fill(".entries(ENTRIES)", Span::mixed_site(), &parts));
    }
    Ok(template::fill(
        "ATTRIBUTES VISIBILITY fn NAME() -> impl ::std::process::Termination {
            async fn NAME() RETURNS BODY
            CRATE::entry::main(|builder| builder CONFIGURE, NAME())
        }",
        Span::mixed_site().located_at(function.returns_span()),
        &[
            ("ATTRIBUTES", attributes(&function, |_| true)),
            ("VISIBILITY", function.visibility),
            ("NAME", TokenTree::from(function.name).into()),
            ("RETURNS", function.returns),
            ("BODY", function.body),
            ("CRATE", runtime),
            ("CONFIGURE", configure),
        ],
    ))
}

/// Expands `#[runtime::test]`.
pub(crate) fn test(options: &Options, function: Function) -> Result<TokenStream, Error> {
    if let Some(second) = function.attributes.iter().find(|attribute| attribute.is_test()) {
        return Err(Error::new(second.span(), "#[runtime::test] is a #[test] already: leave this one out"));
    }
    let runtime = options.runtime_path()?;
    let driver = options.word("driver", &TEST_DRIVERS)?.unwrap_or("Auto");
    let cores = options.number("cores", 1..=CORES_MAX)?.unwrap_or(1);
    let seeds = options.number("seeds", 1..=u32::MAX)?;
    let watchdog_secs = options.number("watchdog", 1..=u32::MAX)?.unwrap_or(WATCHDOG_DEFAULT_SECS);
    if let Some(key) = options.key_span("seeds").filter(|_| ![EACH, "Simulated"].contains(&driver)) {
        let message =
            "`seeds` goes with `driver = simulated` or `driver = each`: no other driver has a schedule to choose";
        return Err(Error::new(key, message));
    }
    let plan = Plan { runtime, cores, seeds: seeds.unwrap_or(SEEDS_DEFAULT), watchdog_secs };
    Ok(if driver == EACH { test_each(plan, function) } else { test_one(plan, driver, function) })
}

/// What the tests of one function have in common.
struct Plan {
    runtime: TokenStream,
    cores: u32,
    seeds: u32,
    watchdog_secs: u32,
}

impl Plan {
    /// The call that runs `body`, a path to an `async fn`, on `driver`, as the test `name` of the module around it.
    fn run(&self, name: &str, driver: &str, body: TokenStream, span: Span) -> TokenStream {
        let seeds = if driver == "Simulated" { self.seeds } else { 1 };
        template::fill(
            "CRATE::testing::run(
                CRATE::testing::Plan {
                    name: ::core::concat!(::core::module_path!(), PATH),
                    package: ::core::option_env!(\"CARGO_PKG_NAME\"),
                    driver: CRATE::testing::Driver::DRIVER,
                    cores: CORES,
                    seeds: SEEDS,
                    watchdog_secs: WATCHDOG_SECS,
                },
                BODY,
            )",
            span,
            &[
                ("CRATE", self.runtime.clone()),
                ("PATH", TokenTree::from(Literal::string(&format!("::{name}"))).into()),
                ("DRIVER", word(driver)),
                ("CORES", number(self.cores)),
                ("SEEDS", number(seeds)),
                ("WATCHDOG_SECS", number(self.watchdog_secs)),
                ("BODY", body),
            ],
        )
    }
}

fn test_one(plan: Plan, driver: &str, function: Function) -> TokenStream {
    let span = Span::mixed_site().located_at(function.returns_span());
    let name = TokenStream::from(TokenTree::from(function.name.clone()));
    let run = plan.run(&plain_name(&function.name), driver, name.clone(), span);
    template::fill(
        "#[::core::prelude::v1::test]
        ATTRIBUTES VISIBILITY fn NAME() REPORTS {
            async fn NAME() RETURNS BODY
            RUN
        }",
        span,
        &[
            ("RUN", reported(&function, run, span)),
            ("ATTRIBUTES", attributes(&function, |_| true)),
            ("VISIBILITY", function.visibility.clone()),
            ("NAME", name),
            ("REPORTS", reports(&function, span)),
            ("RETURNS", function.returns),
            ("BODY", function.body),
        ],
    )
}

/// What a test returns, whose outcome may also be that it was skipped. One of `()` stays so: `#[should_panic]` allows
/// nothing else.
fn reports(function: &Function, span: Span) -> TokenStream {
    template::fill(if function.returns_unit() { "" } else { "-> impl ::std::process::Termination" }, span, &[])
}

/// `run`, as the body of a test that returns what [`reports`] says.
fn reported(function: &Function, run: TokenStream, span: Span) -> TokenStream {
    template::fill(if function.returns_unit() { "RUN;" } else { "RUN" }, span, &[("RUN", run)])
}

/// The body stays where it was, so that it sees what it saw, and the module of its name has only the tests.
fn test_each(plan: Plan, function: Function) -> TokenStream {
    let span = Span::mixed_site().located_at(function.returns_span());
    let name = TokenStream::from(TokenTree::from(function.name.clone()));
    let for_the_tests = attributes(&function, |attribute| attribute.is_doc() || attribute.is_for_the_harness());
    let mut tests = TokenStream::new();
    for (test_name, driver) in DRIVERS_OF_EACH {
        let body = template::fill("super::NAME", span, &[("NAME", name.clone())]);
        tests.extend(template::fill(
            "#[::core::prelude::v1::test]
            ATTRIBUTES fn NAME() REPORTS { RUN }",
            span,
            &[
                ("ATTRIBUTES", for_the_tests.clone()),
                ("NAME", word(test_name)),
                // The return type's names may mean something else inside the module, so the tests do not repeat it.
                ("REPORTS", reports(&function, span)),
                ("RUN", reported(&function, plan.run(test_name, driver, body, span), span)),
            ],
        ));
    }
    template::fill(
        "#[cfg(test)]
        BODY_ATTRIBUTES VISIBILITY async fn NAME() RETURNS BODY

        #[cfg(test)]
        CONDITIONS mod NAME { TESTS }",
        span,
        &[
            ("BODY_ATTRIBUTES", attributes(&function, |attribute| !attribute.is_for_the_harness())),
            ("CONDITIONS", attributes(&function, FunctionAttribute::is_cfg)),
            ("VISIBILITY", function.visibility),
            ("NAME", name),
            ("RETURNS", function.returns),
            ("BODY", function.body),
            ("TESTS", tests),
        ],
    )
}

fn attributes(function: &Function, wanted: impl Fn(&FunctionAttribute) -> bool) -> TokenStream {
    function.attributes.iter().filter(|attribute| wanted(attribute)).map(FunctionAttribute::tokens).collect()
}

/// A name without the `r#` of a raw identifier, as `cargo test` prints it.
fn plain_name(name: &Ident) -> String {
    name.to_string().trim_start_matches("r#").to_owned()
}

fn word(word: &str) -> TokenStream {
    TokenTree::from(Ident::new(word, Span::mixed_site())).into()
}

fn number(number: u32) -> TokenStream {
    TokenTree::from(Literal::u32_unsuffixed(number)).into()
}
