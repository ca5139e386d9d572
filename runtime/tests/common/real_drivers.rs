//! Tests that compare with std, or look into /proc, need the real kernel: by the ring, and by the fallback.

/// Makes two tests of each `async fn`: `ring` and `fallback`, in a module of its name.
macro_rules! on_ring_and_fallback {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[runtime::test(driver = ring)]
            async fn ring() {
                super::$name().await;
            }

            #[runtime::test(driver = fallback)]
            async fn fallback() {
                super::$name().await;
            }
        }
    )+};
}
