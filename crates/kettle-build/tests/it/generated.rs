//! The golden files, public and under the workspace's lints, which ask for documentation.

/// With comments, deprecation and a `bytes` field.
pub mod echo {
    include!("golden/echo.v1.rs");
}

/// Without a package, and with names that clash.
pub mod names {
    include!("golden/_.rs");
}

/// Packages that import packages are nested like them.
pub mod shop {
    /// Imported.
    pub mod goods {
        include!("golden/shop.goods.rs");
    }
    /// The packages below.
    pub mod orders {
        /// Imports.
        pub mod v1 {
            include!("golden/shop.orders.v1.rs");
        }
    }
}
