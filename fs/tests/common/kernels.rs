//! Tests that compare with std, or look into /proc, need the real kernel: by the ring, and by the fallback.

/// Makes a test of each `async fn` on each driver that asks the real kernel.
macro_rules! on_real_kernels {
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
