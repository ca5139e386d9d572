//! Wrong uses of `#[runtime::test]`; ../wrong_uses.rs reads the comments.

use gimmal_macros as runtime;

mod function {
    #[super::runtime::test]
    fn not_async() {}
//  ^ #[runtime::test] wants an `async fn`: write `async` before `fn`

    #[super::runtime::test]
    async fn arguments(seed: u64) {}
//                     ^ a function with #[runtime::test] takes no arguments: nobody is there to give them

    #[super::runtime::test]
    #[test]
//   ^ #[runtime::test] is a #[test] already: leave this one out
    async fn test_of_a_test() {}

    struct Structure;

    impl Structure {
        #[super::runtime::test]
        async fn method(&self) {}
//                      ^ a function with #[runtime::test] takes no arguments: nobody is there to give them
    }
}

mod options {
    #[super::runtime::test(entries = 8)]
//                         ^ #[runtime::test] has no option `entries`; it has driver, cores, seeds, watchdog, crate
    async fn unknown() {}

    #[super::runtime::test(driver = all)]
//                                  ^ `driver` wants one of ring, fallback, simulated, auto, each
    async fn unknown_driver() {}

    #[super::runtime::test(driver = simulated, seeds = 0)]
//                                                     ^ `seeds` wants a whole number from 1 to 4294967295
    async fn no_seeds() {}

    #[super::runtime::test(driver = ring, seeds = 10)]
//                                        ^ `seeds` goes with `driver = simulated` or `driver = each`: no other driver has a schedule to choose
    async fn seeds_for_a_ring() {}

    #[super::runtime::test(seeds = 10)]
//                         ^ `seeds` goes with `driver = simulated` or `driver = each`: no other driver has a schedule to choose
    async fn seeds_for_whichever_there_is() {}

    #[super::runtime::test(cores = -1)]
//                                 ^ `cores` wants a whole number from 1 to 1024
    async fn fewer_than_no_cores() {}

    #[super::runtime::test(cores = 2, driver = each, cores = 3)]
//                                                   ^ `cores` is given twice
    async fn two_numbers_of_cores() {}

    #[super::runtime::test(watchdog = 1.5)]
//                                    ^ `watchdog` wants a whole number from 1 to 4294967295
    async fn part_of_a_second() {}

    #[super::runtime::test(watchdog = 60, watchdog = 60)]
//                                        ^ `watchdog` is given twice
    async fn twice() {}
}

fn main() {}
