//! Values that interceptors attach to a request for those behind them.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;

/// At most one value of each type. An empty map does not allocate.
#[derive(Default)]
pub struct Extensions {
    values: Option<Box<Values>>,
}

#[derive(Default)]
struct Values(HashMap<TypeId, Box<dyn Any + Send + Sync>>);

impl Extensions {
    /// No values.
    pub const fn new() -> Self {
        Self { values: None }
    }

    /// Sets the value of a type. Returns the one that was there.
    pub fn insert<T: Any + Send + Sync>(&mut self, value: T) -> Option<T> {
        let values = self.values.get_or_insert_default();
        let old = values.0.insert(TypeId::of::<T>(), Box::new(value))?;
        old.downcast().ok().map(|old| *old)
    }

    /// The value of a type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.values
            .as_ref()?
            .0
            .get(&TypeId::of::<T>())?
            .downcast_ref()
    }

    /// The value of a type, to change it.
    pub fn get_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.values
            .as_mut()?
            .0
            .get_mut(&TypeId::of::<T>())?
            .downcast_mut()
    }

    /// Takes the value of a type out.
    pub fn remove<T: Any>(&mut self) -> Option<T> {
        let old = self.values.as_mut()?.0.remove(&TypeId::of::<T>())?;
        old.downcast().ok().map(|old| *old)
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.values.as_ref().map_or(0, |values| values.0.len());
        write!(f, "Extensions({count})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_of_each_type() {
        let mut extensions = Extensions::new();
        assert_eq!(extensions.get::<u32>(), None);
        assert_eq!(extensions.insert(1u32), None);
        assert_eq!(extensions.insert(2u32), Some(1));
        assert_eq!(extensions.insert("text"), None);
        *extensions.get_mut::<u32>().unwrap() += 1;
        assert_eq!(extensions.get::<u32>(), Some(&3));
        assert_eq!(extensions.remove::<u32>(), Some(3));
        assert_eq!(extensions.get::<u32>(), None);
        assert_eq!(extensions.get::<&str>(), Some(&"text"));
    }
}
