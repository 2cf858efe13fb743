//! What the threads of a server run inside of: a tokio runtime's context, where there is one.

/// The context of a server's threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    #[cfg(feature = "tokio")]
    pub(crate) runtime: Option<tokio::runtime::Handle>,
}

impl Context {
    /// This, or that of the calling thread when this is none.
    pub(crate) fn or_current(&self) -> Self {
        #[cfg(feature = "tokio")]
        if self.runtime.is_none() {
            let runtime = tokio::runtime::Handle::try_current().ok();
            return Self { runtime };
        }
        self.clone()
    }

    /// Runs a thread's body inside of it.
    pub(crate) fn run<T>(&self, body: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tokio")]
        let _entered = self.runtime.as_ref().map(tokio::runtime::Handle::enter);
        body()
    }
}
