//! Wrong uses of `#[runtime::main]`; ../wrong_uses.rs reads the comments.

use gimmal_macros as runtime;

mod function {
    #[super::runtime::main]
    fn not_async() {}
//  ^ #[runtime::main] wants an `async fn`: write `async` before `fn`

    #[super::runtime::main]
    async fn arguments(count: u32, name: &str) {}
//                     ^ a function with #[runtime::main] takes no arguments: nobody is there to give them

    #[super::runtime::main]
    async fn generics<T>() {}
//                   ^ a function with #[runtime::main] cannot be generic: nobody is there to choose the types

    #[super::runtime::main]
    async fn bounds() -> u8 where u8: Copy { 0 }
//                          ^ a function with #[runtime::main] cannot be generic: nobody is there to choose the types

    #[super::runtime::main]
    pub async extern "C" fn foreign() {}
//            ^ a function with #[runtime::main] cannot be `extern`

    #[super::runtime::main]
    pub struct Structure;
//      ^ #[runtime::main] goes on an `async fn`, and this is something else

    #[super::runtime::main]
    impl u8 {}
//  ^ #[runtime::main] goes on an `async fn`, and this is something else

    trait Service {
        #[super::runtime::main]
        async fn without_a_body();
//               ^ a function with #[runtime::main] needs a body
    }
}

mod options {
    #[super::runtime::main(dirver = ring)]
//                         ^ #[runtime::main] has no option `dirver`; it has driver, cores, entries, crate
    async fn unknown() {}

    #[super::runtime::main(seeds = 3)]
//                         ^ #[runtime::main] has no option `seeds`; it has driver, cores, entries, crate
    async fn of_the_other_attribute() {}

    #[super::runtime::main("ring")]
//                         ^ #[runtime::main] takes options of the form `key = value`, with a comma between them
    async fn no_key() {}

    #[super::runtime::main(driver = ring, , entries = 8)]
//  ^ #[runtime::main] takes options of the form `key = value`, with a comma between them
    async fn two_commas() {}

    #[super::runtime::main(driver)]
//                         ^ `driver` needs a value: write `driver = …`
    async fn no_value() {}

    #[super::runtime::main(entries(8))]
//                         ^ `entries` needs a value: write `entries = …`
    async fn parentheses() {}

    #[super::runtime::main(driver = simulated)]
//                                  ^ `driver` wants one of ring, fallback, auto
    async fn driver_that_only_tests_have() {}

    #[super::runtime::main(driver = "ring")]
//                                  ^ `driver` wants one of ring, fallback, auto
    async fn driver_as_a_string() {}

    #[super::runtime::main(driver = ring fallback)]
//                                  ^ `driver` wants one of ring, fallback, auto
    async fn two_drivers() {}

    #[super::runtime::main(entries = many)]
//                                   ^ `entries` wants a whole number from 1 to 32768
    async fn entries_as_a_word() {}

    #[super::runtime::main(entries = 0)]
//                                   ^ `entries` wants a whole number from 1 to 32768
    async fn no_entries() {}

    #[super::runtime::main(entries = 32_769)]
//                                   ^ `entries` wants a whole number from 1 to 32768
    async fn too_many_entries() {}

    #[super::runtime::main(cores = 0)]
//                                 ^ `cores` wants a whole number from 1 to 1024
    async fn no_cores() {}

    #[super::runtime::main(cores = 1_025)]
//                                 ^ `cores` wants a whole number from 1 to 1024
    async fn too_many_cores() {}

    #[super::runtime::main(cores = all)]
//                                 ^ `cores` wants a whole number from 1 to 1024
    async fn cores_as_a_word() {}

    #[super::runtime::main(cores)]
//                         ^ `cores` needs a value: write `cores = …`
    async fn cores_without_a_number() {}

    #[super::runtime::main(entries = 256, driver = ring, entries = 256)]
//                                                       ^ `entries` is given twice
    async fn twice() {}

    #[super::runtime::main(crate = "runtime")]
//                                 ^ `crate` wants a path from a root, such as ::runtime or crate::reexports::runtime
    async fn path_as_a_string() {}

    #[super::runtime::main(crate = super::runtime)]
//                                 ^ `crate` wants a path from a root, such as ::runtime or crate::reexports::runtime
    async fn path_from_here() {}

    #[super::runtime::main(crate = ::runtime::)]
//                                 ^ `crate` wants a path from a root, such as ::runtime or crate::reexports::runtime
    async fn path_without_an_end() {}
}

// That there is no `main` then is not told beside it.
#[runtime::main(driver)]
//              ^ `driver` needs a value: write `driver = …`
async fn main() {}
